//! What a template depends on, and whether it still holds. Starts no process and decides nothing.
//!
//! A [`Stamp`] has two halves. The [`Start`] is taken by the host before the interpreter is started: interpreter,
//! options, `sys.path`, installed distributions. The other half is what the template recorded while it preloaded
//! (`firehot/_stamp.py`): files with their state before they were read, names of variables, lookups that found
//! nothing.
//!
//! Invariant: each state was taken before the content was read. So a change at any moment shows as a difference, at
//! worst as one that was not needed. A file that was changed within a tick of the file system's clock before its state
//! was taken may change again without a trace: it counts as changed.
#![forbid(unsafe_code)]

mod change;
mod compare;
mod distributions;
mod files;
mod marks;
mod queue;
mod things;
mod touched;
mod variables;
mod walk;
mod watches;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde::Deserialize;

pub use self::change::{describe, Change};
use self::distributions::{Folder, Missing};
use self::files::{Listing, State};
use self::things::Thing;
pub use self::touched::Touched;
use self::variables::Pattern;
pub use self::watches::{Listener, Watches};
use crate::protocol::findings::FileText;

/// The host as a template shall find it, or a call.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a> {
    /// `sys.executable`.
    pub executable: &'a Path,
    /// Interpreter options and the bootstrap.
    pub arguments: &'a [OsString],
    /// Environment variables.
    pub environment: &'a [(OsString, OsString)],
    /// Working directory.
    pub cwd: &'a Path,
    /// `sys.path`.
    pub path: &'a [PathBuf],
}

/// What the host knows before it starts the interpreter.
#[derive(Debug)]
pub struct Start {
    executable: PathBuf,
    arguments: Vec<OsString>,
    environment: BTreeMap<OsString, OsString>,
    cwd: PathBuf,
    path: Vec<PathBuf>,
    interpreter: Vec<(PathBuf, State)>,
    folders: Arc<BTreeMap<PathBuf, Arc<Folder>>>,
    /// What lies on the disk is compared for the template below.
    is_above: bool,
}

impl Start {
    /// Looks at everything that does not need the template; to be called before it is started.
    #[must_use]
    pub fn take(host: Host<'_>) -> Self {
        let folders = host
            .path
            .iter()
            .map(|entry| host.cwd.join(entry))
            .map(|folder| (folder.clone(), Arc::new(Folder::take(&folder))))
            .collect();
        Self {
            executable: host.executable.to_owned(),
            arguments: host.arguments.to_vec(),
            environment: host.environment.iter().cloned().collect(),
            cwd: host.cwd.to_owned(),
            path: host.path.to_vec(),
            interpreter: files::interpreter(host.executable),
            folders: Arc::new(folders),
            is_above: false,
        }
    }

    /// The same for a layer: the host as it is now; interpreter and distributions are those of the template below.
    #[must_use]
    pub fn above(host: Host<'_>, below: &Stamp) -> Self {
        Self {
            executable: host.executable.to_owned(),
            arguments: host.arguments.to_vec(),
            environment: host.environment.iter().cloned().collect(),
            cwd: host.cwd.to_owned(),
            path: host.path.to_vec(),
            interpreter: Vec::new(),
            folders: Arc::clone(&below.start.folders),
            is_above: true,
        }
    }
}

impl Start {
    /// "name version" of everything that is installed.
    #[must_use]
    pub fn installed(&self) -> BTreeSet<String> {
        let folders = self.folders.values();
        folders.flat_map(|folder| folder.distributions()).collect()
    }

    /// "name version" of the distribution that a top-level module came with.
    #[must_use]
    pub fn owner(&self, top: &str) -> Option<String> {
        self.folders.values().find_map(|folder| folder.owner(top))
    }

