//! What goes between Python and `_core.Engine`: dicts and tuples in, tuples out.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use pyo3::prelude::*;

use crate::environment::Came;
use crate::protocol::findings::ModuleCost;
use crate::scan::ScanRequest;
use crate::stamp::os_text;
use crate::supervisor::template::Launch;

/// Executable, arguments, environment, cwd, path: see `firehot/_host.py`.
pub(super) type LaunchTuple = (
    PathBuf,
    Vec<OsString>,
    Vec<(OsString, OsString)>,
    PathBuf,
    Vec<PathBuf>,
);

pub(super) fn launch_from(value: &Bound<'_, PyAny>) -> PyResult<Launch> {
    let (executable, arguments, environment, cwd, path): LaunchTuple = value.extract()?;
    Ok(Launch {
        executable,
        arguments,
        environment,
        cwd,
        path,
    })
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(super) struct ScanDict {
    package: String,
    locations: Vec<PathBuf>,
    own_folders: Vec<PathBuf>,
    only_reached: bool,
    modules: Vec<(String, PathBuf)>,
    first_party: Vec<String>,
    watched: Vec<PathBuf>,
    ignored: Vec<String>,
    preload: Vec<String>,
    sys_path: Vec<PathBuf>,
    site_folders: Vec<PathBuf>,
    builtin_modules: Vec<String>,
    stdlib_modules: Vec<String>,
}

/// How templates are judged.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(super) struct PolicyDict {
    pub(super) import_timeout: f64,
    pub(super) native_variables: Vec<String>,
    pub(super) leave_out: Vec<(String, String)>,
    pub(super) safe: Vec<String>,
    pub(super) python: String,
    pub(super) spares: usize,
    pub(super) cache: Option<PathBuf>,
    pub(super) learn: bool,
    pub(super) warm_first_party: bool,
    pub(super) watch: bool,
    pub(super) must_poll: bool,
}

impl From<ScanDict> for ScanRequest {
    fn from(scan: ScanDict) -> Self {
        Self {
            package: scan.package,
            locations: scan.locations,
            own_folders: scan.own_folders,
            only_reached: scan.only_reached,
            modules: scan.modules,
            first_party: scan.first_party,
            watched: scan.watched,
            ignored: scan.ignored,
            preload: scan.preload,
            sys_path: scan.sys_path,
            site_folders: scan.site_folders,
            builtin_modules: scan.builtin_modules,
            stdlib_modules: scan.stdlib_modules,
        }
    }
}

/// A module's name, why it is skipped, and where it is imported.
pub(super) type SkippedTuple = (String, String, Vec<(PathBuf, u32, String)>);

/// Module, microseconds, and whether it was learned; what is skipped; package and verdict.
pub(super) type ReportTuple = (
    Vec<(String, u64, bool)>,
    Vec<SkippedTuple>,
    BTreeMap<String, String>,
);

/// Module, microseconds of it and of parts of it, bytes, whether it was learned, where it is imported, what came with it,
/// other files that were read, and side effects.
pub(super) type BroughtTuple = (
    String,
    Vec<(String, u64)>,
    Option<u64>,
    bool,
    Vec<(PathBuf, u32, String)>,
    Vec<CameTuple>,
    Vec<OsString>,
    Vec<(String, String, String)>,
);

/// Module, its file, who asked for it, microseconds without and with what it imported, bytes, and the module during whose
/// import its own began.
pub(super) type CameTuple = (
    String,
    Option<OsString>,
    Option<String>,
    u64,
    u64,
    u64,
    Option<String>,
);

pub(super) fn came(module: &Came) -> CameTuple {
    let ModuleCost(own, total, memory, during) = module.cost.clone();
    let file = module.file.as_deref().map(os_text);
    let importer = module.importer.clone();
    (
        module.name.clone(),
        file,
        importer,
        own,
        total,
        memory,
        during,
    )
}
