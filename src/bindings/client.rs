//! `_core.client_*`: the client of the daemon, as Python's commands ask for it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use pyo3::exceptions::{PyException, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::errors::firehot_error;
use crate::client::{
    ask, become_cold, build_of, die_by, keep_reason, living, plain, project_root, run, say, Kind,
    Outcome, Place, Request, Surroundings, Where,
};

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(super) struct RequestDict {
    executable: PathBuf,
    prefix: PathBuf,
    package: PathBuf,
    kind: String,
    target: OsString,
    code: Vec<u8>,
    args: Vec<OsString>,
    options: Vec<OsString>,
    words: Vec<OsString>,
    path: Vec<OsString>,
    asked: String,
    saved: Option<f64>,
    descriptors: Vec<i32>,
}

#[derive(FromPyObject)]
pub(super) enum WhereDict {
    #[pyo3(transparent)]
    Project(ProjectDict),
    #[pyo3(transparent)]
    Socket(SocketDict),
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(super) struct SocketDict {
    socket: PathBuf,
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(super) struct ProjectDict {
    executable: PathBuf,
    prefix: PathBuf,
    package: PathBuf,
    script: Option<PathBuf>,
}

/// What a request can't say.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unsaid(String);

/// Runs a program in a child of the daemon, or cold in the place of this process.
#[pyfunction]
pub(super) fn client_run(py: Python<'_>, request: RequestDict) -> PyResult<i32> {
    let request = request.into_request(py)?;
    hand_over_interrupts(py, &request.ignored)?;
    let outcome = match py.detach(|| run(&request)) {
        // Python alone does not find what is written in Rust: the template is waited for.
        Outcome::Cold { quiet: true, .. } if py.detach(|| has_extensions(&request)) => {
            match warm(py, &request) {
                Ok(_) => py.detach(|| run(&request)),
                Err(error) if error.is_instance_of::<PyException>(py) => Outcome::Cold {
                    reason: error.value(py).to_string(),
                    quiet: false,
                },
                Err(interrupt) => return Err(interrupt),
            }
        }
        outcome => outcome,
    };
    match outcome {
        Outcome::Status(status) => Ok(status),
        Outcome::Killed(signal) => Ok(die_by(signal)),
        Outcome::Cold { reason, quiet } => {
            // Who watches is told how each run begins.
            if !quiet || request.saved.is_some() {
                say(&format!("firehot: running cold: {reason}"));
            }
            Err(become_cold(&request).into())
        }
    }
}

/// Runs a program cold, in the place of this process.
#[pyfunction]
pub(super) fn client_cold(
    py: Python<'_>,
    request: RequestDict,
    reason: Option<String>,
) -> PyResult<()> {
    let request = request.into_request(py)?;
    if let Some(reason) = reason {
        keep_reason(&request, &reason);
        say(&format!("firehot: running cold: {reason}"));
    }
    Err(become_cold(&request).into())
}

/// Asks a daemon something that has one answer.
#[pyfunction]
#[pyo3(signature = (to, question, start = false, patience = None))]
pub(super) fn client_ask(
    py: Python<'_>,
    to: WhereDict,
    question: &str,
    start: bool,
    patience: Option<f64>,
) -> PyResult<Option<String>> {
    let build = client_build(py)?;
    let patience =
        patience.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
    let to = match &to {
        WhereDict::Socket(given) => Where::Socket(&given.socket),
        WhereDict::Project(given) => Where::Project {
            script: given.script.as_deref(),
            executable: given.executable.clone(),
            prefix: given.prefix.clone(),
            start: start.then(|| given.package.clone()),
        },
    };
    let frames = plain(question, &build).map_err(|error| firehot_error(&error))?;
    answer(py, &to, frames, patience)
}

/// Has the project's daemon build the template of a program; starts one if there is none.
#[pyfunction]
pub(super) fn client_warm(py: Python<'_>, request: RequestDict) -> PyResult<Option<String>> {
    let request = request.into_request(py)?;
    warm(py, &request)
}

fn has_extensions(request: &Request) -> bool {
    let installed: Vec<PathBuf> = request.path.iter().map(PathBuf::from).collect();
    !crate::rust_ext::installed(&installed).is_empty()
        || project_root(request.script())
            .is_ok_and(|root| !crate::rust_ext::discover(&[root]).is_empty())
}

fn warm(py: Python<'_>, request: &Request) -> PyResult<Option<String>> {
    let frames = request
        .question("warm")
        .map_err(|reason| firehot_error(&Unsaid(reason)))?;
    let to = Where::Project {
        script: request.script(),
        executable: request.executable.clone(),
        prefix: request.prefix.clone(),
        start: Some(request.package.clone()),
    };
    answer(py, &to, frames, None)
}

fn answer(
    py: Python<'_>,
    to: &Where<'_>,
    frames: Vec<u8>,
    patience: Option<Duration>,
) -> PyResult<Option<String>> {
    let mut raised = None;
    let answer = py.detach(|| {
        ask(to, &frames, patience, || {
            raised = Python::attach(|py| py.check_signals()).err();
            raised.is_none()
        })
    });
    match answer {
        Ok(header) => Ok(header.map(|header| String::from_utf8_lossy(&header).into_owned())),
        // What the handler of a signal raised.
        Err(error) => Err(raised.unwrap_or_else(|| firehot_error(&error))),
    }
}

/// Where a project's daemon is.
#[pyfunction]
pub(super) fn client_place<'py>(py: Python<'py>, to: ProjectDict) -> PyResult<Bound<'py, PyDict>> {
    let place = project_root(to.script.as_deref())
        .and_then(|root| Place::of(&root, &to.executable, &to.prefix))
        .map_err(|error| firehot_error(&error))?;
    let made = PyDict::new(py);
    for (name, path) in [
        ("root", &place.root),
        ("socket", &place.socket),
        ("lock", &place.lock),
        ("log", &place.log),
        ("why", &place.why),
    ] {
        made.set_item(name, path.as_os_str())?;
    }
    Ok(made)
}

