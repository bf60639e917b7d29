//! Engine errors as the exceptions of `firehot.errors`. The only place that knows both.

use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyType;

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

/// The message with what lies behind it, on one line where it was one.
pub(super) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}
