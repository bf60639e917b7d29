//! What is maturin's: projects that it alone can build, and the modules that it has installed itself. Decides nothing
//! about when.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use super::cargo::{self, Screen};
use super::error::BuildError;
use super::sources;
use super::store::workspace;
use super::{Bindings, Extension, Interpreter, Project, Settings, Source};
use crate::stamp::Touched;

/// The project that only maturin can build, if it is one.
pub(super) fn of_maturin(extension: &Extension) -> Option<&Project> {
    match &extension.source {
        Source::Project(project) if project.bindings != Bindings::Pyo3 => Some(project),
        Source::Project(_) | Source::File(_) | Source::Crate(_) => None,
    }
}

/// Where maturin installs the module, there or not; the first that is there is imported.
///
/// None when it is to be built in a way of its own: then only that will do.
pub(super) fn installed(
    extension: &Extension,
    interpreter: &Interpreter,
    settings: &Settings,
) -> Vec<PathBuf> {
    let Source::Project(project) = &extension.source else {
        return Vec::new();
    };
    let folder = project.python_source.as_ref().or(project.site.as_ref());
    let is_ours = project.bindings == Bindings::Pyo3 && settings.arguments().is_empty();
    let Some(folder) = folder.filter(|_| is_ours) else {
        return Vec::new();
    };
    let stem = folder.join(extension.module.replace('.', "/"));
    let named = |end: &str| {
        let mut path = stem.clone().into_os_string();
        path.push(end);
        PathBuf::from(path)
    };
    [&interpreter.suffix, ".abi3.so", ".so"].map(named).to_vec()
}

/// What went into the module that maturin has installed: cargo says so in the project's own target folder.
///
/// None when that can't be told: it was built elsewhere, or something else was built since.
pub(super) fn sources_of(project: &Project, artifact: &Path) -> Option<BTreeSet<PathBuf>> {
    let size = fs::metadata(artifact).ok()?.len();
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(
        || workspace(&project.manifest).join("target"),
        PathBuf::from,
    );
    let mut found = Vec::new();
    for file in dependency_files(&target) {
        let library = |end: &str| fs::metadata(file.with_extension(end));
        let library = library("so").or_else(|_| library("dylib"));
        if library.is_ok_and(|library| library.len() == size) {
            found.push(file);
        }
    }
    let [file] = &found[..] else {
        return None;
    };
    let text = fs::read_to_string(file).ok()?;
    Some(sources::expand(sources::read_dependencies(&text), &target))
}

/// Whether nothing of this was touched after the module was made.
pub(super) fn is_newer(artifact: &Path, files: &[Touched]) -> bool {
    let made = Touched::now(artifact).date();
    made.is_some_and(|made| !files.iter().any(|file| file.has_changed_since(made)))
}

fn dependency_files(target: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    entries(target)
        .flat_map(|profile| entries(&profile.path()).map(|entry| entry.path()))
        .filter(|file| file.extension().is_some_and(|end| end == "d"))
        .collect()
}

/// What a project of maturin's was built from, after it was; with the file to know it by.
pub(super) struct Developed {
    /// Of the installed distribution: gone when that is.
    pub(super) record: PathBuf,
    pub(super) named: BTreeSet<PathBuf>,
}

/// Has maturin build a project and install it editable.
pub(super) fn develop(
    project: &Project,
    interpreter: &Interpreter,
    settings: &Settings,
    target: &Path,
    screen: &dyn Screen,
) -> Result<Developed, BuildError> {
    let program = maturin(interpreter).ok_or_else(|| BuildError::NoMaturin {
        place: project.root.clone(),
    })?;
    let mut command = Command::new(&program);
    command
        .current_dir(&project.root)
        .arg("develop")
        .arg("--target-dir")
        .arg(target)
        .args(settings.arguments());
    if let Some(jobs) = settings.jobs {
        command.arg("--jobs").arg(jobs.to_string());
    }
    if let Some(venv) = &interpreter.venv {
        command.env("VIRTUAL_ENV", venv).env_remove("CONDA_PREFIX");
    }
    cargo::add_path(
        &mut command,
        cargo::find(settings).as_deref().and_then(Path::parent),
    );
    let color = screen.width().map_or("never", |_| "always");
    command
        .env("CARGO_TERM_COLOR", color)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let began = SystemTime::now();
    cargo::run_for_text(command, &program, &project.root, screen)?;
    let mut named = BTreeSet::new();
    for file in dependency_files(target) {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let sources = sources::read_dependencies(&text);
        let own = project.manifest.parent().unwrap_or(&project.root);
        // The folder may be shared with other projects.
        if sources.iter().any(|source| source.starts_with(own)) {
            named.extend(sources);
        }
    }
    let record = record(project, interpreter, began).ok_or_else(|| BuildError::NotInstalled {
        place: project.root.clone(),
    })?;
    Ok(Developed {
        record,
        named: sources::expand(named, target),
    })
}

fn maturin(interpreter: &Interpreter) -> Option<PathBuf> {
    let beside = interpreter.executable.parent().map(Path::to_owned);
    let venv = interpreter.venv.as_ref().map(|venv| venv.join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = beside.into_iter().chain(venv);
    let mut all = folders
        .chain(env::split_paths(&path))
        .map(|folder| folder.join("maturin"));
    all.find(|file| cargo::is_program(file))
}

/// The RECORD of the distribution, which each installation writes anew.
fn record(project: &Project, interpreter: &Interpreter, began: SystemTime) -> Option<PathBuf> {
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let plain = |name: &str| name.to_lowercase().replace(['-', '.'], "_");
    let wanted = plain(&project.distribution);
    let libraries = interpreter
        .venv
        .iter()
        .flat_map(|venv| entries(&venv.join("lib")))
        .map(|python| python.path().join("site-packages"));
    let mut found: Vec<PathBuf> = project
        .site
        .iter()
        .cloned()
        .chain(libraries)
        .flat_map(|site| entries(&site).map(|entry| entry.path()).collect::<Vec<_>>())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let name = name.strip_suffix(".dist-info");
            let name = name.and_then(|name| name.rsplit_once('-'));
            name.is_some_and(|(name, _)| plain(name) == wanted)
        })
        .map(|folder| folder.join("RECORD"))
        .filter(|file| file.is_file())
        .collect();
    found.sort_by_key(|file| !Touched::now(file).has_changed_since(began));
    found.into_iter().next()
}
