//! One file and its state, apart from any stamp. Compares, decides nothing.
#![forbid(unsafe_code)]

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::files::State;
use super::os_text;
use crate::protocol::findings::FileText;

/// A file and its state, as a message of the template tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touched {
    pub(super) path: PathBuf,
    pub(super) state: State,
}

impl Touched {
    /// From a message.
    #[must_use]
    pub fn from_message(files: &[FileText]) -> Vec<Self> {
        let one = |(path, state): &FileText| Self {
            path: os_text(path).into(),
            state: State::from_recorded(*state),
        };
        files.iter().map(one).collect()
    }

    /// As a message tells it; none when a further change may not show.
    #[must_use]
    pub fn to_message(&self) -> Option<FileText> {
        let state = match self.state {
            State::Missing => None,
            State::Present {
                size,
                mtime,
                ctime,
                inode,
                device,
            } => Some((size, mtime, ctime, inode, device, 0)),
            State::Unknown => return None,
        };
        let path = self.path.as_os_str().as_bytes();
        Some((path.iter().copied().map(char::from).collect(), state))
    }

    /// Whether it is not as it was, or may not be.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.state.change(&self.path).is_some()
    }

    /// Which file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// As it is now.
    #[must_use]
    pub fn now(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            state: State::take(path),
        }
    }

    /// One that counts as changed: it did so while it was read.
    #[must_use]
    pub fn unknown(path: PathBuf) -> Self {
        let state = State::Unknown;
        Self { path, state }
    }

    /// Whether it, or its name, was changed at or after a moment.
    #[must_use]
    pub fn has_changed_since(&self, moment: SystemTime) -> bool {
        let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
        match self.state {
            State::Missing => false,
            State::Present { ctime, .. } => i128::from(ctime) >= since.as_nanos() as i128,
            State::Unknown => true,
        }
    }

    /// Its date (mtime); none when it is gone.
    #[must_use]
    pub fn date(&self) -> Option<SystemTime> {
        let State::Present { mtime, .. } = self.state else {
            return None;
        };
        let nanoseconds = u64::try_from(mtime).ok()?;
        Some(UNIX_EPOCH + Duration::from_nanos(nanoseconds))
    }

    /// As it is kept: one that counts as changed goes on to do so.
    #[must_use]
    pub fn to_record(&self) -> FileText {
        self.to_message().unwrap_or_else(|| {
            let path = self.path.as_os_str().as_bytes();
            let path = path.iter().copied().map(char::from).collect();
            (path, Some((0, 0, 0, 0, 0, 1)))
        })
    }
}
