//! The extension module `firehot._core`: thin classes over the engine. Takes no decisions.
//!
//! The GIL is given up for every wait; signals are looked after at least every 100 ms of it.

mod caller;
mod cli;
mod client;
mod daemon;
mod engine;
mod errors;
mod logging;
mod pump;
mod rust_cache;
mod rust_ext;
mod ticket;
mod values;
mod watch;

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::scan::{imports_of, StatementKind};

/// One import statement: line, level, module, (name, alias) pairs, whether it is `from ... import`.
type Statement = (
    u32,
    u32,
    Option<String>,
    Vec<(String, Option<String>)>,
    bool,
);

/// Every import statement of one source text.
#[pyfunction]
#[pyo3(name = "imports_of")]
fn imports_of_py<'py>(py: Python<'py>, source: &[u8]) -> PyResult<Bound<'py, PyList>> {
    let found: Vec<Statement> = imports_of(source)
        .statements
        .into_iter()
        .map(|statement| {
            let is_from = statement.kind == StatementKind::From;
            (
                statement.line,
                statement.level,
                statement.module,
                statement.names,
                is_from,
            )
        })
        .collect();
    PyList::new(py, found)
}

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<engine::Engine>()?;
    module.add_class::<pump::PyPump>()?;
    module.add_class::<ticket::PyTicket>()?;
    module.add_class::<watch::PyWatch>()?;
    module.add_function(wrap_pyfunction!(watch::watch_folder, module)?)?;
    module.add_function(wrap_pyfunction!(engine::import_links, module)?)?;
    module.add_class::<daemon::PyListener>()?;
    module.add_class::<daemon::PyConnection>()?;
    module.add_class::<daemon::PyStdio>()?;
    module.add_class::<rust_ext::PyExtension>()?;
    module.add_class::<rust_ext::PyWorkshop>()?;
    module.add_function(wrap_pyfunction!(imports_of_py, module)?)?;
    module.add_function(wrap_pyfunction!(cli::parse_command, module)?)?;
    module.add_function(wrap_pyfunction!(client::client_ask, module)?)?;
    module.add_function(wrap_pyfunction!(client::client_warm, module)?)?;
    module.add_function(wrap_pyfunction!(client::client_build, module)?)?;
    module.add_function(wrap_pyfunction!(client::client_cold, module)?)?;
    module.add_function(wrap_pyfunction!(client::client_place, module)?)?;
    module.add_function(wrap_pyfunction!(client::client_places, module)?)?;
    module.add_function(wrap_pyfunction!(client::client_run, module)?)?;
    module.add_function(wrap_pyfunction!(client::client_surroundings, module)?)?;
    module.add_function(wrap_pyfunction!(logging::configure_logging, module)?)?;
    module.add_function(wrap_pyfunction!(rust_cache::rust_cache_contents, module)?)?;
    module.add_function(wrap_pyfunction!(rust_cache::rust_cache_clear, module)?)?;
    module.add_function(wrap_pyfunction!(rust_cache::rust_name_problem, module)?)?;
    module.add_function(wrap_pyfunction!(rust_ext::unchanged_build, module)?)?;
    module.add_function(wrap_pyfunction!(ticket::signal_name, module)?)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    Ok(())
}
