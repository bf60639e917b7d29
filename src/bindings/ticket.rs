//! `_core.Ticket`: one child, as Python waits for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::caller::Attendant;
use crate::environment::Caller;
use crate::protocol::message::FromChild;
use crate::supervisor::child::{Cause, Ticket, Until};
use crate::supervisor::dispatcher::Dispatcher;

/// What one child does and how it ended.
#[pyclass(frozen, name = "Ticket", module = "firehot._core")]
pub(super) struct PyTicket {
    pub(super) ticket: Arc<Ticket>,
    dispatcher: Dispatcher,
    claimed: AtomicBool,
}

impl PyTicket {
    pub(super) fn new(ticket: Arc<Ticket>, dispatcher: Dispatcher) -> Self {
        Self {
            ticket,
            dispatcher,
            claimed: AtomicBool::new(false),
        }
    }
}

/// An interrupt may arrive between `exec` and its caller's taking the ticket: what nobody knows of must not run.
impl Drop for PyTicket {
    fn drop(&mut self) {
        if !self.claimed.load(Ordering::Relaxed) {
            // Closed already is what was wanted.
            let _ = self.dispatcher.stop(self.ticket.id, Duration::ZERO);
        }
    }
}

/// A time limit from Python: below zero is zero, infinite is none.
pub(super) fn limit(seconds: Option<f64>) -> PyResult<Option<Duration>> {
    match seconds {
        None => Ok(None),
        Some(seconds) if seconds.is_nan() => Err(PyValueError::new_err("a timeout is no NaN")),
        Some(seconds) => Ok(Duration::try_from_secs_f64(seconds.max(0.0)).ok()),
    }
}

fn point(until: &str) -> PyResult<Until> {
    match until {
        "reply" => Ok(Until::Reply),
        "end" => Ok(Until::End),
        _ => Err(PyValueError::new_err("wait until 'reply' or 'end'")),
    }
}

#[pymethods]
impl PyTicket {
    #[getter]
    fn id(&self) -> u64 {
        self.ticket.id.0
    }

    #[getter]
    fn pid(&self) -> Option<i32> {
        self.ticket.tell_pid()
    }

    fn reply<'py>(
        &self,
        py: Python<'py>,
    ) -> Option<(&'static str, String, String, String, Bound<'py, PyBytes>)> {
        let reply = self.ticket.reply()?;
        let body = PyBytes::new(py, &reply.body);
        Some(match &reply.message {
            FromChild::Returned { type_name } => (
                "returned",
                type_name.clone(),
                String::new(),
                String::new(),
                body,
            ),
            FromChild::Raised {
                type_name,
                text,
                traceback,
            } => (
                "raised",
                type_name.clone(),
                text.clone(),
                traceback.clone(),
                body,
            ),
            FromChild::Unpicklable { type_name, error } => (
                "unpicklable",
                type_name.clone(),
                error.clone(),
                String::new(),
                body,
            ),
            // Nobody settles a ticket with it.
            FromChild::Imported { .. } => return None,
        })
    }

    fn end(&self) -> Option<(Option<i32>, &'static str, String, String)> {
        let end = self.ticket.end()?;
        let (cause, detail) = match end.cause {
            Cause::Itself => ("itself", String::new()),
            Cause::ForkFailed(reason) => ("fork-failed", reason),
            Cause::TemplateDied(how) => ("template-died", how),
            Cause::TimedOut(limit) => ("timed-out", limit.as_secs_f64().to_string()),
            Cause::Closed => ("closed", String::new()),
        };
        Some((end.status, cause, detail, end.stderr))
    }

    fn captured<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.ticket.captured())
    }

    #[pyo3(signature = (until, timeout=None))]
    fn wait(&self, py: Python<'_>, until: &str, timeout: Option<f64>) -> PyResult<bool> {
        let until = point(until)?;
        let limit = limit(timeout)?;
        py.detach(|| {
            let attendant = Attendant::without_template();
            let waited = self.ticket.wait(until, limit, &mut || attendant.attend());
            attendant.convert(waited)
        })
    }

    fn signal(&self, number: i32) -> PyResult<()> {
        Ok(self.dispatcher.signal(self.ticket.id, number)?)
    }

    fn watch(&self, until: &str) -> PyResult<bool> {
        Ok(self.ticket.watch(point(until)?)?)
    }

    fn claim(&self) {
        self.claimed.store(true, Ordering::Relaxed);
    }

    fn forget_body(&self) {
        self.ticket.forget_body();
    }
}

/// SIGKILL for 9.
#[pyfunction]
pub(super) fn signal_name(signal: i32) -> String {
    crate::supervisor::template::signal_name(signal)
}
