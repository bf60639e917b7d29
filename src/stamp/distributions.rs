//! What is installed in one folder of `sys.path`, by the names that installers leave there.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::files::{nanoseconds, State};
use super::Change;

/// A folder stamps the coming and going of names with a clock that ticks this seldom at worst.
const TICK: Duration = Duration::from_secs(2);

/// Mtime in nanoseconds and inode of something.
type Mark = (i64, u64);

/// A folder of `sys.path` as it was.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// None when it was changed so short a time before that a further change may not show: then it is read each time.
    mark: Option<Option<Mark>>,
    installed: BTreeMap<OsString, Mark>,
    /// Those of them that are files: they may be edited without the folder's date telling.
    files: Vec<(PathBuf, State)>,
}

impl Folder {
    pub(super) fn take(path: &Path) -> Self {
        // The mark comes first: what changes after it shows.
        let mark = mark(path);
        let found = read(path);
        let files = found.iter().filter(|(_, found)| found.is_file());
        let files = files.map(|(name, found)| (path.join(name), State::of(found)));
        Self {
            path: path.to_owned(),
            mark: (!is_young_mark(mark)).then_some(mark),
            files: files.collect(),
            installed: marks(&found),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// `.pth` files and the like, with their state before the interpreter was started.
    pub(super) fn files(&self) -> &[(PathBuf, State)] {
        &self.files
    }

    /// "name version" of each distribution.
    pub(super) fn distributions(&self) -> impl Iterator<Item = String> + '_ {
        let entries = self.installed.keys().filter(|entry| is_metadata(entry));
        entries.map(|entry| {
            let (name, version) = split(entry);
            format!("{name} {version}")
        })
    }

    /// "name version" of the distribution that a top-level module came with; none where its files lie elsewhere.
    pub(super) fn owner(&self, top: &str) -> Option<String> {
        let plain = |name: &str| name.to_lowercase().replace(['-', '.'], "_");
        let entries = || self.installed.keys().filter(|entry| is_metadata(entry));
        let is_named = |entry: &OsStr| plain(&split(entry).0) == plain(top);
        // One that is installed in editable mode has the name, and none of the module's files.
        let named = entries().find(|entry| is_named(entry) && self.has_installed(entry, top));
        let found = named.or_else(|| entries().find(|entry| self.has_installed(entry, top)))?;
        let (name, version) = split(found);
        Some(format!("{name} {version}"))
    }

    /// Whether a distribution's list of files names a top-level module.
    fn has_installed(&self, entry: &OsStr, top: &str) -> bool {
        let Ok(record) = fs::read(self.path.join(entry).join("RECORD")) else {
            return false;
        };
        record.split(|byte| *byte == b'\n').any(|line| {
            let rest = line.strip_prefix(top.as_bytes());
            rest.is_some_and(|rest| rest.starts_with(b"/") || rest.starts_with(b"."))
        })
    }

    pub(super) fn compare(&self, changes: &mut BTreeSet<Change>) {
        if self.mark == Some(mark(&self.path)) {
            return;
        }
        let now = marks(&read(&self.path));
        if now == self.installed {
            return;
        }
        let differs = |one: &BTreeMap<OsString, Mark>, other: &BTreeMap<OsString, Mark>| {
            let mut found: BTreeMap<String, (OsString, String)> = BTreeMap::new();
            for (entry, mark) in one {
                if other.get(entry) != Some(mark) {
                    let (name, version) = split(entry);
                    found.insert(name, (entry.clone(), version));
                }
            }
            found
        };
        let (gone, new) = (
            differs(&self.installed, &now),
            differs(&now, &self.installed),
        );
        for name in gone.keys().chain(new.keys()) {
            let before = gone.get(name);
            let after = new.get(name);
            let entry = before.or(after).map(|(entry, _)| entry.clone());
            changes.insert(self.change(name, entry, before, after));
        }
    }

    fn change(
        &self,
        name: &str,
        entry: Option<OsString>,
        before: Option<&(OsString, String)>,
        after: Option<&(OsString, String)>,
    ) -> Change {
        let is_distribution = entry.as_deref().is_some_and(is_metadata);
        if is_distribution {
            let version = |found: &(OsString, String)| found.1.clone();
            return Change::Distribution {
                name: name.to_owned(),
                before: before.map(version),
                after: after.map(version),
            };
        }
        Change::File {
            path: self.path.join(entry.unwrap_or_default()),
            what: match (before, after) {
                (Some(_), None) => "removed",
                (None, Some(_)) => "appeared",
                (Some(_), Some(_)) | (None, None) => "changed",
            },
        }
    }
}

/// A module that was looked for in a folder and not found.
#[derive(Debug)]
pub(super) struct Missing {
    place: PathBuf,
    stem: OsString,
    /// The files, or the folder, that it would be.
    candidates: Vec<PathBuf>,
    /// As in [`Folder`].
    mark: Option<Option<Mark>>,
}

impl Missing {
    /// `known` is the folder as it was before the template was started, if it was looked at.
    pub(super) fn take(
        place: PathBuf,
        stem: &OsStr,
        suffixes: &[OsString],
        known: Option<&Folder>,
    ) -> Self {
        let candidates: Vec<PathBuf> = std::iter::once(OsString::new())
            .chain(suffixes.iter().cloned())
            .map(|suffix| {
                let mut name = stem.to_owned();
                name.push(suffix);
                place.join(name)
            })
            .collect();
        let now = mark(&place);
        // What came after it was looked for shows at the first comparison.
        let came = candidates.iter().any(|each| each.exists());
        Self {
            mark: match known {
                _ if came => None,
                Some(known) => known.mark,
                None => (!is_young_mark(now)).then_some(now),
            },
            place,
            stem: stem.to_owned(),
            candidates,
        }
    }

