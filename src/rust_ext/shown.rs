//! The crate that cargo is given for an extension, for users to read. Builds nothing.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

use super::error::BuildError;
use super::problem::Problem;
use super::store::mark;
use super::{Extension, Settings, Workshop};

/// A crate as cargo gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its Cargo.toml, with the text.
    pub manifest: (PathBuf, String),
    /// The library that was made, with the text; none where the user's file is the library.
    pub library: Option<(PathBuf, String)>,
    /// Whether it is one of firehot's; otherwise the user's own.
    pub is_made: bool,
    /// Arguments for rustc.
    pub rustc_arguments: Vec<String>,
}

impl Workshop {
    /// Makes the crate, in the place where a build would, and reads it. The same bytes as a build's: one that runs is not
    /// disturbed.
    ///
    /// # Errors
    /// It can't be made, or not be read.
    pub fn shown(&self, extension: &Extension, settings: &Settings) -> Result<Shown, BuildError> {
        let slot = self.slot(extension, settings);
        mark(self.cache())?;
        let made = self.crate_of(&slot, extension)?;
        let is_made = made.manifest.starts_with(&slot.folder);
        let library = made.manifest.with_file_name("lib.rs");
        let text = read(&made.manifest)?;
        // One that an earlier state of the file needed may still be there.
        let is_used = is_made && text.contains(&*library.to_string_lossy());
        Ok(Shown {
            library: if is_used {
                Some((library.clone(), read(&library)?))
            } else {
                None
            },
            manifest: (made.manifest, text),
            is_made,
            rustc_arguments: made.rustc_arguments,
        })
    }
}

fn read(path: &Path) -> Result<String, Problem> {
    fs::read_to_string(path).map_err(|source| Problem::Read {
        path: path.to_owned(),
        source,
    })
}
