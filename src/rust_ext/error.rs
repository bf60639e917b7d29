//! Why a build did not come about, in words for the one who edits. Owns no recovery.
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A build that failed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The compiler says no.
    #[error("{} does not build:\n{}", place.display(), diagnostics.trim_end())]
    Failed {
        /// The `.rs` file or the folder of the crate.
        place: PathBuf,
        /// What rustc and cargo say, as a terminal shows it.
        diagnostics: String,
        /// Whether the same sources will fail again.
        is_of_sources: bool,
    },
    /// There is no cargo.
    #[error("there is no cargo to build {} with (looked at CARGO, PATH, CARGO_HOME and ~/.cargo/bin): install Rust from rustup.rs, or set FIREHOT_RUST_PREBUILT=1 where everything is built", place.display())]
    NoCargo {
        /// What was to be built.
        place: PathBuf,
    },
    /// There is no maturin, and nothing else will do.
    #[error("{} is no pyo3 project, so maturin has to build it, and there is none: pip install maturin", place.display())]
    NoMaturin {
        /// What was to be built.
        place: PathBuf,
    },
    /// maturin has built, and installed nothing that can be found.
    #[error("maturin builds {}, but it is not installed afterwards: use an interpreter of a virtual environment", place.display())]
    NotInstalled {
        /// What was built.
        place: PathBuf,
    },
    /// cargo can't be started.
    #[error("could not start {}", cargo.display())]
    Spawn {
        /// Which cargo.
        cargo: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The build makes no extension module.
    #[error("{} builds, but no extension module comes of it: put crate-type = [\"cdylib\"] under [lib] in its Cargo.toml", place.display())]
    NoArtifact {
        /// The folder of the crate.
        place: PathBuf,
    },
    /// The cache can't be written to.
    #[error("{} can't be written: {source}; choose another folder with FIREHOT_RUST_CACHE", path.display())]
    Cache {
        /// What was to be written.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process builds the same, and does not end.
    #[error("another process has been building {} for {} s (it holds {}); wait for it or end it", place.display(), after.as_secs(), lock.display())]
    Locked {
        /// What is built.
        place: PathBuf,
        /// The lock.
        lock: PathBuf,
        /// How long it was waited for.
        after: Duration,
    },
    /// What a crate's own files say makes no sense.
    #[error(transparent)]
    Problem(#[from] super::Problem),
    /// The one who asked has been interrupted.
    #[error("interrupted")]
    Interrupted,
}

impl BuildError {
    /// The `.rs` file or the folder that it is about.
    #[must_use]
    pub fn place(&self) -> Option<&Path> {
        match self {
            Self::Failed { place, .. }
            | Self::NoCargo { place }
            | Self::NoMaturin { place }
            | Self::NotInstalled { place }
            | Self::NoArtifact { place }
            | Self::Locked { place, .. } => Some(place),
            Self::Problem(problem) => Some(problem.place()),
            Self::Spawn { .. } | Self::Cache { .. } | Self::Interrupted => None,
        }
    }

    /// What rustc and cargo say, as a terminal shows it; empty when they were not asked.
    #[must_use]
    pub fn diagnostics(&self) -> &str {
        match self {
            Self::Failed { diagnostics, .. } => diagnostics,
            _ => "",
        }
    }
}
