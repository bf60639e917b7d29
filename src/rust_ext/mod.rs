//! Rust extensions of a project: finds them, tells whether their build holds, builds and publishes them. Loads none.
//!
//! ```text
//! name --find--> extension --check--> fresh: the published file
//!                              stale: lock, snapshot, cargo, its dependency file, publish under a new name
//! ```
//!
//! cargo says what went into a build: its dependency file is read after each, and an extension is fresh while every
//! source in it is *as it was*, whatever its date. Each artifact is published under a name of its own and never written
//! to again, so whoever has it loaded is not disturbed.
#![forbid(unsafe_code)]

mod cache_info;
mod cargo;
mod compare;
mod discover;
mod error;
mod failure;
mod fill;
mod find;
mod generate;
mod handover;
mod header;
mod heard;
mod in_use;
mod lexer;
mod manifest;
mod maturin;
mod maturin_settings;
#[cfg(test)]
mod on_disk;
mod problem;
mod projects;
mod settings;
mod shown;
mod sources;
mod standing;
mod states;
mod store;
mod syntax;
mod tables;
mod tracked;
mod turn;
mod workshop;

use std::path::{Path, PathBuf};

pub use self::cache_info::{clear, contents, ClearError, Contents, Kept, Last, Target};
pub use self::cargo::Screen;
pub use self::discover::{discover, installed, installed_by, survey};
pub use self::error::BuildError;
pub use self::find::{find, reasons};
pub use self::generate::{check_name, generate, Generated, Pyo3Target};
pub use self::header::Header;
pub use self::problem::Problem;
pub use self::settings::{Interpreter, Settings};
pub use self::shown::Shown;
pub use self::standing::{unchanged, Standing};
pub use self::workshop::{Built, Workshop};

/// One extension module that is built from Rust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// Its dotted name, as it is imported: `fast`, `package._native`.
    pub module: String,
    /// What it is built from.
    pub source: Source,
}

/// What an extension is built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A single `.rs` file, for which a crate is generated.
    File(PathBuf),
    /// A crate that has opted in: the folder of its Cargo.toml.
    Crate(PathBuf),
    /// A project of maturin that is installed editable.
    Project(Project),
}

/// A project that maturin builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The folder of its pyproject.toml.
    pub root: PathBuf,
    /// Its Cargo.toml, which may lie deeper.
    pub manifest: PathBuf,
    /// The package's own Python sources, when it has any: the folder that holds the top-level package.
    pub python_source: Option<PathBuf>,
    /// How Python and Rust are bound.
    pub bindings: Bindings,
    /// `[tool.maturin]`: features, profile and the like, as arguments for cargo.
    pub cargo_arguments: Vec<String>,
    /// And for rustc.
    pub rustc_arguments: Vec<String>,
    /// The oldest macOS that is built for.
    pub deployment_target: Option<String>,
    /// The name of the distribution.
    pub distribution: String,
    /// The folder that it is installed in, where that is known.
    pub site: Option<PathBuf>,
}

/// How Python and Rust are bound in a project of maturin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bindings {
    /// cargo alone builds it.
    Pyo3,
    /// maturin has to: it generates Python code, or there is no module at all.
    Cffi,
    /// See [`Bindings::Cffi`].
    Uniffi,
    /// See [`Bindings::Cffi`].
    Bin,
}

impl Extension {
    /// Where a user would look: the `.rs` file, or the folder of the crate or project.
    #[must_use]
    pub fn place(&self) -> &Path {
        match &self.source {
            Source::File(path) | Source::Crate(path) => path,
            Source::Project(project) => &project.root,
        }
    }

    /// Whether maturin builds and installs it: then Python imports it as ever, if there is something to import.
    #[must_use]
    pub fn is_of_maturin(&self) -> bool {
        handover::of_maturin(self).is_some()
    }

    /// Its Cargo.toml; none where that is generated.
    pub(crate) fn manifest(&self) -> Option<PathBuf> {
        match &self.source {
            Source::File(_) => None,
            Source::Crate(folder) => Some(folder.join("Cargo.toml")),
            Source::Project(project) => Some(project.manifest.clone()),
        }
    }

    /// Where cargo is started: it looks for its configuration from there on upwards.
    fn folder(&self) -> &Path {
        match &self.source {
            Source::File(file) => file.parent().unwrap_or(file),
            Source::Crate(folder) => folder,
            Source::Project(project) => project.manifest.parent().unwrap_or(&project.root),
        }
    }

    /// What its project asks of cargo itself.
    fn cargo_arguments(&self) -> &[String] {
        match &self.source {
            Source::File(_) | Source::Crate(_) => &[],
            Source::Project(project) => &project.cargo_arguments,
        }
    }

    /// The oldest macOS that its project wants to be built for.
    fn deployment_target(&self) -> Option<&str> {
        match &self.source {
            Source::File(_) | Source::Crate(_) => None,
            Source::Project(project) => project.deployment_target.as_deref(),
        }
    }
}
