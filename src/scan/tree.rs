//! All first-party files that a package's imports reach, and what each does. Holds as long as no folder changes; a
//! file that imports something else may be put in place of what it was.

#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::cache::{Cache, Changes, Loaded};
use super::disk::{Disk, Identity};
use super::first_party::{covers, Owner, Ownership};
use super::graph::{self, Reader, SourceFile, Step};
use super::import_set::ImportSet;
use super::own::{own_modules, OwnModules};
use super::resolve::{Place, Resolver};
use super::walk::Walker;
use super::{FileImports, Problem, ScanRequest};

/// The files of one package.
#[derive(Debug)]
pub(super) struct Tree {
    request: Arc<ScanRequest>,
    pub(super) ownership: Ownership<Arc<ScanRequest>>,
    resolver: Resolver,
    walker: Walker,
    files: Vec<SourceFile>,
    by_name: HashMap<String, usize>,
    /// Modules that were looked for on disk.
    tried: HashSet<String>,
    identities: HashSet<Identity>,
    /// Whether a file was left out, since it is there by another name.
    has_doubles: bool,
    preload: Vec<String>,
    /// Where files were looked for.
    pub(super) places: BTreeSet<PathBuf>,
}

impl Tree {
    pub(super) fn new(
        request: &Arc<ScanRequest>,
        ownership: Ownership<Arc<ScanRequest>>,
        mut disk: Disk,
        cache: &mut Cache,
        locations: &[PathBuf],
        now: SystemTime,
    ) -> Self {
        disk.begin();
        let entries = ownership.entries.clone();
        let mut tree = Self {
            request: Arc::clone(request),
            ownership,
            resolver: Resolver::new(disk, entries, &request.builtin_modules),
            walker: Walker::default(),
            files: Vec::new(),
            by_name: HashMap::new(),
            tried: HashSet::new(),
            identities: HashSet::new(),
            has_doubles: false,
            preload: Vec::new(),
            places: BTreeSet::new(),
        };
        let mut growing = Growing {
            tree: &mut tree,
            cache,
            now,
        };
        for location in locations {
            growing.add(&request.package, location);
        }
        for (name, file) in &request.modules {
            // It may be gone since it was named.
            if growing.tree.resolver.disk.target(file).is_some() {
                growing.add(name, file);
            }
        }
        for module in std::iter::once(&request.package).chain(&request.first_party) {
            growing.reach(module);
        }
        growing.follow();
        tree.preload = tree.wanted();
        tree.resolver.disk.finish();
        cache.finish();
        tree
    }

    /// What the tree was built from.
    pub(super) fn disk(&mut self) -> &mut Disk {
        &mut self.resolver.disk
    }

    pub(super) fn into_disk(self) -> Disk {
        self.resolver.disk
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    pub(super) fn problems(&self) -> &[Problem] {
        &self.walker.problems
    }

    pub(super) fn imports(&self) -> ImportSet {
        let preload = self.preload.iter().cloned();
        graph::collect(&self.request.package, &self.files, &self.by_name, preload)
    }

    /// How the project's own modules import each other.
    pub(super) fn own_modules(&mut self) -> OwnModules {
        own_modules(&self.files, &self.by_name, &mut self.resolver)
    }

    /// Each file, and those that its imports name.
    pub(super) fn links(&self) -> Vec<(PathBuf, Vec<PathBuf>)> {
        let path_of = |name: &str| {
            let file = self.by_name.get(name).and_then(|&at| self.files.get(at));
            file.map(|file| file.path.clone())
        };
        let targets = |file: &SourceFile| {
            let names = entered(&file.steps);
            let paths = names.into_iter().flat_map(graph::with_parents);
            let found: BTreeSet<PathBuf> = paths.filter_map(path_of).collect();
            found.into_iter().collect()
        };
        let files = self.files.iter();
        files
            .map(|file| (file.path.clone(), targets(file)))
            .collect()
    }

    /// Takes over what changed files say now; true when that changes what is imported. None when the tree does not hold
    /// any longer, and must be built anew.
    pub(super) fn apply(&mut self, changes: &Changes, cache: &Cache) -> Option<bool> {
        for (before, after) in &changes.moved {
            let (before, after) = (before.as_ref()?, after.as_ref()?);
            // An identity that comes or goes may join two names, or part them.
            if self.has_doubles || !self.identities.insert(*after) {
                return None;
            }
            self.identities.remove(before);
        }
        let mut fresh = Vec::new();
        for path in &changes.files {
            let imports = cache.imports(path)?;
            let at = self.files.iter().position(|file| file.path == *path)?;
            let file = self.files.get_mut(at)?;
            if !Arc::ptr_eq(&file.imports, imports) {
                file.imports = Arc::clone(imports);
                fresh.push(at);
            }
        }
        for &at in &fresh {
            let file = self.files.get(at)?;
            let steps = Reader {
                ownership: &self.ownership,
                resolver: &mut self.resolver,
            }
            .steps(file);
            // Other modules of the project: there may be files to add, or to forget.
            if entered(&steps) != entered(&file.steps) {
                return None;
            }
            self.files.get_mut(at)?.steps = steps;
        }
        Some(!fresh.is_empty())
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
            steps: Arc::default(),
        };
        file.steps = Reader {
            ownership: &self.ownership,
            resolver: &mut self.resolver,
        }
        .steps(&file);
        self.files.push(file);
    }

