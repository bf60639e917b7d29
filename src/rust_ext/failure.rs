//! Builds that failed because of what the sources say, and the state of all that may mend them. Builds nothing.
//!
//! Invariant: what is remembered was not changed from before cargo began until after it had failed. Whatever else may be
//! the cause (no space, an end by a signal, a registry that does not answer, a macro or a build script that looks
//! elsewhere) is not remembered: cargo is asked again.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::error::BuildError;
use super::{compare, sources, store};
use crate::protocol::findings::FileText;
use crate::stamp::Touched;

/// A file system's clock may be so far behind.
const TICK: Duration = Duration::from_millis(20);

/// The last failures, by the folder of the extension's slot.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<HashMap<PathBuf, Failure>>);

/// What a build was asked to make of which files.
pub(super) struct Asked<'a> {
    pub(super) manifest: &'a Path,
    pub(super) target: &'a Path,
    /// What is known to matter: of the last build, of the toolchain, of the project.
    pub(super) files: BTreeSet<PathBuf>,
    /// The states of some of them from before cargo began.
    pub(super) before: &'a BTreeMap<PathBuf, Touched>,
    pub(super) began: SystemTime,
    /// See [`surroundings`].
    pub(super) around: Vec<OsString>,
}

#[derive(Debug)]
struct Failure {
    place: PathBuf,
    diagnostics: String,
    files: Vec<FileText>,
    /// The folders of the packages, and all files in them: one that comes may be what was missing.
    packages: BTreeSet<PathBuf>,
    below: BTreeSet<PathBuf>,
    around: Vec<OsString>,
}

impl Failures {
    /// The failure of before, when nothing has changed since.
    pub(super) fn again(&self, slot: &Path, cargo: &Path) -> Option<BuildError> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failure = known.get(slot)?;
        if failure.around != surroundings(cargo) || !failure.holds() {
            return None;
        }
        Some(BuildError::Failed {
            place: failure.place.clone(),
            diagnostics: failure.diagnostics.clone(),
            is_of_sources: true,
        })
    }

    /// Remembers what a build came to, if that is a failure that will come again.
    pub(super) fn note(&self, slot: &Path, error: &BuildError, asked: Asked) {
        let failure = Failure::of(error, asked);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match failure {
            Some(failure) => known.insert(slot.to_owned(), failure),
            None => known.remove(slot),
        };
    }
}

impl Failure {
    fn of(error: &BuildError, asked: Asked) -> Option<Self> {
        let BuildError::Failed {
            place,
            diagnostics,
            is_of_sources: true,
        } = error
        else {
            return None;
        };
        let mut files = asked.files;
        files.extend(compiled(asked.target, asked.manifest));
        let mut packages = sources::packages(&files);
        packages.extend(asked.manifest.parent().map(Path::to_owned));
        packages.retain(|package| package.join("Cargo.toml").exists());
        if packages.iter().any(|package| has_script(package)) {
            return None;
        }
        let below = below(&packages);
        files.extend(below.iter().cloned());
        let states: Vec<Touched> = files.iter().map(|file| Touched::now(file)).collect();
        let since = asked.began.checked_sub(TICK)?;
        let has_changed = |now: &Touched| match asked.before.get(now.path()) {
            Some(before) => before != now,
            None => !is_our_own(now.path(), asked.manifest) && now.has_changed_since(since),
        };
        if states.iter().any(has_changed) {
            return None;
        }
        Some(Self {
            place: place.clone(),
            diagnostics: diagnostics.clone(),
            files: states.iter().map(Touched::to_record).collect(),
            packages,
            below,
            around: asked.around,
        })
    }

    fn holds(&self) -> bool {
        compare::first_changed(&self.files).is_none() && below(&self.packages) == self.below
    }
}

/// What decides besides files: which cargo, where it finds the linker, and what it reads of the environment.
pub(super) fn surroundings(cargo: &Path) -> Vec<OsString> {
    let names = ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME"];
    let places = names.map(|name| env::var_os(name).unwrap_or_default());
    let read = sources::variables().into_iter();
    let read = read.map(|(name, value)| format!("{name}={value}").into());
    std::iter::once(cargo.as_os_str().to_owned())
        .chain(places)
        .chain(read)
        .collect()
}

