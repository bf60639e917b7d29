//! From folders to source files. Owns ignore rules, the folders that are never entered, and symbolic links; reads no
//! file's content and knows no module names.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{channel, Sender};
use std::sync::{Mutex, PoisonError};

use ignore::gitignore::Gitignore;
use ignore::{Match, WalkBuilder, WalkState};
use walkdir::WalkDir;

use super::cache::FileStamp;
use super::threads::safe_threads;
use super::Problem;

/// Folders that hold what others wrote, or nothing to import.
const NEVER_ENTERED: [&str; 5] = [
    ".venv",
    "node_modules",
    "__pycache__",
    "site-packages",
    "dist-packages",
];

/// A source file, as the disk had it during the walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) stamp: FileStamp,
}

/// What all walks of one scan found. A file or folder that is reached by several names counts once, by a name
/// without symbolic links if it has one.
#[derive(Debug, Default)]
pub(super) struct Walker {
    folders: Mutex<HashSet<(u64, u64)>>,
    files: HashSet<(u64, u64)>,
    pub(super) problems: Vec<Problem>,
}

enum Event {
    File(PathBuf, Metadata),
    Link(PathBuf),
    Failed(Problem),
}

impl Walker {
    /// The source files below `root`, or `root` itself, by path. Those of an earlier call are left out.
    ///
    /// Ignore rules are obeyed if `rules` is set and `root` is not itself ignored: then they tell nothing.
    pub(super) fn walk(&mut self, root: &Path, rules: bool) -> Vec<Found> {
        match fs::metadata(root) {
            Ok(metadata) if metadata.is_dir() => {
                if self.has_entered(&metadata) {
                    return Vec::new();
                }
            }
            Ok(metadata) => {
                let mut found = Vec::new();
                self.add(root.to_owned(), &metadata, &mut found);
                return found;
            }
            Err(error) => {
                self.problems.push(problem(root, &error));
                return Vec::new();
            }
        }
        let rules = rules && !is_ignored(root);
        let real = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
        let mut found = Vec::new();
        let mut links = Vec::new();
        // Links come after all that has a name of its own, in the order of their paths, so that it does not depend
        // on chance which name a file gets.
        let mut folder = Some(root.to_owned());
        let mut at = 0;
        loop {
            if let Some(folder) = folder.take() {
                self.walk_folder(&folder, rules, &mut found, &mut links);
                if let Some(fresh) = links.get_mut(at..) {
                    fresh.sort();
                }
            }
            let Some(link) = links.get(at).cloned() else {
                break;
            };
            at += 1;
            match fs::metadata(&link) {
                // An ancestor holds the tree that is being walked, and maybe the whole disk.
                Ok(target) if target.is_dir() => {
                    let loops = fs::canonicalize(&link).map_or(true, |to| real.starts_with(to));
                    folder = (!loops && !is_never_entered(&link)).then_some(link);
                }
                Ok(target) => self.add(link, &target, &mut found),
                // A link to nowhere: editors lock files that way.
                Err(_) => {}
            }
        }
        found.sort_by(|one, other| one.path.cmp(&other.path));
        found
    }

    fn has_entered(&self, metadata: &Metadata) -> bool {
        let folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        folders.contains(&identity(metadata))
    }

    fn walk_folder(
        &mut self,
        root: &Path,
        rules: bool,
        found: &mut Vec<Found>,
        links: &mut Vec<PathBuf>,
    ) {
        let (sender, receiver) = channel();
        match rules.then(safe_threads) {
            Some(0) => {
                self.problems.push(Problem {
                    file: root.to_owned(),
                    line: None,
                    message: "no thread can be started: ignore rules are not obeyed".to_owned(),
                });
                without_rules(root, &self.folders, &sender);
            }
            Some(threads) => with_rules(root, threads, &self.folders, &sender),
            None => without_rules(root, &self.folders, &sender),
        }
        drop(sender);
        let mut files = Vec::new();
        for event in receiver {
            match event {
                Event::File(path, metadata) => files.push((path, metadata)),
                Event::Link(path) => links.push(path),
                Event::Failed(problem) => self.problems.push(problem),
            }
        }
        // Hard links: the first name by path.
        files.sort_by(|one, other| one.0.cmp(&other.0));
        for (path, metadata) in files {
            self.add(path, &metadata, found);
        }
    }

