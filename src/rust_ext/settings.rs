//! What a build is told, and for which interpreter it is. Finds nothing on the disk.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// For whom is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// `sys.executable`, or the interpreter that an embedding host stands for.
    pub executable: PathBuf,
    /// The end of an extension module's file name: `.cpython-311-x86_64-linux-gnu.so`.
    pub suffix: String,
    /// Whether there is no global lock: then there is no stable ABI either.
    pub free_threaded: bool,
    /// The virtual environment, for maturin.
    pub venv: Option<PathBuf>,
}

/// How is built. The default is what `cargo build` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// With optimisation: the profile `release`.
    pub release: bool,
    /// Any other profile of cargo.
    pub profile: Option<String>,
    /// Features to switch on.
    pub features: Vec<String>,
    /// All of them.
    pub all_features: bool,
    /// Not the default ones.
    pub no_default_features: bool,
    /// Where cargo works, instead of a folder in the cache.
    pub target_dir: Option<PathBuf>,
    /// More arguments for cargo.
    pub cargo_arguments: Vec<String>,
    /// The cargo to use.
    pub cargo: Option<PathBuf>,
    /// How many jobs cargo runs at once.
    pub jobs: Option<u32>,
    /// Build though nothing has changed.
    pub force: bool,
    /// How long to wait for another process that builds the same.
    pub lock_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            release: false,
            profile: None,
            features: Vec::new(),
            all_features: false,
            no_default_features: false,
            target_dir: None,
            cargo_arguments: Vec::new(),
            cargo: None,
            jobs: None,
            force: false,
            lock_timeout: Duration::from_secs(600),
        }
    }
}

impl Settings {
    /// What tells one build from another, as arguments of cargo.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        if let Some(profile) = &self.profile {
            arguments.extend(["--profile".into(), profile.into()]);
        } else if self.release {
            arguments.push("--release".into());
        }
        if !self.features.is_empty() {
            arguments.extend(["--features".into(), self.features.join(",").into()]);
        }
        if self.all_features {
            arguments.push("--all-features".into());
        }
        if self.no_default_features {
            arguments.push("--no-default-features".into());
        }
        arguments.extend(self.cargo_arguments.iter().map(OsString::from));
        arguments
    }
}
