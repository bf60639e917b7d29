//! Where daemons are: which project a command is about, and the files that its daemon has. Nothing else knows these names.
//!
//! The folder is the user's own and nobody else can write to it, or it is not used at all: whoever can put a socket
//! there would be given the user's environment.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::libc::O_NOFOLLOW;
use nix::unistd::geteuid;
use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_64;

/// What makes a folder a project, the nearest one counts.
const MARKERS: [&str; 5] = ["pyproject.toml", "setup.py", "setup.cfg", ".git", ".hg"];
/// A socket's path has to fit 104 bytes on macOS, 108 on Linux, with a NUL.
const SOCKET_PATH: usize = 103;

/// Why there is no place for a daemon.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The working directory was removed, or can't be reached.
    #[error("the working directory can't be found")]
    NoDirectory(#[source] io::Error),
    /// It can't be made, or looked at.
    #[error("{} can't be used", folder.display())]
    Folder {
        /// The folder of all daemons.
        folder: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Somebody else could listen there.
    #[error("{} {what}", folder.display())]
    Unsafe {
        /// The folder of all daemons.
        folder: PathBuf,
        /// "belongs to another user", "can be written to by others".
        what: &'static str,
    },
}

/// The daemon of one (project root, interpreter, environment, user), running or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The folder of the project.
    pub root: PathBuf,
    /// Where it listens.
    pub socket: PathBuf,
    /// Held by a daemon for all its life: the only proof of it.
    pub lock: PathBuf,
    /// What it prints.
    pub log: PathBuf,
    /// Why the last run that reached no daemon was cold.
    pub why: PathBuf,
}

impl Place {
    /// The place for a project. Makes the folder that holds it.
    ///
    /// # Errors
    /// See [`PlaceError`].
    pub fn of(root: &Path, executable: &Path, prefix: &Path) -> Result<Self, PlaceError> {
        let folder = folder()?;
        let real = fs::canonicalize(executable).unwrap_or_else(|_| executable.into());
        let mut key = Vec::new();
        for part in [root, &real, prefix] {
            key.extend(part.as_os_str().as_bytes());
            key.push(0);
        }
        key.extend(geteuid().as_raw().to_le_bytes());
        let name = format!("{:016x}", xxh3_64(&key));
        Ok(Self::named(&folder, &name, root.into()))
    }

    fn named(folder: &Path, name: &str, root: PathBuf) -> Self {
        let file = |suffix: &str| folder.join(format!("{name}.{suffix}"));
        Self {
            root,
            socket: file("sock"),
            lock: file("lock"),
            log: file("log"),
            why: file("why"),
        }
    }
}

/// The project that a command is about: that of the script, or of the working directory.
///
/// # Errors
/// There is no working directory.
pub fn project_root(script: Option<&Path>) -> Result<PathBuf, PlaceError> {
    // Python looks beside the file that a link leads to. What does not exist is python's to complain about.
    let start = match script.and_then(|script| fs::canonicalize(script).ok()) {
        Some(real) if real.is_dir() => real,
        Some(real) => real.parent().map_or(real.clone(), Path::to_path_buf),
        None => std::env::current_dir()
            .and_then(fs::canonicalize)
            .map_err(PlaceError::NoDirectory)?,
    };
    let marked = |folder: &&Path| MARKERS.iter().any(|name| folder.join(name).exists());
    let found = start.ancestors().find(marked).map(Path::to_path_buf);
    Ok(found.unwrap_or(start))
}

/// A daemon that lives, as it has written into its lock.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Living {
    /// Its process.
    pub pid: i32,
    /// Its project, for showing.
    pub root: String,
    /// Its interpreter, for showing.
    pub python: String,
    /// Seconds since 1970.
    pub started: f64,
    /// Version of firehot.
    pub firehot: String,
    /// Where it listens.
    #[serde(skip)]
    pub socket: PathBuf,
    /// What it prints.
    #[serde(skip)]
    pub log: PathBuf,
}