/// cargo writes its lock file itself, and the crate of a single file is made anew before each build.
fn is_our_own(file: &Path, manifest: &Path) -> bool {
    file.ends_with("Cargo.lock") || (file == manifest && !file.with_file_name("src").exists())
}

fn below(packages: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let files = packages
        .iter()
        .flat_map(|folder| sources::files_below(folder));
    files.collect()
}

/// A build script may read anything.
fn has_script(package: &Path) -> bool {
    let manifest = fs::read(package.join("Cargo.toml")).unwrap_or_default();
    package.join("build.rs").exists() || memchr::memmem::find(&manifest, b"build =").is_some()
}

/// The sources of all that was compiled in a target folder, but for those of registries: rustc names them before it
/// says what is wrong.
fn compiled(target: &Path, manifest: &Path) -> BTreeSet<PathBuf> {
    let root = store::workspace(manifest);
    let home = sources::home_of("CARGO_HOME", ".cargo").unwrap_or_default();
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let profiles = entries(target).map(|entry| entry.path());
    // `target/debug`, or `target/<platform>/debug`.
    let folders = profiles.flat_map(|profile| {
        let deeper: Vec<PathBuf> = entries(&profile).map(|entry| entry.path()).collect();
        std::iter::once(profile).chain(deeper)
    });
    let files = folders.flat_map(|folder| entries(&folder.join("deps")).map(|entry| entry.path()));
    let files = files.filter(|file| file.extension().is_some_and(|end| end == "d"));
    let texts = files.map(|file| fs::read_to_string(file).unwrap_or_default());
    let sources = texts.flat_map(|text| sources::read_dependencies(&text));
    let sources = sources.map(|source| root.join(source));
    sources
        .filter(|source| !source.starts_with(&home) && !source.starts_with(target))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(is_of_sources: bool) -> BuildError {
        BuildError::Failed {
            place: PathBuf::from("/x"),
            diagnostics: "error: no".to_owned(),
            is_of_sources,
        }
    }

    #[test]
    fn a_failure_is_remembered_until_something_that_counts_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("crate");
        let (library, other) = (root.join("src/lib.rs"), folder.path().join("other.rs"));
        fs::create_dir_all(root.join("src")).unwrap();
        fs::write(root.join("Cargo.toml"), "[workspace]\n").unwrap();
        fs::write(&library, "one").unwrap();
        fs::write(&other, "").unwrap();
        let failures = Failures::default();
        let slot = Path::new("/slot");
        let manifest = root.join("Cargo.toml");
        let note = |error: &BuildError, began: SystemTime| {
            let states =
                [&library, &manifest, &other].map(|file| (file.clone(), Touched::now(file)));
            let asked = Asked {
                manifest: &manifest,
                target: &folder.path().join("target"),
                files: BTreeSet::from([other.clone()]),
                before: &BTreeMap::from(states),
                began,
                around: surroundings(Path::new("cargo")),
            };
            failures.note(slot, error, asked);
        };
        let now = SystemTime::now;
        note(&failed(false), now());
        assert!(failures.again(slot, Path::new("cargo")).is_none());
        let edits: [&dyn Fn(); 5] = [
            &|| fs::write(&library, "two").unwrap(),
            &|| fs::write(&manifest, "[workspace]\n\n").unwrap(),
            &|| fs::write(root.join("src/new.rs"), "").unwrap(),
            &|| fs::remove_file(root.join("src/new.rs")).unwrap(),
            &|| fs::remove_file(&other).unwrap(),
        ];
        for edit in edits {
            note(&failed(true), now() + TICK);
            let again = failures.again(slot, Path::new("cargo")).unwrap();
            assert_eq!(again.diagnostics(), "error: no");
            assert!(failures
                .again(Path::new("/elsewhere"), Path::new("cargo"))
                .is_none());
            assert!(failures.again(slot, Path::new("other")).is_none());
            edit();
            assert!(failures.again(slot, Path::new("cargo")).is_none());
        }
        // One that was not known before has changed while cargo ran.
        fs::write(root.join("src/new.rs"), "").unwrap();
        note(&failed(true), now() - TICK);
        assert!(failures.again(slot, Path::new("cargo")).is_none());
        fs::write(root.join("build.rs"), "").unwrap();
        note(&failed(true), now() + TICK * 2);
        assert!(
            failures.again(slot, Path::new("cargo")).is_none(),
            "a build script may read anything"
        );
    }
}
