//! Whether what is published is what the sources say. Compares; builds nothing.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use super::store::{self, Manifest};
use super::{compare, sources, tracked};

/// Whether what is published is what the sources say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is; where.
    Fresh(PathBuf),
    /// It is not; what is there, and which file or variable differs.
    Stale {
        /// The last good build.
        last: PathBuf,
        /// Such as "/project/fast.rs changed".
        why: String,
    },
    /// It was never built.
    Missing,
}

/// How a build stands whose manifest lies in `folder`.
pub(super) fn of(manifest: &Manifest, folder: &Path) -> Standing {
    let last = folder.join(&manifest.artifact);
    if !last.is_file() {
        return Standing::Missing;
    }
    match difference(manifest) {
        Some(why) => Standing::Stale { last, why },
        None => Standing::Fresh(last),
    }
}

/// The published file that a manifest names, while everything is as it says: for who knows the manifest alone.
#[must_use]
pub fn unchanged(manifest: &Path) -> Option<PathBuf> {
    match of(&store::read(manifest)?, manifest.parent()?) {
        Standing::Fresh(artifact) => Some(artifact),
        Standing::Stale { .. } | Standing::Missing => None,
    }
}

fn difference(manifest: &Manifest) -> Option<String> {
    if let Some(file) = compare::first_changed(&manifest.files) {
        return Some(format!("{} changed", file.display()));
    }
    if manifest.tracked != tracked::files(&manifest.globs) {
        return Some("files that its header tracks have come or gone".to_owned());
    }
    let is_same = manifest.variables == sources::variables();
    (!is_same).then(|| "variables that cargo reads differ".to_owned())
}
