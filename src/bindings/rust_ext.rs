//! `_core.Workshop` and `_core.Extension`: Rust extensions, as Python asks for them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::errors::{build_error, with_sources};
use crate::protocol::findings::FileText;
use crate::rust_ext::{
    discover, find, installed, installed_by, reasons, survey, unchanged, BuildError, Extension,
    Interpreter, Screen, Settings, Source, Standing, Workshop,
};
use crate::stamp::os_text;

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct InterpreterDict {
    executable: PathBuf,
    suffix: String,
    free_threaded: bool,
    venv: Option<PathBuf>,
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct SettingsDict {
    release: bool,
    profile: Option<String>,
    features: Vec<String>,
    all_features: bool,
    no_default_features: bool,
    target_dir: Option<PathBuf>,
    cargo_arguments: Vec<String>,
    cargo: Option<PathBuf>,
    jobs: Option<u32>,
    force: bool,
    lock_timeout: f64,
}

impl From<SettingsDict> for Settings {
    fn from(given: SettingsDict) -> Self {
        Self {
            release: given.release,
            profile: given.profile,
            features: given.features,
            all_features: given.all_features,
            no_default_features: given.no_default_features,
            target_dir: given.target_dir,
            cargo_arguments: given.cargo_arguments,
            cargo: given.cargo,
            jobs: given.jobs,
            force: given.force,
            lock_timeout: Duration::try_from_secs_f64(given.lock_timeout).unwrap_or(Duration::MAX),
        }
    }
}

/// One extension module that is built from Rust.
#[pyclass(frozen, eq, name = "Extension", module = "firehot._core")]
#[derive(Clone, PartialEq, Eq)]
pub(super) struct PyExtension(Extension);

#[pymethods]
impl PyExtension {
    #[getter]
    fn module(&self) -> &str {
        &self.0.module
    }

    #[getter]
    fn kind(&self) -> &'static str {
        match self.0.source {
            Source::File(_) => "file",
            Source::Crate(_) => "crate",
            Source::Project(_) => "project",
        }
    }

    #[getter]
    fn by_maturin(&self) -> bool {
        self.0.is_of_maturin()
    }

    #[getter]
    fn place(&self) -> PathBuf {
        self.0.place().to_owned()
    }

    fn __repr__(&self) -> String {
        let place = self.0.place().display();
        format!("<Extension {} {} {place}>", self.0.module, self.kind())
    }
}

