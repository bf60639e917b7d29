//! How folders of a [`Tree`] come under watch, and how they are let go. Decides nothing about what is shown.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::tree::{identity, Refused, Tree, Watch};

impl Tree {
    pub(super) fn enter_flat(&mut self, path: &Path, watch: &mut dyn Watch) -> Result<(), Refused> {
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
    pub(super) fn note_folder(
        &mut self,
        path: &Path,
        watch: &mut dyn Watch,
    ) -> Result<(), Refused> {
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

    pub(super) fn touch_below(&mut self, path: &Path) {
        let files = self.files.range(path.to_owned()..).map(|(file, _)| file);
        let files = files.take_while(|file| file.starts_with(path));
        self.touched.extend(files.cloned());
    }

    /// Watches a folder and what is in it, and notes its files as touched.
    pub(super) fn enter(&mut self, path: &Path, watch: &mut dyn Watch) -> Result<(), Refused> {
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

    pub(super) fn enter_one(
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
        if let Some(known) = known.filter(|known| *known != folder).cloned() {
            // Watched by another name, unless it was moved: that may be heard of later, and the new name never.
            let now = fs::metadata(&known).ok().map(|now| identity(&now));
            if now == Some(identity(&found)) {
                return Ok(());
            }
            self.forget(&known, watch);
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
    pub(super) fn forget(&mut self, path: &Path, watch: &mut dyn Watch) {
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
}
