//! Whether an extension's build holds, and a new one where it does not. The one place that decides.
//!
//! Invariant: the state of each source was taken before cargo read it. So a build that is recorded as good is one of what
//! the disk held; an edit while it ran shows as a difference, and is built as well.
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::cargo::{self, Run, Screen};
use super::error::BuildError;
use super::failure::{self, Asked, Failures};
use super::generate::{generate, Generated, Pyo3Target};
use super::standing::{self, Standing};
use super::states::{forget_packages, forget_what_looks_old, Before, Known};
use super::store::{mark, Manifest, Slot};
use super::turn::Turn;
use super::{handover, in_use, sources, Extension, Interpreter, Settings, Source};
use crate::protocol::findings::FileText;

/// How often a build is begun again because of edits while it ran; then the next check goes on.
const ATTEMPTS: usize = 3;

/// An extension that can be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The published file.
    pub artifact: PathBuf,
    /// Whether cargo was asked.
    pub has_run: bool,
    /// rustc's warnings, as a terminal shows them.
    pub warnings: String,
}

/// Builds for one interpreter, into one cache.
#[derive(Debug)]
pub struct Workshop {
    pub(super) interpreter: Interpreter,
    cache: PathBuf,
    /// Manifests that were read, by their file and its state.
    read: Mutex<HashMap<PathBuf, (SystemTime, Arc<Known>)>>,
    failures: Failures,
}

impl Workshop {
    /// `cache` is made when something is built.
    #[must_use]
    pub fn new(interpreter: Interpreter, cache: PathBuf) -> Self {
        Self {
            interpreter,
            cache,
            read: Mutex::default(),
            failures: Failures::default(),
        }
    }

    /// Where builds are kept.
    #[must_use]
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// Compares the last build with the disk. Takes no lock, starts nothing: a stat for each source.
    #[must_use]
    pub fn check(&self, extension: &Extension, settings: &Settings) -> Standing {
        self.compare(&self.slot(extension, settings))
    }

    /// The last good build, whatever the sources say now.
    #[must_use]
    pub fn published(&self, extension: &Extension, settings: &Settings) -> Option<PathBuf> {
        let slot = self.slot(extension, settings);
        let known = self.known(&slot)?;
        Some(slot.folder.join(&known.manifest.artifact)).filter(|file| file.is_file())
    }

    /// The manifest of the last build, and what that depends on, file by file; no files when those are not all of it.
    /// Nothing when it is stale for sure.
    #[must_use]
    pub fn recorded(
        &self,
        extension: &Extension,
        settings: &Settings,
    ) -> Option<(PathBuf, Option<Vec<FileText>>)> {
        let slot = self.slot(extension, settings);
        let known = self.known(&slot)?;
        let is_sure = |(_, state): &FileText| state.is_none_or(|(.., young)| young == 0);
        let files = &known.manifest.files;
        if !files.iter().all(is_sure) {
            return None;
        }
        // What a glob may match is more than files.
        let is_whole = known.manifest.globs.is_empty();
        Some((slot.manifest_file(), is_whole.then(|| files.clone())))
    }

    /// Builds what is stale, and publishes it; does nothing when somebody else has done so meanwhile.
    ///
    /// # Errors
    /// See [`BuildError`]; what was published before stays.
    pub fn build(
        &self,
        extension: &Extension,
        settings: &Settings,
        screen: &dyn Screen,
    ) -> Result<Built, BuildError> {
        let slot = self.slot(extension, settings);
        mark(&self.cache)?;
        let mut wait = || until_over(screen);
        let _in_use = in_use::share(&self.cache, &slot, settings.lock_timeout, &mut wait)?;
        let _held = slot.lock(settings.lock_timeout, &mut wait)?;
        if !settings.force {
            if let Standing::Fresh(artifact) = self.compare(&slot) {
                return Ok(Built {
                    artifact,
                    has_run: false,
                    warnings: String::new(),
                });
            }
        }
        if !settings.force {
            if let Some(artifact) = self.adopt(&slot, extension, settings)? {
                return Ok(Built {
                    artifact,
                    has_run: false,
                    warnings: String::new(),
                });
            }
            let cargo = cargo::find(settings).unwrap_or_default();
            if let Some(error) = self.failures.again(&slot.folder, &cargo) {
                return Err(error);
            }
        }
        let mut warnings = String::new();
        for _ in 0..ATTEMPTS {
            let is_settled = if let Some(project) = handover::of_maturin(extension) {
                self.develop(&slot, extension, project, settings, screen)?
            } else {
                self.build_once(&slot, extension, settings, screen, &mut warnings)?
            };
            if is_settled {
                break;
            }
        }
        let known = self.known(&slot).ok_or_else(|| BuildError::NoArtifact {
            place: extension.place().to_owned(),
        })?;
        Ok(Built {
            artifact: slot.folder.join(&known.manifest.artifact),
            has_run: true,
            warnings,
        })
    }