/// This user's daemons that live.
#[pyfunction]
pub(super) fn client_places(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    let found = py.detach(living).map_err(|error| firehot_error(&error))?;
    found
        .iter()
        .map(|one| {
            let made = PyDict::new(py);
            made.set_item("pid", one.pid)?;
            made.set_item("root", &one.root)?;
            made.set_item("python", &one.python)?;
            made.set_item("started", one.started)?;
            made.set_item("firehot", &one.firehot)?;
            made.set_item("socket", one.socket.as_os_str())?;
            made.set_item("log", one.log.as_os_str())?;
            Ok(made)
        })
        .collect()
}

/// What tells this build of firehot from others.
#[pyfunction]
pub(super) fn client_build(py: Python<'_>) -> PyResult<String> {
    let native: PathBuf = py.import("firehot._core")?.getattr("__file__")?.extract()?;
    Ok(build_of(&native)?)
}

/// What `run` tells of this process.
#[pyfunction]
pub(super) fn client_surroundings(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let text = serde_json::to_string(&Surroundings::now())
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    py.import("json")?.call_method1("loads", (text,))
}

impl RequestDict {
    fn into_request(self, py: Python<'_>) -> PyResult<Request> {
        let kind = match self.kind.as_str() {
            "script" => Kind::Script,
            "module" => Kind::Module,
            "code" => Kind::Code,
            "function" => Kind::Function,
            other => return Err(PyValueError::new_err(format!("no kind of target: {other}"))),
        };
        Ok(Request {
            executable: self.executable,
            prefix: self.prefix,
            // The daemon is started in another folder.
            package: std::path::absolute(&self.package).unwrap_or(self.package),
            kind,
            target: self.target,
            code: self.code,
            args: self.args,
            options: self.options,
            words: self.words,
            path: self.path,
            asked: self.asked,
            saved: self.saved,
            descriptors: self.descriptors,
            ignored: ignored(py)?,
            build: client_build(py)?,
        })
    }
}

/// The signals that this process was started to ignore. Python itself ignores two, as it does in every process.
fn ignored(py: Python<'_>) -> PyResult<Vec<i32>> {
    let signal = py.import("_signal")?;
    let of_python: Vec<i32> = ["SIGPIPE", "SIGXFSZ"]
        .iter()
        .filter_map(|name| signal.getattr(*name).ok()?.extract().ok())
        .collect();
    let ignore = signal.getattr("SIG_IGN")?;
    let handler_of = signal.getattr("getsignal")?;
    let mut found = Vec::new();
    for number in signal.call_method0("valid_signals")?.try_iter()? {
        let number: i32 = number?.extract()?;
        if !of_python.contains(&number) && handler_of.call1((number,))?.eq(&ignore)? {
            found.push(number);
        }
    }
    Ok(found)
}

/// Python's own handler of Ctrl-C would raise in the client what the program is told.
fn hand_over_interrupts(py: Python<'_>, ignored: &[i32]) -> PyResult<()> {
    let signal = py.import("_signal")?;
    let interrupt: i32 = signal.getattr("SIGINT")?.extract()?;
    if !ignored.contains(&interrupt) {
        signal.call_method1("signal", (interrupt, signal.getattr("SIG_DFL")?))?;
    }
    Ok(())
}
