//! Whose a module is. Owns the rule that keeps user code out of the template: by name for the package itself, by
//! place for what lies beside it.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::Disk;
use super::resolve::{Place, Resolver};
use super::ScanRequest;

/// Modules that do something when they are imported, or that nobody means to have.
const UNWANTED: [&str; 4] = ["this", "antigravity", "idlelib", "test"];

/// What to do about a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    FirstParty,
    ThirdParty,
    /// Neither imported nor followed.
    Nobody,
}

#[derive(Debug)]
pub(super) struct Ownership<R> {
    request: R,
    /// The name under which the package owns all modules.
    package: String,
    /// The package's own folders and files.
    locations: Vec<PathBuf>,
    /// The `sys.path` entries (or folders) whose modules are first-party.
    roots: Vec<PathBuf>,
    /// Where the interpreter searches, then the roots that it does not.
    pub(super) entries: Vec<PathBuf>,
    sites: Vec<PathBuf>,
    /// The user's own, besides.
    own_folders: Vec<PathBuf>,
    /// What was worked out before: the same few modules are imported over and over.
    known: RefCell<HashMap<String, Owner>>,
}

impl<R: Deref<Target = ScanRequest>> Ownership<R> {
    pub(super) fn new(request: R) -> Self {
        let mut entries = real(&request.sys_path);
        let sites = real(&request.site_folders);
        let own_folders = real(&request.own_folders);
        let locations: Vec<PathBuf> = request.locations.iter().map(|l| real_name(l)).collect();
        let mut roots = Vec::new();
        for location in &locations {
            let Some(base) = import_root(location, &request.package) else {
                continue;
            };
            let root = longest(&entries, base).unwrap_or(base).to_owned();
            if !sites.iter().any(|site| root.starts_with(site)) && !roots.contains(&root) {
                roots.push(root);
            }
        }
        // An editable install may be found by a hook alone; its neighbours are user code all the same.
        for root in &roots {
            if !entries.contains(root) {
                entries.push(root.clone());
            }
        }
        let package = owned_name(&request.package, &locations);
        Self {
            request,
            package,
            locations,
            roots,
            entries,
            sites,
            own_folders,
            known: RefCell::default(),
        }
    }

    /// Whether links and package markers are as they were, so that all that was worked out holds.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let facts = |it: &Self| {
            let Self {
                request: _,
                package,
                locations,
                roots,
                entries,
                sites,
                own_folders,
                known: _,
            } = it;
            [
                vec![PathBuf::from(package)],
                locations.clone(),
                roots.clone(),
                entries.clone(),
                sites.clone(),
                own_folders.clone(),
            ]
        };
        facts(self) == facts(other)
    }

    /// Whose module this is.
    pub(super) fn owner(&self, resolver: &mut Resolver, module: &str) -> Owner {
        if let Some(&owner) = self.known.borrow().get(module) {
            return owner;
        }
        let owner = self.work_out_owner(resolver, module);
        self.known.borrow_mut().insert(module.to_owned(), owner);
        owner
    }

    fn work_out_owner(&self, resolver: &mut Resolver, module: &str) -> Owner {
        if covers_any(&self.request.ignored, module) || covers("__future__", module) {
            return Owner::Nobody;
        }
        if covers("__main__", module) || module.is_empty() {
            return Owner::Nobody;
        }
        if self.owns_name(module) {
            return Owner::FirstParty;
        }
        let top = module.split('.').next().unwrap_or(module);
        let place = resolver.find(top);
        if UNWANTED.contains(&top) && is_standard(resolver, &place) {
            return Owner::Nobody;
        }
        if self.owns_place(resolver, module, top, &place) {
            Owner::FirstParty
        } else {
            Owner::ThirdParty
        }
    }

    /// Whether a module is first-party by its name alone.
    fn owns_name(&self, module: &str) -> bool {
        covers(&self.package, module)
            || covers(&self.request.package, module)
            || covers_any(&self.request.first_party, module)
    }

    fn owns_place(
        &self,
        resolver: &mut Resolver,
        module: &str,
        top: &str,
        place: &Arc<Place>,
    ) -> bool {
        let mut place = Arc::clone(place);
        let mut end = top.len();
        loop {
            let portions = match &*place {
                Place::Builtin | Place::Missing => return false,
                Place::Module(path) | Place::Package(path, _) => return self.owns_path(path),
                Place::Namespace(portions) => portions,
            };
            // A folder that only shares its name with a module of an archived standard library.
            if self.request.stdlib_modules.iter().any(|name| name == top) {
                return false;
            }
            let owned = portions.iter().all(|portion| self.owns_path(portion));
            // The portions may be of different owners: the module below decides.
            let Some(rest) = module.get(end + 1..) else {
                return owned;
            };
            end += 1 + rest.find('.').unwrap_or(rest.len());
            place = resolver.find(module.get(..end).unwrap_or(module));
            if *place == Place::Missing {
                return owned;
            }
        }
    }

    /// A file or folder belongs to the longest entry that holds it, so that an environment inside the project stays
    /// foreign.
    pub(super) fn owns_path(&self, path: &Path) -> bool {
        let entry = longest(&self.entries, path);
        let site = longest(&self.sites, path);
        let Some(entry) = entry.max_by_length(site) else {
            return false;
        };
        if self.sites.iter().any(|site| site == entry) {
            return false;
        }
        // A script in the package's own folder puts that folder on the path.
        self.roots.iter().any(|root| root == entry)
            || self.locations.iter().any(|own| entry.starts_with(own))
            || self.own_folders.iter().any(|own| path.starts_with(own))
    }

    /// Whether the file or folder lies among installed distributions, where ignore rules tell nothing.
    pub(super) fn is_installed(&self, path: &Path) -> bool {
        let path = real_name(path);
        self.sites.iter().any(|site| path.starts_with(site))
    }
}

