//! Where builds are kept: one folder for each extension and way of building, with a manifest, a lock and what was
//! published. Runs nothing.
//!
//! Invariants:
//!     - A published file is never written to again: its folder is named after its content, and is renamed into place
//!       whole. Who has it loaded is not disturbed, and who was told its name finds it.
//!     - The manifest is replaced in one step, after the file that it names is there. So a builder may be killed at any
//!       moment: what it leaves is the state of before, and a temporary folder that the next one removes.
//!     - Only who holds the lock publishes. Who only reads takes none.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::Hasher;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3Default;

use super::error::BuildError;
use super::{Extension, Interpreter, Settings, Source};
use crate::cache;
use crate::protocol::findings::FileText;

/// Says which layout a manifest has; another one is as none.
pub(super) const LAYOUT: u32 = 2;
const KEPT: usize = 8;
const OLD: Duration = Duration::from_secs(3600);
pub(super) const TAG: &str =
    "Signature: 8a477f597d28d172789f06886806bc55\n# Builds of firehot: safe to delete.\n";

/// What is known of the last build.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) layout: u32,
    /// Of which extension: for `cache info`, and against two with one hash.
    pub(super) place: PathBuf,
    pub(super) module: String,
    /// The published file, below the folder.
    pub(super) artifact: PathBuf,
    /// All that went in, with its state before it was read; none when it changed while it was.
    pub(super) files: Vec<FileText>,
    /// What the header says of further files, and which these were.
    pub(super) globs: Vec<String>,
    pub(super) tracked: BTreeSet<PathBuf>,
    pub(super) variables: Vec<(String, String)>,
    pub(super) cargo: PathBuf,
    /// Hashes of the warnings that were shown.
    pub(super) shown: Vec<u64>,
}

/// The folder of one extension, built in one way.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) folder: PathBuf,
    pub(super) target: PathBuf,
    file_name: String,
    place: PathBuf,
    module: String,
}

/// Holds the lock of a slot.
pub(super) struct Held(pub(super) Flock<File>);

impl Slot {
    pub(super) fn place(&self) -> &Path {
        &self.place
    }

    pub(super) fn of(
        cache: &Path,
        extension: &Extension,
        interpreter: &Interpreter,
        settings: &Settings,
    ) -> Self {
        let place = extension.place();
        let last = extension.module.rsplit('.').next().unwrap_or_default();
        let who = interpreter.executable.as_os_str().as_bytes();
        let way = hash(
            [who, interpreter.suffix.as_bytes()]
                .into_iter()
                .chain(settings.arguments().iter().map(|each| each.as_bytes())),
        );
        let what = hash([place.as_os_str().as_bytes(), extension.module.as_bytes()]);
        let folder = cache
            .join(format!("{last}-{what:016x}"))
            .join(format!("{way:016x}"));
        let target = match (&settings.target_dir, &extension.source) {
            (Some(own), _) => own.clone(),
            // Single files share what they depend on, pyo3 above all, and take turns.
            (None, Source::File(_)) => {
                let of = hash([who, interpreter.suffix.as_bytes()]);
                cache.join(format!("target-{of:016x}"))
            }
            (None, Source::Crate(_) | Source::Project(_)) => {
                let manifest = extension.manifest();
                let root = workspace(manifest.as_deref().unwrap_or(place));
                let of = hash([root.as_os_str().as_bytes(), who]);
                cache.join(format!("target-{of:016x}"))
            }
        };
        Self {
            folder,
            target,
            file_name: format!("{last}{}", interpreter.suffix),
            place: place.to_owned(),
            module: extension.module.clone(),
        }
    }

    /// What is known of the last build; none when there was none, or it is not readable.
    pub(super) fn manifest(&self) -> Option<Manifest> {
        let manifest = read(&self.manifest_file())?;
        let is_ours = manifest.place == self.place && manifest.module == self.module;
        is_ours.then_some(manifest)
    }

    pub(super) fn manifest_file(&self) -> PathBuf {
        self.folder.join("manifest")
    }

    pub(super) fn new_manifest(&self) -> Manifest {
        Manifest {
            layout: LAYOUT,
            place: self.place.clone(),
            module: self.module.clone(),
            artifact: PathBuf::new(),
            files: Vec::new(),
            globs: Vec::new(),
            tracked: BTreeSet::new(),
            variables: Vec::new(),
            cargo: PathBuf::new(),
            shown: Vec::new(),
        }
    }

    pub(super) fn keep(&self, manifest: &Manifest) -> Result<(), BuildError> {
        let content = postcard::to_allocvec(manifest).map_err(io::Error::other);
        content
            .and_then(|content| cache::replace(&self.manifest_file(), &content))
            .map_err(self.failed())
    }

    /// Waits until nobody else builds this; `wait` is asked in between, and told once what is waited for.
    pub(super) fn lock(
        &self,
        limit: Duration,
        wait: &mut dyn FnMut() -> Result<(), BuildError>,
    ) -> Result<Held, BuildError> {
        make_folder(&self.folder).map_err(self.failed())?;
        let path = self.folder.join("lock");
        acquire(
            &path,
            FlockArg::LockExclusiveNonblock,
            &self.place,
            limit,
            wait,
        )
    }

