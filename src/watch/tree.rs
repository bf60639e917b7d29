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
use super::names::is_temporary;
use super::plan::Plan;
use super::rules::{Root, Rules, Verdict};
use crate::scan::is_never_entered;

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
    plan: Plan,
    roots: BTreeMap<PathBuf, Root>,
    rules: Rules,
    /// Those that are watched with all that is in them.
    folders: BTreeMap<PathBuf, (u64, u64)>,
    /// Those of which only names count.
    flat: BTreeMap<PathBuf, (u64, u64)>,
    /// A folder that has two names is watched by the first.
    by_identity: HashMap<(u64, u64), PathBuf>,
    files: BTreeMap<PathBuf, Stamp>,
    /// Files whose changes may come by another way: a link's target, another name of the same file.
    strays: BTreeSet<PathBuf>,
    /// Rules that lie outside, and how they were.
    outside: BTreeMap<PathBuf, Option<Stamp>>,
    /// To be looked at by the next [`Tree::settle`].
    touched: BTreeSet<PathBuf>,
}

impl Tree {
    /// Watches what is planned; what is pending has to be settled before. True when the plan is another.
    pub(super) fn follow(&mut self, plan: Plan, watch: &mut dyn Watch) -> Result<bool, Refused> {
        let is_new = self.plan != plan;
        self.plan = plan;
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

    fn concerns_scan(&self, path: &Path, is_folder: bool, is_visible: bool) -> bool {
        let Some((name, parent)) = path.file_name().zip(path.parent()) else {
            return true;
        };
        let is_hidden = name.as_encoded_bytes().starts_with(b".");
        if [".gitignore", "pyvenv.cfg"]
            .iter()
            .any(|each| name == *each)
        {
            return true;
        }
        if self.folders.contains_key(parent) {
            return is_visible && (is_folder || is_source(path));
        }
        // Beside the project: a module that appears there may hide another.
        is_source(path) || is_folder && !is_hidden && !is_never_entered(path)
    }

    /// Whether users are told of a path, or, of a folder, whether it is entered.
    fn is_visible(&self, path: &Path, is_folder: bool) -> bool {
        if self.plan.files.contains(path) || is_folder && self.plan.folders.contains_key(path) {
            return true;
        }
        let Some((name, parent)) = path.file_name().zip(path.parent()) else {
            return false;
        };
        if !self.folders.contains_key(parent) || !is_folder && is_temporary(name) {
            return false;
        }
        let Some(root) = self.root_of(parent) else {
            return false;
        };
        // To git a link is no folder, whatever it points to.
        let is_link = || fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
        let verdict = if root.obeys {
            self.rules.verdict(root, path, is_folder && !is_link())
        } else {
            Verdict::Nothing
        };
        let is_hidden = name.as_encoded_bytes().starts_with(b".");
        match verdict {
            Verdict::Ignored => false,
            Verdict::Nothing if is_folder && is_hidden => false,
            Verdict::Kept | Verdict::Nothing => {
                !is_folder || name != ".git" && !is_never_entered(path)
            }
        }
    }

    fn root_of(&self, path: &Path) -> Option<&Root> {
        path.ancestors().find_map(|path| self.roots.get(path))
    }

    fn add_root(&mut self, path: &Path, obeys: bool) {
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let root = Root {
            path: path.to_owned(),
            real,
            obeys,
        };
        if obeys {
            self.rules.load_above(&root);
            for folder in root.real.ancestors().skip(1) {
                for file in [folder.join(".gitignore"), folder.join(".git/info/exclude")] {
                    let stamp = Stamp::of(&file);
                    self.outside.insert(file, stamp);
                }
            }
        }
        self.roots.insert(path.to_owned(), root);
    }

    fn enter_flat(&mut self, path: &Path, watch: &mut dyn Watch) -> Result<(), Refused> {
        let Some(found) = fs::metadata(path).ok().filter(Metadata::is_dir) else {
            return Ok(());
        };
        match watch.watch(path, found.dev()) {
            Ok(()) => {
                self.flat.insert(path.to_owned(), identity(&found));
                // A file that came with it.
                let files = self
                    .plan
                    .files
                    .iter()
                    .filter(|file| file.parent() == Some(path));
                self.touched.extend(files.cloned());
                Ok(())
            }
            Err(Refused::Folder) => Ok(()),
            Err(refused) => Err(refused),
        }
    }

    /// A folder that is new, or to which something has happened: all below it may be different.
    fn note_folder(&mut self, path: &Path, watch: &mut dyn Watch) -> Result<(), Refused> {
        let below = self.folders.range(path.to_owned()..);
        let below = below.take_while(|(each, _)| each.starts_with(path));
        let gone: Vec<PathBuf> = below
            .filter(|(each, known)| {
                let now = fs::metadata(each).ok().filter(Metadata::is_dir);
                now.map(|now| identity(&now)) != Some(**known)
            })
            .map(|(each, _)| each.clone())
            .collect();
        for folder in gone {
            self.forget(&folder, watch);
        }
        self.touch_below(path);
        self.enter(path, watch)
    }

    fn touch_below(&mut self, path: &Path) {
        let files = self.files.range(path.to_owned()..).map(|(file, _)| file);
        let files = files.take_while(|file| file.starts_with(path));
        self.touched.extend(files.cloned());
    }

    /// Watches a folder and what is in it, and notes its files as touched.
    fn enter(&mut self, path: &Path, watch: &mut dyn Watch) -> Result<(), Refused> {
        let mut folders = vec![path.to_owned()];
        // Links come after all that has a name of its own, as in the scan's walk.
        let mut links = BTreeSet::new();
        loop {
            while let Some(folder) = folders.pop() {
                self.enter_one(&folder, watch, &mut folders, &mut links)?;
            }
            let Some(link) = links.pop_first() else {
                return Ok(());
            };
            let Some(root) = self.root_of(&link) else {
                continue;
            };
            // An ancestor holds the tree that is being watched, and maybe the whole disk.
            let loops = fs::canonicalize(&link).map_or(true, |to| root.real.starts_with(to));
            if !loops && self.is_visible(&link, true) {
                let obeys = root.obeys;
                self.add_root(&link, obeys);
                folders.push(link);
            }
        }
    }

    fn enter_one(
        &mut self,
        folder: &Path,
        watch: &mut dyn Watch,
        folders: &mut Vec<PathBuf>,
        links: &mut BTreeSet<PathBuf>,
    ) -> Result<(), Refused> {
        let Some(found) = fs::metadata(folder).ok().filter(Metadata::is_dir) else {
            return Ok(());
        };
        let known = self.by_identity.get(&identity(&found));
        if known.is_some_and(|known| known != folder && self.folders.contains_key(known)) {
            return Ok(());
        }
        match watch.watch(folder, found.dev()) {
            Ok(()) => {}
            Err(Refused::Folder) => return Ok(()),
            Err(refused) => return Err(refused),
        }
        self.by_identity.insert(identity(&found), folder.to_owned());
        self.folders.insert(folder.to_owned(), identity(&found));
        self.rules.load(folder);
        let Ok(entries) = fs::read_dir(folder) else {
            return Ok(());
        };
        for entry in entries.flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => {
                    if self.is_visible(&path, true) {
                        folders.push(path);
                    }
                }
                Ok(kind) if kind.is_symlink() && path.is_dir() => {
                    links.insert(path);
                }
                Ok(_) => {
                    self.touched.insert(path);
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// A folder is there no more, or is none to be watched.
    fn forget(&mut self, path: &Path, watch: &mut dyn Watch) {
        self.touch_below(path);
        let below = self.folders.range(path.to_owned()..);
        let below = below.take_while(|(each, _)| each.starts_with(path));
        let gone: Vec<(PathBuf, (u64, u64))> =
            below.map(|(each, id)| (each.clone(), *id)).collect();
        for (folder, identity) in gone {
            self.folders.remove(&folder);
            if self.by_identity.get(&identity) == Some(&folder) {
                self.by_identity.remove(&identity);
            }
            self.rules.forget(&folder);
            if !self.plan.folders.contains_key(&folder) {
                self.roots.remove(&folder);
            }
            if !self.flat.contains_key(&folder) {
                watch.unwatch(&folder);
            }
        }
    }

    /// Lets go of the folders that rules hide now.
    fn hide(&mut self, above: &Path, watch: &mut dyn Watch) {
        let hidden: Vec<PathBuf> = self
            .folders
            .keys()
            .filter(|each| each.starts_with(above) && !self.is_visible(each, true))
            .cloned()
            .collect();
        for each in hidden {
            self.forget(&each, watch);
        }
    }

    /// Rules have changed. What they hide from now on, and what they show, has not changed itself: nobody is told.
    fn reread_rules(&mut self, folder: &Path, watch: &mut dyn Watch) -> Result<(), Refused> {
        let before = self.rules.clone();
        self.rules.load(folder);
        for (file, known) in &mut self.outside {
            if file.parent() == Some(folder) {
                *known = Stamp::of(file);
            }
        }
        self.hide(folder, watch);
        let roots: Vec<PathBuf> = self
            .roots
            .values()
            .filter(|root| root.path.starts_with(folder) || folder.starts_with(&root.path))
            .filter(|root| root.obeys)
            .map(|root| {
                if folder.starts_with(&root.path) {
                    folder
                } else {
                    &root.path
                }
                .to_owned()
            })
            .collect();
        for each in roots {
            if self.folders.contains_key(&each) {
                self.enter(&each, watch)?;
            }
        }
        // Those that the old rules hid are known from now on; those that are new are told.
        let shown: Vec<PathBuf> = self
            .touched
            .iter()
            .filter(|path| !self.files.contains_key(*path) && path.starts_with(folder))
            .filter(|path| {
                let root = self.root_of(path);
                root.is_some_and(|root| was_ignored(&before, root, path))
            })
            .cloned()
            .collect();
        for path in shown {
            if let Some(stamp) = Stamp::of(&path).filter(|_| self.is_visible(&path, false)) {
                self.files.insert(path.clone(), stamp);
            }
            self.touched.remove(&path);
        }
        Ok(())
    }
}

/// Whether rules hid a path, or one of the folders that it lies in.
fn was_ignored(rules: &Rules, root: &Root, path: &Path) -> bool {
    let inside = path.ancestors().take_while(|each| *each != root.path);
    inside
        .enumerate()
        .any(|(at, each)| rules.verdict(root, each, at > 0) == Verdict::Ignored)
}

fn identity(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

fn is_source(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "py" || extension == "pyw")
}