/// Tells the project's own modules when they have been loaded.
pub struct FirstParty<'r>(Ownership<&'r ScanRequest>);

impl<'r> FirstParty<'r> {
    /// Looks at the disk as it is now.
    #[must_use]
    pub fn new(request: &'r ScanRequest) -> Self {
        Self(Ownership::new(request))
    }

    /// Those of these top-level modules that are not installed where distributions and the standard library lie, but
    /// edited in a folder of their own.
    #[must_use]
    pub fn edited<'m>(&self, tops: impl Iterator<Item = &'m str>) -> BTreeSet<String> {
        let builtins = &self.0.request.builtin_modules;
        let mut resolver = Resolver::new(Disk::default(), self.0.entries.clone(), builtins);
        let is_installed = |path: &PathBuf| self.0.sites.iter().any(|site| path.starts_with(site));
        tops.filter(|top| match &*resolver.find(top) {
            Place::Module(path) | Place::Package(path, _) => !is_installed(path),
            Place::Namespace(portions) => !portions.iter().any(is_installed),
            Place::Builtin | Place::Missing => false,
        })
        .map(str::to_owned)
        .collect()
    }

    /// The folders on the path in which the project's own modules lie.
    #[must_use]
    pub fn roots(&self) -> &[PathBuf] {
        &self.0.roots
    }

    /// The file that an import of `module` would run first.
    #[must_use]
    pub fn file_of(&self, module: &str) -> Option<PathBuf> {
        let builtins = &self.0.request.builtin_modules;
        let mut resolver = Resolver::new(Disk::default(), self.0.entries.clone(), builtins);
        match &*resolver.find(module) {
            Place::Module(path) | Place::Package(path, _) => Some(path.clone()),
            Place::Builtin | Place::Missing | Place::Namespace(_) => None,
        }
    }

    /// Whether a module must not be imported ahead, whoever imports it: it is ignored, or does something when it is.
    #[must_use]
    pub fn is_unwanted(&self, module: &str) -> bool {
        let request = self.0.request;
        let top = module.split('.').next().unwrap_or(module);
        let has_rule = UNWANTED.contains(&top)
            || ["__main__", "__future__"].contains(&top)
            || covers_any(&request.ignored, module);
        has_rule && {
            let builtins = &request.builtin_modules;
            let mut resolver = Resolver::new(Disk::default(), self.0.entries.clone(), builtins);
            self.0.owner(&mut resolver, module) == Owner::Nobody
        }
    }

    /// Whether a loaded module is the project's own, by its name or by where its file lies.
    #[must_use]
    pub fn owns(&self, module: &str, file: &Path) -> bool {
        self.0.owns_name(module) || self.0.owns_path(&real_name(file))
    }
}

trait MaxByLength<'p> {
    fn max_by_length(self, other: Option<&'p Path>) -> Option<&'p Path>;
}

impl<'p> MaxByLength<'p> for Option<&'p Path> {
    fn max_by_length(self, other: Option<&'p Path>) -> Option<&'p Path> {
        let length = |path: &&Path| path.as_os_str().len();
        self.into_iter().chain(other).max_by_key(length)
    }
}

/// Whether `name` is `prefix` or below it, by whole dotted parts: `app` does not cover `apptools`.
pub(super) fn covers(prefix: &str, name: &str) -> bool {
    name.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn covers_any(prefixes: &[String], name: &str) -> bool {
    prefixes.iter().any(|prefix| covers(prefix, name))
}

fn is_standard(resolver: &mut Resolver, place: &Place) -> bool {
    let path = match place {
        Place::Builtin | Place::Missing => return true,
        Place::Namespace(_) => return false,
        Place::Module(path) | Place::Package(path, _) => path,
    };
    match &*resolver.find("os") {
        Place::Module(os) => os.parent() == path.parent(),
        Place::Builtin | Place::Missing | Place::Namespace(_) | Place::Package(..) => false,
    }
}

/// The folder from which `package` is imported, when it lies at `location`.
fn import_root<'p>(location: &'p Path, package: &str) -> Option<&'p Path> {
    package
        .split('.')
        .try_fold(location, |folder, _| folder.parent())
}

/// The shortest part of the package's name that has an `__init__`: a namespace such as `google` is shared.
fn owned_name(package: &str, locations: &[PathBuf]) -> String {
    let first = locations.first();
    let Some(mut folder) = first
        .and_then(|location| import_root(location, package))
        .map(Path::to_owned)
    else {
        return package.to_owned();
    };
    let mut end = 0;
    for part in package.split('.') {
        folder.push(part);
        end += part.len() + usize::from(end > 0);
        if folder.join("__init__.py").exists() {
            return package.get(..end).unwrap_or(package).to_owned();
        }
    }
    package.to_owned()
}

fn longest<'p>(entries: &'p [PathBuf], path: &Path) -> Option<&'p Path> {
    entries
        .iter()
        .map(PathBuf::as_path)
        .filter(|entry| path.starts_with(entry))
        .max_by_key(|entry| entry.as_os_str().len())
}

fn real(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for path in paths {
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        if !all.contains(&path) {
            all.push(path);
        }
    }
    all
}

/// The real folder with the name as given: a linked package lies where its link does.
fn real_name(path: &Path) -> PathBuf {
    match (path.parent().map(fs::canonicalize), path.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        (Some(_) | None, _) => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_on_whole_dotted_parts() {
        for (prefix, name, expected) in [
            ("app", "app", true),
            ("app", "app.web", true),
            ("app", "apptools", false),
            ("app.web", "app", false),
            ("app.web", "app.webber", false),
        ] {
            assert_eq!(covers(prefix, name), expected, "{prefix} {name}");
        }
    }
}
