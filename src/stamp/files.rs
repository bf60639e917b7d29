//! The state of one file, and whether it is still that. Knows nothing of Python but how a venv names itself.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::distributions::is_young;
use super::marks::Counts;
use super::Change;
use crate::protocol::findings::StateText;

/// How a file was when it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// There was none.
    Missing,
    /// Size in bytes, mtime and ctime in nanoseconds, inode, device. Programs can set the mtime back, and a file system may
    /// give an inode again; nobody sets a ctime.
    Present {
        size: u64,
        mtime: i64,
        ctime: i64,
        inode: u64,
        device: u64,
    },
    /// Changed so short a time before that a further change may not show.
    Unknown,
}

impl State {
    pub(super) fn from_recorded(recorded: Option<StateText>) -> Self {
        match recorded {
            None => Self::Missing,
            Some((.., young)) if young != 0 => Self::Unknown,
            Some((size, mtime, ctime, inode, device, _)) => Self::Present {
                size,
                mtime,
                ctime,
                inode,
                device,
            },
        }
    }

    pub(super) fn take(path: &Path) -> Self {
        fs::metadata(path).map_or(Self::Missing, |found| Self::of(&found))
    }

    pub(super) fn of(found: &Metadata) -> Self {
        Self::Present {
            size: found.len(),
            mtime: nanoseconds(found),
            ctime: found
                .ctime()
                .saturating_mul(1_000_000_000)
                .saturating_add(found.ctime_nsec()),
            inode: found.ino(),
            device: found.dev(),
        }
    }

    /// "changed", "removed" or "appeared"; none when the file is as it was.
    pub(super) fn change(self, path: &Path) -> Option<&'static str> {
        self.change_to(Self::take(path))
    }

    pub(super) fn change_to(self, now: Self) -> Option<&'static str> {
        match (self, now) {
            (Self::Unknown, Self::Missing) => Some("removed"),
            (Self::Unknown, _) => Some("changed while it was loaded"),
            (Self::Missing, Self::Missing) => None,
            (Self::Missing, _) => Some("appeared"),
            (Self::Present { .. }, Self::Missing) => Some("removed"),
            (before @ Self::Present { .. }, now) => (before != now).then_some("changed"),
        }
    }
}

pub(super) fn nanoseconds(found: &Metadata) -> i64 {
    found
        .mtime()
        .saturating_mul(1_000_000_000)
        .saturating_add(found.mtime_nsec())
}

/// The names in a folder that an import has listed, as it looks for plug-ins; or those that modules could have.
#[derive(Debug)]
pub(super) struct Listing {
    path: PathBuf,
    /// Mtime in nanoseconds and inode; none when a further change may not show there.
    mark: Option<(i64, u64)>,
    names: BTreeSet<OsString>,
    /// What imports have made or removed there themselves does not count.
    own: BTreeSet<OsString>,
    /// Which names matter at all.
    rule: Counts,
}

impl Listing {
    pub(super) fn new(
        path: PathBuf,
        mark: Option<(i64, u64)>,
        names: BTreeSet<OsString>,
        own: BTreeSet<OsString>,
    ) -> Self {
        Self {
            path,
            mark,
            names,
            own,
            rule: |_| true,
        }
    }

    /// The names that modules could have in a folder, as they are now.
    pub(super) fn of_modules(path: &Path) -> Self {
        // The mark comes first: what changes after it shows. A folder that has just changed may change again without one.
        let found = fs::metadata(path).ok();
        let mark = found.map(|found| (nanoseconds(&found), found.ino()));
        let mark = mark.filter(|(mtime, _)| !is_young(*mtime));
        Self {
            path: path.to_owned(),
            mark,
            names: names(path),
            own: BTreeSet::new(),
            rule: is_of_module,
        }
    }

    pub(super) fn rule(&self) -> Counts {
        self.rule
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn change(&self) -> Option<Change> {
        let now = fs::metadata(&self.path).ok();
        let mark = now.map(|found| (nanoseconds(&found), found.ino()));
        if mark.is_some() && mark == self.mark {
            return None;
        }
        let names = names(&self.path);
        let gone = self.names.difference(&names).find(|name| self.counts(name));
        let new = names.difference(&self.names).find(|name| self.counts(name));
        let (name, what) = match (new, gone) {
            (Some(new), _) => (new, "appeared"),
            (None, Some(gone)) => (gone, "removed"),
            (None, None) => return None,
        };
        let path = self.path.join(name);
        Some(Change::File { path, what })
    }

    /// Bytecode folders come with the first import of what lies there.
    fn counts(&self, name: &OsStr) -> bool {
        name != "__pycache__" && !self.own.contains(name) && (self.rule)(name)
    }
}

fn names(folder: &Path) -> BTreeSet<OsString> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).collect()
}

/// Whether an import may look for a file or a folder of this name.
fn is_of_module(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let (stem, end) = name.split_once('.').unwrap_or((&name, ""));
    let is_identifier = stem.chars().enumerate().all(|(at, each)| {
        each == '_' || each.is_alphabetic() || (at > 0 && each.is_alphanumeric())
    });
    let is_module = matches!(end, "" | "py" | "pyc" | "so") || end.ends_with(".so");
    !stem.is_empty() && is_identifier && is_module
}

/// The files that make an interpreter what it is: the executable, and the virtual environment's own file.
pub(super) fn interpreter(executable: &Path) -> Vec<(PathBuf, State)> {
    let mut found = vec![(executable.to_owned(), State::take(executable))];
    for folder in executable.ancestors().skip(1).take(2) {
        let config = folder.join("pyvenv.cfg");
        let state = State::take(&config);
        found.push((config, state));
    }
    found
}