/// Standing, the published file, and why it is stale.
type StandingTuple = (&'static str, Option<PathBuf>, Option<String>);

/// A file and its size, mtime and ctime in nanoseconds, inode and device; none where there was none.
type RecordedTuple = (OsString, Option<(u64, i64, i64, u64, u64)>);
/// Cargo.toml and library with their texts, whether they were made, and arguments for rustc.
type ShownTuple = (
    (PathBuf, String),
    Option<(PathBuf, String)>,
    bool,
    Vec<String>,
);

/// Finds, checks and builds Rust extensions for one interpreter.
#[pyclass(frozen, name = "Workshop", module = "firehot._core")]
pub(super) struct PyWorkshop {
    workshop: Workshop,
    /// How often all builds were ended.
    ends: Arc<AtomicU64>,
}

#[pymethods]
impl PyWorkshop {
    #[new]
    fn new(interpreter: InterpreterDict, cache: PathBuf) -> Self {
        let interpreter = Interpreter {
            executable: interpreter.executable,
            suffix: interpreter.suffix,
            free_threaded: interpreter.free_threaded,
            venv: interpreter.venv,
        };
        Self {
            workshop: Workshop::new(interpreter, cache),
            ends: Arc::default(),
        }
    }

    #[getter]
    fn cache(&self) -> PathBuf {
        self.workshop.cache().to_owned()
    }

    fn find(
        &self,
        py: Python<'_>,
        module: &str,
        path: Vec<PathBuf>,
    ) -> PyResult<Option<PyExtension>> {
        let found = py.detach(|| find(module, &path));
        let found = found.map_err(|problem| build_error(py, module, &problem.into()))?;
        Ok(found.map(PyExtension))
    }

    fn at(&self, module: String, place: PathBuf) -> PyExtension {
        let source = if place.is_dir() {
            Source::Crate(place)
        } else {
            Source::File(place)
        };
        PyExtension(Extension { module, source })
    }

    fn reasons(&self, py: Python<'_>, module: &str, path: Vec<PathBuf>) -> Vec<String> {
        py.detach(|| reasons(module, &path))
    }

    fn discover(&self, py: Python<'_>, roots: Vec<PathBuf>) -> Vec<PyExtension> {
        let found = py.detach(|| discover(&roots));
        found.into_iter().map(PyExtension).collect()
    }

    /// The extensions, and of what has opted in and can't be built the place and why.
    fn survey(
        &self,
        py: Python<'_>,
        roots: Vec<PathBuf>,
    ) -> (Vec<PyExtension>, Vec<(PathBuf, String)>) {
        let (found, problems) = py.detach(|| survey(&roots));
        let problems = problems
            .iter()
            .map(|problem| (problem.place().to_owned(), with_sources(problem)));
        (
            found.into_iter().map(PyExtension).collect(),
            problems.collect(),
        )
    }

    fn shown(
        &self,
        py: Python<'_>,
        extension: &PyExtension,
        settings: SettingsDict,
    ) -> PyResult<ShownTuple> {
        let settings = settings.into();
        let shown = py.detach(|| self.workshop.shown(&extension.0, &settings));
        let shown = shown.map_err(|error| build_error(py, &extension.0.module, &error))?;
        Ok((
            shown.manifest,
            shown.library,
            shown.is_made,
            shown.rustc_arguments,
        ))
    }

    fn installed(&self, py: Python<'_>, path: Vec<PathBuf>) -> Vec<PyExtension> {
        let found = py.detach(|| installed(&path));
        found.into_iter().map(PyExtension).collect()
    }

    fn installed_by(
        &self,
        py: Python<'_>,
        path: Vec<PathBuf>,
    ) -> (Vec<PyExtension>, Option<Vec<RecordedTuple>>) {
        let (found, files) = py.detach(|| installed_by(&path));
        let found = found.into_iter().map(PyExtension).collect();
        (found, files.map(recorded))
    }

    fn check(
        &self,
        py: Python<'_>,
        extension: &PyExtension,
        settings: SettingsDict,
    ) -> StandingTuple {
        let settings = settings.into();
        match py.detach(|| self.workshop.check(&extension.0, &settings)) {
            Standing::Fresh(artifact) => ("fresh", Some(artifact), None),
            Standing::Stale { last, why } => ("stale", Some(last), Some(why)),
            Standing::Missing => ("missing", None, None),
        }
    }

    fn published(
        &self,
        py: Python<'_>,
        extension: &PyExtension,
        settings: SettingsDict,
    ) -> Option<PathBuf> {
        let settings = settings.into();
        py.detach(|| self.workshop.published(&extension.0, &settings))
    }

    fn recorded(
        &self,
        py: Python<'_>,
        extension: &PyExtension,
        settings: SettingsDict,
    ) -> Option<(OsString, Option<Vec<RecordedTuple>>)> {
        let settings = settings.into();
        let (manifest, files) = py.detach(|| self.workshop.recorded(&extension.0, &settings))?;
        Some((manifest.into_os_string(), files.map(recorded)))
    }

    fn build(
        &self,
        py: Python<'_>,
        extension: &PyExtension,
        settings: SettingsDict,
        show: Py<PyAny>,
        width: Option<u16>,
    ) -> PyResult<(PathBuf, bool, String)> {
        let settings = settings.into();
        let screen = PyScreen {
            show,
            width,
            ended: self.ends.load(Ordering::Relaxed),
            ends: Arc::clone(&self.ends),
            raised: Mutex::default(),
        };
        let built = py.detach(|| self.workshop.build(&extension.0, &settings, &screen));
        match built {
            Ok(built) => Ok((built.artifact, built.has_run, built.warnings)),
            Err(BuildError::Interrupted) => Err(screen.raised()),
            Err(error) => Err(build_error(py, &extension.0.module, &error)),
        }
    }

    fn end_builds(&self) {
        self.ends.fetch_add(1, Ordering::Relaxed);
    }
}

/// As text: pathlib takes longer to load than all the rest.
#[pyfunction]
pub(super) fn unchanged_build(py: Python<'_>, manifest: OsString) -> Option<OsString> {
    let found = py.detach(|| unchanged(manifest.as_ref()));
    found.map(PathBuf::into_os_string)
}

fn recorded(files: Vec<FileText>) -> Vec<RecordedTuple> {
    let one = |(path, state): FileText| {
        let state =
            state.map(|(size, mtime, ctime, inode, device, _)| (size, mtime, ctime, inode, device));
        (os_text(&path), state)
    };
    files.into_iter().map(one).collect()
}

/// Shows a build by a Python function, and is over when that or a signal handler raises.
struct PyScreen {
    show: Py<PyAny>,
    width: Option<u16>,
    /// How often builds had been ended when this one began.
    ended: u64,
    ends: Arc<AtomicU64>,
    raised: Mutex<Option<PyErr>>,
}

impl PyScreen {
    fn note(&self, raised: PyErr) {
        if let Ok(mut kept) = self.raised.lock() {
            kept.get_or_insert(raised);
        }
    }

    fn raised(self) -> PyErr {
        let raised = self.raised.into_inner().ok().flatten();
        raised.unwrap_or_else(|| PyKeyboardInterrupt::new_err(()))
    }
}

impl Screen for PyScreen {
    fn show(&self, text: &[u8]) {
        Python::attach(|py| {
            if let Err(raised) = self.show.call1(py, (PyBytes::new(py, text),)) {
                self.note(raised);
            }
        });
    }

    fn width(&self) -> Option<u16> {
        self.width
    }

    fn is_over(&self) -> bool {
        if let Err(raised) = Python::attach(|py| py.check_signals()) {
            self.note(raised);
        }
        self.ends.load(Ordering::Relaxed) != self.ended
            || self.raised.lock().is_ok_and(|kept| kept.is_some())
    }
}
