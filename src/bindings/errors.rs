//! Engine errors as the exceptions of `firehot.errors`. The only place that knows both.

use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyType;

pub(super) use crate::error::with_sources;
use crate::error::Error;
use crate::rust_ext::BuildError;

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        Python::attach(|py| {
            let text = with_sources(&error);
            let class = match &error {
                Error::Scan(_) | Error::Message(_) | Error::Stamp { .. } | Error::Forked { .. } => {
                    "FirehotError"
                }
                Error::Spawn { .. }
                | Error::Mismatch { .. }
                | Error::TemplateDied { .. }
                | Error::TemplateSilent { .. }
                | Error::Unusable { .. }
                | Error::NoTemplate => "TemplateError",
                Error::Fork { .. } => "ForkError",
                Error::Closed => "EnvironmentClosedError",
                Error::System { source, .. } => {
                    return match source.raw_os_error() {
                        Some(number) => PyOSError::new_err((number, text)),
                        None => PyOSError::new_err(text),
                    };
                }
                // Whoever waited raises what interrupted it; see `Attendant::convert`.
                Error::Interrupted => return PyRuntimeError::new_err(text),
            };
            new(py, class, text).unwrap_or_else(|error| error)
        })
    }
}

fn new(py: Python<'_>, class: &str, text: String) -> PyResult<PyErr> {
    let class = py.import("firehot.errors")?.getattr(class)?;
    Ok(PyErr::from_type(class.cast_into::<PyType>()?, text))
}

/// `RustBuildError`, which an import raises as it is: an ImportError that names the module.
pub(super) fn build_error(py: Python<'_>, module: &str, error: &BuildError) -> PyErr {
    let made = || {
        let class = py.import("firehot.errors")?.getattr("RustBuildError")?;
        let place = error.place();
        let raised = class.call1((with_sources(error), module, place, error.diagnostics()))?;
        Ok::<_, PyErr>(PyErr::from_value(raised))
    };
    made().unwrap_or_else(|error| error)
}

/// `FirehotError`, for what a caller can only show.
pub(super) fn firehot_error(error: &dyn std::error::Error) -> PyErr {
    Python::attach(|py| new(py, "FirehotError", with_sources(error)).unwrap_or_else(|error| error))
}
