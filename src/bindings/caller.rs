//! What the engine asks of the Python side while it works: signals, and a progress bar on a terminal.

use std::cell::RefCell;
use std::io::{stderr, IsTerminal};
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pyo3::prelude::*;

use crate::environment::Caller;
use crate::error::Error;

/// Looks after signals; keeps what a handler raised until it can be raised again.
pub(super) struct Attendant<'e> {
    /// Makes the body of the `setup` message; none where no template can be started.
    setup: Option<&'e Py<PyAny>>,
    raised: RefCell<Option<PyErr>>,
    bar: RefCell<Option<ProgressBar>>,
}

impl<'e> Attendant<'e> {
    pub(super) fn new(setup: &'e Py<PyAny>) -> Self {
        Self {
            setup: Some(setup),
            ..Self::without_template()
        }
    }

    /// For those who only wait.
    pub(super) fn without_template() -> Self {
        Self {
            setup: None,
            raised: RefCell::default(),
            bar: RefCell::default(),
        }
    }

    /// Keeps what Python code raised.
    fn raise(&self, raised: PyErr) -> Error {
        self.raised.replace(Some(raised));
        Error::Interrupted
    }

    /// The result for Python: what a signal handler raised counts before everything else.
    pub(super) fn convert<T>(self, result: Result<T, Error>) -> PyResult<T> {
        match (result, self.raised.into_inner()) {
            (Ok(value), _) => Ok(value),
            (Err(Error::Interrupted), Some(raised)) => Err(raised),
            (Err(error), _) => Err(error.into()),
        }
    }
}

impl Caller for Attendant<'_> {
    fn attend(&self) -> Result<(), Error> {
        Python::attach(|py| py.check_signals()).map_err(|raised| self.raise(raised))
    }

    fn setup(&self, path: &[PathBuf]) -> Result<Vec<u8>, Error> {
        let Some(setup) = self.setup else {
            return Err(Error::NoTemplate);
        };
        // As text: a Path object would make "." of an empty entry.
        let path: Vec<_> = path.iter().map(|entry| entry.as_os_str()).collect();
        Python::attach(|py| setup.bind(py).call1((path,))?.extract())
            .map_err(|raised| self.raise(raised))
    }

    fn progress(&self, module: &str, position: usize, of: usize) {
        let mut bar = self.bar.borrow_mut();
        if bar.is_none() && stderr().is_terminal() {
            *bar = Some(new_bar(of));
        }
        if let Some(bar) = bar.as_ref() {
            bar.set_position(position as u64);
            bar.set_message(module.to_owned());
        }
    }

    fn settled(&self) {
        if let Some(bar) = self.bar.borrow_mut().take() {
            bar.finish_and_clear();
        }
    }
}

fn new_bar(of: usize) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(of as u64), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("firehot preloads {bar:20} {pos}/{len} {wide_msg}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}
