//! From a file to what it says: opens, reads and parses it, unless its stamp tells that it is the same. Keeps nothing.

#![forbid(unsafe_code)]

use std::collections::hash_map::DefaultHasher;
use std::fs::{File, OpenOptions};
use std::hash::Hasher;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

use nix::libc::O_NONBLOCK;

use super::cache::Entry;
use super::disk::FileStamp;
use super::parse::Known;
use super::{imports_with, FileImports};

/// What reading a file has told.
pub(super) enum Reading {
    /// The same as before, by its stamp.
    Same,
    /// The same as before, though its stamp could not tell; maybe it can from now on.
    Settled(bool),
    /// With the content's hash, if the file is unsettled.
    Parsed(FileStamp, FileImports, Option<u64>),
    /// Deleted since its folder was listed, or no file that can be read.
    Gone,
    Failed(io::Error),
}

/// What a thread has at hand for all files that it reads.
#[derive(Default)]
pub(super) struct Desk {
    buffer: Vec<u8>,
    known: Known,
}

/// Reads a file, if it may have changed.
pub(super) fn read(
    path: &Path,
    known: Option<&Entry>,
    now: SystemTime,
    desk: &mut Desk,
) -> Reading {
    if let Some(Entry {
        stamp: Some(stamp),
        unsettled: None,
        ..
    }) = known
    {
        if FileStamp::at(path) == Some(*stamp) {
            return Reading::Same;
        }
    }
    // Nothing blocks: a pipe with this name may have taken the file's place.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(O_NONBLOCK)
        .open(path)
        .and_then(|file| Ok((file.metadata()?, file)));
    let (stamp, size, mut file) = match opened {
        Ok((metadata, file)) if metadata.is_file() => {
            (FileStamp::of(&metadata), metadata.len(), file)
        }
        Ok(_) => return Reading::Gone,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Reading::Gone,
        Err(error) => return Reading::Failed(error),
    };
    let length = match fill(&mut file, size, &mut desk.buffer) {
        Ok(length) => length,
        Err(error) => return Reading::Failed(error),
    };
    let source = desk.buffer.get(..length).unwrap_or_default();
    let hash = || {
        let mut hasher = DefaultHasher::new();
        hasher.write(source);
        hasher.finish()
    };
    let settled = stamp.is_settled(now);
    let same_stamp = known.filter(|known| known.stamp == Some(stamp));
    if let Some(before) = same_stamp.and_then(|known| known.unsettled) {
        if before == hash() {
            return Reading::Settled(settled);
        }
    }
    let unsettled = (!settled).then(hash);
    Reading::Parsed(stamp, imports_with(source, &mut desk.known), unsettled)
}

/// Reads a file of about `size` bytes into a buffer that serves one file after the other; tells how many there are.
fn fill(file: &mut File, size: u64, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let size = usize::try_from(size).unwrap_or(0) + 1;
    if buffer.len() < size {
        buffer.resize(size, 0);
    }
    let mut length = 0;
    loop {
        let Some(room) = buffer.get_mut(length..).filter(|room| !room.is_empty()) else {
            buffer.resize(buffer.len() * 2, 0);
            continue;
        };
        match file.read(room) {
            Ok(0) => return Ok(length),
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