    /// The modules that were asked for, without those that must not be imported.
    fn wanted(&mut self) -> Vec<String> {
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

/// The first-party modules that a file runs.
fn entered(steps: &[(usize, Step)]) -> BTreeSet<&str> {
    steps
        .iter()
        .filter_map(|(_, step)| match step {
            Step::Enter(module) => Some(module.as_str()),
            Step::Load(..) => None,
        })
        .collect()
}

/// A tree whose files are being found.
struct Growing<'t> {
    tree: &'t mut Tree,
    cache: &'t mut Cache,
    now: SystemTime,
}

impl Growing<'_> {
    /// Adds the files at `location`, which is the folder or file of the module `name`.
    fn add(&mut self, name: &str, location: &Path) {
        let tree = &mut *self.tree;
        tree.places.insert(location.to_owned());
        let rules = !tree.ownership.is_installed(location);
        let paths = tree.walker.walk(&mut tree.resolver.disk, location, rules);
        let loaded = self.cache.load(&paths, self.now);
        let mut found: Vec<(PathBuf, Loaded)> = Vec::with_capacity(paths.len());
        for (path, loaded) in paths.into_iter().zip(loaded) {
            let Some(loaded) = loaded else {
                continue;
            };
            let is_new = loaded.identity.is_none_or(|id| tree.identities.insert(id));
            if is_new {
                found.push((path, loaded));
            } else {
                tree.has_doubles = true;
            }
        }
        found.sort_by(|one, other| one.0.cmp(&other.0));
        for (path, loaded) in found {
            let module = module_name(name, path.strip_prefix(location).unwrap_or(&path));
            tree.add_file(path, module, loaded.imports);
        }
    }

    /// Adds the files of first-party modules that the known files import, until there are no more.
    fn follow(&mut self) {
        let mut at = 0;
        while let Some(file) = self.tree.files.get(at) {
            at += 1;
            let steps = Arc::clone(&file.steps);
            for target in entered(&steps) {
                self.reach(target);
            }
        }
    }

    /// Makes sure that a first-party module and its parents are known, if they are on disk.
    fn reach(&mut self, module: &str) {
        if self.tree.tried.contains(module) {
            return;
        }
        for name in graph::with_parents(module) {
            if self.tree.tried.contains(name) {
                continue;
            }
            self.tree.tried.insert(name.to_owned());
            if self.tree.by_name.contains_key(name) {
                continue;
            }
            // Above the package only what importing it runs, not the neighbours.
            let request = &self.tree.request;
            let above = request.only_reached || covers(name, &request.package);
            match &*self.tree.resolver.find(name) {
                Place::Package(_, init) if above => self.add_owned(name, init),
                Place::Package(folder, _) => self.add_owned(name, folder),
                Place::Module(file) => self.add_owned(name, file),
                Place::Namespace(portions) if !above => {
                    for portion in portions {
                        if self.tree.ownership.owns_path(portion) {
                            self.add(name, portion);
                        }
                    }
                }
                Place::Namespace(_) | Place::Builtin | Place::Missing => {}
            }
        }
    }

    fn add_owned(&mut self, name: &str, location: &Path) {
        let tree = &mut *self.tree;
        if tree.ownership.owner(&mut tree.resolver, name) == Owner::FirstParty {
            self.add(name, location);
        }
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
