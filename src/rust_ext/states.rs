//! The states of what went into a build: before and after it, and what cargo has to be told of them.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::store::{Manifest, Slot};
use super::tables::package_name;
use super::{sources, tracked, Extension};
use crate::stamp::Touched;

/// A manifest in the form in which it is compared.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) manifest: Manifest,
    pub(super) files: Vec<Touched>,
}

impl From<Manifest> for Known {
    fn from(manifest: Manifest) -> Self {
        Self {
            files: Touched::from_message(&manifest.files),
            manifest,
        }
    }
}

/// How everything was before a build began.
pub(super) struct Before {
    pub(super) known: Option<Arc<Known>>,
    /// Of the sources that are known.
    pub(super) states: BTreeMap<PathBuf, Touched>,
    pub(super) began: SystemTime,
    pub(super) tracked: BTreeSet<PathBuf>,
    globs: Vec<String>,
    variables: Vec<(String, String)>,
}

impl Before {
    /// Taken now: before cargo reads anything.
    pub(super) fn take(known: Option<Arc<Known>>, extension: &Extension) -> Self {
        let files = known.iter().flat_map(|known| known.files.iter());
        let states = files
            .map(|file| (file.path().to_owned(), Touched::now(file.path())))
            .collect();
        let began = SystemTime::now();
        let globs = tracked::globs(extension);
        Self {
            states,
            began,
            tracked: tracked::files(&globs),
            globs,
            variables: sources::variables(),
            known,
        }
    }

    /// What there is to remember of a build from these files, but for its artifact; and whether nothing was edited.
    pub(super) fn end(
        self,
        slot: &Slot,
        mut named: BTreeSet<PathBuf>,
        manifest: &Path,
    ) -> (Manifest, bool) {
        named.extend(self.tracked.iter().cloned());
        let (files, is_settled) = judge(slot, named, &self.states, self.began, manifest);
        let record = Manifest {
            globs: self.globs,
            tracked: self.tracked,
            files: files.iter().map(Touched::to_record).collect(),
            variables: self.variables,
            ..slot.new_manifest()
        };
        (record, is_settled)
    }
}

/// The states to remember, and whether they are those of what was built.
fn judge(
    slot: &Slot,
    named: BTreeSet<PathBuf>,
    before: &BTreeMap<PathBuf, Touched>,
    began: SystemTime,
    manifest: &Path,
) -> (Vec<Touched>, bool) {
    let is_made = manifest.starts_with(&slot.folder);
    let mut is_settled = true;
    let one = |path: PathBuf| {
        let now = Touched::now(&path);
        // Written by cargo itself, or by us.
        if path.ends_with("Cargo.lock") || (is_made && path == *manifest) {
            return now;
        }
        let is_as_it_was = match before.get(&path) {
            Some(before) => before == &now,
            None => !now.has_changed_since(began),
        };
        if is_as_it_was {
            return now;
        }
        is_settled = false;
        match before.get(&path) {
            Some(before) => before.clone(),
            None => Touched::unknown(path),
        }
    };
    let files = named.into_iter().map(one).collect();
    (files, is_settled)
}

/// cargo builds what is newer than its last build, and nothing else: a source that was put back with its old date needs
/// its memory of that package taken away.
pub(super) fn forget_what_looks_old(
    slot: &Slot,
    known: Option<&Known>,
    manifest: &Path,
    is_forced: bool,
) {
    let built = fs::metadata(slot.manifest_file()).and_then(|found| found.modified());
    let (Some(known), Ok(built)) = (known, built) else {
        return;
    };
    let tracked = &known.manifest.tracked;
    let looks_old = |file: &&Touched| {
        let date = Touched::now(file.path()).date();
        // What the header names is nothing to cargo.
        let is_unseen = tracked.contains(file.path());
        file.has_changed() && (is_unseen || date.is_some_and(|date| date <= built))
    };
    let mut packages = BTreeSet::new();
    let old: BTreeSet<PathBuf> = known
        .files
        .iter()
        .filter(looks_old)
        .map(|file| file.path().to_owned())
        .collect();
    let is_other = *tracked != tracked::files(&known.manifest.globs);
    if is_forced || is_other || !old.is_empty() {
        packages.extend(manifest.parent().map(Path::to_owned));
    }
    packages.extend(sources::packages(&old));
    forget_packages(&slot.target, packages);
}

/// Has cargo build some packages anew, given by their folders.
pub(super) fn forget_packages(target: &Path, packages: BTreeSet<PathBuf>) {
    let names: Vec<String> = packages
        .iter()
        .filter_map(|package| package_name(package))
        .collect();
    if names.is_empty() {
        return;
    }
    let profiles = fs::read_dir(target).into_iter().flatten().flatten();
    for profile in profiles {
        let prints = fs::read_dir(profile.path().join(".fingerprint"));
        for print in prints.into_iter().flatten().flatten() {
            let name = print.file_name();
            let name = name.to_string_lossy();
            let package = name.rsplit_once('-').map(|(package, _)| package);
            if package.is_some_and(|package| names.iter().any(|each| each == package)) {
                // Another builder may remove it as well.
                let _ = fs::remove_dir_all(print.path());
            }
        }
    }
}