    /// Publishes what cargo has made, below a name of its own; that of before when it is the same to the byte.
    pub(super) fn publish(&self, artifact: &Path) -> Result<PathBuf, BuildError> {
        let content = fs::read(artifact).map_err(self.failed())?;
        let mut hasher = Xxh3Default::new();
        hasher.update(&content);
        let name = PathBuf::from(format!("{:032x}", hasher.digest128())).join(&self.file_name);
        let wanted = self.folder.join(&name);
        if fs::metadata(&wanted).is_ok_and(|found| found.len() == content.len() as u64) {
            return Ok(name);
        }
        self.sweep();
        let made = self.write_aside(&content, wanted.parent().unwrap_or(&wanted));
        made.map_err(self.failed())?;
        Ok(name)
    }

    fn write_aside(&self, content: &[u8], wanted: &Path) -> io::Result<()> {
        let aside = self.folder.join(format!(".new-{}", std::process::id()));
        let written = make_folder(&aside)
            .and_then(|()| fs::write(aside.join(&self.file_name), content))
            .and_then(|()| match fs::rename(&aside, wanted) {
                // A damaged one is in its place.
                Err(error) if is_occupied(&error) => {
                    fs::remove_dir_all(wanted)?;
                    fs::rename(&aside, wanted)
                }
                done => done,
            });
        if written.is_err() {
            // What could not be written can't be removed either, at worst.
            let _ = fs::remove_dir_all(&aside);
        }
        written
    }

    /// Removes what a killed builder has left, and published files that nobody has been told of for long.
    fn sweep(&self) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut published = Vec::new();
        for entry in entries {
            let name = entry.file_name();
            if name.as_bytes().starts_with(b".new-") {
                let _ = fs::remove_dir_all(entry.path());
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) && name != "crate" {
                let made = entry.metadata().and_then(|found| found.modified());
                published.extend(made.map(|made| (made, entry.path())));
            }
        }
        published.sort();
        let surplus = published.len().saturating_sub(KEPT);
        for (made, path) in published.drain(..surplus) {
            if SystemTime::now().duration_since(made).unwrap_or_default() > OLD {
                let _ = fs::remove_dir_all(path);
            }
        }
    }

    fn failed(&self) -> impl Fn(io::Error) -> BuildError + '_ {
        |source| BuildError::Cache {
            path: self.folder.clone(),
            source,
        }
    }
}

/// A manifest, if it is one of this layout.
pub(super) fn read(file: &Path) -> Option<Manifest> {
    let content = cache::read(file).ok()?;
    let manifest: Manifest = postcard::from_bytes(&content).ok()?;
    (manifest.layout == LAYOUT).then_some(manifest)
}

/// Waits for a lock on a file, which is made where there is none.
pub(super) fn acquire(
    path: &Path,
    kind: FlockArg,
    place: &Path,
    limit: Duration,
    wait: &mut dyn FnMut() -> Result<(), BuildError>,
) -> Result<Held, BuildError> {
    let failed = |source: io::Error| BuildError::Cache {
        path: path.to_owned(),
        source,
    };
    let mut file = open_lock(path).map_err(failed)?;
    let began = Instant::now();
    loop {
        match Flock::lock(file, kind) {
            Ok(held) => return Ok(Held(held)),
            Err((again, Errno::EWOULDBLOCK | Errno::EINTR)) => file = again,
            Err((_, errno)) => return Err(failed(errno.into())),
        }
        if began.elapsed() >= limit {
            return Err(BuildError::Locked {
                place: place.to_owned(),
                lock: path.to_owned(),
                after: limit,
            });
        }
        wait()?;
        thread::sleep(Duration::from_millis(10));
    }
}

pub(super) fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
}

fn is_occupied(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists
    )
}

pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Makes the cache, and marks it for backup programs (<https://bford.info/cachedir/>).
pub(super) fn mark(cache: &Path) -> Result<(), BuildError> {
    let tag = cache.join("CACHEDIR.TAG");
    if tag.exists() {
        return Ok(());
    }
    let made = make_folder(cache).and_then(|()| fs::write(&tag, TAG));
    made.map_err(|source| BuildError::Cache { path: tag, source })
}

/// The outermost folder with a workspace above a manifest, or the crate's own.
pub(super) fn workspace(manifest: &Path) -> PathBuf {
    let own = manifest.parent().unwrap_or(manifest);
    let is_workspace = |folder: &&Path| {
        let text = fs::read(folder.join("Cargo.toml")).unwrap_or_default();
        memchr::memmem::find(&text, b"[workspace").is_some()
    };
    own.ancestors().find(is_workspace).unwrap_or(own).to_owned()
}

pub(super) fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut hasher = Xxh3Default::new();
    for part in parts {
        hasher.update(part);
        hasher.write_usize(part.len());
    }
    hasher.digest()
}
