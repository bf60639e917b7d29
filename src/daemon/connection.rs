//! One client: frames, and the descriptors that come with them.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::net::{recvmsg, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags};

use crate::protocol::frame::{prefix, Decoder, Frame};

const CHUNK: usize = 64 << 10;
/// Descriptors that come at once, at most (Linux: SCM_MAX_FD).
const DESCRIPTORS: usize = 253;

/// A socket to one client. Reading and writing may go on at the same time, on two threads.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    incoming: Mutex<Incoming>,
}

#[derive(Debug, Default)]
struct Incoming {
    decoder: Decoder,
    frames: VecDeque<Frame>,
    fds: Vec<OwnedFd>,
}

impl Connection {
    /// A connection to a process of the user that this one runs as.
    ///
    /// # Errors
    /// It is another user's, or the system does not say whose.
    pub fn of_this_user(stream: UnixStream) -> io::Result<Self> {
        let (theirs, ours) = (peer(&stream)?, nix::unistd::geteuid().as_raw());
        if theirs != ours {
            let text = format!("it is of user {theirs}, and this process of {ours}");
            return Err(io::Error::new(ErrorKind::PermissionDenied, text));
        }
        stream.set_nonblocking(false)?;
        Ok(Self {
            stream,
            incoming: Mutex::default(),
        })
    }

    /// Waits for the next frame; none when the client is gone.
    ///
    /// # Errors
    /// What comes is no frame, or the system says something.
    pub fn receive(&self) -> io::Result<Option<Frame>> {
        let mut incoming = self.incoming();
        loop {
            if let Some(frame) = incoming.frames.pop_front() {
                return Ok(Some(frame));
            }
            if !incoming.fill(&self.stream)? {
                return Ok(None);
            }
        }
    }

    /// The descriptors that have come so far, if there are as many as belong to a program.
    pub fn take_stdio(&self, count: usize) -> Option<Vec<OwnedFd>> {
        let fds = std::mem::take(&mut self.incoming().fds);
        (fds.len() == count).then_some(fds)
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// The client is gone.
    pub fn send(&self, header: &[u8], body: &[u8]) -> io::Result<()> {
        let lengths = prefix(header.len(), body.len()).map_err(io::Error::other)?;
        let whole = [lengths.as_slice(), header, body].concat();
        (&self.stream).write_all(&whole)
    }

    /// Ends the connection, and the wait of a thread that reads from it. Descriptors that nobody took are closed: one
    /// of them may be a pipe whose end somebody waits for.
    pub fn close(&self) {
        // It may have gone already.
        let _ = self.stream.shutdown(Shutdown::Both);
        self.incoming().fds.clear();
    }

    fn incoming(&self) -> MutexGuard<'_, Incoming> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Incoming {
    /// Reads once; false at the end.
    fn fill(&mut self, stream: &UnixStream) -> io::Result<bool> {
        let mut buffer = vec![0; CHUNK];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut parts = [IoSliceMut::new(&mut buffer)];
            match recvmsg(stream, &mut parts, &mut ancillary, flags()) {
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::CONNRESET) => return Ok(false),
                other => break other?,
            }
        };
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            self.fds.clear();
            return Err(io::Error::other(
                "there is no room for the client's descriptors (ulimit -n)",
            ));
        }
        for fd in &self.fds {
            // macOS has no flag that does it at once; this process starts others on no thread but this one's.
            rustix::io::fcntl_setfd(fd.as_fd(), rustix::io::FdFlags::CLOEXEC)?;
        }
        let mut input = buffer.get(..received.bytes).unwrap_or_default();
        if input.is_empty() {
            return Ok(false);
        }
        while let Some(frame) = self.decoder.next(&mut input).map_err(io::Error::other)? {
            self.frames.push_back(frame);
        }
        Ok(true)
    }
}

#[cfg(not(target_vendor = "apple"))]
fn flags() -> RecvFlags {
    RecvFlags::CMSG_CLOEXEC
}

#[cfg(target_vendor = "apple")]
fn flags() -> RecvFlags {
    RecvFlags::empty()
}

/// The user at the other end.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn peer(stream: &UnixStream) -> io::Result<u32> {
    use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
    Ok(getsockopt(stream, PeerCredentials)?.uid())
}

/// The user at the other end.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn peer(stream: &UnixStream) -> io::Result<u32> {
    Ok(nix::unistd::getpeereid(stream)?.0.as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_whole_and_the_end_is_told() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let daemon = Connection::of_this_user(ours).unwrap();
        let client = Connection::of_this_user(theirs).unwrap();
        client.send(b"{\"type\":\"hello\"}", b"").unwrap();
        client.send(b"{}", &vec![7; 3 * CHUNK]).unwrap();
        assert_eq!(
            daemon.receive().unwrap().unwrap().header,
            b"{\"type\":\"hello\"}"
        );
        assert_eq!(daemon.receive().unwrap().unwrap().body.len(), 3 * CHUNK);
        assert!(daemon.take_stdio(3).is_none());
        client.close();
        assert!(daemon.receive().unwrap().is_none());
        assert!(daemon.send(b"{}", b"").is_err());
    }
}
