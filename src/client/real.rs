//! The terminal that the user sits at: its modes, its size, its bytes. Leaves it as it was, whatever happens.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::libc::{O_NOCTTY, O_NONBLOCK};
use nix::unistd::{getpgrp, read, write};
use rustix::termios::{
    tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr, ttyname, OptionalActions, Termios, Winsize,
};

/// Written at once where a write may block.
const PIECE: usize = 512;

/// A terminal that this process was given.
pub(super) struct Real {
    device: OwnedFd,
    /// A description of its own, so that it could be made non-blocking: the one that was given is shared with others.
    own: bool,
    /// Its modes before it was made raw.
    saved: Option<Termios>,
    gone: bool,
}

impl Real {
    /// The terminal behind a standard descriptor.
    ///
    /// # Errors
    /// No descriptors are left.
    pub(super) fn open(given: BorrowedFd<'_>) -> io::Result<Self> {
        let again = ttyname(given, Vec::new()).ok().and_then(|name| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(O_NOCTTY | O_NONBLOCK)
                .open(std::ffi::OsStr::from_bytes(name.as_bytes()))
                .ok()
        });
        // It may be out of reach by name: another user's (su), or of another mount namespace (docker exec).
        let own = again.is_some();
        let device = match again {
            Some(file) => file.into(),
            None => given.try_clone_to_owned()?,
        };
        Ok(Self {
            device,
            own,
            saved: None,
            gone: false,
        })
    }

    pub(super) fn modes(&self) -> Option<Termios> {
        tcgetattr(&self.device).ok()
    }

    pub(super) fn size(&self) -> Option<Winsize> {
        tcgetwinsize(&self.device).ok()
    }

    /// Whether this process may read from it and set it. True where it is not this session's: then nobody says no.
    pub(super) fn is_foreground(&self) -> bool {
        tcgetpgrp(&self.device).map_or(true, |group| {
            group.as_raw_nonzero().get() == getpgrp().as_raw()
        })
    }

    pub(super) fn is_raw(&self) -> bool {
        self.saved.is_some()
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Hands every byte on as it is typed, where this process is in the foreground. Done again after a stop: whoever
    /// had the terminal meanwhile has set it.
    pub(super) fn make_raw(&mut self) {
        if self.gone || !self.is_foreground() {
            return;
        }
        let Some(modes) = self.modes() else { return };
        let mut raw = self.saved.get_or_insert(modes).clone();
        raw.make_raw();
        // It has gone: reading will tell.
        let _ = tcsetattr(&self.device, OptionalActions::Now, &raw);
    }

    /// Sets it back. Not from the background, where the terminal is somebody else's by now.
    pub(super) fn restore(&mut self) {
        if let Some(modes) = self.saved.take() {
            if self.is_foreground() {
                let _ = tcsetattr(&self.device, OptionalActions::Now, &modes);
            }
        }
    }

    /// What was typed; nothing when there is nothing now. A terminal that has gone says so by [`Real::is_gone`].
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> usize {
        match read(&self.device, buffer) {
            Ok(0) => {
                self.gone = true;
                0
            }
            Ok(count) => count,
            Err(Errno::EAGAIN | Errno::EINTR) => 0,
            Err(_) => {
                self.gone = true;
                0
            }
        }
    }

    /// How much of it was taken. It is lost where there is no terminal any more.
    pub(super) fn write(&mut self, bytes: &[u8]) -> usize {
        let most = if self.own { bytes.len() } else { PIECE };
        let piece = bytes.get(..most).unwrap_or(bytes);
        match write(&self.device, piece) {
            Ok(count) => count,
            Err(Errno::EAGAIN | Errno::EINTR) => 0,
            Err(_) => {
                self.gone = true;
                bytes.len()
            }
        }
    }
}

impl AsFd for Real {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        self.restore();
    }
}
