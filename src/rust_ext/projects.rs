//! Builds that are maturin's: what it has installed is taken over, what it alone can build it is asked for. The workshop
//! decides when.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use super::cargo::{self, Screen};
use super::error::BuildError;
use super::states::{forget_what_looks_old, Before};
use super::store::{Manifest, Slot};
use super::{handover, sources, tracked, Extension, Project, Settings, Source, Workshop};
use crate::stamp::Touched;

impl Workshop {
    /// Publishes what somebody has had maturin install after the last build, when it is of what the sources are now: a
    /// `maturin develop --release` is not undone.
    pub(super) fn adopt(
        &self,
        slot: &Slot,
        extension: &Extension,
        settings: &Settings,
    ) -> Result<Option<PathBuf>, BuildError> {
        let installed = handover::installed(extension, &self.interpreter, settings);
        let installed = installed.into_iter().find(|file| file.is_file());
        let (Some(installed), Source::Project(project)) = (installed, &extension.source) else {
            return Ok(None);
        };
        let state = Touched::now(&installed);
        let known = self.known(slot);
        if known.is_some_and(|known| known.files.contains(&state)) {
            return Ok(None);
        }
        let Some(named) = handover::sources_of(project, &installed) else {
            return Ok(None);
        };
        let cargo = cargo::find(settings).unwrap_or_default();
        let globs = tracked::globs(extension);
        let tracked = tracked::files(&globs);
        let mut named = self.all_of(named, extension, &project.manifest, &cargo, settings);
        named.extend(tracked.iter().cloned());
        let files: Vec<Touched> = named.iter().map(|path| Touched::now(path)).collect();
        let sources: Vec<Touched> = files
            .iter()
            .filter(|file| file.path() != installed)
            .cloned()
            .collect();
        if !handover::is_newer(&installed, &sources) {
            return Ok(None);
        }
        let artifact = slot.publish(&installed)?;
        let record = Manifest {
            artifact: artifact.clone(),
            globs,
            tracked,
            files: files.iter().map(Touched::to_record).collect(),
            variables: sources::variables(),
            cargo,
            ..slot.new_manifest()
        };
        slot.keep(&record)?;
        Ok(Some(slot.folder.join(artifact)))
    }

    /// One run of maturin; whether nothing was edited while it ran.
    pub(super) fn develop(
        &self,
        slot: &Slot,
        extension: &Extension,
        project: &Project,
        settings: &Settings,
        screen: &dyn Screen,
    ) -> Result<bool, BuildError> {
        let before = Before::take(self.known(slot), extension);
        let known = before.known.as_deref();
        forget_what_looks_old(slot, known, &project.manifest, settings.force);
        let developed =
            handover::develop(project, &self.interpreter, settings, &slot.target, screen)?;
        let cargo = cargo::find(settings).unwrap_or_default();
        let named = self.all_of(
            developed.named,
            extension,
            &project.manifest,
            &cargo,
            settings,
        );
        let (record, is_settled) = before.end(slot, named, &project.manifest);
        let record = Manifest {
            artifact: developed.record,
            cargo,
            ..record
        };
        slot.keep(&record)?;
        Ok(is_settled)
    }
}
