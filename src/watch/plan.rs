//! What is to be watched, worked out from what the scan covers. Touches no watcher.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::rules::git_folders;
use crate::scan::{is_ignored, ScanRequest};

/// Folders and files to watch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Folders with all that is in them, and whether ignore rules count there.
    pub(super) folders: BTreeMap<PathBuf, bool>,
    /// Single files: modules that are no package, pyproject.toml.
    pub(super) files: BTreeSet<PathBuf>,
    /// Folders of which only the names directly in them count. Nothing in them is told to users but `files`: something
    /// that appears there may hide a module, or hold rules.
    pub(super) flat: BTreeSet<PathBuf>,
    /// The locks that git holds while it writes many files.
    pub(super) locks: BTreeSet<PathBuf>,
}

impl Plan {
    /// For a package, and the other places that its scan has come to.
    #[must_use]
    pub fn new(request: &ScanRequest, places: &BTreeSet<PathBuf>) -> Self {
        let mut plan = Self::default();
        for place in request
            .locations
            .iter()
            .chain(&request.watched)
            .chain(places)
        {
            plan.add_place(request, place);
        }
        for entry in &request.sys_path {
            // What is installed is the stamp's matter.
            if entry.is_dir() && !is_installed(request, entry) {
                plan.flat.insert(entry.clone());
            }
        }
        for location in &request.locations {
            plan.files.insert(settings_of(location));
        }
        for file in &plan.files {
            plan.flat.extend(file.parent().map(Path::to_owned));
        }
        plan.flat
            .retain(|folder| !plan.folders.contains_key(folder));
        plan
    }

    /// For a folder with all that is the project's in it.
    #[must_use]
    pub fn of_folder(folder: &Path) -> Self {
        let mut plan = Self::default();
        plan.add_place(&ScanRequest::default(), folder);
        plan
    }

    fn add_place(&mut self, request: &ScanRequest, place: &Path) {
        self.flat.extend(place.parent().map(Path::to_owned));
        if place.is_file() {
            self.files.insert(place.to_owned());
            return;
        }
        let obeys = !is_installed(request, place) && !is_ignored(place);
        // The widest folder that holds it does: it is watched whole.
        self.folders.insert(place.to_owned(), obeys);
        let tops = place.ancestors();
        let Some((top, git)) = tops
            .into_iter()
            .find_map(|top| Some((top, git_folders(top)?)))
        else {
            return;
        };
        self.locks.insert(git.own.join("index.lock"));
        // Rules lie in each folder up to the top of the working tree.
        if obeys {
            let above = place.ancestors().skip(1);
            let above = above.take_while(|folder| folder.starts_with(top));
            self.flat.extend(above.map(Path::to_owned));
        }
    }
}

fn is_installed(request: &ScanRequest, place: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let place = real(place);
    request
        .site_folders
        .iter()
        .any(|site| place.starts_with(real(site)))
}

/// The pyproject.toml that counts for a package; beside it where there is none.
fn settings_of(location: &Path) -> PathBuf {
    let folders = || location.ancestors().skip(1);
    folders()
        .map(|folder| folder.join("pyproject.toml"))
        .find(|file| file.is_file())
        .or_else(|| Some(folders().next()?.join("pyproject.toml")))
        .unwrap_or_else(|| location.join("pyproject.toml"))
}
