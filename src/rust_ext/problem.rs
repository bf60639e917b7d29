//! What keeps an extension from being built, said so that a user can mend it. Finds none.
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};

/// Why something that has opted in is no extension.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The crate makes no shared library.
    #[error(
        "the crate in {} makes no extension module: add crate-type = [\"cdylib\"] to [lib] in its Cargo.toml",
        folder.display()
    )]
    NoCdylib {
        /// The crate's folder.
        folder: PathBuf,
    },
    /// No Rust library can have the module's name.
    #[error("{} can't be built as the module {name:?}: {reason}; give the file another name", path.display())]
    Name {
        /// The last part of the module's name.
        name: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The `//: ` lines are no TOML.
    #[error("the \"//: \" lines of {} are no valid part of a Cargo.toml: {source}", path.display())]
    Header {
        /// The `.rs` file.
        path: PathBuf,
        /// What the parser said, with the line.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A Cargo.toml or pyproject.toml is no TOML.
    #[error("{} is no valid TOML: {source}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// What the parser said, with the line.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A project of maturin without a crate.
    #[error(
        "the maturin project in {} has no Cargo.toml: set manifest-path in [tool.maturin]",
        root.display()
    )]
    NoManifest {
        /// The folder of its pyproject.toml.
        root: PathBuf,
    },
    /// Neither TOML nor Rust can name the path.
    #[error("{} can't be built: its path is not UTF-8", path.display())]
    NotUtf8 {
        /// The file or folder.
        path: PathBuf,
    },
    /// A file can't be read.
    #[error("could not read {}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The generated crate can't be written.
    #[error("could not write {}", path.display())]
    Write {
        /// Which file of it.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Problem {
    /// Where a user has something to mend.
    #[must_use]
    pub fn place(&self) -> &Path {
        match self {
            Self::NoCdylib { folder: place } | Self::NoManifest { root: place } => place,
            Self::Name { path, .. }
            | Self::Header { path, .. }
            | Self::Toml { path, .. }
            | Self::NotUtf8 { path }
            | Self::Read { path, .. }
            | Self::Write { path, .. } => path,
        }
    }
}
