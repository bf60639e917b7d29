//! Builders against `cache clear`: a lock for the cache as a whole.
//!
//! Invariant: who builds, or waits for another builder, shares it from before its first step to after its last; so
//! whoever has it alone meets nobody. The file is never removed: a lock on a removed file keeps nobody out.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::error::BuildError;
use super::store::{acquire, open_lock, Held, Slot};

pub(super) const NAME: &str = "lock";

/// For a build, with all others.
pub(super) fn share(
    cache: &Path,
    slot: &Slot,
    limit: Duration,
    wait: &mut dyn FnMut() -> Result<(), BuildError>,
) -> Result<Held, BuildError> {
    let kind = FlockArg::LockSharedNonblock;
    acquire(&cache.join(NAME), kind, slot.place(), limit, wait)
}

/// Alone, if nobody builds now.
pub(super) fn alone(cache: &Path) -> io::Result<Option<Held>> {
    take(&cache.join(NAME))
}

/// The lock of one slot, if it has one; a slot whose lock is held is built by somebody.
pub(super) fn is_locked(folder: &Path) -> io::Result<bool> {
    let path = folder.join(NAME);
    if fs::symlink_metadata(&path).is_err() {
        return Ok(false);
    }
    Ok(take(&path)?.is_none())
}

fn take(path: &Path) -> io::Result<Option<Held>> {
    match Flock::lock(open_lock(path)?, FlockArg::LockExclusiveNonblock) {
        Ok(held) => Ok(Some(Held(held))),
        Err((_, Errno::EWOULDBLOCK | Errno::EINTR)) => Ok(None),
        Err((_, errno)) => Err(errno.into()),
    }
}
