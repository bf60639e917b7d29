//! What each file said, kept from one process to the next in the user's cache folder: one file for each project and
//! version of firehot, read whole, replaced whole, and passed over when it is damaged.
//!
//! Only what a stamp can vouch for is kept: a file that was read right after it had changed is read again. The imports
//! that a broken file is known by, its last good ones, are kept with it, so that they outlive the process as well.

#![forbid(unsafe_code)]

use std::collections::hash_map::DefaultHasher;
use std::ffi::OsStr;
use std::fs;
use std::hash::Hasher;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::cache::{Cache, Entry};
use super::disk::FileStamp;
use super::{threads, FileImports};
use crate::cache;

/// Changes of a session are gathered, so that an edit does not write everything.
const GATHERED: Duration = Duration::from_secs(60);
/// A project that nobody has opened for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(30 * 24 * 3600);
/// What a process has left that was killed while it wrote.
const LEFT_BEHIND: Duration = Duration::from_secs(3600);
/// So many entries make a part that one thread decodes.
const PART: usize = 1024;
const PREFIX: &str = "scan-";

/// One project's file.
#[derive(Debug)]
pub(super) struct Store {
    file: PathBuf,
    is_read: bool,
    written: Option<Instant>,
    /// The thread that writes, and the process that it is in: a fork has none.
    writer: Option<(u32, JoinHandle<()>)>,
}

/// An [`Entry`] on disk.
#[derive(Serialize)]
struct Row<'e> {
    path: &'e [u8],
    stamp: FileStamp,
    imports: &'e FileImports,
    problem: &'e Option<(Option<u32>, String)>,
}

#[derive(Deserialize)]
struct OwnRow<'b> {
    path: &'b [u8],
    stamp: FileStamp,
    imports: FileImports,
    problem: Option<(Option<u32>, String)>,
}

impl Store {
    pub(super) fn new(folder: &Path, locations: &[PathBuf]) -> Self {
        let mut hasher = DefaultHasher::new();
        for location in locations {
            let location = location.as_os_str().as_bytes();
            hasher.write_usize(location.len());
            hasher.write(location);
        }
        let version = env!("CARGO_PKG_VERSION");
        let name = format!("{PREFIX}{version}-{:016x}.bin", hasher.finish());
        Self {
            file: folder.join(name),
            is_read: false,
            written: None,
            writer: None,
        }
    }

    /// What an earlier process has left; nothing the second time.
    pub(super) fn take(&mut self) -> Vec<(PathBuf, Entry)> {
        if std::mem::replace(&mut self.is_read, true) {
            return Vec::new();
        }
        let read = cache::read(&self.file)
            .and_then(|bytes| decode(&bytes).ok_or_else(|| io::Error::other("it is damaged")));
        read.unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                log::debug!("{} is passed over: {error}", self.file.display());
            }
            Vec::new()
        })
    }

    /// Writes what has changed on a thread of its own, unless that was done a moment ago.
    pub(super) fn keep(&mut self, cache: &mut Cache) {
        let lately = self
            .written
            .is_some_and(|written| written.elapsed() < GATHERED);
        let is_writing = self
            .writer
            .as_ref()
            .is_some_and(|(_, writer)| !writer.is_finished());
        if !cache.dirty || lately || is_writing {
            return;
        }
        let entries = cache.settled();
        let file = self.file.clone();
        let writer = thread::Builder::new()
            .name("firehot-scan-store".to_owned())
            .spawn(move || write(&file, &entries));
        // Where no thread can be had, the next scan tries again.
        if let Ok(writer) = writer {
            cache.dirty = false;
            self.written = Some(Instant::now());
            self.writer = Some((std::process::id(), writer));
        }
    }
}

/// Nothing is left half written by a process that ends in order.
impl Drop for Store {
    fn drop(&mut self) {
        if let Some((owner, writer)) = self.writer.take() {
            if owner == std::process::id() && writer.join().is_err() {
                log::debug!("{} was not written", self.file.display());
            }
        }
    }
}

fn write(file: &Path, entries: &[(PathBuf, Entry)]) {
    let Some(bytes) = encode(entries) else {
        return;
    };
    // A full disk, a read-only home: the next process reads all files.
    if let Err(error) = cache::replace(file, &bytes) {
        log::debug!("{} could not be written: {error}", file.display());
        return;
    }
    if let Some(folder) = file.parent() {
        tidy(folder, file);
    }
}

/// Removes the files of projects that are not opened any more, and what killed writers have left.
fn tidy(folder: &Path, own: &Path) {
    let now = SystemTime::now();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_ours = entry.file_name().as_bytes().starts_with(PREFIX.as_bytes());
        let limit = match path.extension() {
            Some(extension) if extension == "tmp" => LEFT_BEHIND,
            Some(_) | None => FORGOTTEN,
        };
        let age = entry.metadata().and_then(|metadata| metadata.modified());
        let is_old = age.is_ok_and(|age| now.duration_since(age).is_ok_and(|age| age > limit));
        if is_ours && is_old && path != own {
            // Another process may be faster.
            let _ = fs::remove_file(path);
        }
    }
}

/// The checksum of what follows, then the parts, each with its length.
fn encode(entries: &[(PathBuf, Entry)]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    for part in entries.chunks(PART) {
        let mut rows = Vec::with_capacity(part.len());
        for (path, entry) in part {
            rows.push(Row {
                path: path.as_os_str().as_bytes(),
                stamp: entry.stamp?,
                imports: &entry.imports,
                problem: &entry.problem,
            });
        }
        let rows = postcard::to_allocvec(&rows).ok()?;
        body.extend_from_slice(&u64::try_from(rows.len()).ok()?.to_le_bytes());
        body.extend_from_slice(&rows);
    }
    let mut bytes = checksum(&body).to_le_bytes().to_vec();
    bytes.append(&mut body);
    Some(bytes)
}

fn decode(bytes: &[u8]) -> Option<Vec<(PathBuf, Entry)>> {
    let (sum, mut body) = bytes.split_first_chunk()?;
    if u64::from_le_bytes(*sum) != checksum(body) {
        return None;
    }
    let mut parts = Vec::new();
    while let Some((length, rest)) = body.split_first_chunk() {
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (part, rest) = rest.split_at_checked(length)?;
        parts.push(part);
        body = rest;
    }
    let decoded = threads::map(&parts, 2, || (), |(), part| decode_part(part));
    let parts: Vec<_> = decoded.into_iter().collect::<Option<_>>()?;
    Some(parts.into_iter().flatten().collect())
}

fn decode_part(part: &[u8]) -> Option<Vec<(PathBuf, Entry)>> {
    let rows: Vec<OwnRow<'_>> = postcard::from_bytes(part).ok()?;
    let entry = |row: OwnRow<'_>| {
        let path = PathBuf::from(OsStr::from_bytes(row.path));
        (
            path,
            Entry::stored(row.stamp, Arc::new(row.imports), row.problem),
        )
    };
    Some(rows.into_iter().map(entry).collect())
}

/// For damage, not for malice: the folder is the user's own. Another release of the compiler may hash otherwise; then
/// all files are read once more.
fn checksum(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}
