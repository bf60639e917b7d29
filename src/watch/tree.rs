//! The folders that are watched and the files that they hold, as they were when they were last looked at. Hears of
//! paths, and tells what became of them; knows neither events nor time.
//!
//! Invariant: a folder is watched before it is listed. So a file that is made in a new folder is either in the list or
//! told by the watch.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::changes::{Changes, Kind};
use super::plan::Plan;
use super::rules::{Root, Rules};

/// Why a folder can't be watched.
#[derive(Debug)]
pub(super) enum Refused {
    /// It is gone, or may not be read: its scan fails as well.
    Folder,
    /// The system can't tell of changes, there or at all: this says why, and what to do about it.
    System(String),
}

/// Who asks the system to tell of changes.
pub(super) trait Watch {
    /// Has the names in a folder and their files watched; again, if they are.
    fn watch(&mut self, folder: &Path, device: u64) -> Result<(), Refused>;
    fn unwatch(&mut self, folder: &Path);
}

/// What tells that a file is as it was. A date that was set counts, and so do rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    identity: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Of a file, also behind a link; none where there is no file.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok().filter(Metadata::is_file)?;
        Some(Self {
            identity: identity(&found),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

/// What a path that was told of means.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meaning {
    /// Users may be told of it.
    pub(super) is_change: bool,
    /// A scan may find something else.
    pub(super) concerns_scan: bool,
}

#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) plan: Plan,
    pub(super) roots: BTreeMap<PathBuf, Root>,
    pub(super) rules: Rules,
    /// Those that are watched with all that is in them.
    pub(super) folders: BTreeMap<PathBuf, (u64, u64)>,
    /// Those of which only names count.
    pub(super) flat: BTreeMap<PathBuf, (u64, u64)>,
    /// A folder that has two names is watched by the first.
    pub(super) by_identity: HashMap<(u64, u64), PathBuf>,
    pub(super) files: BTreeMap<PathBuf, Stamp>,
    /// Files whose changes may come by another way: a link's target, another name of the same file.
    pub(super) strays: BTreeSet<PathBuf>,
    /// Rules that lie outside, and how they were.
    pub(super) outside: BTreeMap<PathBuf, Option<Stamp>>,
    /// To be looked at by the next [`Tree::settle`].
    pub(super) touched: BTreeSet<PathBuf>,
}

impl Tree {
    /// Watches what is planned; what is pending has to be settled before. True when the plan is another.
    pub(super) fn follow(&mut self, plan: Plan, watch: &mut dyn Watch) -> Result<bool, Refused> {
        let is_new = self.plan != plan;
        let before = std::mem::replace(&mut self.plan, plan);
        self.let_go(&before, watch);
        for (path, obeys) in self.plan.folders.clone() {
            if !self.roots.contains_key(&path) {
                self.add_root(&path, obeys);
            }
        }
        self.find_lost(watch)?;
        for file in self.plan.files.clone() {
            if let (None, Some(stamp)) = (self.files.get(&file), Stamp::of(&file)) {
                self.files.insert(file, stamp);
            }
        }
        // What was found just now is nothing new to anybody.
        self.settle();
        Ok(is_new)
    }

    /// What was planned, and is no more.
    fn let_go(&mut self, before: &Plan, watch: &mut dyn Watch) {
        for path in before.folders.keys() {
            if !self.plan.folders.contains_key(path) {
                self.roots.remove(path);
                if self.root_of(path).is_none() {
                    self.forget(path, watch);
                }
            }
        }
        for path in &before.flat {
            let is_let_go = !self.plan.flat.contains(path) && self.flat.remove(path).is_some();
            if is_let_go && !self.folders.contains_key(path) {
                watch.unwatch(path);
            }
        }
        self.touched.extend(before.files.iter().cloned());
    }

    /// Planned folders that are not there. The system does not tell when they come.
    pub(super) fn has_lost(&self) -> bool {
        let mut folders = self.plan.folders.keys();
        folders.any(|path| !self.folders.contains_key(path) && !self.has_other_name(path))
            || self
                .plan
                .flat
                .iter()
                .any(|path| !self.flat.contains_key(path))
    }

