//! What trials have shown, kept from one process to the next in the user's cache folder. Judges nothing.
//!
//! A verdict is about distributions in the versions that were tried, one interpreter and the variables that count when
//! it starts; a bad one also about the files that were read for it. Variables that the import itself reads are not
//! part of it. The file is read whole, written whole, and passed over when it is damaged or not the user's own: then
//! trials are made again.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::left_out::{Retry, Why};
use crate::cache;
use crate::protocol::findings::FileText;
use crate::protocol::message::PreloadItem;
use crate::stamp::{Start, Touched};
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
    /// The interpreter, see [`about`].
    about: u64,
    /// "name version" of each distribution that it is about.
    distributions: BTreeSet<String>,
    /// What was read for it: a package may be mended without a new version.
    files: Vec<FileText>,
    /// How long the import took, in microseconds.
    cost: Option<u64>,
}

/// The interpreter that something was tried with: where it is, what it is, and what it reads when it starts.
pub(super) fn about(launch: &Launch, python: &str, start: &Start, native: &[String]) -> u64 {
    let mut hash = Fnv::new();
    hash.add(launch.executable.as_os_str().as_bytes());
    hash.add(python.as_bytes());
    for argument in &launch.arguments {
        hash.add(argument.as_bytes());
    }
    for (name, value) in start.native_variables(native) {
        hash.add(name.as_bytes());
        hash.add(value.as_bytes());
    }
    hash.0
}

/// What a trial of these imports is about.
pub(super) fn key(about: u64, installed: &BTreeSet<String>, wanted: &[PreloadItem]) -> u64 {
    let mut hash = Fnv::new();
    hash.add(&about.to_le_bytes());
    for distribution in installed {
        hash.add(distribution.as_bytes());
    }
    for item in wanted {
        hash.add(item.module.as_bytes());
        hash.add(&item.names.len().to_le_bytes());
        for name in &item.names {
            hash.add(name.as_bytes());
        }
    }
    hash.0
}

/// FNV-1a with 64 bits (Fowler, Noll and Vo, http://www.isthe.com/chongo/tech/comp/fnv/): what is written to disk must
/// mean the same to the next release, which the hasher of the standard library does not promise.
pub(super) struct Fnv(pub(super) u64);

impl Fnv {
    pub(super) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// The length goes first, so that no two lists of texts look alike.
    pub(super) fn add(&mut self, text: &[u8]) {
        self.bytes(&text.len().to_le_bytes());
        self.bytes(text);
    }
}

impl Verdicts {
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        let name = format!("verdicts-{}.json", env!("CARGO_PKG_VERSION"));
        Self {
            file: folder.map(|folder| folder.join(name)),
        }
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

    /// What is left out, where all that it is about is as it was.
    pub(super) fn bad(&self, about: u64, installed: &BTreeSet<String>) -> Vec<(String, Why)> {
        let Some(file) = &self.file else {
            return Vec::new();
        };
        let file = file.display();
        let all = self.read().bad.into_iter();
        all.filter(|(_, bad)| bad.about == about && bad.distributions.is_subset(installed))
            .filter_map(|(name, bad)| {
                let files = Touched::from_message(&bad.files);
                if files.iter().any(Touched::has_changed) {
                    log::debug!("{name} is tried again: its files have changed");
                    return None;
                }
                let why = Why {
                    reason: format!(
                        "{} (found in an earlier run; remove {file} to try it again)",
                        bad.reason
                    ),
                    retry: Retry::Changed,
                    files,
                    cost: bad.cost,
                };
                Some((name, why))
            })
            .collect()
    }

    /// Nothing is kept where no file is known, or where one may have changed since it was read.
    pub(super) fn remember_bad(
        &self,
        name: &str,
        why: &Why,
        about: u64,
        distributions: BTreeSet<String>,
    ) {
        let files: Option<Vec<FileText>> = why.files.iter().map(Touched::to_message).collect();
        let Some(files) = files.filter(|files| !files.is_empty()) else {
            return;
        };
        let mut content = self.read();
        let bad = Bad {
            reason: why.reason.clone(),
            about,
            distributions,
            files,
            cost: why.cost,
        };
        content.bad.insert(name.to_owned(), bad);
        self.write(&content);
    }

    fn read(&self) -> Content {
        let Some(file) = &self.file else {
            return Content::default();
        };
        let read = || -> io::Result<Content> { Ok(serde_json::from_slice(&cache::read(file)?)?) };
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
        let written = serde_json::to_vec(content)
            .map_err(io::Error::from)
            .and_then(|bytes| cache::replace(file, &bytes));
        if let Err(error) = written {
            // A full disk, a read-only home: the next process tries for itself.
            log::debug!("{} could not be written: {error}", file.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn why(file: &Path) -> Why {
        Why {
            reason: "why".to_owned(),
            retry: Retry::Changed,
            files: vec![Touched::now(file)],
            cost: None,
        }
    }

    #[test]
    fn a_verdict_holds_while_interpreter_versions_and_files_are_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.py");
        fs::write(&file, b"one").unwrap();
        let verdicts = Verdicts::new(Some(folder.path().join("cache")));
        let found = |about, installed: &[&str]| verdicts.bad(about, &names(installed)).len();
        assert_eq!(found(1, &["a 1"]), 0);
        verdicts.remember_bad("a.b", &why(&file), 1, names(&["a 1", "c 2"]));
        assert_eq!(found(1, &["a 1", "c 3"]), 0);
        assert_eq!(found(2, &["a 1", "c 2"]), 0);
        assert_eq!(found(1, &["a 1", "c 2", "d 9"]), 1);
        fs::write(&file, b"mended").unwrap();
        assert_eq!(found(1, &["a 1", "c 2", "d 9"]), 0);
    }

    #[test]
    fn a_verdict_without_files_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let verdicts = Verdicts::new(Some(folder.path().join("cache")));
        let mut why = why(Path::new("/none"));
        why.files.clear();
        verdicts.remember_bad("a", &why, 1, names(&["a 1"]));
        assert!(verdicts.bad(1, &names(&["a 1"])).is_empty());
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

    #[test]
    fn the_hash_is_the_one_that_its_authors_have_published() {
        for (text, expected) in [
            ("", 0xcbf2_9ce4_8422_2325),
            ("a", 0xaf63_dc4c_8601_ec8c),
            ("foobar", 0x8594_4171_f739_67e8),
        ] {
            let mut hash = Fnv::new();
            hash.bytes(text.as_bytes());
            assert_eq!(hash.0, expected, "{text}");
        }
    }
}
