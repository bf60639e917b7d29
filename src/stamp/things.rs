//! What a stamp compares with the disk: how each kind is compared, and what it listens to. Reads no queue.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::distributions::{is_installed, Folder, Missing};
use super::files::{Listing, State};
use super::walk::{End, Walk, LINKS};
use super::Change;

/// Whether the kernel tells of each change of a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Yes,
    No,
}

/// Something on the disk that a template depends on.
#[derive(Debug)]
pub(super) enum Thing {
    /// What makes an interpreter what it is.
    Interpreter(PathBuf, State),
    File(PathBuf, State),
    /// What is installed in a folder of `sys.path`.
    Installed(Arc<Folder>),
    Listing(Listing),
    Missing(Missing),
}

impl Thing {
    /// Adds what has changed; whether anything has.
    pub(super) fn compare(&self, changes: &mut BTreeSet<Change>) -> bool {
        match self {
            Self::Interpreter(path, state) | Self::File(path, state) => {
                self.compare_to(*state, State::take(path), changes)
            }
            Self::Installed(folder) => {
                let mut found = BTreeSet::new();
                folder.compare(&mut found);
                let has_changed = !found.is_empty();
                changes.extend(found);
                has_changed
            }
            Self::Listing(listing) => add(listing.change(), changes),
            Self::Missing(missing) => add(missing.change(), changes),
        }
    }

    /// Places all watches that it needs, and compares it then; `index` is what its marks know it by.
    pub(super) fn listen(
        &self,
        index: usize,
        walk: &mut Walk<'_>,
        changes: &mut BTreeSet<Change>,
    ) -> (Told, bool) {
        let told = match self {
            Self::Interpreter(path, state) | Self::File(path, state) => {
                let (told, now) = follow(path, index, walk);
                return (told, self.compare_to(*state, now, changes));
            }
            Self::Installed(folder) => walk.listen_to_names(folder.path(), index, is_installed),
            Self::Listing(listing) => walk.listen_to_names(listing.path(), index, listing.rule()),
            Self::Missing(missing) => walk.wait_for(missing.place(), index, missing.names()),
        };
        (told, self.compare(changes))
    }

    fn compare_to(&self, before: State, now: State, changes: &mut BTreeSet<Change>) -> bool {
        let (Self::Interpreter(path, _) | Self::File(path, _)) = self else {
            return false;
        };
        let change = before.change_to(now).map(|what| match self {
            Self::Interpreter(..) => Change::Interpreter(path.clone()),
            Self::File(..) | Self::Installed(_) | Self::Listing(_) | Self::Missing(_) => {
                let path = path.clone();
                Change::File { path, what }
            }
        });
        add(change, changes)
    }
}

/// Watches a file through all links on its way; its state then.
fn follow(path: &Path, index: usize, walk: &mut Walk<'_>) -> (Told, State) {
    let mut next = path.to_owned();
    for _ in 0..LINKS {
        let (here, watch) = match walk.file(&next, Some(index)) {
            End::There(here, watch) => (here, watch),
            End::Absent => return (Told::Yes, State::take(path)),
            End::Untold => break,
        };
        match fs::symlink_metadata(&next) {
            Ok(found) if found.is_symlink() => {}
            // The usual case: one look tells that it is no link, and its state.
            Ok(found) if found.is_file() => {
                walk.listen_to_inode(watch, index);
                let state = if next == path {
                    State::of(&found)
                } else {
                    State::take(path)
                };
                return (Told::Yes, state);
            }
            // A folder or a device; or gone just now, which its name tells.
            Ok(_) | Err(_) => break,
        }
        match (fs::read_link(&here), here.parent()) {
            (Ok(target), Some(folder)) => next = folder.join(target),
            (_, _) => break,
        }
    }
    (Told::No, State::take(path))
}

fn add(change: Option<Change>, changes: &mut BTreeSet<Change>) -> bool {
    let has_changed = change.is_some();
    changes.extend(change);
    has_changed
}