    fn has_other_name(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|found| self.by_identity.contains_key(&identity(&found)))
    }

    /// Watches those that have come.
    pub(super) fn find_lost(&mut self, watch: &mut dyn Watch) -> Result<(), Refused> {
        for path in self.plan.flat.clone() {
            if !self.flat.contains_key(&path) {
                self.enter_flat(&path, watch)?;
            }
        }
        let lost = |path: &PathBuf| !self.folders.contains_key(path);
        let lost: Vec<PathBuf> = self
            .plan
            .folders
            .keys()
            .filter(|p| lost(p))
            .cloned()
            .collect();
        for path in lost {
            self.enter(&path, watch)?;
        }
        Ok(())
    }

    /// Whether each planned folder is the one that is watched, and the rules outside are those that were read.
    ///
    /// A folder further up may be renamed, and another put in its place: nothing tells of that.
    pub(super) fn is_anchored(&self) -> bool {
        let same = |known: &BTreeMap<PathBuf, (u64, u64)>, path: &PathBuf| {
            let now = fs::metadata(path).ok().map(|found| identity(&found));
            match known.get(path) {
                Some(known) => now == Some(*known),
                None => now.is_none_or(|now| self.by_identity.contains_key(&now)),
            }
        };
        self.roots.keys().all(|path| same(&self.folders, path))
            && self.plan.flat.iter().all(|path| same(&self.flat, path))
            && self
                .outside
                .iter()
                .all(|(file, known)| Stamp::of(file) == *known)
    }

    /// The name by which the tree knows a path that was told without symbolic links.
    pub(super) fn name_of(&self, path: PathBuf) -> PathBuf {
        let mut roots = self.roots.values();
        match roots.find(|root| path.starts_with(&root.real)) {
            Some(root) => match path.strip_prefix(&root.real) {
                Ok(below) => root.path.join(below),
                Err(_) => path,
            },
            None => path,
        }
    }

    pub(super) fn strays(&self) -> &BTreeSet<PathBuf> {
        &self.strays
    }

    pub(super) fn locks(&self) -> &BTreeSet<PathBuf> {
        &self.plan.locks
    }

    /// Looks at everything again: nobody knows what has changed.
    pub(super) fn look_at_all(&mut self, watch: &mut dyn Watch) -> Result<(), Refused> {
        for root in self.roots.clone().into_values() {
            self.add_root(&root.path, root.obeys);
        }
        self.hide(Path::new("/"), watch);
        for path in self.plan.flat.clone() {
            self.enter_flat(&path, watch)?;
        }
        let roots: Vec<PathBuf> = self.roots.keys().cloned().collect();
        for root in roots {
            self.note_folder(&root, watch)?;
        }
        self.touched.extend(self.files.keys().cloned());
        self.touched.extend(self.plan.files.iter().cloned());
        Ok(())
    }

    /// Something has happened to a path.
    pub(super) fn note(&mut self, path: &Path, watch: &mut dyn Watch) -> Result<Meaning, Refused> {
        if path.file_name().is_some_and(|name| name == ".gitignore") {
            if let Some(folder) = path.parent() {
                self.reread_rules(folder, watch)?;
            }
        }
        let was_folder = self.folders.contains_key(path) || self.flat.contains_key(path);
        let was_file = self.files.contains_key(path) || self.strays.contains(path);
        let found = fs::symlink_metadata(path).ok();
        let is_link = found.as_ref().is_some_and(Metadata::is_symlink);
        let is_folder = match &found {
            Some(_) if is_link => fs::metadata(path).is_ok_and(|found| found.is_dir()),
            Some(found) => found.is_dir(),
            None => false,
        };
        if self.plan.flat.contains(path) {
            self.flat.remove(path);
            self.enter_flat(path, watch)?;
        }
        let is_visible = self.is_visible(path, is_folder);
        if is_folder && is_visible {
            if is_link {
                // It may point to another place now.
                self.forget(path, watch);
                let obeys = self.root_of(path).is_some_and(|root| root.obeys);
                self.add_root(path, obeys);
            }
            self.note_folder(path, watch)?;
        } else {
            if was_folder {
                self.forget(path, watch);
            }
            self.touched.insert(path.to_owned());
        }
        let concerns_scan = was_folder
            || is_visible && is_folder
            || is_link
            || was_file && is_source(path)
            || self.concerns_scan(path, is_folder, is_visible);
        Ok(Meaning {
            is_change: was_folder || was_file || is_visible,
            concerns_scan,
        })
    }

    /// What became of the paths that were told of.
    pub(super) fn settle(&mut self) -> Changes {
        let mut changes = Changes::default();
        for path in std::mem::take(&mut self.touched) {
            let found = Stamp::of(&path);
            let now = found.filter(|_| self.is_visible(&path, false));
            self.note_stray(&path, now.is_some());
            let before = match now {
                Some(now) => self.files.insert(path.clone(), now),
                None => self.files.remove(&path),
            };
            let kind = match (before, now) {
                (None, Some(_)) => Kind::Added,
                (Some(before), Some(now)) if before != now => Kind::Changed,
                // One that is there, and hidden by a rule since, has not changed.
                (Some(_), None) if found.is_none() => Kind::Removed,
                (_, _) => continue,
            };
            changes.note(path, kind);
        }
        changes
    }

    fn note_stray(&mut self, path: &Path, is_there: bool) {
        let is_stray = is_there
            && fs::symlink_metadata(path)
                .is_ok_and(|found| found.is_symlink() || found.nlink() > 1);
        if is_stray {
            self.strays.insert(path.to_owned());
        } else {
            self.strays.remove(path);
        }
    }
}

pub(super) fn identity(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

pub(super) fn is_source(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "py" || extension == "pyw")
}
