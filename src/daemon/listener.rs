//! The socket that clients connect to, and the lock that says who owns it.
//!
//! Invariant: whoever has the lock is the daemon, and the only one who unlinks or binds the socket. The lock goes with
//! the process, however that ends, unless it is given back before; so a socket without a holder of the lock is stale, and
//! no file has to be believed.
#![forbid(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

use super::connection::Connection;

/// What a daemon listens on.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    wakeups: UnixStream,
    waker: UnixStream,
    socket: PathBuf,
    lock: Mutex<Option<Flock<File>>>,
    /// Given up for a moment where no descriptor is left for a client, who is to be sent away, not to wait for ever.
    reserve: Mutex<Option<File>>,
}

/// What came of waiting for a client.
#[derive(Debug)]
pub enum Listening {
    /// One of this user's.
    Client(Connection),
    /// Somebody rang: see [`Listener::waker`].
    Rung,
    /// Nobody, in this time.
    Nobody,
}

impl Listener {
    /// Takes the lock and listens. None when another process has the lock: it is the daemon.
    ///
    /// `told` is left in the lock file, for those who list daemons.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(socket: &Path, lock: &Path, told: &[u8]) -> io::Result<Option<Self>> {
        let Some(mut held) = take(lock)? else {
            return Ok(None);
        };
        held.set_len(0)?;
        held.write_all(told)?;
        remove(socket)?;
        let listener = UnixListener::bind(socket)?;
        listener.set_nonblocking(true)?;
        let (wakeups, waker) = UnixStream::pair()?;
        wakeups.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        Ok(Some(Self {
            listener,
            wakeups,
            waker,
            socket: socket.to_owned(),
            lock: Mutex::new(Some(held)),
            reserve: Mutex::new(reserve()),
        }))
    }

    /// Whoever writes a byte to it ends a wait: a signal handler, another thread.
    pub fn waker(&self) -> impl AsFd + '_ {
        &self.waker
    }

    /// Ends a wait.
    pub fn ring(&self) {
        // A full pipe rings as well.
        let _ = (&self.waker).write(&[1]);
    }

    /// Waits for a client of this user; others are sent away.
    ///
    /// # Errors
    /// What the system says. Where no descriptors are left, the client was sent away.
    pub fn wait(&self, limit: Option<Duration>) -> io::Result<Listening> {
        let timeout = limit.map_or(PollTimeout::NONE, |limit| {
            PollTimeout::try_from(limit.as_millis()).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = [
            PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.wakeups.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, timeout) {
            Ok(0) => return Ok(Listening::Nobody),
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Listening::Rung),
            Err(error) => return Err(error.into()),
        }
        let mut buffer = [0; 64];
        let mut rung = false;
        while (&self.wakeups)
            .read(&mut buffer)
            .is_ok_and(|count| count > 0)
        {
            rung = true;
        }
        if rung {
            return Ok(Listening::Rung);
        }
        match self.listener.accept() {
            Ok((stream, _)) => match Connection::of_this_user(stream) {
                Ok(connection) => Ok(Listening::Client(connection)),
                Err(error) => {
                    log::warn!("a client was sent away: {error}");
                    Ok(Listening::Rung)
                }
            },
            Err(error) if is_passing(&error) => Ok(Listening::Rung),
            Err(error) => {
                let mut held = self.reserve.lock().unwrap_or_else(PoisonError::into_inner);
                if held.take().is_some() {
                    drop(self.listener.accept());
                }
                *held = reserve();
                Err(error)
            }
        }
    }

    /// Takes the socket away, so that nobody comes any more; the lock stays, so that no other daemon comes.
    ///
    /// # Errors
    /// What the system says.
    pub fn hide(&self) -> io::Result<()> {
        match self.lock().as_ref() {
            Some(_) => remove(&self.socket),
            None => Ok(()),
        }
    }

    /// Takes the socket away and gives the lock back: from then on the next daemon may have come, and the socket is its.
    ///
    /// # Errors
    /// What the system says.
    pub fn leave(&self) -> io::Result<()> {
        let mut lock = self.lock();
        let removed = if lock.is_some() {
            remove(&self.socket)
        } else {
            Ok(())
        };
        lock.take();
        removed
    }

    fn lock(&self) -> MutexGuard<'_, Option<Flock<File>>> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

fn remove(socket: &Path) -> io::Result<()> {
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The client is gone again.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
    )
}

/// The lock, unless somebody has it.
///
/// The race: a user may clear the folder between the opening and the locking, and then another daemon locks another file
/// of the same name. So the file that was locked has to be the one that has the name now.
fn take(path: &Path) -> io::Result<Option<Flock<File>>> {
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        let held = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => held,
            Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
            Err((_, error)) => return Err(error.into()),
        };
        let own = held.metadata()?;
        match fs::metadata(path) {
            Ok(named) if (named.dev(), named.ino()) == (own.dev(), own.ino()) => {
                return Ok(Some(held));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time_listens_and_a_stale_socket_is_no_hindrance() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, lock) = (folder.path().join("s"), folder.path().join("l"));
        let first = Listener::open(&socket, &lock, b"first").unwrap().unwrap();
        assert!(Listener::open(&socket, &lock, b"second").unwrap().is_none());
        assert_eq!(fs::read(&lock).unwrap(), b"first");
        let _client = UnixStream::connect(&socket).unwrap();
        assert!(matches!(first.wait(None).unwrap(), Listening::Client(_)));
        drop(first);
        assert!(socket.exists());
        let second = Listener::open(&socket, &lock, b"2").unwrap().unwrap();
        assert_eq!(fs::read(&lock).unwrap(), b"2");
        second.hide().unwrap();
        assert!(!socket.exists());
        assert!(Listener::open(&socket, &lock, b"3").unwrap().is_none());
        second.leave().unwrap();
        let third = Listener::open(&socket, &lock, b"3").unwrap().unwrap();
        second.leave().unwrap();
        assert!(socket.exists());
        drop(third);
    }

    #[test]
    fn a_ring_ends_a_wait_once() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, lock) = (folder.path().join("s"), folder.path().join("l"));
        let listener = Listener::open(&socket, &lock, b"").unwrap().unwrap();
        listener.ring();
        assert!(matches!(listener.wait(None).unwrap(), Listening::Rung));
        let nobody = listener.wait(Some(Duration::from_millis(1))).unwrap();
        assert!(matches!(nobody, Listening::Nobody));
    }
}
