//! What an environment is opened with.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::Duration;

use crate::scan::ScanRequest;

/// What does not change while an environment is open.
#[derive(Debug, Clone)]
pub struct Config {
    /// What to scan.
    pub scan: ScanRequest,
    /// How long the import of one module may take.
    pub import_limit: Duration,
    /// Variables (`OMP_*`) that C code, or the interpreter's own start, reads by itself.
    pub native_variables: Vec<String>,
    /// Modules that must not be in a template, and why.
    pub leave_out: Vec<(String, String)>,
    /// Modules that are not judged, by the user's word.
    pub safe: Vec<String>,
    /// The interpreter's implementation and version, which verdicts are about.
    pub python: String,
    /// How many children are forked ahead.
    pub spares: usize,
    /// Where verdicts, and what was learned, are kept from one process to the next; nowhere if none.
    pub cache: Option<PathBuf>,
    /// Whether what children import themselves is preloaded from then on.
    pub learn: bool,
    /// Whether the project's own modules are imported ahead.
    pub warm_first_party: bool,
    /// Whether a watcher tells the scan what has changed.
    pub watch: bool,
    /// Whether the watcher polls, though the system could tell.
    pub must_poll: bool,
}
