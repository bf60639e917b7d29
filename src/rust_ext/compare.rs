//! Many files compared with the disk, as fast as that can be done: each is looked up in its folder, which is opened once,
//! on two threads. Knows nothing of builds.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::thread::{self, ScopedJoinHandle};

use nix::errno::Errno;
use nix::fcntl::{open, AtFlags, OFlag};
use nix::sys::stat::{fstatat, stat, FileStat, Mode};

use crate::protocol::findings::FileText;
use crate::stamp::os_text;

/// So few files are not worth the start of a second thread.
const ALONE: usize = 256;

/// The first file that is not as it was; files of one folder should stand together.
pub(super) fn first_changed(files: &[FileText]) -> Option<PathBuf> {
    let path = |at: usize| files.get(at).map(|(path, _)| os_text(path).into());
    if files.len() < ALONE {
        return path(position(files)?);
    }
    let half = files.len() / 2;
    let (here, there) = files.split_at(half);
    thread::scope(|scope| {
        let second = thread::Builder::new().name("firehot-compare".to_owned());
        let second = second.spawn_scoped(scope, || position(there));
        let mine = position(here);
        // Where no thread can be had, this one does it all.
        let theirs = match second.ok().map(ScopedJoinHandle::join) {
            Some(Ok(theirs)) => theirs,
            Some(Err(_)) | None => position(there),
        };
        path(mine.or_else(|| Some(half + theirs?))?)
    })
}

fn position(files: &[FileText]) -> Option<usize> {
    let mut folder = Folder::default();
    files.iter().position(|(path, state)| {
        let found = folder.stat(path);
        match (state, found) {
            (None, Err(_)) => false,
            (Some((size, mtime, ctime, inode, device, 0)), Ok(found)) => {
                let is_same = *size == u64::try_from(found.st_size).unwrap_or_default()
                    && *mtime == nanoseconds(found.st_mtime, found.st_mtime_nsec)
                    && *ctime == nanoseconds(found.st_ctime, found.st_ctime_nsec)
                    && *inode == found.st_ino
                    && *device == device_of(&found);
                !is_same
            }
            // Gone, come, or changed while it was read.
            (Some(_), _) | (None, Ok(_)) => true,
        }
    })
}

/// As the standard library gives it: elsewhere it is a smaller number.
#[allow(clippy::unnecessary_cast)]
fn device_of(found: &FileStat) -> u64 {
    found.st_dev as u64
}

fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// The folder that was looked into last.
#[derive(Default)]
struct Folder<'a> {
    path: &'a str,
    open: Option<OwnedFd>,
}

impl<'a> Folder<'a> {
    fn stat(&mut self, path: &'a str) -> Result<FileStat, Errno> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        if folder.is_empty() || name.is_empty() {
            return stat(OsStr::from_bytes(&bytes(path)));
        }
        if folder != self.path {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            self.path = folder;
            // One that may be entered need not be readable.
            self.open = open(OsStr::from_bytes(&bytes(folder)), flags, Mode::empty()).ok();
        }
        match &self.open {
            Some(open) => fstatat(open, OsStr::from_bytes(&bytes(name)), AtFlags::empty()),
            None => stat(OsStr::from_bytes(&bytes(path))),
        }
    }
}

/// A path of a message is its bytes, each as a character.
fn bytes(text: &str) -> Cow<'_, [u8]> {
    if text.is_ascii() {
        return text.as_bytes().into();
    }
    os_text(text).into_encoded_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::Touched;
    use std::fs;

    #[test]
    fn one_changed_file_among_many_is_found_wherever_it_stands() {
        let folder = tempfile::tempdir().unwrap();
        let path = |number: usize| folder.path().join(format!("\u{e9} {number}.rs"));
        let state = |number| Touched::now(&path(number)).to_record();
        for number in 0..2 * ALONE {
            fs::write(path(number), "").unwrap();
        }
        let mut states: Vec<FileText> = (0..2 * ALONE).map(state).collect();
        assert_eq!(first_changed(&states), None);
        for number in [0, ALONE - 1, ALONE, 2 * ALONE - 1] {
            fs::write(path(number), "changed").unwrap();
            assert_eq!(first_changed(&states), Some(path(number)));
            states[number] = state(number);
        }
        assert_eq!(first_changed(&states), None);
    }

    #[test]
    fn what_comes_goes_or_was_never_sure_counts_as_changed() {
        let base = tempfile::tempdir().unwrap();
        let file = base.path().join("deep").join("a.rs");
        let link = base.path().join("link.rs");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let states = || [&file, &link].map(|path| Touched::now(path).to_record());
        let absent = states();
        assert_eq!(first_changed(&absent), None);
        fs::create_dir(base.path().join("deep")).unwrap();
        assert_eq!(first_changed(&absent), None);
        fs::write(&file, "").unwrap();
        assert_eq!(first_changed(&absent), Some(file.clone()));
        let there = states();
        assert_eq!(first_changed(&there), None);
        // A link is what it leads to.
        fs::write(&file, "more").unwrap();
        assert_eq!(first_changed(&there[1..]), Some(link.clone()));
        fs::remove_file(&file).unwrap();
        assert_eq!(first_changed(&there), Some(file.clone()));
        let unsure = [Touched::unknown(file.clone()).to_record()];
        assert_eq!(first_changed(&unsure), Some(file));
    }
}
