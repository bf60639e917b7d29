//! One end of a protocol socket in the dispatcher: never blocks, keeps what could not be sent yet.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::socket::{recv, sendmsg, ControlMessage, MsgFlags, UnixAddr};

use crate::error::Error;
use crate::protocol::frame::{Decoder, Frame};
use crate::protocol::message::MessageError;

/// Read at most this much from one socket before the others get their turn.
const TURN: usize = 8 << 20;
const CHUNK: usize = 64 << 10;

/// A write to a closed socket is an error, not a SIGPIPE: a host may have restored its default action.
#[cfg(not(target_vendor = "apple"))]
const QUIET: MsgFlags = MsgFlags::MSG_NOSIGNAL;
/// macOS has no such flag; CPython ignores SIGPIPE from its start.
#[cfg(target_vendor = "apple")]
const QUIET: MsgFlags = MsgFlags::empty();

/// A framed, non-blocking socket.
#[derive(Debug)]
pub(super) struct Link {
    stream: UnixStream,
    decoder: Decoder,
    outgoing: VecDeque<Piece>,
    open: bool,
    unread: bool,
}

/// Bytes to send; descriptors travel with the first of them.
#[derive(Debug)]
struct Piece {
    bytes: Arc<Vec<u8>>,
    sent: usize,
    fds: Vec<OwnedFd>,
}

impl Link {
    /// This process's end, and the one to give away (blocking, closed on exec).
    pub(super) fn pair() -> Result<(Self, OwnedFd), Error> {
        let (ours, theirs) = pair()?;
        ours.set_nonblocking(true)
            .map_err(Error::system("set up a socket"))?;
        let link = Self {
            stream: ours,
            decoder: Decoder::default(),
            outgoing: VecDeque::new(),
            open: true,
            unread: false,
        };
        Ok((link, theirs.into()))
    }

    pub(super) fn push(&mut self, bytes: Arc<Vec<u8>>, fds: Vec<OwnedFd>) {
        if !self.open {
            self.unread = true;
        } else if !bytes.is_empty() {
            self.outgoing.push_back(Piece {
                bytes,
                sent: 0,
                fds,
            });
        }
    }

    pub(super) fn wants_to_write(&self) -> bool {
        self.open && !self.outgoing.is_empty()
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Sends what the socket takes now. A peer that is gone is no error here: its death is told otherwise.
    pub(super) fn flush(&mut self) {
        while let Some(piece) = self.outgoing.front_mut() {
            match piece.send(self.stream.as_raw_fd()) {
                Ok(true) => {
                    self.outgoing.pop_front();
                }
                Ok(false) => {}
                Err(Errno::EAGAIN) => return,
                Err(Errno::EINTR) => {}
                Err(error) => {
                    log::debug!("a peer took no more messages: {error}");
                    self.outgoing.clear();
                    self.unread = true;
                    return;
                }
            }
        }
    }

    /// Whole frames that have come, at most a turn's worth.
    ///
    /// # Errors
    /// [`MessageError`] when the stream is damaged; it is not read again.
    pub(super) fn read(&mut self) -> Result<Vec<Frame>, MessageError> {
        let mut frames = Vec::new();
        let mut buffer = [0; CHUNK];
        let mut taken = 0;
        while self.open && taken < TURN {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.open = false,
                Ok(count) => {
                    taken += count;
                    let mut input = buffer.get(..count).unwrap_or_default();
                    loop {
                        match self.decoder.next(&mut input) {
                            Ok(Some(frame)) => frames.push(frame),
                            Ok(None) => break,
                            Err(error) => {
                                self.open = false;
                                return Err(error.into());
                            }
                        }
                    }
                    if count < CHUNK {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.open = false;
                    self.unread |= error.kind() == io::ErrorKind::ConnectionReset;
                }
            }
        }
        Ok(frames)
    }

    /// Whether the peer has closed its end, though nobody was told yet.
    pub(super) fn is_at_end(&self) -> bool {
        let peek = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        matches!(recv(self.stream.as_raw_fd(), &mut [0], peek), Ok(0))
    }

    /// Whether the peer has gone without reading all that was sent to it: it took no more of it, or (Linux) the kernel
    /// had to throw away what lay in its socket.
    pub(super) fn is_unread(&self) -> bool {
        self.unread
    }

    /// Ends the connection for both sides, whoever else holds this end of it.
    pub(super) fn shut(&mut self) {
        self.open = false;
        self.outgoing.clear();
        // The peer may have gone already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Piece {
    /// True when nothing is left to send.
    fn send(&mut self, socket: i32) -> nix::Result<bool> {
        let rest = [IoSlice::new(
            self.bytes.get(self.sent..).unwrap_or_default(),
        )];
        let raw: Vec<i32> = self.fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control: &[ControlMessage] = if raw.is_empty() { &[] } else { &rights };
        let count = sendmsg::<UnixAddr>(socket, &rest, control, QUIET, None)?;
        self.fds.clear();
        self.sent += count;
        Ok(self.sent >= self.bytes.len())
    }
}

/// Wakes the dispatcher out of its `poll`; any thread may. Empty when the dispatcher has ended: a closed environment
/// that somebody still holds keeps no descriptor.
#[derive(Debug)]
pub(super) struct Waker(Mutex<Option<UnixStream>>);

/// The dispatcher's end of a [`Waker`].
#[derive(Debug)]
pub(super) struct Wakeups(UnixStream);

fn pair() -> Result<(UnixStream, UnixStream), Error> {
    let (one, other) = UnixStream::pair().map_err(Error::system("create a pair of sockets"))?;
    Ok((
        above_stdio(one.into())?.into(),
        above_stdio(other.into())?.into(),
    ))
}

/// Moves a descriptor out of the place of a standard one, which a host may have closed: what inherits the host's
/// stdio must not be given the engine's own sockets.
pub(super) fn above_stdio(fd: OwnedFd) -> Result<OwnedFd, Error> {
    if fd.as_raw_fd() > nix::libc::STDERR_FILENO {
        return Ok(fd);
    }
    // The standard library duplicates to 3 or above.
    fd.try_clone()
        .map_err(Error::system("duplicate a descriptor"))
}

pub(super) fn waker() -> Result<(Waker, Wakeups), Error> {
    let (theirs, ours) = pair()?;
    for stream in [&theirs, &ours] {
        stream
            .set_nonblocking(true)
            .map_err(Error::system("set up a socket"))?;
    }
    Ok((Waker(Mutex::new(Some(theirs))), Wakeups(ours)))
}

impl Waker {
    /// A full socket means that a wake-up is already on its way.
    pub(super) fn wake(&self) {
        let stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stream) = stream.as_ref() {
            let _ = nix::sys::socket::send(stream.as_raw_fd(), &[1], QUIET);
        }
    }

    pub(super) fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Wakeups {
    pub(super) fn clear(&mut self) {
        let mut buffer = [0; 512];
        while matches!(self.0.read(&mut buffer), Ok(count) if count == buffer.len()) {}
    }
}

impl AsFd for Wakeups {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
