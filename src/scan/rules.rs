//! Which files git would ignore: the rules of `.gitignore` files and of `.git/info/exclude`, inner ones first, up to the
//! root of the repository. They hold without a repository too, up to the root of the disk.

#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use ignore::Match;

use super::disk::{Disk, Folder};

/// The rules that one folder adds to those around it.
#[derive(Debug)]
pub(super) struct Rules {
    outer: Option<Arc<Rules>>,
    ignored: Option<Gitignore>,
    excluded: Option<Gitignore>,
    is_repository: bool,
    /// It lies above the folder where the walk began, and goes by real names.
    is_above: bool,
}

/// The rules of the folders above `root` (which is a real name), as far as its repository reaches.
pub(super) fn above(root: &Path, disk: &mut Disk) -> Option<Arc<Rules>> {
    let mut folders = Vec::new();
    let mut folder = root;
    while !has_git(folder, disk) {
        let Some(parent) = folder.parent() else {
            break;
        };
        folders.push(parent);
        folder = parent;
    }
    let mut rules = None;
    for folder in folders.into_iter().rev() {
        let file = folder.join(".gitignore");
        let ignored = gitignore(folder, &file, disk);
        let is_repository = has_git(folder, disk);
        rules = add(rules, folder, ignored, is_repository, true, disk);
    }
    rules
}

/// The rules for what is in `folder`, whose own ones come on top of `outer`.
pub(super) fn enter(
    outer: Option<Arc<Rules>>,
    path: &Path,
    folder: &Folder,
    disk: &mut Disk,
) -> Option<Arc<Rules>> {
    let ignored = folder
        .item(".gitignore")
        .and_then(|_| gitignore(path, &path.join(".gitignore"), disk));
    let is_repository = folder.item(".git").is_some();
    add(outer, path, ignored, is_repository, false, disk)
}

fn add(
    outer: Option<Arc<Rules>>,
    folder: &Path,
    ignored: Option<Gitignore>,
    is_repository: bool,
    is_above: bool,
    disk: &mut Disk,
) -> Option<Arc<Rules>> {
    if ignored.is_none() && !is_repository {
        return outer;
    }
    let excluded = is_repository
        .then(|| gitignore(folder, &exclude_file(folder, disk), disk))
        .flatten();
    disk.has_rules |= ignored.is_some() || excluded.is_some();
    Some(Arc::new(Rules {
        outer,
        ignored,
        excluded,
        is_repository,
        is_above,
    }))
}

fn has_git(folder: &Path, disk: &mut Disk) -> bool {
    disk.target(&folder.join(".git")).is_some()
}

/// What the file says about `folder`; none when there is no such file, or nothing in it.
fn gitignore(folder: &Path, file: &Path, disk: &mut Disk) -> Option<Gitignore> {
    disk.note(file);
    if !file.is_file() {
        return None;
    }
    let mut builder = GitignoreBuilder::new(folder);
    // A rule that can't be read is passed over, as git does it.
    if let Some(error) = builder.add(file) {
        log::debug!("{}: {error}", file.display());
    }
    builder.build().ok().filter(|rules| !rules.is_empty())
}

/// A worktree's `.git` is a file that names its folder, where `commondir` names that of the repository.
fn exclude_file(folder: &Path, disk: &mut Disk) -> PathBuf {
    let git = folder.join(".git");
    if git.is_dir() {
        return git.join("info/exclude");
    }
    let mut named = |file: &Path, key: &str, base: &Path| {
        disk.note(file);
        let text = fs::read_to_string(file).ok()?;
        Some(base.join(text.lines().next()?.strip_prefix(key)?.trim_end()))
    };
    let common =
        named(&git, "gitdir: ", folder).and_then(|own| named(&own.join("commondir"), "", &own));
    common.unwrap_or(git).join("info/exclude")
}

impl Rules {
    /// Whether git ignores the file or folder at `path`, whose name without links is `real`; none when no rule says
    /// anything about it.
    pub(super) fn ignore(&self, path: &Path, real: &Path, is_folder: bool) -> Option<bool> {
        let mut excluded = Match::None;
        let mut rules = Some(self);
        while let Some(here) = rules {
            let path = if here.is_above { real } else { path };
            if let Some(ignored) = &here.ignored {
                let found = ignored.matched(path, is_folder);
                if !found.is_none() {
                    return Some(found.is_ignore());
                }
            }
            if let (Match::None, Some(rules)) = (&excluded, &here.excluded) {
                excluded = rules.matched(path, is_folder);
            }
            rules = here.outer.as_deref().filter(|_| !here.is_repository);
        }
        (!excluded.is_none()).then(|| excluded.is_ignore())
    }

    /// Whether git ignores `root` itself, or a folder that it lies in, by the rules above it.
    pub(super) fn ignores_all(&self, root: &Path, is_folder: bool) -> bool {
        let mut rules = Some(self);
        while let Some(here) = rules {
            if let Some(ignored) = &here.ignored {
                let below = root.strip_prefix(ignored.path()).unwrap_or(root);
                match ignored.matched_path_or_any_parents(below, is_folder) {
                    Match::Ignore(_) => return true,
                    Match::Whitelist(_) => return false,
                    Match::None => {}
                }
            }
            rules = here.outer.as_deref().filter(|_| !here.is_repository);
        }
        false
    }
}
