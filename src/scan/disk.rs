//! What folders hold, and what else a scan has looked at: read once, and again only when a stamp has changed. Owns
//! when a stamp may be trusted; knows no ignore rules and no modules.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::threads;

/// What changed so lately may change again without a new time: the clock of a file system ticks slowly.
const UNSETTLED: Duration = Duration::from_secs(2);

/// Made and removed by whoever runs the code.
const UNLISTED: &str = "__pycache__";

/// How many folders keep one thread busy.
const PER_THREAD: usize = 64;

/// What tells that a file or folder is the one that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Set by the system at every change, also where a tool puts the other time back.
    changed: (i64, i64),
}

/// Device and inode: the same file or folder, whatever its name.
pub(super) type Identity = (u64, u64);

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

    pub(super) fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().as_ref().map(Self::of)
    }

    pub(super) fn identity(&self) -> Identity {
        (self.device, self.inode)
    }

    /// Whether the next change is sure to show.
    pub(super) fn is_settled(self, now: SystemTime) -> bool {
        let seconds = u64::try_from(self.changed.0.max(self.modified.0)).unwrap_or_default();
        now.duration_since(UNIX_EPOCH + Duration::from_secs(seconds))
            .is_ok_and(|age| age > UNSETTLED)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Folder,
    File,
    Link,
}

/// Something in a folder that a scan may care about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) name: OsString,
    pub(super) kind: Kind,
}

/// What a folder holds, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Folder {
    pub(super) items: Vec<Item>,
    /// Why it could not be read; none also where there is no such folder.
    pub(super) problem: Option<String>,
    pub(super) identity: Option<Identity>,
}

impl Folder {
    pub(super) fn item(&self, name: &str) -> Option<Kind> {
        let at = self
            .items
            .binary_search_by(|item| item.name.as_os_str().cmp(name.as_ref()));
        at.ok()
            .and_then(|at| self.items.get(at))
            .map(|item| item.kind)
    }
}

#[derive(Debug)]
struct Known {
    stamp: Option<FileStamp>,
    /// Only its items tell whether it has changed.
    unsettled: bool,
    folder: Arc<Folder>,
    used: bool,
}

/// Something beside folders and source files that a scan depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Look {
    Stamp(Option<FileStamp>),
    Target(Option<(Identity, bool)>),
}

/// What the scans have seen of the disk.
#[derive(Debug, Default)]
pub(super) struct Disk {
    folders: HashMap<PathBuf, Known>,
    looks: HashMap<PathBuf, Look>,
    /// A file that was looked at may change without a new stamp.
    unsettled: bool,
    /// Some of it is known by a name with links in it.
    pub(super) has_aliases: bool,
    /// Something may be there that is ignored, until an import names it.
    pub(super) has_rules: bool,
}

impl Disk {
    /// Whether all folders hold what they held, and all else that was looked at is the same. Reads those folders only
    /// that have a new stamp, or one that can't be trusted.
    pub(super) fn holds(&mut self, now: SystemTime) -> bool {
        let looks_hold = self.looks.iter().all(|(path, look)| {
            *look
                == match look {
                    Look::Stamp(_) => Look::Stamp(FileStamp::at(path)),
                    Look::Target(_) => Look::Target(target(path)),
                }
        });
        self.folders_hold(now) && looks_hold && !self.unsettled
    }

    /// Whether all folders hold what they held.
    pub(super) fn folders_hold(&mut self, now: SystemTime) -> bool {
        let folders: Vec<(&PathBuf, &Known)> = self.folders.iter().collect();
        let seen = threads::map(
            &folders,
            PER_THREAD,
            || (),
            |(), (path, known)| {
                let stamp = FileStamp::at(path);
                if stamp == known.stamp && !known.unsettled {
                    return None;
                }
                Some(((*path).clone(), Known::read(path, stamp, now)))
            },
        );
        let mut same = true;
        for (path, fresh) in seen.into_iter().flatten() {
            if let Some(known) = self.folders.get_mut(&path) {
                same &= *fresh.folder == *known.folder;
                *known = fresh;
            }
        }
        same
    }

    /// Starts a scan: what it does not ask for is forgotten at its end.
    pub(super) fn begin(&mut self) {
        self.looks.clear();
        self.unsettled = false;
        self.has_aliases = false;
        self.has_rules = false;
        for known in self.folders.values_mut() {
            known.used = false;
        }
    }

