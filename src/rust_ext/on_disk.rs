//! Folders for unit tests.

use std::fs;

use tempfile::TempDir;

/// A folder with these files: paths below it, and their content.
pub(super) fn tree(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }
    folder
}