    /// The variables that C code and the interpreter's own start read by themselves: those that `native` covers.
    pub fn native_variables<'s>(
        &'s self,
        native: &[String],
    ) -> impl Iterator<Item = (&'s OsStr, &'s OsStr)> {
        let native: Vec<Pattern> = native.iter().map(|text| Pattern::new(text)).collect();
        let all = self.environment.iter();
        all.filter(move |(name, _)| native.iter().any(|each| each.covers(name)))
            .map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }
}

/// What a template wrote down at last; see `firehot/_stamp.py`. Texts hold one byte in each character.
#[derive(Debug, Default, Deserialize)]
struct Recorded {
    files: Vec<FileText>,
    /// What it wrote itself does not count, but for what it has read as well, as it left it.
    written: BTreeSet<String>,
    read_back: Vec<FileText>,
    /// Folders that were listed: path, mtime in ns, inode, 1 when these say nothing, names, names that imports have made
    /// or removed themselves.
    listings: Vec<ListingText>,
    /// Ends of file names that make a module.
    suffixes: Vec<String>,
    missing: Vec<(String, String)>,
    variables: Vec<String>,
    cwd: Option<String>,
}

/// See [`Recorded::listings`].
type ListingText = (String, i64, u64, u8, Vec<String>, Vec<String>);

/// All that a template depends on.
#[derive(Debug)]
pub struct Stamp {
    start: Start,
    things: Vec<Thing>,
    /// How many of them are files.
    files: usize,
    listener: Listener,
    read: BTreeSet<OsString>,
    asked_cwd: Option<String>,
    native: Vec<Pattern>,
}

impl Stamp {
    /// Joins what the host knew, the files that each import has read, and what the template said at last. `native` are
    /// patterns (`OMP_*`) of variables that C code reads by itself; `listener` may know of some of the files already.
    ///
    /// # Errors
    /// What serde says of a body that is no stamp.
    pub fn new(
        mut start: Start,
        listener: Listener,
        read: Vec<FileText>,
        body: &[u8],
        native: &[String],
    ) -> Result<Self, serde_json::Error> {
        let recorded: Recorded = serde_json::from_slice(body)?;
        let files = read.into_iter().chain(recorded.files);
        let files = files
            .filter(|(path, _)| !recorded.written.contains(path))
            .chain(recorded.read_back)
            .map(|(path, state)| {
                let path = PathBuf::from(os_text(&path));
                Thing::File(path, State::from_recorded(state))
            });
        let texts = |names: &[String]| names.iter().map(|name| os_text(name)).collect();
        let listings = recorded
            .listings
            .iter()
            .map(|(path, mtime, inode, mute, names, own)| {
                let mark = (*mute == 0).then_some((*mtime, *inode));
                Thing::Listing(Listing::new(
                    os_text(path).into(),
                    mark,
                    texts(names),
                    texts(own),
                ))
            });
        let suffixes: Vec<OsString> = recorded.suffixes.iter().map(OsString::from).collect();
        let missing = recorded.missing.iter().map(|(place, stem)| {
            let place = PathBuf::from(os_text(place));
            let known = start.folders.get(&place).map(Arc::as_ref);
            let missing = Missing::take(place, &os_text(stem), &suffixes, known);
            Thing::Missing(missing)
        });
        let missing: Vec<Thing> = missing.collect();
        let mut things: Vec<Thing> = files.collect();
        // For a layer, what is installed is compared with the template below.
        let folders: Vec<Arc<Folder>> = if start.is_above {
            Vec::new()
        } else {
            start.folders.values().cloned().collect()
        };
        for (path, state) in folders.iter().flat_map(|folder| folder.files()) {
            things.push(Thing::File(path.clone(), *state));
        }
        let files = things.len();
        things.extend(listings);
        things.extend(missing);
        let interpreter = start.interpreter.drain(..);
        things.extend(interpreter.map(|(path, state)| Thing::Interpreter(path, state)));
        things.extend(folders.into_iter().map(Thing::Installed));
        Ok(Self {
            things,
            files,
            listener,
            read: recorded
                .variables
                .iter()
                .map(|name| os_text(name))
                .collect(),
            asked_cwd: recorded.cwd,
            native: native.iter().map(|text| Pattern::new(text)).collect(),
            start,
        })
    }

