//! `_core.Watch`: changes of files, as Python waits for them.

use std::path::PathBuf;

use pyo3::exceptions::PyTimeoutError;
use pyo3::prelude::*;

use super::caller::Attendant;
use super::ticket::limit;
use crate::environment::Caller;
use crate::watch::{Next, Watch};

/// Paths that were added, changed, removed; each sorted.
type ChangesTuple = (Vec<PathBuf>, Vec<PathBuf>, Vec<PathBuf>);

/// What one reader is told.
#[pyclass(frozen, name = "Watch", module = "firehot._core")]
pub(super) struct PyWatch(pub(super) Watch);

/// A reader that nobody holds is told nothing more.
impl Drop for PyWatch {
    fn drop(&mut self) {
        self.0.close();
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
            let next = self.0.next(wait_limit, &mut || attendant.attend());
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
        Ok(convert(self.0.take()?))
    }

    fn arm(&self) -> PyResult<i32> {
        Ok(self.0.arm()?)
    }

    fn disarm(&self) {
        self.0.disarm();
    }

    fn close(&self) {
        self.0.close();
    }
}
