//! `_core.rust_cache_contents` and its like: what the command asks of Rust extensions without an interpreter.

use std::path::PathBuf;
use std::time::SystemTime;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};

use super::errors::with_sources;
use crate::rust_ext::{check_name, clear, contents, Kept};

/// What a cache holds.
#[pyfunction]
pub(super) fn rust_cache_contents(py: Python<'_>, cache: PathBuf) -> PyResult<Bound<'_, PyDict>> {
    let found = py.detach(|| contents(&cache));
    let made = PyDict::new(py);
    made.set_item("size", found.size)?;
    let kept = found.kept.into_iter().map(|kept| kept_dict(py, kept));
    made.set_item("extensions", kept.collect::<PyResult<Vec<_>>>()?)?;
    let targets = found.targets.into_iter().map(|target| {
        let made = PyDict::new(py);
        made.set_item("folder", target.folder)?;
        made.set_item("size", target.size)?;
        Ok(made)
    });
    made.set_item("targets", targets.collect::<PyResult<Vec<_>>>()?)?;
    Ok(made)
}

fn kept_dict(py: Python<'_>, kept: Kept) -> PyResult<Bound<'_, PyDict>> {
    let made = PyDict::new(py);
    made.set_item("folder", kept.folder)?;
    made.set_item("size", kept.size)?;
    if let Some(last) = kept.last {
        let built = last.built.duration_since(SystemTime::UNIX_EPOCH);
        made.set_item("module", last.module)?;
        made.set_item("place", last.place)?;
        made.set_item("file", last.artifact)?;
        made.set_item("built", built.unwrap_or_default().as_secs_f64())?;
    }
    Ok(made)
}

/// Empties a cache; how many bytes that gave.
#[pyfunction]
pub(super) fn rust_cache_clear(py: Python<'_>, cache: PathBuf) -> PyResult<u64> {
    py.detach(|| clear(&cache)).map_err(|error| {
        let class = py
            .import("firehot.errors")
            .and_then(|errors| errors.getattr("FirehotError"));
        match class.and_then(|class| Ok(class.cast_into::<PyType>()?)) {
            Ok(class) => PyErr::from_type(class, with_sources(&error)),
            Err(error) => error,
        }
    })
}

/// Why no Rust library can have a module's name, if that is so.
#[pyfunction]
pub(super) fn rust_name_problem(name: &str, place: PathBuf) -> Option<String> {
    check_name(name, &place)
        .err()
        .map(|error| error.to_string())
}
