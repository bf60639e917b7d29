//! The scan itself: how much of the last one still holds, and what has to be looked at again.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::cache::{Cache, Changes};
use super::disk::Disk;
use super::first_party::Ownership;
use super::import_set::ImportSet;
use super::own::OwnModules;
use super::store::Store;
use super::tree::Tree;
use super::{Problem, Scan, ScanError, ScanRequest};

/// Scans a package, again and again.
///
/// Holds the request, what each file said and what each folder held, so that a later scan parses only what changed,
/// and reads nothing where nothing has.
#[derive(Debug)]
pub struct Scanner {
    request: Arc<ScanRequest>,
    cache: Cache,
    store: Option<Store>,
    wants_own: bool,
    last: Option<Last>,
}

/// What the last scan found.
#[derive(Debug)]
struct Last {
    tree: Tree,
    imports: Arc<ImportSet>,
    own: Option<Arc<OwnModules>>,
    /// Of the locations that are not.
    problems: Vec<Problem>,
    /// The tree was left in the middle of a change, and holds no longer.
    is_spoilt: bool,
}

impl Scanner {
    /// Reads nothing yet.
    pub fn new(request: ScanRequest) -> Self {
        Self {
            request: Arc::new(request),
            cache: Cache::default(),
            store: None,
            wants_own: false,
            last: None,
        }
    }

    /// Keeps what each file said in `folder`, for the processes to come, and begins with what earlier ones left there.
    ///
    /// It is written by a thread of its own after a scan; dropping the scanner waits for that.
    #[must_use]
    pub fn with_store(mut self, folder: &Path) -> Self {
        self.store = Some(Store::new(folder, &self.request.locations));
        self
    }

    /// Has each scan tell how the project's own modules import each other.
    #[must_use]
    pub fn with_own_modules(mut self, wanted: bool) -> Self {
        self.wants_own = wanted;
        self
    }

    /// The folders, with all that is in them, and the single files that the last scan has read.
    pub fn places(&self) -> &BTreeSet<PathBuf> {
        static NOWHERE: BTreeSet<PathBuf> = BTreeSet::new();
        self.last
            .as_ref()
            .map_or(&NOWHERE, |last| &last.tree.places)
    }

    /// Each file of the last scan, with the files that its imports name, those in functions too, and the packages around
    /// them.
    pub fn links(&self) -> Vec<(PathBuf, Vec<PathBuf>)> {
        self.last
            .as_ref()
            .map_or_else(Vec::new, |last| last.tree.links())
    }

    /// Scans the package as it is on disk now.
    ///
    /// # Errors
    ///
    /// When none of the package's locations can be read. All else that goes wrong is among [`Scan::problems`].
    pub fn scan(&mut self) -> Result<Scan, ScanError> {
        let now = SystemTime::now();
        let ownership = Ownership::new(Arc::clone(&self.request));
        let known = self.store.as_mut().map(Store::take).unwrap_or_default();
        self.cache.recall(known);
        self.cache.begin();
        if let Some(last) = &mut self.last {
            let holds = last.tree.disk().holds(now);
            let same = last.tree.ownership.is_like(&ownership);
            if holds && same && !last.is_spoilt {
                let changes = self.cache.check(None, now);
                if let Some(scan) = self.apply(&changes) {
                    return Ok(scan);
                }
            }
        }
        let (readable, problems) = match readable_locations(&self.request) {
            Ok(told) => told,
            Err(error) => {
                if let Some(last) = &mut self.last {
                    last.is_spoilt = true;
                }
                return Err(error);
            }
        };
        let last = self.last.take();
        let (before, own) = last
            .as_ref()
            .map(|last| (Arc::clone(&last.imports), last.own.clone()))
            .unzip();
        let disk = last.map_or_else(Disk::default, |last| last.tree.into_disk());
        let cache = &mut self.cache;
        let mut tree = Tree::new(&self.request, ownership, disk, cache, &readable, now);
        for problem in &problems {
            tree.disk().note(&problem.file);
        }
        let imports = same_or_new(before, tree.imports());
        let fresh = self.wants_own.then(|| tree.own_modules());
        let last = Last {
            own: fresh.map(|fresh| same_or_new(own.flatten(), fresh)),
            tree,
            imports,
            problems,
            is_spoilt: false,
        };
        let scan = self.told(&last);
        self.last = Some(last);
        Ok(scan)
    }

