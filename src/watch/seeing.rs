//! What of a [`Tree`] is shown to users and to the scan, and what becomes of it when rules change. Watches nothing itself.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

use super::names::is_temporary;
use super::rules::{Root, Rules, Verdict};
use super::tree::{is_source, Refused, Stamp, Tree, Watch};
use crate::scan::is_never_entered;

impl Tree {
    pub(super) fn concerns_scan(&self, path: &Path, is_folder: bool, is_visible: bool) -> bool {
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
    pub(super) fn is_visible(&self, path: &Path, is_folder: bool) -> bool {
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

    pub(super) fn root_of(&self, path: &Path) -> Option<&Root> {
        path.ancestors().find_map(|path| self.roots.get(path))
    }

    pub(super) fn add_root(&mut self, path: &Path, obeys: bool) {
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

    /// Lets go of the folders that rules hide now.
    pub(super) fn hide(&mut self, above: &Path, watch: &mut dyn Watch) {
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
    pub(super) fn reread_rules(
        &mut self,
        folder: &Path,
        watch: &mut dyn Watch,
    ) -> Result<(), Refused> {
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
