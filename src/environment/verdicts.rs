//! What trials have shown, kept from one process to the next in the user's cache folder. Judges nothing.
//!
//! A verdict is about distributions in the versions that were tried, and about one interpreter. The file is read whole,
//! written whole, replaced in one step, and passed over when it is damaged or not the user's own: then trials are
//! made again.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::protocol::message::PreloadItem;
use crate::supervisor::template::Launch;

/// More than that many good ones are forgotten, oldest first.
const GOOD_KEPT: usize = 200;

/// The verdicts of one user.
#[derive(Debug)]
pub(super) struct Verdicts {
    file: Option<PathBuf>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    /// Interpreters, installed distributions and imports whose children can exit.
    good: Vec<u64>,
    /// Dotted name -> why it is left out.
    bad: BTreeMap<String, Bad>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Bad {
    reason: String,
    /// "name version" of each distribution that it is about.
    distributions: BTreeSet<String>,
}

impl Verdicts {
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        let name = format!("verdicts-{}.json", env!("CARGO_PKG_VERSION"));
        Self {
            file: folder.map(|folder| folder.join(name)),
        }
    }

    /// What a trial of these imports is about.
    pub(super) fn key(
        &self,
        launch: &Launch,
        installed: &BTreeSet<String>,
        wanted: &[(usize, PreloadItem)],
    ) -> u64 {
        let mut hasher = DefaultHasher::new();
        launch.executable.hash(&mut hasher);
        installed.hash(&mut hasher);
        for (_, item) in wanted {
            item.module.hash(&mut hasher);
            item.names.hash(&mut hasher);
        }
        hasher.finish()
    }

    pub(super) fn is_good(&self, key: u64) -> bool {
        self.read().good.contains(&key)
    }

    pub(super) fn remember_good(&self, key: u64) {
        let mut content = self.read();
        content.good.retain(|each| *each != key);
        content.good.push(key);
        let surplus = content.good.len().saturating_sub(GOOD_KEPT);
        content.good.drain(..surplus);
        self.write(&content);
    }

    /// What is left out, where all that it is about is installed in the same versions.
    pub(super) fn bad(&self, installed: &BTreeSet<String>) -> Vec<(String, String)> {
        self.read()
            .bad
            .into_iter()
            .filter(|(_, bad)| bad.distributions.is_subset(installed))
            .map(|(name, bad)| (name, bad.reason))
            .collect()
    }

    pub(super) fn remember_bad(&self, name: &str, reason: &str, distributions: BTreeSet<String>) {
        let mut content = self.read();
        let bad = Bad {
            reason: reason.to_owned(),
            distributions,
        };
        content.bad.insert(name.to_owned(), bad);
        self.write(&content);
    }

    fn read(&self) -> Content {
        let Some(file) = &self.file else {
            return Content::default();
        };
        let read = || -> io::Result<Content> {
            if fs::metadata(file)?.uid() != nix::unistd::geteuid().as_raw() {
                return Err(io::Error::other("it belongs to another user"));
            }
            Ok(serde_json::from_slice(&fs::read(file)?)?)
        };
        read().unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                log::debug!("{} is passed over: {error}", file.display());
            }
            Content::default()
        })
    }

    fn write(&self, content: &Content) {
        let Some(file) = &self.file else {
            return;
        };
        if let Err(error) = replace(file, content) {
            // A full disk, a read-only home: the next process tries for itself.
            log::debug!("{} could not be written: {error}", file.display());
        }
    }
}

fn replace(file: &Path, content: &Content) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    if fs::metadata(folder)?.mode() & 0o077 != 0 {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    // Each writer has a file of its own: the last one to rename wins, whole.
    let own = file.with_extension(format!("{}.tmp", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&own)
        .and_then(|mut out| out.write_all(&serde_json::to_vec(content)?))
        .and_then(|()| fs::rename(&own, file));
    if written.is_err() {
        // What could not be written can't be removed either, at worst.
        let _ = fs::remove_file(&own);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_verdict_holds_while_the_versions_are_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let verdicts = Verdicts::new(Some(folder.path().join("cache")));
        assert!(verdicts.bad(&names(&["a 1"])).is_empty());
        verdicts.remember_bad("a.b", "why", names(&["a 1", "c 2"]));
        assert!(verdicts.bad(&names(&["a 1", "c 3"])).is_empty());
        let found = verdicts.bad(&names(&["a 1", "c 2", "d 9"]));
        assert_eq!(found, [("a.b".to_owned(), "why".to_owned())]);
    }

    #[test]
    fn the_cache_is_its_users_alone() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        let verdicts = Verdicts::new(Some(cache.clone()));
        verdicts.remember_good(7);
        assert!(verdicts.is_good(7) && !verdicts.is_good(8));
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&cache), 0o700);
        let files: Vec<_> = fs::read_dir(&cache).unwrap().flatten().collect();
        assert_eq!(files.len(), 1);
        assert_eq!(mode(&files[0].path()), 0o600);
    }

    #[test]
    fn a_damaged_file_is_passed_over_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let verdicts = Verdicts::new(Some(folder.path().to_owned()));
        verdicts.remember_good(7);
        fs::write(verdicts.file.as_ref().unwrap(), b"{").unwrap();
        assert!(!verdicts.is_good(7));
        verdicts.remember_good(8);
        assert!(verdicts.is_good(8));
    }

    #[test]
    fn a_place_that_can_not_be_written_is_no_error() {
        let verdicts = Verdicts::new(Some(PathBuf::from("/proc/nowhere")));
        verdicts.remember_good(7);
        assert!(!verdicts.is_good(7));
    }
}
