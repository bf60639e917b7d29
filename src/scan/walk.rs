//! From folders to source files. Owns the folders that are never entered, and symbolic links; reads no file's content
//! and knows no module names.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{is_source, Disk, Folder, Identity, Kind};
use super::rules::{self, Rules};
use super::Problem;

/// Folders that hold what others wrote, or nothing to import.
const NEVER_ENTERED: [&str; 5] = [
    ".venv",
    "node_modules",
    "__pycache__",
    "site-packages",
    "dist-packages",
];

/// What all walks of one scan found. A folder that is reached by several names counts once.
#[derive(Debug, Default)]
pub(super) struct Walker {
    folders: HashSet<Identity>,
    pub(super) problems: Vec<Problem>,
}

/// A folder on the way, and what is in it.
struct Listed {
    place: Place,
    folder: Arc<Folder>,
    entries: Vec<Entry>,
}

enum Entry {
    File(PathBuf),
    Link(PathBuf),
    /// Which one of those listed.
    Folder(usize),
}

#[derive(Clone)]
struct Place {
    path: PathBuf,
    /// Its name without links, where rules ask for it.
    real: PathBuf,
    rules: Option<Arc<Rules>>,
}

impl Walker {
    /// The source files below `root`, or `root` itself: those with a name of their own by path, then those behind
    /// links. Folders of an earlier call are left out.
    ///
    /// Ignore rules are obeyed if `rules` is set and `root` is not itself ignored: then they tell nothing.
    pub(super) fn walk(&mut self, disk: &mut Disk, root: &Path, rules: bool) -> Vec<PathBuf> {
        match disk.target(root) {
            Some((_, true)) => {}
            Some((_, false)) => {
                let is_file = fs::metadata(root).is_ok_and(|metadata| metadata.is_file());
                let found = is_file && is_source(root);
                disk.has_aliases |= fs::canonicalize(root).map_or(true, |real| real != root);
                return found.then(|| root.to_owned()).into_iter().collect();
            }
            None => {
                if let Err(error) = fs::metadata(root) {
                    self.problems.push(problem(root, &error.to_string()));
                }
                return Vec::new();
            }
        }
        let real = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
        disk.has_aliases |= real != root;
        let rules = rules && !rules::above(&real, disk).is_some_and(|r| r.ignores_all(&real, true));
        let mut found = Vec::new();
        let mut links = Vec::new();
        self.enter(disk, root, rules, &mut found, &mut links);
        links.sort();
        // Links come after all that has a name of its own, in the order of their paths, so that it does not depend on
        // chance which name a file gets.
        let mut at = 0;
        while let Some(link) = links.get(at).cloned() {
            at += 1;
            disk.has_aliases = true;
            match disk.target(&link) {
                // An ancestor holds the tree that is being walked, and maybe the whole disk.
                Some((_, true)) => {
                    let loops = fs::canonicalize(&link).map_or(true, |to| real.starts_with(to));
                    if !loops && !has_foreign_name(&link) && !disk.folder(&link).is_environment() {
                        self.enter(disk, &link, rules, &mut found, &mut links);
                        if let Some(fresh) = links.get_mut(at..) {
                            fresh.sort();
                        }
                    }
                }
                Some((_, false)) if is_source(&link) => found.push(link),
                // A link to nowhere: editors lock files that way.
                Some((_, false)) | None => {}
            }
        }
        found
    }

    /// Adds the files and links below a folder, in the order of their paths.
    fn enter(
        &mut self,
        disk: &mut Disk,
        root: &Path,
        rules: bool,
        found: &mut Vec<PathBuf>,
        links: &mut Vec<PathBuf>,
    ) {
        let mut all = survey(disk, root, rules);
        // With a stack of its own: folders may lie deeper than the thread's reaches.
        let mut stack = vec![Entry::Folder(0)];
        while let Some(entry) = stack.pop() {
            match entry {
                Entry::File(path) => found.push(path),
                Entry::Link(path) => links.push(path),
                Entry::Folder(at) => {
                    let Some(listed) = all.get_mut(at) else {
                        continue;
                    };
                    let fresh = listed
                        .folder
                        .identity
                        .is_some_and(|id| self.folders.insert(id));
                    if !fresh {
                        continue;
                    }
                    if let Some(error) = &listed.folder.problem {
                        self.problems.push(problem(&listed.place.path, error));
                    }
                    stack.extend(std::mem::take(&mut listed.entries).into_iter().rev());
                }
            }
        }
    }
}

