//! `FIREHOT_LOG_LEVEL`: one logger, on stderr, for the Rust and the Python side.

use std::io::Write;
use std::sync::Once;

use log::{Level, LevelFilter};
use pyo3::prelude::*;

static LOGGER: Once = Once::new();
const LEVELS: &str = "trace, debug, info, warn, error";

/// Sets the level by name, whatever its case; `None` or an empty text is the default, warn.
#[pyfunction]
#[pyo3(signature = (level))]
pub(super) fn configure_logging(level: Option<&str>) {
    LOGGER.call_once(|| {
        let mut builder = env_logger::Builder::new();
        builder
            .filter_module("firehot", LevelFilter::Trace)
            .format(|out, record| {
                let level = record.level().as_str().to_ascii_lowercase();
                writeln!(out, "firehot [{level}] {}", record.args())
            });
        // Another logger of this library copy can only be our own.
        let _ = builder.try_init();
    });
    let wanted = level.unwrap_or_default().trim();
    let found = wanted.parse::<Level>().map(|level| level.to_level_filter());
    log::set_max_level(*found.as_ref().unwrap_or(&LevelFilter::Warn));
    if found.is_err() && !wanted.is_empty() {
        log::warn!("FIREHOT_LOG_LEVEL={wanted} is no level; use one of {LEVELS}. Using warn.");
    }
}
