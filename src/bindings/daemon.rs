//! `_core.Listener` and `_core.Connection`: how the daemon hears its clients.

use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::ticket::limit;
use crate::daemon::{Connection, Listener, Listening};
use crate::supervisor::output::Stdio;

/// The listening socket of a daemon.
#[pyclass(frozen, name = "Listener", module = "firehot._core")]
pub(super) struct PyListener(Listener);

#[pymethods]
impl PyListener {
    #[staticmethod]
    fn open(socket: PathBuf, lock: PathBuf, told: &[u8]) -> PyResult<Option<Self>> {
        Ok(Listener::open(&socket, &lock, told)?.map(Self))
    }

    /// A connection, or none when it was rung or the time is over.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<PyConnection>> {
        let limit = limit(timeout)?;
        let heard = py.detach(|| self.0.wait(limit))?;
        py.check_signals()?;
        Ok(match heard {
            Listening::Client(connection) => Some(PyConnection(connection)),
            Listening::Rung | Listening::Nobody => None,
        })
    }

    /// For `signal.set_wakeup_fd`.
    fn waker(&self) -> i32 {
        self.0.waker().as_fd().as_raw_fd()
    }

    fn ring(&self) {
        self.0.ring();
    }

    fn hide(&self) -> PyResult<()> {
        Ok(self.0.hide()?)
    }

    fn leave(&self) -> PyResult<()> {
        Ok(self.0.leave()?)
    }
}

/// The socket to one client.
#[pyclass(frozen, name = "Connection", module = "firehot._core")]
pub(super) struct PyConnection(Connection);

#[pymethods]
impl PyConnection {
    fn receive<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<Option<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)>> {
        let frame = py.detach(|| self.0.receive())?;
        Ok(frame.map(|frame| {
            let header = PyBytes::new(py, &frame.header);
            (header, PyBytes::new(py, &frame.body))
        }))
    }

    fn take_stdio(&self, count: usize) -> Option<PyStdio> {
        let stdio = self.0.take_stdio(count)?;
        Some(PyStdio(Mutex::new(Some(Arc::new(stdio)))))
    }

    #[pyo3(signature = (header, body=Vec::new()))]
    fn send(&self, py: Python<'_>, header: Vec<u8>, body: Vec<u8>) -> PyResult<()> {
        Ok(py.detach(|| self.0.send(&header, &body))?)
    }

    fn close(&self) {
        self.0.close();
    }
}

/// A client's stdin, stdout, stderr and further descriptors, until they are let go.
#[pyclass(frozen, name = "Stdio", module = "firehot._core")]
pub(super) struct PyStdio(Mutex<Option<Arc<Stdio>>>);

impl PyStdio {
    pub(super) fn share(&self) -> PyResult<Arc<Stdio>> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.clone()
            .ok_or_else(|| PyOSError::new_err("these descriptors were closed"))
    }
}

#[pymethods]
impl PyStdio {
    /// Nobody but the child holds them open from now on.
    fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
