//! What a cache holds, and its removal. Builds nothing.
//!
//! Invariant: only what a builder has put there is removed, told by the cache's tag and by the form of the names; whoever
//! has chosen a folder of their own as the cache keeps everything else in it. No link is followed.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::in_use;
use super::store::{Manifest, LAYOUT, TAG};
use crate::cache;

/// What a cache holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// Bytes on the disk, all in all; a file with two names counts once.
    pub size: u64,
    /// What is kept for each extension and way of building, by module and place.
    pub kept: Vec<Kept>,
    /// The folders that cargo works in.
    pub targets: Vec<Target>,
}

/// The builds of one extension, in one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its folder in the cache.
    pub folder: PathBuf,
    /// Bytes on the disk.
    pub size: u64,
    /// The last build; none when there is no good one.
    pub last: Option<Last>,
}

/// The last good build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Last {
    /// The dotted name.
    pub module: String,
    /// The `.rs` file or the folder of the crate.
    pub place: PathBuf,
    /// The published file.
    pub artifact: PathBuf,
    /// When it was built.
    pub built: SystemTime,
}

/// A folder that cargo works in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where it is.
    pub folder: PathBuf,
    /// Bytes on the disk.
    pub size: u64,
}

/// Why a cache was not cleared.
#[derive(Debug, thiserror::Error)]
pub enum ClearError {
    /// Somebody builds, or waits to.
    #[error("{} is in use: something is being built, or waits to be; try again when it has ended", cache.display())]
    InUse {
        /// The cache.
        cache: PathBuf,
    },
    /// It is no cache of firehot.
    #[error("{} is not cleared: it has no CACHEDIR.TAG of firehot", cache.display())]
    Foreign {
        /// The folder.
        cache: PathBuf,
    },
    /// A part of it can't be removed or read.
    #[error("{} can't be cleared: {source}", path.display())]
    System {
        /// Which part.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What is in a cache; nothing where there is none.
#[must_use]
pub fn contents(cache: &Path) -> Contents {
    let mut seen = HashSet::new();
    let mut contents = Contents::default();
    for folder in own(cache) {
        if folder.is_target {
            let size = size(&folder.path, &mut seen);
            contents.targets.push(Target {
                folder: folder.path,
                size,
            });
            continue;
        }
        for slot in slots(&folder.path) {
            contents.kept.push(Kept {
                size: size(&slot, &mut seen),
                last: last(&slot),
                folder: slot,
            });
        }
    }
    contents
        .kept
        .sort_by(|one, other| key(one).cmp(&key(other)));
    contents
        .targets
        .sort_by(|one, other| one.folder.cmp(&other.folder));
    let kept = contents.kept.iter().map(|kept| kept.size);
    let targets = contents.targets.iter().map(|target| target.size);
    contents.size = kept.chain(targets).sum();
    contents
}

fn key(kept: &Kept) -> (Option<(&str, &Path)>, &Path) {
    let last = kept.last.as_ref();
    (last.map(|last| (&*last.module, &*last.place)), &kept.folder)
}

/// Removes all builds, and says how many bytes that were. What a process has loaded stays loaded.
///
/// # Errors
/// See [`ClearError`]. Where a part can't be removed, others may have been.
pub fn clear(cache: &Path) -> Result<u64, ClearError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ClearError::System { path, source }
    };
    let in_use = || ClearError::InUse {
        cache: cache.to_owned(),
    };
    if !cache.exists() {
        return Ok(0);
    }
    if !is_tagged(cache) {
        // Nothing of ours, nothing to say: the next build puts the tag there.
        return if own(cache).is_empty() {
            Ok(0)
        } else {
            Err(ClearError::Foreign {
                cache: cache.to_owned(),
            })
        };
    }
    let alone = in_use::alone(cache).map_err(failed(cache))?;
    let _alone = alone.ok_or_else(in_use)?;
    let folders = own(cache);
    for slot in folders.iter().flat_map(|folder| slots(&folder.path)) {
        if in_use::is_locked(&slot).map_err(failed(&slot))? {
            return Err(in_use());
        }
    }
    let freed = contents(cache).size;
    for folder in folders {
        remove(&folder).map_err(failed(&folder.path))?;
    }
    Ok(freed)
}

fn remove(folder: &Own) -> io::Result<()> {
    if folder.is_target {
        return fs::remove_dir_all(&folder.path);
    }
    for slot in slots(&folder.path) {
        fs::remove_dir_all(slot)?;
    }
    match fs::remove_dir(&folder.path) {
        // Somebody else has put something there.
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        done => done,
    }
}

/// A folder that builders have made directly in the cache.
struct Own {
    path: PathBuf,
    is_target: bool,
}

fn own(cache: &Path) -> Vec<Own> {
    let folders = folders(cache).filter_map(|entry| {
        let name = entry.file_name();
        let (what, mark) = name.to_str()?.rsplit_once('-')?;
        let path = entry.path();
        // A module may be called target, too.
        let has_slots = slots(&path).next().is_some();
        let is_target = what == "target" && !has_slots;
        let is_ours = is_mark(mark) && (is_target || has_slots);
        is_ours.then_some(Own { path, is_target })
    });
    folders.collect()
}

/// The folders of one extension, one for each way of building it.
fn slots(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let found = folders(folder);
    found.filter_map(|entry| {
        let is_ours = entry.file_name().to_str().is_some_and(is_mark);
        is_ours.then(|| entry.path())
    })
}

/// The folders in a folder, and no links to any.
fn folders(folder: &Path) -> impl Iterator<Item = DirEntry> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
}

fn is_mark(text: &str) -> bool {
    text.len() == 16
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_tagged(cache: &Path) -> bool {
    fs::read(cache.join("CACHEDIR.TAG")).is_ok_and(|content| content == TAG.as_bytes())
}

fn last(slot: &Path) -> Option<Last> {
    let file = slot.join("manifest");
    let content = cache::read(&file).ok()?;
    let manifest: Manifest = postcard::from_bytes(&content).ok()?;
    if manifest.layout != LAYOUT {
        return None;
    }
    Some(Last {
        module: manifest.module,
        place: manifest.place,
        artifact: slot.join(manifest.artifact),
        built: fs::metadata(&file)
            .and_then(|found| found.modified())
            .ok()?,
    })
}

/// Bytes on the disk of what is below a folder; cargo gives some files a second name.
fn size(folder: &Path, seen: &mut HashSet<(u64, u64)>) -> u64 {
    let mut of = |found: &Metadata| {
        let is_new = found.nlink() < 2 || found.is_dir() || seen.insert((found.dev(), found.ino()));
        if is_new {
            found.blocks() * 512
        } else {
            0
        }
    };
    let mut size = 0;
    let mut left = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        let Ok(found) = fs::symlink_metadata(&path) else {
            continue;
        };
        size += of(&found);
        if found.is_dir() {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            left.extend(entries.map(|entry| entry.path()));
        }
    }
    size
}
