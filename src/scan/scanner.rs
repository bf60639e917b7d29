//! The scan itself: from a package's locations to all first-party files that its imports reach, and to the import
//! set. Owns what is kept from one scan to the next.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cache::Cache;
use super::first_party::{covers, Owner, Ownership};
use super::graph::{self, Reader, SourceFile, Step};
use super::own::own_modules;
use super::resolve::{Place, Resolver};
use super::walk::Walker;
use super::{FileImports, Problem, Scan, ScanError, ScanRequest};

/// Scans a package, again and again.
///
/// Holds the request and what each file said, so that a later scan parses only what changed.
#[derive(Debug)]
pub struct Scanner {
    request: ScanRequest,
    cache: Cache,
    /// Where the last scan has looked for the project's files.
    places: BTreeSet<PathBuf>,
    wants_own: bool,
}

impl Scanner {
    /// Reads nothing yet.
    pub fn new(request: ScanRequest) -> Self {
        Self {
            request,
            cache: Cache::default(),
            places: BTreeSet::new(),
            wants_own: false,
        }
    }

    /// Has each scan tell how the project's own modules import each other.
    #[must_use]
    pub fn with_own_modules(mut self, wanted: bool) -> Self {
        self.wants_own = wanted;
        self
    }

    /// The folders, with all that is in them, and the single files that the last scan has read.
    pub fn places(&self) -> &BTreeSet<PathBuf> {
        &self.places
    }

    /// Scans the package as it is on disk now.
    ///
    /// # Errors
    ///
    /// When none of the package's locations can be read. All else that goes wrong is among [`Scan::problems`].
    pub fn scan(&mut self) -> Result<Scan, ScanError> {
        let (readable, mut problems) = readable_locations(&self.request)?;
        let ownership = Ownership::new(&self.request);
        let resolver = Resolver::new(ownership.entries.clone(), &self.request.builtin_modules);
        let mut tree = Tree {
            request: &self.request,
            ownership: &ownership,
            resolver,
            walker: Walker::default(),
            cache: &mut self.cache,
            files: Vec::new(),
            by_name: BTreeMap::new(),
            tried: BTreeSet::new(),
            places: BTreeSet::new(),
        };
        for location in readable {
            tree.add(&self.request.package, location);
        }
        for module in std::iter::once(&self.request.package).chain(&self.request.first_party) {
            tree.reach(module);
        }
        tree.follow();
        let preload = tree.preload();
        let imports = graph::collect(&self.request.package, &tree.files, &tree.by_name, preload);
        let own = self
            .wants_own
            .then(|| own_modules(&tree.files, &tree.by_name, &mut tree.resolver));
        let files = tree.files.len();
        self.places = std::mem::take(&mut tree.places);
        problems.append(&mut tree.walker.problems);
        let (parsed, mut broken) = self.cache.finish();
        problems.append(&mut broken);
        problems.sort();
        Ok(Scan {
            imports: Arc::new(imports),
            own: own.map(Arc::new),
            problems,
            files,
            parsed,
        })
    }

    /// Scans again, told by a watcher what has changed since the last scan: absolute paths of files and folders, those
    /// that are new or gone among them. What it finds is what [`Scanner::scan`] would have found.
    ///
    /// # Errors
    ///
    /// As [`Scanner::scan`].
    pub fn rescan(&mut self, changed: &BTreeSet<PathBuf>) -> Result<Scan, ScanError> {
        log::debug!("told of {} changed paths", changed.len());
        self.scan()
    }
}

