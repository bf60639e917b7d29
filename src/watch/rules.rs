//! What is ignored, as the scan's walk ignores it: the .gitignore files of a folder and of all above it, and
//! .git/info/exclude. Finds no files.
//!
//! The walk of the `ignore` crate answers for whole trees; a watcher asks about one path, many times. The property at
//! the end of `tests.rs` compares the two.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use ignore::Match;

/// A folder that is watched with all that is in it.
#[derive(Debug, Clone)]
pub(super) struct Root {
    /// Its name, which its files have as their beginning.
    pub(super) path: PathBuf,
    /// The same without symbolic links: the folders above that one have rules to obey.
    pub(super) real: PathBuf,
    pub(super) obeys: bool,
}

#[derive(Debug)]
struct Rule {
    ignore: Gitignore,
    exclude: Gitignore,
}

/// The rules by the folder that they lie in; folders without any are not there.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules(HashMap<PathBuf, Arc<Rule>>);

/// What the rules say of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Ignored,
    /// Named as not to be ignored: then it is not even hidden.
    Kept,
    Nothing,
}

impl Rules {
    /// Reads the rules of a folder, anew if they are known.
    pub(super) fn load(&mut self, folder: &Path) {
        // What is wrong with a rule is git's to tell; the others count.
        let file = folder.join(".gitignore");
        let (ignore, _) = Gitignore::new(file);
        let exclude = git_folders(folder).map_or_else(Gitignore::empty, |git| {
            let mut builder = GitignoreBuilder::new(folder);
            let _ = builder.add(git.common.join("info/exclude"));
            builder.build().unwrap_or_else(|_| Gitignore::empty())
        });
        if ignore.is_empty() && exclude.is_empty() {
            self.0.remove(folder);
        } else {
            let rule = Rule { ignore, exclude };
            self.0.insert(folder.to_owned(), Arc::new(rule));
        }
    }

    /// Reads the rules of all folders above a root.
    pub(super) fn load_above(&mut self, root: &Root) {
        for folder in root.real.ancestors().skip(1) {
            self.load(folder);
        }
    }

    pub(super) fn forget(&mut self, folder: &Path) {
        self.0.remove(folder);
    }

    /// What the rules say of a path below `root`; its folders are taken as not ignored.
    pub(super) fn verdict(&self, root: &Root, path: &Path, is_folder: bool) -> Verdict {
        if self.0.is_empty() {
            return Verdict::Nothing;
        }
        let mut ignore = Match::None;
        let mut exclude = Match::None;
        let mut ask = |folder: &Path, path: &Path| {
            if let Some(rule) = self.0.get(folder) {
                if ignore.is_none() {
                    ignore = rule.ignore.matched(path, is_folder).map(|_| ());
                }
                if exclude.is_none() {
                    exclude = rule.exclude.matched(path, is_folder).map(|_| ());
                }
            }
        };
        for folder in path.ancestors().skip(1) {
            if !folder.starts_with(&root.path) {
                break;
            }
            ask(folder, path);
        }
        let below = path.strip_prefix(&root.path).unwrap_or(path);
        let real = root.real.join(below);
        for folder in root.real.ancestors().skip(1) {
            ask(folder, &real);
        }
        match ignore.or(exclude) {
            Match::Ignore(()) => Verdict::Ignored,
            Match::Whitelist(()) => Verdict::Kept,
            Match::None => Verdict::Nothing,
        }
    }
}

/// Where git keeps what belongs to a folder.
pub(super) struct GitFolders {
    /// Of this working tree: its index, and the lock of that.
    pub(super) own: PathBuf,
    /// Of all working trees of the repository.
    pub(super) common: PathBuf,
}

/// None where a folder is not the top of a working tree.
pub(super) fn git_folders(folder: &Path) -> Option<GitFolders> {
    let git = folder.join(".git");
    let found = fs::metadata(&git).ok()?;
    if found.is_dir() {
        return Some(GitFolders {
            own: git.clone(),
            common: git,
        });
    }
    // A linked working tree or a submodule: a file that says where.
    let text = fs::read_to_string(&git).ok()?;
    let own = folder.join(text.trim().strip_prefix("gitdir:")?.trim());
    let common = fs::read_to_string(own.join("commondir"))
        .map_or_else(|_| own.clone(), |common| own.join(common.trim()));
    Some(GitFolders { own, common })
}
