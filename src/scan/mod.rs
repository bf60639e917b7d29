//! Scanning: from a package's source files to the ordered set of modules it imports. Owns the walk, the
//! reading of import statements and the choice of what is third-party; it imports nothing, and starts no
//! interpreter: all that depends on one arrives in [`ScanRequest`].
//!
//! ```text
//! folders --walk--> files --decode, slice, parse--> statements --first_party, resolve--> graph --> ImportSet
//!    disk: what folders held      cache, store: what files said           tree: what they reach together
//! ```
//!
//! Reading is kept apart from meaning: `decode` to `parse` know no file system, and
//! `resolve` and `first_party` know no syntax. The files are cut into logical lines rather than parsed whole,
//! because that finds the imports of files that are broken in the middle of an edit, or newer than the parser.

#![forbid(unsafe_code)]

mod cache;
mod condition;
mod context;
mod decode;
mod disk;
mod first_party;
mod graph;
mod import_set;
mod keyword;
mod last_import;
mod lexer;
mod own;
mod parse;
mod read;
mod rescue;
mod resolve;
mod rules;
mod scanner;
mod slice;
mod store;
mod strings;
mod threads;
mod tree;
mod walk;

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use first_party::FirstParty;
pub use import_set::{Import, ImportSet, Severity, Site};
pub use own::{OwnModule, OwnModules};
pub use scanner::Scanner;
pub(crate) use walk::{is_ignored, is_never_entered};

/// What to scan, and how names resolve. All of it comes from the host interpreter.
#[derive(Debug, Clone, Default)]
pub struct ScanRequest {
    /// The dotted name, such as `app` or `app.web`.
    pub package: String,
    /// The package's folders (a namespace package may have several), or its single file.
    pub locations: Vec<PathBuf>,
    /// Folders with all that is the user's own below them, besides the source root: what lies in one, and is not
    /// installed, is first-party.
    pub own_folders: Vec<PathBuf>,
    /// Whether the files of the locations, and those that their imports reach, are all: not what else lies in the
    /// folders of a package that is reached.
    pub only_reached: bool,
    /// Single files that are scanned besides, each with the name that it is imported by. Two may have the same one.
    pub modules: Vec<(String, PathBuf)>,
    /// More names to treat as first-party (whole dotted parts); resolved on `sys_path` and scanned too.
    pub first_party: Vec<String>,
    /// Files and folders that a watcher looks at besides: sources of Rust extensions. The scan does not.
    pub watched: Vec<PathBuf>,
    /// Modules that are never preloaded (whole dotted parts: `a` covers `a.b`, and not `ab`).
    pub ignored: Vec<String>,
    /// Modules that are always preloaded, at the front of the set, in this order.
    pub preload: Vec<String>,
    /// The interpreter's search path, absolute; entries that are not folders are passed over.
    pub sys_path: Vec<PathBuf>,
    /// Folders of installed distributions and of the standard library: a package that lies in one owns only
    /// itself, not the folder.
    pub site_folders: Vec<PathBuf>,
    /// `sys.builtin_module_names`.
    pub builtin_modules: Vec<String>,
    /// `sys.stdlib_module_names`.
    pub stdlib_modules: Vec<String>,
}

/// What one scan found.
#[derive(Debug, Clone)]
pub struct Scan {
    /// The third-party modules to preload, in order; shared with the scan before when nothing has changed.
    pub imports: Arc<ImportSet>,
    /// How the project's own modules import each other, where that was asked for.
    pub own: Option<Arc<OwnModules>>,
    /// Files and folders that could not be read, or read only in part, in the order of their paths.
    pub problems: Vec<Problem>,
    /// How many files the tree has.
    pub files: usize,
    /// How many of them were parsed this time; the others were unchanged since the scan before.
    pub parsed: usize,
}

/// A file or folder that is not as it should be. Never the end of a scan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file or folder.
    pub file: PathBuf,
    /// The line, counted from 1, where one is known.
    pub line: Option<u32>,
    /// What is wrong, as a lowercase fragment.
    pub message: String,
}

/// Why there is no scan at all.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The request names no place to look in.
    #[error("package {package:?} has no location to scan")]
    NoLocation {
        /// The package of the request.
        package: String,
    },
    /// No location of the package can be read; the first failure is told.
    #[error("package {package:?}: none of its locations can be read, the first is {}", location.display())]
    Unreadable {
        /// The package of the request.
        package: String,
        /// The first location that failed.
        location: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

/// Where an import statement stands, as far as it tells how serious its failure is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Context {
    /// In a function, or under `if __name__ == "__main__"`: a cold start may never run it.
    pub nested: bool,
    /// In the body of a `try` that catches ImportError (by any of its names, or bare), in such a handler, or under
    /// `suppress(ImportError)`: the author expects that it may fail.
    pub guarded: bool,
    /// Under a test of the platform or of the interpreter's version.
    pub conditional: bool,
    /// Under any test: `if HAS_NUMPY:`, or the `else` of a `try`.
    pub tested: bool,
}

/// `import a` or `from a import b`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StatementKind {
    /// `import a, b.c as d`: the names are modules.
    Import,
    /// `from a import b, c as d`: the names are attributes or submodules.
    From,
}

/// One import statement of a source text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// The line it starts on, counted from 1.
    pub line: u32,
    /// How many dots precede the module; 0 is absolute.
    pub level: u32,
    /// The module of a `from` import; none in `from . import a` and in `import a`.
    pub module: Option<String>,
    /// What is imported, with its `as` name.
    pub names: Vec<(String, Option<String>)>,
    /// Which of the two statements it is.
    pub kind: StatementKind,
    /// The blocks around it.
    pub context: Context,
    /// Read by type checkers only: never executed.
    pub type_checking: bool,
    /// Its (first) source line, trimmed, and cut when it is very long.
    pub text: String,
}

/// The first thing that is wrong with a source text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// The line, counted from 1.
    pub line: u32,
    /// What is wrong, as a lowercase fragment.
    pub message: String,
    /// Whether the statements found are those that the author wrote. False after a string that never ends, since
    /// text and code can't be told apart then: the last good imports are the better guess.
    pub trusted: bool,
}

/// Every import statement of one source text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FileImports {
    /// In the order of the text.
    pub statements: Vec<Statement>,
    /// What is wrong with the text, as far as the scan noticed.
    pub broken: Option<Broken>,
}

/// Finds every import statement of one source text, whatever state the text is in.
///
/// Takes the bytes as they lie on disk: a byte-order mark and a PEP 263 coding line are obeyed. Runs in linear
/// time, and fails on no input.
pub fn imports_of(source: &[u8]) -> FileImports {
    imports_with(source, &mut parse::Known::new())
}

/// As [`imports_of`], with what was parsed before in this scan.
fn imports_with(source: &[u8], known: &mut parse::Known) -> FileImports {
    let decoded = decode::decode(source);
    let sliced = slice::slice(&decoded.text);
    let mut found = parse::statements(&decoded.text, &sliced, known);
    // What the decoder found comes first: it explains what the others stumbled on.
    let untrusted = found.broken.as_ref().is_some_and(|broken| !broken.trusted);
    if let Some(mut broken) = decoded.broken {
        broken.trusted &= !untrusted;
        found.broken = Some(broken);
    }
    found
}

#[cfg(test)]
mod tests;
