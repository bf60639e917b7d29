//! `_core.parse_command`: the command line as Python executes it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::cli::{
    completion, parse, read, CacheCommand, Command, Completion, GenerationArguments,
    ImportsArguments, Interface, Line, PytestArguments, Report, RunArguments, RustCommand,
    ServeArguments, SiteCommand, Stop, Words,
};

/// The command as a dict, or the exit status where clap has said all there is to say.
#[pyfunction]
pub(super) fn parse_command(py: Python<'_>, arguments: Vec<OsString>) -> PyResult<Py<PyAny>> {
    match parse(arguments) {
        Ok(command) => Ok(dict(py, command)?.into_any().unbind()),
        Err(answer) => {
            let status = py.detach(|| answer.print());
            Ok(status.into_pyobject(py)?.into_any().unbind())
        }
    }
}

fn dict(py: Python<'_>, command: Command) -> PyResult<Bound<'_, PyDict>> {
    let made = PyDict::new(py);
    let name = match command {
        Command::Run(RunArguments {
            watch,
            debugpy,
            words,
        }) => {
            set_line(&made, &words)?;
            made.set_item("watch", watch)?;
            made.set_item("debugpy", debugpy)?;
            "run"
        }
        Command::Pytest(PytestArguments { watch, words }) => {
            made.set_item("words", texts(py, &words)?)?;
            made.set_item("watch", watch)?;
            "pytest"
        }
        Command::Warm(Words { words }) => {
            set_line(&made, &words)?;
            "warm"
        }
        Command::Imports(ImportsArguments { json, html }) => {
            made.set_item("json", json)?;
            made.set_item("html", html.map(PathBuf::into_os_string))?;
            "imports"
        }
        Command::Why(report) => set_json(&made, &report, "why")?,
        Command::Doctor(report) => set_json(&made, &report, "doctor")?,
        Command::Status(report) => set_json(&made, &report, "status")?,
        Command::Stop(Stop { all }) => {
            made.set_item("all", all)?;
            "stop"
        }
        Command::Completion(Completion { shell }) => {
            made.set_item("script", PyBytes::new(py, &completion(shell)))?;
            "completion"
        }
        Command::Serve(arguments) => set_serve(&made, arguments)?,
        Command::Generation(GenerationArguments { target, settings }) => {
            made.set_item("target", target)?;
            made.set_item("settings", settings)?;
            "generation"
        }
        Command::Shell => "shell",
        Command::Restart => "restart",
        Command::Logs => "logs",
        Command::Rust(command) => return rust(py, command),
    };
    made.set_item("command", name)?;
    Ok(made)
}

fn set_json(
    made: &Bound<'_, PyDict>,
    report: &Report,
    name: &'static str,
) -> PyResult<&'static str> {
    made.set_item("json", report.json)?;
    Ok(name)
}

fn set_serve(made: &Bound<'_, PyDict>, arguments: ServeArguments) -> PyResult<&'static str> {
    let ServeArguments {
        target,
        host,
        port,
        uds,
        fd,
        interface,
        factory,
        app_dir,
        reload_dir,
        no_overlay,
        live_reload,
        log_level,
        no_access_log,
        words,
    } = arguments;
    made.set_item("target", target)?;
    made.set_item("host", host)?;
    made.set_item("port", port)?;
    made.set_item("uds", uds)?;
    made.set_item("fd", fd)?;
    made.set_item("interface", interface.map_or("auto", Interface::name))?;
    made.set_item("factory", factory)?;
    made.set_item("app_dir", app_dir)?;
    made.set_item("reload_dirs", reload_dir)?;
    made.set_item("overlay", !no_overlay)?;
    made.set_item("live_reload", live_reload)?;
    made.set_item("log_level", log_level)?;
    made.set_item("access_log", !no_access_log)?;
    made.set_item("words", words)?;
    Ok("serve")
}

/// The words of a program, and what they mean: `kind`, `target`, `options`, `args`; or `python`, and why, where python
/// itself has to be started.
fn set_line(made: &Bound<'_, PyDict>, words: &[OsString]) -> PyResult<()> {
    let py = made.py();
    match read(words) {
        Line::Program {
            options,
            target,
            name,
            args,
        } => {
            made.set_item("kind", target.name())?;
            made.set_item("target", text(py, &name)?)?;
            made.set_item("options", texts(py, &options)?)?;
            made.set_item("args", texts(py, &args)?)?;
        }
        Line::Python { reason } => made.set_item("python", reason)?,
    }
    made.set_item("words", texts(py, words)?)
}

fn texts<'py>(py: Python<'py>, words: &[OsString]) -> PyResult<Bound<'py, PyList>> {
    let texts: PyResult<Vec<_>> = words.iter().map(|word| text(py, word)).collect();
    PyList::new(py, texts?)
}

/// As Python has it of its own command line: where the locale's encoding is another one, what is UTF-8 is no text.
fn text<'py>(py: Python<'py>, word: &OsStr) -> PyResult<Bound<'py, PyAny>> {
    let bytes = PyBytes::new(py, word.as_bytes());
    py.import("os")?.call_method1("fsdecode", (bytes,))
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
