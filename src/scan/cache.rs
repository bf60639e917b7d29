//! What each file said when it was last read, in memory: only changed files are read again, and deleted ones are
//! forgotten. Owns the threads that read; knows nothing of modules.

#![forbid(unsafe_code)]

use std::collections::hash_map::DefaultHasher;
use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::hash::Hasher;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::walk::Found;
use super::{imports_of, FileImports, Problem};

/// A file that changed so lately may change again without a new time: the clock of a file system ticks slowly.
const UNSETTLED: Duration = Duration::from_secs(2);

/// How many files keep one thread busy.
const FILES_PER_THREAD: usize = 32;

/// What tells that a file is the one that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Set by the system at every change, also where a tool puts the other time back.
    changed: (i64, i64),
}

impl FileStamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    fn is_settled(self, now: SystemTime) -> bool {
        let seconds = u64::try_from(self.changed.0.max(self.modified.0)).unwrap_or_default();
        now.duration_since(UNIX_EPOCH + Duration::from_secs(seconds))
            .is_ok_and(|age| age > UNSETTLED)
    }
}

#[derive(Debug, Clone)]
struct Entry {
    /// None when the file could not be read: it is tried again.
    stamp: Option<FileStamp>,
    /// The content's hash, while the stamp alone does not tell that the file is the same.
    unsettled: Option<u64>,
    /// What to go by: what the file says, or said before it broke.
    imports: Arc<FileImports>,
    problem: Option<Problem>,
}

/// The results of all files of the last scan.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: BTreeMap<PathBuf, Entry>,
    /// The entries that this scan has asked for.
    current: BTreeMap<PathBuf, Entry>,
    parsed: usize,
}

/// A file to read.
#[derive(Clone, Copy)]
struct Stale<'f> {
    file: &'f Found,
    /// Its stamp will tell when it changes again.
    settled: bool,
    /// The hash of what it said, if its stamp is the same as then.
    known: Option<u64>,
}

enum Reading {
    /// The same as before, though its stamp could not tell.
    Same,
    /// With the content's hash, if the file is unsettled.
    Parsed(FileImports, Option<u64>),
    /// Deleted since the walk.
    Gone,
    Failed(io::Error),
}

impl Cache {
    /// What each file says; none for one that has vanished.
    pub(super) fn load(&mut self, files: &[Found]) -> Vec<Option<Arc<FileImports>>> {
        let now = SystemTime::now();
        let stale: Vec<Stale<'_>> = files
            .iter()
            .filter_map(|file| {
                let settled = file.stamp.is_settled(now);
                let known = match self.entries.get(&file.path) {
                    Some(entry) if entry.stamp == Some(file.stamp) => Some(entry.unsettled?),
                    Some(_) | None => None,
                };
                Some(Stale {
                    file,
                    settled,
                    known,
                })
            })
            .collect();
        for (at, reading) in read_all(&stale) {
            if let Some(stale) = stale.get(at) {
                self.note(stale, reading);
            }
        }
        files
            .iter()
            .map(|file| {
                let entry = self.entries.remove(&file.path)?;
                let imports = Arc::clone(&entry.imports);
                self.current.insert(file.path.clone(), entry);
                Some(imports)
            })
            .collect()
    }

    /// Ends a scan: forgets the files that it did not ask for. Tells how many were parsed, and what is wrong.
    pub(super) fn finish(&mut self) -> (usize, Vec<Problem>) {
        self.entries = std::mem::take(&mut self.current);
        let problems = self
            .entries
            .values()
            .filter_map(|entry| entry.problem.clone())
            .collect();
        (std::mem::take(&mut self.parsed), problems)
    }

    fn note(&mut self, stale: &Stale<'_>, reading: Reading) {
        let file = stale.file;
        let before = self.entries.get(&file.path).map(|e| Arc::clone(&e.imports));
        let entry = match reading {
            Reading::Same => {
                if let Some(entry) = self.entries.get_mut(&file.path) {
                    entry.unsettled = entry.unsettled.filter(|_| !stale.settled);
                }
                return;
            }
            Reading::Gone => {
                self.entries.remove(&file.path);
                return;
            }
            Reading::Failed(error) => Entry {
                stamp: None,
                unsettled: None,
                imports: before.unwrap_or_default(),
                problem: Some(Problem {
                    file: file.path.clone(),
                    line: None,
                    message: format!("can't be read: {error}"),
                }),
            },
            Reading::Parsed(found, hash) => {
                self.parsed += 1;
                let untrusted = found.broken.as_ref().is_some_and(|broken| !broken.trusted);
                let kept = before.filter(|_| untrusted);
                Entry {
                    stamp: Some(file.stamp),
                    unsettled: hash,
                    problem: broken_file(&file.path, &found, kept.is_some()),
                    imports: kept.unwrap_or_else(|| Arc::new(found)),
                }
            }
        };
        self.entries.insert(file.path.clone(), entry);
    }
}

fn broken_file(path: &Path, found: &FileImports, kept: bool) -> Option<Problem> {
    let broken = found.broken.as_ref()?;
    let suffix = if kept {
        "; its last good imports are kept"
    } else {
        ""
    };
    Some(Problem {
        file: path.to_owned(),
        line: Some(broken.line),
        message: format!("{}{suffix}", broken.message),
    })
}

/// Reads and parses on as many threads as are worth it. They end before this returns: a pool would be lost in a
/// process that forks.
fn read_all(files: &[Stale<'_>]) -> Vec<(usize, Reading)> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(files.len().div_ceil(FILES_PER_THREAD));
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(stale) = files.get(at) else {
                return done;
            };
            done.push((at, read(stale)));
        }
    };
    if threads <= 1 {
        return work();
    }
    thread::scope(|scope| {
        let mut helpers = Vec::new();
        for _ in 1..threads {
            // Where no thread can be had, the others do its share.
            if let Ok(helper) = thread::Builder::new().spawn_scoped(scope, work) {
                helpers.push(helper);
            }
        }
        let mut done = work();
        for helper in helpers {
            match helper.join() {
                Ok(part) => done.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    })
}

fn read(stale: &Stale<'_>) -> Reading {
    let source = match fs::read(&stale.file.path) {
        Ok(source) => source,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Reading::Gone,
        Err(error) => return Reading::Failed(error),
    };
    let hash = || {
        let mut hasher = DefaultHasher::new();
        hasher.write(&source);
        hasher.finish()
    };
    if stale.known.is_some_and(|known| known == hash()) {
        return Reading::Same;
    }
    let unsettled = (!stale.settled).then(hash);
    Reading::Parsed(imports_of(&source), unsettled)
}