fn readable_locations(request: &ScanRequest) -> Result<(Vec<&Path>, Vec<Problem>), ScanError> {
    let mut readable = Vec::new();
    let mut problems = Vec::new();
    let mut first: Option<(PathBuf, io::Error)> = None;
    for location in &request.locations {
        match probe(location) {
            Ok(()) => readable.push(location.as_path()),
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

/// The first-party files, as they are found.
struct Tree<'s> {
    request: &'s ScanRequest,
    ownership: &'s Ownership<'s>,
    resolver: Resolver,
    walker: Walker,
    cache: &'s mut Cache,
    files: Vec<SourceFile>,
    by_name: BTreeMap<String, usize>,
    /// Modules that were looked for on disk.
    tried: BTreeSet<String>,
    /// Where files were looked for.
    places: BTreeSet<PathBuf>,
}

impl Tree<'_> {
    /// Adds the files at `location`, which is the folder or file of the module `name`.
    fn add(&mut self, name: &str, location: &Path) {
        self.places.insert(location.to_owned());
        let rules = !self.ownership.is_installed(location);
        let found = self.walker.walk(location, rules);
        let imports = self.cache.load(&found);
        for (found, imports) in found.into_iter().zip(imports) {
            let Some(imports) = imports else {
                continue;
            };
            let below = found.path.strip_prefix(location).unwrap_or(&found.path);
            let module = module_name(name, below);
            self.add_file(found.path, module, imports);
        }
    }

    fn add_file(&mut self, path: PathBuf, module: Option<String>, imports: Arc<FileImports>) {
        let is_package = path.file_stem().is_some_and(|stem| stem == "__init__");
        let at = self.files.len();
        if let Some(module) = &module {
            // Of `a.py` and `a/__init__.py` the interpreter takes the package.
            if is_package || !self.by_name.contains_key(module) {
                self.by_name.insert(module.clone(), at);
            }
        }
        let mut file = SourceFile {
            path,
            module,
            is_package,
            imports,
            steps: Vec::new(),
        };
        file.steps = Reader {
            ownership: self.ownership,
            resolver: &mut self.resolver,
        }
        .steps(&file);
        self.files.push(file);
    }

    /// Adds the files of first-party modules that the known files import, until there are no more.
    fn follow(&mut self) {
        let mut at = 0;
        while let Some(file) = self.files.get(at) {
            at += 1;
            let targets: BTreeSet<String> = file
                .steps
                .iter()
                .filter_map(|(_, step)| match step {
                    Step::Enter(module) => Some(module.clone()),
                    Step::Load(..) => None,
                })
                .collect();
            for target in targets {
                self.reach(&target);
            }
        }
    }

    /// Makes sure that a first-party module and its parents are known, if they are on disk.
    fn reach(&mut self, module: &str) {
        for name in graph::with_parents(module) {
            if self.by_name.contains_key(name) || !self.tried.insert(name.to_owned()) {
                continue;
            }
            // Above the package only what importing it runs, not the neighbours.
            let above = covers(name, &self.request.package);
            match self.resolver.find(name) {
                Place::Package(_, init) if above => self.add_owned(name, &init),
                Place::Package(folder, _) => self.add_owned(name, &folder),
                Place::Module(file) => self.add_owned(name, &file),
                Place::Namespace(portions) if !above => {
                    for portion in portions {
                        if self.ownership.owns_path(&portion) {
                            self.add(name, &portion);
                        }
                    }
                }
                Place::Namespace(_) | Place::Builtin | Place::Missing => {}
            }
        }
    }

    fn add_owned(&mut self, name: &str, location: &Path) {
        if self.ownership.owner(&mut self.resolver, name) == Owner::FirstParty {
            self.add(name, location);
        }
    }

    /// The modules that were asked for, without those that must not be imported.
    fn preload(&mut self) -> Vec<String> {
        let mut wanted = Vec::new();
        for module in &self.request.preload {
            match self.ownership.owner(&mut self.resolver, module) {
                Owner::ThirdParty => wanted.push(module.clone()),
                Owner::FirstParty => {
                    log::warn!("not preloaded, though asked for: {module} is first-party");
                }
                Owner::Nobody => {
                    log::warn!("not preloaded, though asked for: {module} is ignored");
                }
            }
        }
        wanted
    }
}

/// The dotted name of the file at `below` in the folder of the module `name`; none when no import can name it.
fn module_name(name: &str, below: &Path) -> Option<String> {
    let mut module = name.to_owned();
    if below.as_os_str().is_empty() || below.is_absolute() {
        return Some(module);
    }
    let stem = below.with_extension("");
    for part in stem.iter() {
        let part = part.to_str()?;
        if part != "__init__" {
            if part.contains('.') {
                return None;
            }
            module.push('.');
            module.push_str(part);
        }
    }
    Some(module)
}
