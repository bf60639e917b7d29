//! What can differ between a template and the world, and how that is told. Compares nothing.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

/// Something that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Another interpreter, or the same path with other content.
    Interpreter(PathBuf),
    /// A distribution: what happened to it.
    Distribution {
        /// As its folder spells it.
        name: String,
        /// Before and after.
        before: Option<String>,
        /// After.
        after: Option<String>,
    },
    /// `sys.path`.
    Path,
    /// An environment variable.
    Variable(String),
    /// The working directory; who asked for it.
    Directory(String),
    /// A module that was missing and can be imported now.
    Found(String),
    /// A file that was read.
    File {
        /// Its path.
        path: PathBuf,
        /// "changed", "removed", "appeared".
        what: &'static str,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interpreter(path) => write!(out, "the interpreter changed ({})", path.display()),
            Self::Distribution {
                name,
                before,
                after,
            } => match (before.as_deref(), after.as_deref()) {
                (Some(before), Some(after)) if before == after => {
                    write!(out, "{name} {after} installed again")
                }
                (Some(before), Some(after)) => write!(out, "{name} {before} -> {after}"),
                (None, Some(after)) => write!(out, "{name} {after} installed"),
                (Some(before), None) => write!(out, "{name} {before} removed"),
                (None, None) => write!(out, "{name} changed"),
            },
            Self::Path => write!(out, "sys.path differs"),
            Self::Variable(name) => write!(out, "{name} differs"),
            Self::Directory(by) => {
                write!(out, "the working directory differs (asked for by {by})")
            }
            Self::Found(name) => write!(out, "{name} can be imported now"),
            Self::File { path, what } => write!(out, "{} {what}", path.display()),
        }
    }
}

/// Changes as one line: the ones that explain most come first, and no more than three.
#[must_use]
pub fn describe(changes: &BTreeSet<Change>) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<String> = changes.iter().take(SHOWN).map(Change::to_string).collect();
    let more = changes.len().saturating_sub(SHOWN);
    let rest = if more > 0 {
        format!("; and {more} more")
    } else {
        String::new()
    };
    shown.join("; ") + &rest
}
