//! `_core.parse_command`: the command line as Python executes it.

use std::ffi::OsString;
use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::cli::{parse, CacheCommand, Command, RustCommand, SiteCommand};

/// The command as a dict, or the exit status where clap has said all there is to say.
#[pyfunction]
pub(super) fn parse_command(py: Python<'_>, arguments: Vec<OsString>) -> PyResult<Py<PyAny>> {
    match parse(arguments) {
        Ok(Command::Rust(command)) => Ok(rust(py, command)?.into_any().unbind()),
        Err(answer) => {
            let status = py.detach(|| answer.print());
            Ok(status.into_pyobject(py)?.into_any().unbind())
        }
    }
}

fn rust(py: Python<'_>, command: RustCommand) -> PyResult<Bound<'_, PyDict>> {
    let made = PyDict::new(py);
    let set = |name: &str, value: bool| made.set_item(name, value);
    let set_roots = |roots: Vec<PathBuf>| made.set_item("roots", roots);
    let name = match command {
        RustCommand::New { path, mixed } => {
            made.set_item("path", path)?;
            set("mixed", mixed)?;
            "rust new"
        }
        RustCommand::Build {
            roots,
            release,
            force,
            jobs,
        } => {
            set_roots(roots)?;
            set("release", release)?;
            set("force", force)?;
            made.set_item("jobs", jobs)?;
            "rust build"
        }
        RustCommand::Status {
            roots,
            release,
            json,
        } => {
            set_roots(roots)?;
            set("release", release)?;
            set("json", json)?;
            "rust status"
        }
        RustCommand::Show { path } => {
            made.set_item("path", path)?;
            "rust show"
        }
        RustCommand::Cache(command) => {
            let (name, json) = match command {
                CacheCommand::Info { json } => ("rust cache info", json),
                CacheCommand::Clear { json } => ("rust cache clear", json),
            };
            set("json", json)?;
            name
        }
        RustCommand::Site(command) => {
            let (name, user, json) = match command {
                SiteCommand::Info { user, json } => ("rust site info", user, json),
                SiteCommand::Install { user, json } => ("rust site install", user, json),
                SiteCommand::Uninstall { user, json } => ("rust site uninstall", user, json),
            };
            set("user", user)?;
            set("json", json)?;
            name
        }
    };
    made.set_item("command", name)?;
    Ok(made)
}
