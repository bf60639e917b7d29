//! Which files were read for which item of a preload list. Looks at no file.
#![forbid(unsafe_code)]

use std::path::Path;

use crate::protocol::findings::FileText;
use crate::stamp::os_text;

/// Files in the order in which they were read, each with the item that was imported.
#[derive(Debug, Default)]
pub(super) struct Reads {
    files: Vec<FileText>,
    /// An item, and where its files end; they begin where those of the one before end.
    ends: Vec<(usize, usize)>,
}

impl Reads {
    pub(super) fn add(&mut self, item: usize, files: Vec<FileText>) {
        self.files.extend(files);
        self.ends.push((item, self.files.len()));
    }

    /// The files of one item.
    pub(super) fn of(&self, item: usize) -> &[FileText] {
        let Some(at) = self.ends.iter().position(|(each, _)| *each == item) else {
            return &[];
        };
        let end = self.ends.get(at).map_or(0, |(_, end)| *end);
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before));
        let start = start.map_or(0, |(_, end)| *end);
        self.files.get(start..end).unwrap_or_default()
    }

    /// The item for which a file was read.
    pub(super) fn reader(&self, path: &Path) -> Option<usize> {
        let mut all = self.files.iter();
        let at = all.position(|(text, _)| path.as_os_str() == os_text(text))?;
        let mut ends = self.ends.iter();
        ends.find(|(_, end)| at < *end).map(|(item, _)| *item)
    }

    pub(super) fn into_files(self) -> Vec<FileText> {
        self.files
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_has_its_own_files() {
        let mut reads = Reads::default();
        let file = |name: &str| (name.to_owned(), None);
        reads.add(0, vec![file("/a"), file("/b")]);
        reads.add(2, vec![]);
        reads.add(3, vec![file("/c")]);
        assert_eq!(reads.of(0), [file("/a"), file("/b")]);
        assert!(reads.of(1).is_empty() && reads.of(2).is_empty());
        assert_eq!(reads.of(3), [file("/c")]);
        let readers = ["/a", "/b", "/c", "/d"].map(|path| reads.reader(Path::new(path)));
        assert_eq!(readers, [Some(0), Some(0), Some(3), None]);
    }
}
