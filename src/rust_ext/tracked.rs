//! Further files that a header names (`//d: `): what a build reads without cargo's knowledge. Compares nothing.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::tables::{library, table};
use super::{Extension, Header, Source};

/// The globs of an extension, each with the folder that it is relative to.
pub(super) fn globs(extension: &Extension) -> Vec<String> {
    let file = match &extension.source {
        Source::File(file) => file.clone(),
        Source::Crate(_) | Source::Project(_) => {
            let file = extension.manifest().unwrap_or_default();
            let manifest = table(&file).ok().flatten().unwrap_or_default();
            library(file.parent().unwrap_or(&file), &manifest)
        }
    };
    let header = Header::read(&fs::read(&file).unwrap_or_default());
    let folder = file.parent().unwrap_or(Path::new(""));
    let folder = glob::Pattern::escape(&folder.to_string_lossy());
    let whole = |glob: String| format!("{folder}/{glob}");
    header.globs.into_iter().map(whole).collect()
}

/// The files that match now. A pattern that is none matches nothing.
pub(super) fn files(globs: &[String]) -> BTreeSet<PathBuf> {
    let matches = globs.iter().flat_map(|each| glob::glob(each)).flatten();
    matches.flatten().filter(|path| path.is_file()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_are_relative_to_the_file_and_match_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("a [b]");
        fs::create_dir_all(base.join("data/deep")).unwrap();
        for name in ["data/a.txt", "data/deep/b.txt", "data/c.bin"] {
            fs::write(base.join(name), "").unwrap();
        }
        fs::write(
            base.join("fast.rs"),
            "// firehot\n//d: data/**/*.txt\n//d: [\n",
        )
        .unwrap();
        let extension = Extension {
            module: "fast".to_owned(),
            source: Source::File(base.join("fast.rs")),
        };
        let found = files(&globs(&extension));
        let wanted = ["data/a.txt", "data/deep/b.txt"].map(|name| base.join(name));
        assert_eq!(found, BTreeSet::from(wanted));
    }
}