/// Every daemon of this user that lives, in the order of their names.
///
/// # Errors
/// See [`PlaceError`].
pub fn living() -> Result<Vec<Living>, PlaceError> {
    let folder = folder()?;
    let failed = |source| PlaceError::Folder {
        folder: folder.clone(),
        source,
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).map_err(failed)? {
        let lock = entry.map_err(failed)?.path();
        if lock.extension().is_some_and(|suffix| suffix == "lock") {
            // One that is just starting has not written yet: it will be there the next time.
            found.extend(holder(&lock));
        }
    }
    found.sort_by(|a, b| a.socket.cmp(&b.socket));
    Ok(found)
}

fn holder(lock: &Path) -> Option<Living> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(O_NOFOLLOW)
        .open(lock)
        .ok()?;
    let file: File = match Flock::lock(file, FlockArg::LockSharedNonblock) {
        // Nobody holds it. The lock is let go at once: a daemon that starts now tries for longer than this takes.
        Ok(_) => return None,
        Err((file, _)) => file,
    };
    let mut living: Living = serde_json::from_reader(file).ok()?;
    living.socket = lock.with_extension("sock");
    living.log = lock.with_extension("log");
    Some(living)
}

/// The folder of all daemons of this user; made when it is missing.
fn folder() -> Result<PathBuf, PlaceError> {
    let folder = runtime().unwrap_or_else(|| {
        let name = format!("firehot-{}", geteuid());
        if cfg!(target_vendor = "apple") {
            std::env::temp_dir().join(name)
        } else {
            // Not TMPDIR, which differs between the shells of one user.
            Path::new("/tmp").join(name)
        }
    });
    let failed = |source| PlaceError::Folder {
        folder: folder.clone(),
        source,
    };
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    let found = fs::symlink_metadata(&folder).map_err(failed)?;
    let refused = |what| {
        Err(PlaceError::Unsafe {
            folder: folder.clone(),
            what,
        })
    };
    if !found.is_dir() {
        return refused("is no folder");
    }
    if found.uid() != geteuid().as_raw() {
        return refused("belongs to another user");
    }
    if found.mode() & 0o022 != 0 {
        return refused("can be written to by others");
    }
    Ok(folder)
}

/// The folder in `$XDG_RUNTIME_DIR`, where that is a folder of this user's with a short name.
fn runtime() -> Option<PathBuf> {
    let runtime = PathBuf::from(std::env::var_os("XDG_RUNTIME_DIR")?);
    let found = fs::metadata(&runtime).ok()?;
    let own = runtime.is_absolute() && found.is_dir() && found.uid() == geteuid().as_raw();
    let folder = runtime.join("firehot");
    let fits = folder.as_os_str().len() + "/0123456789abcdef.sock".len() <= SOCKET_PATH;
    (own && fits).then_some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_marked_folder_is_the_project() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        let inner = root.join("a/b/c");
        fs::create_dir_all(&inner).unwrap();
        let script = inner.join("x.py");
        fs::write(&script, "").unwrap();
        fs::write(root.join("setup.cfg"), "").unwrap();
        assert_eq!(project_root(Some(&script)).unwrap(), root);
        fs::create_dir(root.join("a/.git")).unwrap();
        assert_eq!(project_root(Some(&script)).unwrap(), root.join("a"));
        fs::write(inner.join("pyproject.toml"), "").unwrap();
        assert_eq!(project_root(Some(&script)).unwrap(), inner);
        // A folder is its own project, and a link leads to its file's.
        assert_eq!(project_root(Some(&inner)).unwrap(), inner);
        let link = root.join("link.py");
        std::os::unix::fs::symlink(&script, &link).unwrap();
        assert_eq!(project_root(Some(&link)).unwrap(), inner);
    }

    #[test]
    fn each_interpreter_and_environment_has_its_own_place() {
        let at = |root: &str, executable: &str, prefix: &str| {
            let place = Place::of(root.as_ref(), executable.as_ref(), prefix.as_ref());
            place.unwrap().socket
        };
        let one = at("/p", "/no/python", "/v");
        assert_eq!(one, at("/p", "/no/python", "/v"));
        assert!(one.as_os_str().len() <= SOCKET_PATH);
        for other in [
            at("/q", "/no/python", "/v"),
            at("/p", "/no/python3", "/v"),
            at("/p", "/no/python", "/w"),
        ] {
            assert_ne!(one, other);
        }
    }
}
