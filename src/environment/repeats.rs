//! Files that make one template after another stale. Replaces none.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::stamp::Change;

/// The reason of that many rebuilds in a row is told.
const MANY: usize = 3;

/// What the last rebuilds have in common.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    /// A file, or a folder whose names have changed, and of how many rebuilds in a row it was a reason.
    counts: BTreeMap<PathBuf, usize>,
    told: BTreeSet<PathBuf>,
}

impl Repeats {
    /// The template is replaced because of these changes.
    pub(super) fn note(&mut self, changes: &BTreeSet<Change>) {
        let before = std::mem::take(&mut self.counts);
        for change in changes {
            let Change::File { path, what } = change else {
                continue;
            };
            // Names that come and go in a folder may be other ones each time.
            let folder = path.parent().filter(|_| !what.starts_with("changed"));
            for path in [Some(path.as_path()), folder].into_iter().flatten() {
                let count = before.get(path).map_or(1, |count| count + 1);
                self.counts.insert(path.to_owned(), count);
            }
        }
    }

    /// What is to be told now; each is told once.
    pub(super) fn news(&mut self) -> Option<PathBuf> {
        let mut many = self.counts.iter().filter(|(_, count)| **count >= MANY);
        // A file says more than its folder, and comes after it.
        let (path, _) = many.next_back()?;
        self.told.insert(path.clone()).then(|| path.clone())
    }

    /// Whether it was told that a file changes again and again.
    pub(super) fn is_told(&self, path: &Path) -> bool {
        self.told.contains(path)
    }
}

/// For users; `reader` is what reads the file when it is imported.
pub(super) fn describe(path: &Path, reader: Option<&str>) -> String {
    let path = path.display();
    let remedy = match reader {
        Some(reader) => {
            format!("{reader} reads it when it is imported: if that is of no use, put {reader} into ignored_modules")
        }
        None => {
            "a package reads it when it is imported: if that is of no use, put the package into ignored_modules"
                .to_owned()
        }
    };
    format!("{path} changes again and again, and was the reason for {MANY} new templates in a row; {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(all: &[(&str, &'static str)]) -> BTreeSet<Change> {
        let change = |(path, what): &(&str, &'static str)| Change::File {
            path: PathBuf::from(path),
            what,
        };
        all.iter().map(change).collect()
    }

    #[test]
    fn only_the_third_time_in_a_row_is_told_and_once() {
        let mut repeats = Repeats::default();
        for told in [None, None, Some(PathBuf::from("/a/b")), None, None] {
            repeats.note(&changes(&[("/a/b", "changed")]));
            assert_eq!(repeats.news(), told);
        }
        repeats.note(&changes(&[("/a/d", "changed")]));
        for _ in 0..2 {
            repeats.note(&changes(&[("/a/e", "changed")]));
            assert_eq!(repeats.news(), None);
        }
    }

    #[test]
    fn names_that_come_and_go_are_told_by_their_folder() {
        let mut repeats = Repeats::default();
        for name in ["/a/1", "/a/2"] {
            repeats.note(&changes(&[(name, "appeared")]));
            assert_eq!(repeats.news(), None);
        }
        repeats.note(&changes(&[("/a/3", "appeared")]));
        assert_eq!(repeats.news(), Some(PathBuf::from("/a")));
        assert!(repeats.is_told(Path::new("/a")));
    }
}
