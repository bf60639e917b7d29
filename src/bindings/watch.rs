//! `_core.Watch`: changes of files, as Python waits for them.

use std::path::PathBuf;

use pyo3::exceptions::PyTimeoutError;
use pyo3::prelude::*;

use super::caller::Attendant;
use super::ticket::limit;
use crate::environment::Caller;
use crate::watch::{Next, Plan, Watch, Watcher};

/// Paths that were added, changed, removed; each sorted.
type ChangesTuple = (Vec<PathBuf>, Vec<PathBuf>, Vec<PathBuf>);

/// What one reader is told.
#[pyclass(frozen, name = "Watch", module = "firehot._core")]
pub(super) struct PyWatch {
    watch: Watch,
    /// Of a watch without an environment, it ends with it.
    _watcher: Option<Watcher>,
}

impl From<Watch> for PyWatch {
    fn from(watch: Watch) -> Self {
        Self {
            watch,
            _watcher: None,
        }
    }
}

/// Watches a folder that no environment knows of.
#[pyfunction]
#[pyo3(signature = (folder, must_poll=false))]
pub(super) fn watch_folder(py: Python<'_>, folder: PathBuf, must_poll: bool) -> PyResult<PyWatch> {
    py.detach(|| {
        let attendant = Attendant::without_template();
        let started = Watcher::start(Plan::of_folder(&folder), must_poll).and_then(|watcher| {
            let watch = watcher.subscribe(&mut || attendant.attend())?;
            Ok(PyWatch {
                watch,
                _watcher: Some(watcher),
            })
        });
        attendant.convert(started)
    })
}

/// A reader that nobody holds is told nothing more.
impl Drop for PyWatch {
    fn drop(&mut self) {
        self.watch.close();
    }
}

/// Whether the watch has ended, and what has changed.
fn convert(next: Next) -> (bool, Option<ChangesTuple>) {
    match next {
        Next::Ended => (true, None),
        Next::Nothing => (false, None),
        Next::Changes(changes) => {
            let sorted = |paths: std::collections::BTreeSet<PathBuf>| paths.into_iter().collect();
            let tuple = (
                sorted(changes.added),
                sorted(changes.changed),
                sorted(changes.removed),
            );
            (false, Some(tuple))
        }
    }
}

#[pymethods]
impl PyWatch {
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<ChangesTuple>> {
        let wait_limit = limit(timeout)?;
        let next = py.detach(|| {
            let attendant = Attendant::without_template();
            let next = self.watch.next(wait_limit, &mut || attendant.attend());
            attendant.convert(next)
        })?;
        match convert(next) {
            (true, _) => Ok(None),
            (false, Some(changes)) => Ok(Some(changes)),
            (false, None) => {
                let seconds = timeout.unwrap_or_default();
                let text = format!("nothing has changed within {seconds} s");
                Err(PyTimeoutError::new_err(text))
            }
        }
    }

    fn take(&self) -> PyResult<(bool, Option<ChangesTuple>)> {
        Ok(convert(self.watch.take()?))
    }

    fn arm(&self) -> PyResult<i32> {
        Ok(self.watch.arm()?)
    }

    fn disarm(&self) {
        self.watch.disarm();
    }

    fn close(&self) {
        self.watch.close();
    }
}
