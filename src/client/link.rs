//! The client's end of the connection: frames out, frames in, descriptors with one of them. Never blocks.

use std::io::{self, IoSlice, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    connect, sendmsg, socket, AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr,
};
use nix::unistd::geteuid;

use crate::protocol::frame::{Decoder, Frame};

const CHUNK: usize = 16 << 10;

/// A write to a closed socket is an error, not a SIGPIPE.
#[cfg(not(target_vendor = "apple"))]
const QUIET: MsgFlags = MsgFlags::MSG_NOSIGNAL;
/// macOS has no such flag; CPython ignores SIGPIPE from its start.
#[cfg(target_vendor = "apple")]
const QUIET: MsgFlags = MsgFlags::empty();

/// What came of connecting.
#[derive(Debug)]
pub(super) enum Connected {
    /// Somebody listens.
    To(Link),
    /// Nobody does.
    Nobody,
    /// Somebody does, and has not taken the connections that wait already.
    Full,
    /// Another user listens.
    Foreign,
}

/// A framed connection to a daemon.
#[derive(Debug)]
pub(super) struct Link {
    stream: UnixStream,
    decoder: Decoder,
    outgoing: Vec<u8>,
    sent: usize,
    open: bool,
}

impl Link {
    /// Connects at once or not at all.
    ///
    /// # Errors
    /// What the system says: no descriptors are left, the folder can't be read.
    pub(super) fn connect(path: &Path) -> io::Result<Connected> {
        let stream = unconnected()?;
        let address = UnixAddr::new(path)?;
        match connect(stream.as_raw_fd(), &address) {
            Ok(()) => {}
            Err(Errno::ENOENT | Errno::ECONNREFUSED) => return Ok(Connected::Nobody),
            Err(Errno::EAGAIN) => return Ok(Connected::Full),
            Err(error) => return Err(error.into()),
        }
        if peer(&stream)? != geteuid().as_raw() {
            return Ok(Connected::Foreign);
        }
        Ok(Connected::To(Self {
            stream,
            decoder: Decoder::default(),
            outgoing: Vec::new(),
            sent: 0,
            open: true,
        }))
    }

    /// Sends bytes with descriptors, behind which all that was pushed has gone.
    ///
    /// # Errors
    /// It takes nothing: the daemon has gone, or has not read what it was sent.
    pub(super) fn hand_over(&mut self, bytes: &[u8], descriptors: &[RawFd]) -> io::Result<()> {
        if self.wants_to_write() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let rights = [ControlMessage::ScmRights(descriptors)];
        let whole = [IoSlice::new(bytes)];
        let socket = self.stream.as_raw_fd();
        let sent = sendmsg::<UnixAddr>(socket, &whole, &rights, QUIET, None)?;
        self.push(bytes.get(sent..).unwrap_or_default());
        Ok(())
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.sent >= self.outgoing.len() {
            self.outgoing.clear();
            self.sent = 0;
        }
        self.outgoing.extend(bytes);
        self.flush();
    }

    pub(super) fn wants_to_write(&self) -> bool {
        self.open && self.sent < self.outgoing.len()
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Sends what the socket takes now. A peer that is gone is told by [`Link::read`].
    pub(super) fn flush(&mut self) {
        while self.wants_to_write() {
            let rest = [IoSlice::new(
                self.outgoing.get(self.sent..).unwrap_or_default(),
            )];
            match sendmsg::<UnixAddr>(self.stream.as_raw_fd(), &rest, &[], QUIET, None) {
                Ok(count) => self.sent += count,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Err(_) => self.sent = self.outgoing.len(),
            }
        }
    }

    /// The frames that have come. The stream is at its end, or damaged, when it is not open any more.
    pub(super) fn read(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        let mut buffer = [0; CHUNK];
        while self.open {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.open = false,
                Ok(count) => {
                    let mut input = buffer.get(..count).unwrap_or_default();
                    loop {
                        match self.decoder.next(&mut input) {
                            Ok(Some(frame)) => frames.push(frame),
                            Ok(None) => break,
                            Err(_) => {
                                self.open = false;
                                break;
                            }
                        }
                    }
                    if count < CHUNK {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.open = false,
            }
        }
        frames
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(not(target_vendor = "apple"))]
fn unconnected() -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(AddressFamily::Unix, SockType::Stream, flags, None)?.into())
}

#[cfg(target_vendor = "apple")]
fn unconnected() -> io::Result<UnixStream> {
    use nix::fcntl::{fcntl, FcntlArg, FdFlag};

    let made = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::empty(),
        None,
    )?;
    fcntl(&made, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    let stream = UnixStream::from(made);
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// The user who listens.
#[cfg(target_os = "linux")]
fn peer(stream: &UnixStream) -> nix::Result<u32> {
    use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

    Ok(getsockopt(stream, PeerCredentials)?.uid())
}

#[cfg(not(target_os = "linux"))]
fn peer(stream: &UnixStream) -> nix::Result<u32> {
    Ok(nix::unistd::getpeereid(stream)?.0.as_raw())
}