    /// Adds files that were read by a template that did not get this far: mending them counts.
    pub fn add_files(&mut self, files: impl IntoIterator<Item = Touched>) {
        for Touched { path, state } in files {
            self.things.push(Thing::File(path, state));
            self.files += 1;
        }
    }

    /// Adds folders whose modules may be looked for, found or not.
    pub fn add_folders(&mut self, folders: Folders) {
        self.things
            .extend(folders.0.into_iter().map(Thing::Listing));
    }

    /// "name version" of the distribution that a top-level module came with.
    #[must_use]
    pub fn owner(&self, top: &str) -> Option<String> {
        self.start.owner(top)
    }

    /// On how many files it depends.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files
    }

    /// Whether it depends on no file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files == 0
    }

    /// What differs in the host's own state: without a look at the disk.
    #[must_use]
    pub fn context_changes(&self, host: Host<'_>) -> BTreeSet<Change> {
        let mut changes = BTreeSet::new();
        if host.executable != self.start.executable || host.arguments != self.start.arguments {
            changes.insert(Change::Interpreter(host.executable.to_owned()));
        }
        if host.path != self.start.path {
            changes.insert(Change::Path);
        }
        if let Some(by) = self
            .asked_cwd
            .as_ref()
            .filter(|_| host.cwd != self.start.cwd)
        {
            changes.insert(Change::Directory(
                os_text(by).to_string_lossy().into_owned(),
            ));
        }
        variables::compare(
            &self.start.environment,
            host.environment,
            |name| self.counts(name),
            &mut changes,
        );
        changes
    }

    fn counts(&self, name: &OsStr) -> bool {
        !variables::is_of_the_session(name)
            && (self.read.contains(name) || self.native.iter().any(|each| each.covers(name)))
    }

    /// What differs on the disk; see [`disk_changes`].
    #[must_use]
    pub fn disk_changes(&self) -> BTreeSet<Change> {
        disk_changes(std::iter::once(self))
            .into_iter()
            .flatten()
            .collect()
    }
}

/// What differs on the disk for each of some stamps of one environment, of all that was changed before the call. Looks
/// only at what the kernel has told of, and at what it does not tell of.
#[must_use]
pub fn disk_changes<'s>(stamps: impl Iterator<Item = &'s Stamp>) -> Vec<BTreeSet<Change>> {
    let began = Instant::now();
    let stamps: Vec<&Stamp> = stamps.collect();
    let asked: Vec<_> = stamps
        .iter()
        .map(|stamp| (&stamp.listener, &stamp.things[..]))
        .collect();
    let looks = Listener::look(&asked);
    if looks.iter().all(|look| look.changes.is_empty()) {
        let files: usize = stamps.iter().map(|stamp| stamp.files).sum();
        let looked: usize = looks.iter().map(|look| look.looked).sum();
        let took = began.elapsed().as_micros();
        log::debug!("{files} files are as they were ({took} us, {looked} looked at)");
    }
    looks.into_iter().map(|look| look.changes).collect()
}

/// Folders with the names of their modules, as they were before anything was imported from there.
#[derive(Debug, Default)]
pub struct Folders(Vec<Listing>);

impl Folders {
    /// As they are now.
    #[must_use]
    pub fn take(folders: &BTreeSet<PathBuf>) -> Self {
        let all = folders.iter().map(|folder| Listing::of_modules(folder));
        Self(all.collect())
    }
}

/// The bytes behind a text that holds one in each character.
#[must_use]
pub fn os_text(text: &str) -> OsString {
    let bytes: Vec<u8> = text
        .chars()
        .map(|each| u8::try_from(u32::from(each)).unwrap_or(b'?'))
        .collect();
    OsStr::from_bytes(&bytes).to_owned()
}