    fn add(&mut self, path: PathBuf, metadata: &Metadata, found: &mut Vec<Found>) {
        // Not a pipe, which would block the reader.
        if metadata.is_file() && is_source(&path) && self.files.insert(identity(metadata)) {
            let stamp = FileStamp::of(metadata);
            found.push(Found { path, stamp });
        }
    }
}

fn with_rules(
    root: &Path,
    threads: usize,
    folders: &Mutex<HashSet<(u64, u64)>>,
    sender: &Sender<Event>,
) {
    let walk = WalkBuilder::new(root)
        .follow_links(false)
        .require_git(false)
        // What git ignores is generated or foreign; `.ignore` and the user's own list are about searching.
        .ignore(false)
        .git_global(false)
        .threads(threads)
        .build_parallel();
    walk.run(|| {
        let sender = sender.clone();
        Box::new(move |entry| {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    let vanished = error
                        .io_error()
                        .is_some_and(|error| error.kind() == io::ErrorKind::NotFound);
                    if !vanished {
                        tell(&sender, Event::Failed(problem(root, &error)));
                    }
                    return WalkState::Continue;
                }
            };
            let path = entry.path();
            let below = entry.depth() > 0;
            let is_link = below && entry.path_is_symlink();
            if visit(path, is_link, below, folders, &sender) {
                WalkState::Continue
            } else {
                WalkState::Skip
            }
        })
    });
}

fn without_rules(root: &Path, folders: &Mutex<HashSet<(u64, u64)>>, sender: &Sender<Event>) {
    let mut walk = WalkDir::new(root).follow_links(false).into_iter();
    while let Some(entry) = walk.next() {
        match entry {
            Ok(entry) => {
                let below = entry.depth() > 0;
                let name = entry.file_name().as_encoded_bytes();
                let is_link = below && entry.path_is_symlink();
                let enters = !(below && name.starts_with(b"."))
                    && visit(entry.path(), is_link, below, folders, sender);
                // A root that is a link is walked, though its entry is not that of a folder.
                if !enters && (entry.file_type().is_dir() || !below) {
                    walk.skip_current_dir();
                }
            }
            Err(error) => {
                let vanished = error
                    .io_error()
                    .is_some_and(|error| error.kind() == io::ErrorKind::NotFound);
                if !vanished {
                    let path = error.path().unwrap_or(root);
                    tell(sender, Event::Failed(problem(path, &error)));
                }
            }
        }
    }
}

/// Tells what an entry is; false when a folder is not to be entered.
fn visit(
    path: &Path,
    is_link: bool,
    below: bool,
    folders: &Mutex<HashSet<(u64, u64)>>,
    sender: &Sender<Event>,
) -> bool {
    if is_link {
        tell(sender, Event::Link(path.to_owned()));
        return false;
    }
    // Gone since its folder was listed: no problem of ours.
    let Ok(metadata) = fs::metadata(path) else {
        return false;
    };
    if metadata.is_dir() {
        return !(below && is_never_entered(path))
            && folders
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(identity(&metadata));
    }
    if is_source(path) {
        tell(sender, Event::File(path.to_owned(), metadata));
    }
    true
}

fn tell(sender: &Sender<Event>, event: Event) {
    if sender.send(event).is_err() {
        log::debug!("the walk's receiver is gone");
    }
}

fn problem(path: &Path, error: &dyn std::error::Error) -> Problem {
    Problem {
        file: path.to_owned(),
        line: None,
        message: format!("can't be read: {error}"),
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn is_source(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "py" || extension == "pyw")
}

pub(crate) fn is_never_entered(folder: &Path) -> bool {
    folder
        .file_name()
        .is_some_and(|name| NEVER_ENTERED.iter().any(|never| name == *never))
        || folder.join("pyvenv.cfg").exists()
}

/// Whether git would ignore `root` itself, by the rules of the folders above it.
pub(crate) fn is_ignored(root: &Path) -> bool {
    let Ok(real) = fs::canonicalize(root) else {
        return false;
    };
    let is_dir = real.is_dir();
    if real.join(".git").exists() {
        return false;
    }
    for folder in real.ancestors().skip(1) {
        let file = folder.join(".gitignore");
        if file.is_file() {
            let (rules, _) = Gitignore::new(&file);
            let below = real.strip_prefix(folder).unwrap_or(&real);
            match rules.matched_path_or_any_parents(below, is_dir) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => {}
            }
        }
        if folder.join(".git").exists() {
            return false;
        }
    }
    false
}
