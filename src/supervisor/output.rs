//! The pipes that carry a child's output: reads them without blocking, cuts lines, keeps a tail. Shows nothing.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{fcntl, FcntlArg, OFlag};

use super::link::above_stdio;
use crate::error::Error;

/// Where a child's output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Line by line to the host's `sys.stdout` and `sys.stderr`, with the child's name before each.
    Prefix,
    /// The host's own descriptors.
    Inherit,
    /// Kept for `IsolatedProcess.output`.
    Capture,
    /// The caller's descriptors, which come with the call: see [`Stdio`].
    Given,
}

/// What is to be a child's stdin, stdout and stderr, in this order, and what else a program inherits.
pub type Stdio = Vec<OwnedFd>;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

/// What a pipe may hold: reading this much has read all that was written before the reading began
/// (Linux: `/proc/sys/fs/pipe-max-size`, 1 MiB unless root raised it; macOS: 64 KiB).
const PIPE: usize = 1 << 20;
const CHUNK: usize = 64 << 10;
/// A line that is still open after this much is shown in parts, so that output without newlines can't fill memory.
const LINE: usize = 64 << 20;

/// The host's end of a pipe.
#[derive(Debug)]
pub(super) struct Pipe {
    file: File,
    open: bool,
    pub(super) stream: Stream,
    line: Vec<u8>,
}

impl Pipe {
    /// The reading end, and the one to give to the child.
    pub(super) fn new(stream: Stream) -> Result<(Self, OwnedFd), Error> {
        let (reader, writer) = io::pipe().map_err(Error::system("create a pipe"))?;
        let reader = File::from(above_stdio(reader.into())?);
        fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
            .map_err(io::Error::from)
            .map_err(Error::system("set up a pipe"))?;
        let pipe = Self {
            file: reader,
            open: true,
            stream,
            line: Vec::new(),
        };
        Ok((pipe, above_stdio(writer.into())?))
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Everything that was in the pipe when the call began, and perhaps more, up to a bound.
    pub(super) fn drain(&mut self) -> Vec<u8> {
        let mut taken = Vec::new();
        let mut chunk = [0; CHUNK];
        while self.open && taken.len() < PIPE {
            match self.file.read(&mut chunk) {
                Ok(0) => self.open = false,
                Ok(count) => taken.extend_from_slice(chunk.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.open = false,
            }
        }
        taken
    }

    /// Adds output and takes off the whole lines.
    pub(super) fn lines(&mut self, bytes: &[u8]) -> Vec<u8> {
        let Some(end) = memchr::memrchr(b'\n', bytes) else {
            self.line.extend_from_slice(bytes);
            return if self.line.len() > LINE {
                self.rest()
            } else {
                Vec::new()
            };
        };
        let (whole, open) = bytes.split_at(end + 1);
        let mut lines = std::mem::take(&mut self.line);
        lines.extend_from_slice(whole);
        self.line.extend_from_slice(open);
        lines
    }

    /// Takes off the last line, which has no newline yet, and gives it one.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        let mut line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            line.push(b'\n');
        }
        line
    }
}

impl AsFd for Pipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The last bytes of a stream, for messages.
#[derive(Debug, Default)]
pub(super) struct Tail(VecDeque<u8>);

impl Tail {
    const BYTES: usize = 8 << 10;
    /// From 3.14 on a fatal error shows the C stack after the Python stack, 32 frames of it.
    const LINES: usize = 60;

    pub(super) fn add(&mut self, bytes: &[u8]) {
        let start = bytes.len().saturating_sub(Self::BYTES);
        self.0.extend(bytes.get(start..).unwrap_or_default());
        let over = self.0.len().saturating_sub(Self::BYTES);
        self.0.drain(..over);
    }

    /// The last lines, as text.
    pub(super) fn text(&self) -> String {
        let (front, back) = self.0.as_slices();
        let bytes = [front, back].concat();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let start = lines.len().saturating_sub(Self::LINES);
        lines.get(start..).unwrap_or_default().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_newlines_and_the_rest_waits() {
        let (mut pipe, _writer) = Pipe::new(Stream::Stdout).unwrap();
        assert_eq!(pipe.lines(b"one\ntw"), b"one\n");
        assert_eq!(pipe.lines(b"o"), b"");
        assert_eq!(pipe.lines(b"\nthree"), b"two\n");
        assert_eq!(pipe.rest(), b"three\n");
        assert_eq!(pipe.rest(), b"");
    }

    #[test]
    fn a_tail_keeps_the_last_lines() {
        let mut tail = Tail::default();
        for number in 0..5000 {
            tail.add(format!("line {number}\n").as_bytes());
        }
        let text = tail.text();
        assert!(text.starts_with("line 4940\n") && text.ends_with("line 4999"));
    }
}
