//! A small file in the user's cache folder, which nobody else can have written. Knows nothing of its content.
//!
//! The folder must be the user's own, real (no link) and closed to others; the file is never followed when it is a
//! link, and is replaced in one step by one with a name that nobody can guess.
#![forbid(unsafe_code)]

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::libc::{O_DIRECTORY, O_NOFOLLOW};

/// Reads all of it.
///
/// # Errors
/// There is none, or it could be somebody else's.
pub(crate) fn read(file: &Path) -> io::Result<Vec<u8>> {
    check(folder_of(file)?)?;
    let mut open = OpenOptions::new()
        .read(true)
        .custom_flags(O_NOFOLLOW)
        .open(file)?;
    let found = open.metadata()?;
    if !found.is_file() || !is_own(&found) || found.mode() & 0o022 != 0 {
        return Err(io::Error::other("it is not the user's own"));
    }
    let mut content = Vec::new();
    open.read_to_end(&mut content)?;
    Ok(content)
}

/// Writes it, and its folder where there is none.
///
/// # Errors
/// What the system says, or the folder could be somebody else's.
pub(crate) fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    let folder = folder_of(file)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    check(folder)?;
    // Each writer has a file of its own, threads of one process too: the last one to rename wins, whole.
    let own = file.with_extension(format!("{:016x}.tmp", random()));
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .custom_flags(O_NOFOLLOW)
        .mode(0o600)
        .open(&own)?;
    let written = out.write_all(content).and_then(|()| fs::rename(&own, file));
    if written.is_err() {
        // What could not be written can't be removed either, at worst.
        let _ = fs::remove_file(&own);
    }
    written
}

fn folder_of(file: &Path) -> io::Result<&Path> {
    file.parent().ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Whether nobody else can write to a folder; takes that right from others where the folder is the user's.
fn check(folder: &Path) -> io::Result<()> {
    let open: File = OpenOptions::new()
        .read(true)
        .custom_flags(O_NOFOLLOW | O_DIRECTORY)
        .open(folder)?;
    let found = open.metadata()?;
    if !is_own(&found) {
        return Err(io::Error::other("its folder belongs to another user"));
    }
    if found.mode() & 0o077 != 0 {
        open.set_permissions(Permissions::from_mode(0o700))?;
    }
    Ok(())
}

fn is_own(found: &fs::Metadata) -> bool {
    found.uid() == nix::unistd::geteuid().as_raw()
}

/// The standard library seeds its hash tables with what the system gives.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_was_written_is_read_and_is_its_users_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cache").join("file.json");
        assert_eq!(read(&file).unwrap_err().kind(), io::ErrorKind::NotFound);
        replace(&file, b"one").unwrap();
        replace(&file, b"two").unwrap();
        assert_eq!(read(&file).unwrap(), b"two");
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(file.parent().unwrap()), 0o700);
        assert_eq!(mode(&file), 0o600);
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_is_a_link_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::create_dir(&real).unwrap();
        symlink(&real, &link).unwrap();
        assert!(replace(&link.join("file"), b"one").is_err());
        fs::write(real.join("file"), b"one").unwrap();
        assert!(read(&link.join("file")).is_err());
    }

    #[test]
    fn a_file_that_is_a_link_or_that_others_can_write_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::write(&real, b"one").unwrap();
        symlink(&real, &link).unwrap();
        assert!(read(&link).is_err());
        fs::set_permissions(&real, Permissions::from_mode(0o666)).unwrap();
        assert!(read(&real).is_err());
    }

    #[test]
    fn a_folder_that_is_open_to_others_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        fs::create_dir(&cache).unwrap();
        fs::set_permissions(&cache, Permissions::from_mode(0o777)).unwrap();
        replace(&cache.join("file"), b"one").unwrap();
        assert_eq!(fs::metadata(&cache).unwrap().mode() & 0o777, 0o700);
    }
}