    /// Scans again, told by a watcher what has changed since the last scan: absolute paths of files and folders, those
    /// that are new or gone among them, and each name of a file that has several. What it finds is what [`Scanner::scan`] would have found; it looks at these
    /// paths only, where they are source files that it knows, and at everything otherwise.
    ///
    /// # Errors
    ///
    /// As [`Scanner::scan`].
    pub fn rescan(&mut self, changed: &BTreeSet<PathBuf>) -> Result<Scan, ScanError> {
        log::debug!("told of {} changed paths", changed.len());
        let Some(last) = self.last.as_mut().filter(|last| !last.is_spoilt) else {
            return self.scan();
        };
        let mut files = Vec::new();
        for path in changed {
            let kind = fs::symlink_metadata(path).map(|metadata| metadata.file_type());
            let is_file = kind.as_ref().is_ok_and(fs::FileType::is_file);
            if is_file && self.cache.knows(path) {
                files.push(path.clone());
            } else if !is_beside(path, kind, last.tree.disk()) {
                log::debug!("all is scanned, since {} has changed", path.display());
                return self.scan();
            }
        }
        let now = SystemTime::now();
        // Whoever watches may not tell of what is ignored, and an import may name a folder that is, as soon as there is
        // one. The folders alone show that.
        let disk = last.tree.disk();
        if disk.has_rules && !disk.folders_hold(now) {
            last.is_spoilt = true;
            return self.scan();
        }
        self.cache.begin();
        let changes = self.cache.check(Some(files), now);
        match self.apply(&changes) {
            Some(scan) => Ok(scan),
            None => self.scan(),
        }
    }

    /// Brings the last scan up to date; none when it has to be made anew.
    fn apply(&mut self, changes: &Changes) -> Option<Scan> {
        let mut last = self.last.take()?;
        let applied = last.tree.apply(changes, &self.cache);
        if applied == Some(true) {
            last.imports = same_or_new(Some(last.imports), last.tree.imports());
            let fresh = self.wants_own.then(|| last.tree.own_modules());
            last.own = fresh.map(|fresh| same_or_new(last.own.take(), fresh));
        }
        last.is_spoilt |= applied.is_none();
        let scan = applied.map(|_| self.told(&last));
        self.last = Some(last);
        scan
    }

    fn told(&mut self, last: &Last) -> Scan {
        let (parsed, mut problems) = self.cache.report();
        problems.extend(last.problems.iter().chain(last.tree.problems()).cloned());
        problems.sort();
        if let Some(store) = &mut self.store {
            store.keep(&mut self.cache);
        }
        Scan {
            imports: Arc::clone(&last.imports),
            own: last.own.clone(),
            problems,
            files: last.tree.len(),
            parsed,
        }
    }
}

/// What was before where nothing is new, so that others see that at once.
fn same_or_new<T: PartialEq>(before: Option<Arc<T>>, now: T) -> Arc<T> {
    match before {
        Some(before) if *before == now => before,
        Some(_) | None => Arc::new(now),
    }
}

/// Whether a path that has changed is nothing that the scan depends on.
fn is_beside(path: &Path, kind: io::Result<fs::FileType>, disk: &Disk) -> bool {
    let no_folder = match kind {
        Ok(kind) => kind.is_file(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    // By another name it may be something that is known.
    let real = path
        .parent()
        .and_then(|parent| fs::canonicalize(parent).ok());
    no_folder && !disk.has_aliases && real.as_deref() == path.parent() && !disk.knows(path)
}

fn readable_locations(request: &ScanRequest) -> Result<(Vec<PathBuf>, Vec<Problem>), ScanError> {
    let mut readable = Vec::new();
    let mut problems = Vec::new();
    let mut first: Option<(PathBuf, io::Error)> = None;
    for location in &request.locations {
        match probe(location) {
            Ok(()) => readable.push(location.clone()),
            Err(error) => {
                problems.push(Problem {
                    file: location.clone(),
                    line: None,
                    message: format!("can't be read: {error}"),
                });
                first.get_or_insert((location.clone(), error));
            }
        }
    }
    if readable.is_empty() {
        let package = request.package.clone();
        return Err(match first {
            Some((location, source)) => ScanError::Unreadable {
                package,
                location,
                source,
            },
            None => ScanError::NoLocation { package },
        });
    }
    Ok((readable, problems))
}

fn probe(location: &Path) -> io::Result<()> {
    if fs::metadata(location)?.is_dir() {
        fs::read_dir(location).map(|_| ())
    } else {
        fs::File::open(location).map(|_| ())
    }
}
