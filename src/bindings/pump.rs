//! `_core.Pump`: the output thread's tasks.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::supervisor::output::Stream;
use crate::supervisor::pump::{Pump, Task};

/// A child's id and name, where to write (none: tell those who asked about it), and the lines.
type TaskTuple<'py> = (u64, String, Option<u8>, Bound<'py, PyBytes>);

/// What the output thread holds: not the engine, which has to end when nobody else holds it.
#[pyclass(frozen, name = "Pump", module = "firehot._core")]
pub(super) struct PyPump(pub(super) Pump);

#[pymethods]
impl PyPump {
    fn next_task<'py>(&self, py: Python<'py>) -> Option<TaskTuple<'py>> {
        Some(match py.detach(|| self.0.next())? {
            Task::Write {
                ticket,
                stream,
                lines,
            } => {
                let fd = match stream {
                    Stream::Stdout => 1,
                    Stream::Stderr => 2,
                };
                let lines = PyBytes::new(py, &lines);
                (ticket.id.0, ticket.name.clone(), Some(fd), lines)
            }
            Task::Notify(ticket) => (
                ticket.id.0,
                ticket.name.clone(),
                None,
                PyBytes::new(py, b""),
            ),
        })
    }
}