    pub(super) fn finish(&mut self) {
        self.folders.retain(|_, known| known.used);
    }

    pub(super) fn folder(&mut self, path: &Path) -> Arc<Folder> {
        if let Some(known) = self.folders.get_mut(path) {
            known.used = true;
            return Arc::clone(&known.folder);
        }
        let known = Known::read(path, FileStamp::at(path), SystemTime::now());
        let folder = Arc::clone(&known.folder);
        self.folders.insert(path.to_owned(), known);
        folder
    }

    /// Many at once, in order.
    pub(super) fn folders(&mut self, paths: &[PathBuf]) -> Vec<Arc<Folder>> {
        let now = SystemTime::now();
        let fresh: Vec<&PathBuf> = paths
            .iter()
            .filter(|path| !self.folders.contains_key(*path))
            .collect();
        let read = threads::map(
            &fresh,
            PER_THREAD,
            || (),
            |(), path| ((*path).clone(), Known::read(path, FileStamp::at(path), now)),
        );
        self.folders.extend(read);
        paths.iter().map(|path| self.folder(path)).collect()
    }

    /// Makes the scan depend on a file's content, which is read after that.
    pub(super) fn note(&mut self, path: &Path) {
        let stamp = FileStamp::at(path);
        self.unsettled |= stamp.is_some_and(|stamp| !stamp.is_settled(SystemTime::now()));
        self.looks.insert(path.to_owned(), Look::Stamp(stamp));
    }

    /// What is at the path, or at the end of the link; none when nothing is.
    pub(super) fn target(&mut self, path: &Path) -> Option<(Identity, bool)> {
        let target = target(path);
        self.looks.insert(path.to_owned(), Look::Target(target));
        target
    }

    /// Whether a file that has changed at `path`, or is gone from there, may tell anything new.
    pub(super) fn knows(&self, path: &Path) -> bool {
        let mut inner = path;
        while let Some(outer) = inner.parent() {
            if let Some(known) = self.folders.get(outer) {
                let Some(name) = inner.file_name() else {
                    break;
                };
                let is_listed = known.folder.items.iter().any(|item| item.name == name);
                // A folder that is new to the last scan, or one that was left alone though it was there.
                let tells = if inner == path {
                    is_listed || matters(name)
                } else {
                    !is_listed && name != UNLISTED
                };
                if tells {
                    return true;
                }
                break;
            }
            inner = outer;
        }
        let mut seen = self.folders.keys().chain(self.looks.keys());
        seen.any(|known| known.starts_with(path))
    }
}

impl Known {
    fn read(path: &Path, stamp: Option<FileStamp>, now: SystemTime) -> Self {
        let mut folder = list(path).unwrap_or_else(|error| Folder {
            problem: (error.kind() != io::ErrorKind::NotFound).then(|| error.to_string()),
            ..Folder::default()
        });
        folder.identity = stamp.as_ref().map(FileStamp::identity);
        Self {
            stamp,
            unsettled: stamp.is_some_and(|stamp| !stamp.is_settled(now)),
            folder: Arc::new(folder),
            used: true,
        }
    }
}

fn target(path: &Path) -> Option<(Identity, bool)> {
    let metadata = fs::metadata(path).ok()?;
    Some((FileStamp::of(&metadata).identity(), metadata.is_dir()))
}

fn list(path: &Path) -> io::Result<Folder> {
    let mut items = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        // Gone since the folder was opened: no problem of ours.
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        let kind = if kind.is_symlink() {
            Kind::Link
        } else if kind.is_dir() {
            Kind::Folder
        } else if kind.is_file() && matters(&name) {
            Kind::File
        } else {
            continue;
        };
        if name != UNLISTED {
            items.push(Item { name, kind });
        }
    }
    items.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    Ok(Folder {
        items,
        problem: None,
        identity: None,
    })
}

/// Whether a file with this name is a module, a source file, or tells about its folder.
fn matters(name: &std::ffi::OsStr) -> bool {
    let name = name.as_encoded_bytes();
    [&b".py"[..], b".pyw", b".pyc", b".so"]
        .iter()
        .any(|end| name.ends_with(end))
        || [&b".gitignore"[..], b"pyvenv.cfg", b".git"].contains(&name)
}

/// Whether the file may be a source file of the package.
pub(super) fn is_source(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "py" || extension == "pyw")
}
