//! From dotted names to places on disk, as the interpreter's own finders would find them, without importing
//! anything. Knows no syntax, and not whose a module is.

#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, Folder, Kind};

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In the interpreter itself.
    Builtin,
    /// A file that is no package.
    Module(PathBuf),
    /// A folder, and its `__init__` file.
    Package(PathBuf, PathBuf),
    /// Folders without `__init__`, in the order of the search.
    Namespace(Vec<PathBuf>),
    /// Nothing that the finders see; a hook of the interpreter's may.
    Missing,
}

/// What a folder has under one name.
#[derive(Debug, Default, Clone)]
struct Candidates {
    folder: Option<Kind>,
    extension: Option<String>,
    source: Option<String>,
    bytecode: Option<String>,
}

type Listing = HashMap<String, Candidates>;

/// Resolves names while nothing changes on disk, and remembers what it saw.
#[derive(Debug)]
pub(super) struct Resolver {
    pub(super) disk: Disk,
    entries: Vec<PathBuf>,
    builtins: BTreeSet<String>,
    listings: HashMap<PathBuf, Arc<Listing>>,
    places: HashMap<String, Arc<Place>>,
    dynamic: HashMap<PathBuf, bool>,
    /// Module -> name -> whether that may be a submodule.
    names: HashMap<String, HashMap<String, bool>>,
}

impl Resolver {
    pub(super) fn new(disk: Disk, entries: Vec<PathBuf>, builtins: &[String]) -> Self {
        Self {
            disk,
            entries,
            builtins: builtins.iter().cloned().collect(),
            listings: HashMap::new(),
            places: HashMap::new(),
            dynamic: HashMap::new(),
            names: HashMap::new(),
        }
    }

    /// The place of a dotted name.
    pub(super) fn find(&mut self, dotted: &str) -> Arc<Place> {
        if let Some(place) = self.places.get(dotted) {
            return Arc::clone(place);
        }
        let (above, name) = match dotted.rsplit_once('.') {
            Some((above, name)) => (Some(self.find(above)), name),
            None => (None, dotted),
        };
        let place = Arc::new(self.find_below(above.as_deref(), name));
        self.places.insert(dotted.to_owned(), Arc::clone(&place));
        place
    }

    /// Whether `from module import name` may import a submodule.
    ///
    /// Names that are surely attributes are left out of the import set, so that adding a class to a `from` import
    /// does not rebuild the template.
    pub(super) fn may_be_module(&mut self, module: &str, name: &str) -> bool {
        if let Some(&known) = self.names.get(module).and_then(|names| names.get(name)) {
            return known;
        }
        let may = self.is_maybe_module(module, name);
        let names = self.names.entry(module.to_owned()).or_default();
        names.insert(name.to_owned(), may);
        may
    }

    fn is_maybe_module(&mut self, module: &str, name: &str) -> bool {
        match &*self.find(module) {
            Place::Builtin | Place::Module(_) => false,
            Place::Missing => true,
            Place::Namespace(_) => name != "*" && self.is_found(module, name),
            Place::Package(_, init) => {
                name == "*" || self.is_found(module, name) || self.is_dynamic(init)
            }
        }
    }

    fn is_found(&mut self, module: &str, name: &str) -> bool {
        *self.find(&format!("{module}.{name}")) != Place::Missing
    }

    /// Whether a package's `__init__` may have submodules that no folder shows.
    fn is_dynamic(&mut self, init: &Path) -> bool {
        if let Some(&dynamic) = self.dynamic.get(init) {
            return dynamic;
        }
        let is_source = init.extension().is_some_and(|extension| extension == "py");
        self.disk.note(init);
        // What can't be read may be anything.
        let dynamic = !is_source
            || fs::read(init).map_or(true, |text| {
                ["__getattr__", "__path__", "sys.modules", "lazy"]
                    .iter()
                    .any(|sign| memchr::memmem::find(&text, sign.as_bytes()).is_some())
            });
        self.dynamic.insert(init.to_owned(), dynamic);
        dynamic
    }

    fn find_below(&mut self, above: Option<&Place>, name: &str) -> Place {
        match above {
            None if self.builtins.contains(name) => Place::Builtin,
            None => {
                let entries = std::mem::take(&mut self.entries);
                let place = self.search(&entries, name);
                self.entries = entries;
                place
            }
            Some(Place::Package(folder, _)) => self.search(std::slice::from_ref(folder), name),
            Some(Place::Namespace(portions)) => self.search(portions, name),
            Some(Place::Builtin | Place::Module(_) | Place::Missing) => Place::Missing,
        }
    }

    /// One finder per folder, in order; a folder without `__init__` only counts when no finder has better.
    fn search(&mut self, folders: &[PathBuf], name: &str) -> Place {
        let mut portions = Vec::new();
        for folder in folders {
            let listing = self.listing(folder);
            let Some(candidates) = listing.get(name) else {
                continue;
            };
            let below = folder.join(name);
            let is_folder = match candidates.folder {
                Some(Kind::Folder) => true,
                Some(Kind::Link) => {
                    self.disk.has_aliases = true;
                    self.disk.target(&below).is_some_and(|(_, folder)| folder)
                }
                Some(Kind::File) | None => false,
            };
            if is_folder {
                let inner = self.listing(&below);
                if let Some(init) = inner.get("__init__").and_then(Candidates::file) {
                    let init = below.join(init);
                    return Place::Package(below, init);
                }
            }
            if let Some(file) = candidates.file() {
                return Place::Module(folder.join(file));
            }
            if is_folder {
                portions.push(below);
            }
        }
        if portions.is_empty() {
            Place::Missing
        } else {
            Place::Namespace(portions)
        }
    }

    /// What a folder has; nothing when it is an archive, or can't be read.
    fn listing(&mut self, folder: &Path) -> Arc<Listing> {
        if let Some(listing) = self.listings.get(folder) {
            return Arc::clone(listing);
        }
        let listing = Arc::new(list(&self.disk.folder(folder)));
        self.listings
            .insert(folder.to_owned(), Arc::clone(&listing));
        listing
    }
}

impl Candidates {
    /// The file that the interpreter prefers.
    fn file(&self) -> Option<&str> {
        self.extension
            .as_deref()
            .or(self.source.as_deref())
            .or(self.bytecode.as_deref())
    }
}

fn list(folder: &Folder) -> Listing {
    let mut listing = Listing::new();
    for item in &folder.items {
        let Some(name) = item.name.to_str() else {
            continue;
        };
        let (stem, suffix) = name.split_at(name.find('.').unwrap_or(name.len()));
        let is_module = matches!(suffix, ".py" | ".pyc") || is_extension(suffix);
        // A folder is no module, whatever its name.
        if !(suffix.is_empty() || is_module && item.kind != Kind::Folder) {
            continue;
        }
        let candidates = listing.entry(stem.to_owned()).or_default();
        match suffix {
            "" => candidates.folder = Some(item.kind),
            ".py" => candidates.source = Some(name.to_owned()),
            ".pyc" => candidates.bytecode = Some(name.to_owned()),
            _ => candidates.extension = Some(name.to_owned()),
        }
    }
    listing
}

fn is_extension(suffix: &str) -> bool {
    suffix == ".so"
        || suffix == ".abi3.so"
        || (suffix.ends_with(".so")
            && (suffix.starts_with(".cpython-") || suffix.starts_with(".pypy")))
}