    pub(super) fn slot(&self, extension: &Extension, settings: &Settings) -> Slot {
        Slot::of(&self.cache, extension, &self.interpreter, settings)
    }

    fn compare(&self, slot: &Slot) -> Standing {
        self.known(slot).map_or(Standing::Missing, |known| {
            standing::of(&known.manifest, &slot.folder)
        })
    }

    /// One run of cargo; whether nothing was edited while it ran.
    fn build_once(
        &self,
        slot: &Slot,
        extension: &Extension,
        settings: &Settings,
        screen: &dyn Screen,
        warnings: &mut String,
    ) -> Result<bool, BuildError> {
        let place = extension.place();
        let cargo = cargo::find(settings).ok_or_else(|| BuildError::NoCargo {
            place: place.to_owned(),
        })?;
        let Generated {
            manifest,
            rustc_arguments,
        } = self.crate_of(slot, extension)?;
        let mut wait = || until_over(screen);
        let turn = Turn::take(&slot.target, place, settings.lock_timeout, &mut wait)?;
        let before = Before::take(self.known(slot), extension);
        let known = before.known.as_deref();
        forget_what_looks_old(slot, known, &manifest, settings.force);
        let run = Run {
            cargo: &cargo,
            manifest: &manifest,
            target: &slot.target,
            place,
            cwd: extension.folder(),
            interpreter: &self.interpreter,
            settings,
            own_arguments: extension.cargo_arguments(),
            oldest: extension.deployment_target(),
            rustc_arguments: &rustc_arguments,
            shown: known
                .into_iter()
                .flat_map(|known| known.manifest.shown.iter().copied())
                .collect(),
        };
        let outcome = run.go(screen);
        let named = |sources| self.all_of(sources, extension, &manifest, &cargo, settings);
        if let Err(error) = &outcome {
            let asked = Asked {
                manifest: &manifest,
                target: &slot.target,
                files: named(
                    before
                        .states
                        .keys()
                        .chain(&before.tracked)
                        .cloned()
                        .collect(),
                ),
                before: &before.states,
                began: before.began,
                around: failure::surroundings(&cargo),
            };
            self.failures.note(&slot.folder, error, asked);
        }
        let outcome = outcome?;
        warnings.push_str(&outcome.warnings);
        if outcome.is_old && !turn.is_of(&outcome.artifact, &slot.folder) {
            // Another crate's of the same name, for all that anybody knows.
            let own = manifest.parent().map(Path::to_owned);
            forget_packages(&slot.target, own.into_iter().collect());
            return Ok(false);
        }
        let dependencies = fs::read_to_string(outcome.artifact.with_extension("d"));
        let sources = sources::read_dependencies(&dependencies.unwrap_or_default());
        let sources = sources::expand(sources, &slot.target);
        let (record, is_settled) = before.end(slot, named(sources), &manifest);
        let record = Manifest {
            artifact: slot.publish(&outcome.artifact)?,
            cargo,
            shown: outcome.shown,
            ..record
        };
        slot.keep(&record)?;
        turn.end(&outcome.artifact, &slot.folder);
        Ok(is_settled)
    }

    /// All files that matter, by the sources that cargo has named.
    pub(super) fn all_of(
        &self,
        mut named: BTreeSet<PathBuf>,
        extension: &Extension,
        manifest: &Path,
        cargo: &Path,
        settings: &Settings,
    ) -> BTreeSet<PathBuf> {
        for package in sources::packages(&named) {
            named.extend(sources::of_silent_script(&package));
        }
        match &extension.source {
            Source::File(file) => {
                named.insert(file.clone());
            }
            Source::Crate(_) => {}
            Source::Project(project) => {
                named.insert(project.root.join("pyproject.toml"));
            }
        }
        named.extend(sources::deciding(
            manifest,
            &named,
            extension.folder(),
            cargo,
        ));
        named.extend(handover::installed(extension, &self.interpreter, settings));
        named
    }

    pub(super) fn crate_of(
        &self,
        slot: &Slot,
        extension: &Extension,
    ) -> Result<Generated, BuildError> {
        let target = Pyo3Target {
            abi3: !self.interpreter.free_threaded,
        };
        Ok(generate(extension, &slot.folder.join("crate"), &target)?)
    }

    pub(super) fn known(&self, slot: &Slot) -> Option<Arc<Known>> {
        let file = slot.manifest_file();
        let written = fs::metadata(&file)
            .and_then(|found| found.modified())
            .ok()?;
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((when, known)) = read.get(&file) {
            if *when == written {
                return Some(Arc::clone(known));
            }
        }
        let known = Arc::new(Known::from(slot.manifest()?));
        read.insert(file, (written, Arc::clone(&known)));
        Some(known)
    }
}

fn until_over(screen: &dyn Screen) -> Result<(), BuildError> {
    if screen.is_over() {
        return Err(BuildError::Interrupted);
    }
    Ok(())
}