/// All folders below `root`, which is the first one, level by level.
fn survey(disk: &mut Disk, root: &Path, with_rules: bool) -> Vec<Listed> {
    let real = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    let rules = if with_rules {
        rules::above(&real, disk)
    } else {
        None
    };
    let mut all: Vec<Listed> = Vec::new();
    let mut level = vec![(
        Place {
            path: root.to_owned(),
            real,
            rules,
        },
        None,
    )];
    while !level.is_empty() {
        let paths: Vec<PathBuf> = level.iter().map(|(place, _)| place.path.clone()).collect();
        let folders = disk.folders(&paths);
        let mut next = Vec::new();
        for ((mut place, slot), folder) in level.into_iter().zip(folders) {
            // The place of a folder among its parent's entries is kept free until it is known to be entered.
            if slot.is_some() && folder.is_environment() {
                continue;
            }
            let at = all.len();
            if let Some((parent, entry)) = slot {
                let parent: Option<&mut Listed> = all.get_mut(parent);
                if let Some(slot) = parent.and_then(|parent| parent.entries.get_mut(entry)) {
                    *slot = Entry::Folder(at);
                }
            }
            if with_rules {
                place.rules = rules::enter(place.rules, &place.path, &folder, disk);
            }
            let (entries, below) = sift(&place, &folder);
            next.extend(
                below
                    .into_iter()
                    .map(|(entry, place)| (place, Some((at, entry)))),
            );
            all.push(Listed {
                place,
                folder,
                entries,
            });
        }
        level = next;
    }
    all
}

/// What of a folder's items is not ignored, and those that are folders again, with their position.
fn sift(place: &Place, folder: &Folder) -> (Vec<Entry>, Vec<(usize, Place)>) {
    let mut entries = Vec::new();
    let mut below = Vec::new();
    for item in &folder.items {
        let path = place.path.join(&item.name);
        let is_folder = item.kind == Kind::Folder;
        if item.kind == Kind::File && !is_source(&path) || is_folder && has_foreign_name(&path) {
            continue;
        }
        let rules = place.rules.as_ref();
        let real = rules.map_or_else(PathBuf::new, |_| place.real.join(&item.name));
        let hidden = item.name.as_encoded_bytes().starts_with(b".");
        let ignored = rules.and_then(|rules| rules.ignore(&path, &real, is_folder));
        if ignored.unwrap_or(hidden) {
            continue;
        }
        match item.kind {
            Kind::File => entries.push(Entry::File(path)),
            Kind::Link => entries.push(Entry::Link(path)),
            Kind::Folder => {
                below.push((
                    entries.len(),
                    Place {
                        path,
                        real,
                        rules: place.rules.clone(),
                    },
                ));
                entries.push(Entry::Folder(usize::MAX));
            }
        }
    }
    (entries, below)
}

fn problem(path: &Path, error: &str) -> Problem {
    Problem {
        file: path.to_owned(),
        line: None,
        message: format!("can't be read: {error}"),
    }
}

/// Whether a folder holds what others wrote, or nothing to import.
pub(crate) fn is_never_entered(folder: &Path) -> bool {
    has_foreign_name(folder) || folder.join("pyvenv.cfg").exists()
}

fn has_foreign_name(folder: &Path) -> bool {
    folder
        .file_name()
        .is_some_and(|name| NEVER_ENTERED.iter().any(|never| name == *never))
}

/// Whether git would ignore `root` itself, by the rules of the folders above it.
pub(crate) fn is_ignored(root: &Path) -> bool {
    let Ok(real) = fs::canonicalize(root) else {
        return false;
    };
    let rules = rules::above(&real, &mut Disk::default());
    rules.is_some_and(|rules| rules.ignores_all(&real, real.is_dir()))
}

impl Folder {
    /// Whether it is a virtual environment.
    fn is_environment(&self) -> bool {
        self.item("pyvenv.cfg").is_some()
    }
}