    /// The folder in which it was looked for.
    pub(super) fn place(&self) -> &Path {
        &self.place
    }

    /// What would be there now.
    pub(super) fn names(&self) -> impl Iterator<Item = &OsStr> {
        self.candidates.iter().filter_map(|each| each.file_name())
    }

    pub(super) fn change(&self) -> Option<Change> {
        let is_there = self.mark != Some(mark(&self.place))
            && self.candidates.iter().any(|each| each.exists());
        is_there.then(|| Change::Found(self.stem.to_string_lossy().into_owned()))
    }
}

fn mark(path: &Path) -> Option<Mark> {
    let found = fs::metadata(path).ok()?;
    Some((nanoseconds(&found), found.ino()))
}

fn is_young_mark(mark: Option<Mark>) -> bool {
    mark.is_some_and(|(mtime, _)| is_young(mtime))
}

/// Whether a folder with this date, in nanoseconds, may change without another one.
pub(super) fn is_young(mtime: i64) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_nanos());
    let mtime = u128::try_from(mtime).unwrap_or(0);
    now.abs_diff(mtime) <= TICK.as_nanos()
}

fn marks(found: &BTreeMap<OsString, Metadata>) -> BTreeMap<OsString, Mark> {
    let mark = |(name, found): (&OsString, &Metadata)| {
        let mark = (nanoseconds(found), found.ino());
        (name.clone(), mark)
    };
    found.iter().map(mark).collect()
}

fn read(folder: &Path) -> BTreeMap<OsString, Metadata> {
    let Ok(entries) = fs::read_dir(folder) else {
        return BTreeMap::new();
    };
    entries
        .flatten()
        .filter(|entry| is_installed(&entry.file_name()))
        .filter_map(|entry| {
            let found = fs::metadata(entry.path()).ok()?;
            Some((entry.file_name(), found))
        })
        .collect()
}

pub(super) fn is_installed(name: &OsStr) -> bool {
    let name = name.as_bytes();
    is_metadata(OsStr::from_bytes(name)) || name.ends_with(b".pth")
}

fn is_metadata(name: &OsStr) -> bool {
    const ENDS: [&[u8]; 4] = [b".dist-info", b".egg-info", b".egg-link", b".egg"];
    ENDS.iter().any(|end| name.as_bytes().ends_with(end))
}

/// `requests-2.32.3.dist-info` -> (`requests`, `2.32.3`).
fn split(entry: &OsStr) -> (String, String) {
    let text = entry.to_string_lossy();
    if !is_metadata(entry) {
        return (text.into_owned(), String::new());
    }
    let stem = text.rsplit_once('.').map_or(&*text, |(stem, _)| stem);
    let mut parts = stem.split('-');
    let name = parts.next().unwrap_or(stem).to_owned();
    (name, parts.next().unwrap_or("(editable)").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_versions_come_from_the_folders_name() {
        for (entry, name, version) in [
            ("requests-2.32.3.dist-info", "requests", "2.32.3"),
            ("old-1.0-py3.11.egg-info", "old", "1.0"),
            ("linked.egg-link", "linked", "(editable)"),
            ("a.pth", "a.pth", ""),
        ] {
            assert_eq!(
                split(OsStr::new(entry)),
                (name.to_owned(), version.to_owned()),
                "{entry}"
            );
        }
    }
}
