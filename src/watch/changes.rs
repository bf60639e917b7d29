//! What has changed, as users are told: a set in which a later change counts with the earlier ones.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::path::PathBuf;

/// What became of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Added,
    Changed,
    Removed,
}

/// Files that differ from what they were before. Each is in one of the sets only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Those that were not there.
    pub added: BTreeSet<PathBuf>,
    /// Those that were there and are another file, or another text, or have another date.
    pub changed: BTreeSet<PathBuf>,
    /// Those that are gone.
    pub removed: BTreeSet<PathBuf>,
}

impl Changes {
    /// Whether there is nothing to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }

    /// Adds what came later: a file that was made and is gone again is no change.
    pub(super) fn note(&mut self, path: PathBuf, kind: Kind) {
        match kind {
            Kind::Added => {
                if self.removed.remove(&path) {
                    self.changed.insert(path);
                } else {
                    self.added.insert(path);
                }
            }
            Kind::Changed => {
                if !self.added.contains(&path) {
                    self.changed.insert(path);
                }
            }
            Kind::Removed => {
                self.changed.remove(&path);
                if !self.added.remove(&path) {
                    self.removed.insert(path);
                }
            }
        }
    }

    /// Adds a set that came later.
    pub(super) fn merge(&mut self, later: &Self) {
        let kinds = [
            (&later.added, Kind::Added),
            (&later.changed, Kind::Changed),
            (&later.removed, Kind::Removed),
        ];
        for (paths, kind) in kinds {
            for path in paths {
                self.note(path.clone(), kind);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_changes_count_with_earlier_ones() {
        use Kind::{Added, Changed, Removed};
        let table: [(&[Kind], Option<Kind>); 9] = [
            (&[Added, Removed], None),
            (&[Added, Changed], Some(Added)),
            (&[Changed, Changed], Some(Changed)),
            (&[Changed, Removed], Some(Removed)),
            (&[Removed, Added], Some(Changed)),
            (&[Removed, Added, Removed], Some(Removed)),
            (&[Added, Removed, Added], Some(Added)),
            (&[Changed], Some(Changed)),
            (&[], None),
        ];
        for (kinds, expected) in table {
            let path = PathBuf::from("a");
            let mut one_by_one = Changes::default();
            let mut merged = Changes::default();
            for kind in kinds {
                one_by_one.note(path.clone(), *kind);
                let mut later = Changes::default();
                later.note(path.clone(), *kind);
                merged.merge(&later);
            }
            let mut wanted = Changes::default();
            match expected {
                Some(Added) => drop(wanted.added.insert(path)),
                Some(Changed) => drop(wanted.changed.insert(path)),
                Some(Removed) => drop(wanted.removed.insert(path)),
                None => {}
            }
            assert_eq!(one_by_one, wanted, "{kinds:?}");
            assert_eq!(merged, wanted, "{kinds:?}");
        }
    }
}
