//! Which of the project's own modules import which when they are imported: the graph that a plan for them needs. Reads
//! no files.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use super::graph::{with_parents, SourceFile, Step};
use super::resolve::{Place, Resolver};

/// The project's own modules by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnModules(pub BTreeMap<String, OwnModule>);

/// A module of the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnModule {
    /// Its file.
    pub file: PathBuf,
    /// The modules of the project that its import runs, if they have not run: the packages around it, and what its
    /// module level imports, in order and each once.
    pub imports: Vec<String>,
    /// Machine code, or bytecode without a source: nobody knows what its import runs.
    pub is_opaque: bool,
}

/// The graph of all files that imports can name.
pub(super) fn own_modules(
    files: &[SourceFile],
    by_name: &HashMap<String, usize>,
    resolver: &mut Resolver,
) -> OwnModules {
    let mut modules = BTreeMap::new();
    for (name, at) in by_name {
        let Some(file) = files.get(*at) else {
            continue;
        };
        let mut imports = Vec::new();
        let around = name.rsplit_once('.').map(|(package, _)| package);
        let asked = file.steps.iter().filter_map(|(statement, step)| {
            let statement = file.imports.statements.get(*statement)?;
            match step {
                Step::Enter(module) if !statement.context.nested => Some(module.as_str()),
                Step::Enter(_) | Step::Load(..) => None,
            }
        });
        for target in around.into_iter().chain(asked).flat_map(with_parents) {
            if target == name || imports.iter().any(|known| known == target) {
                continue;
            }
            if !by_name.contains_key(target) {
                let Some(file) = opaque(resolver, target) else {
                    continue;
                };
                let module = OwnModule {
                    file,
                    imports: Vec::new(),
                    is_opaque: true,
                };
                modules.insert(target.to_owned(), module);
            }
            imports.push(target.to_owned());
        }
        let module = OwnModule {
            file: file.path.clone(),
            imports,
            is_opaque: false,
        };
        modules.insert(name.clone(), module);
    }
    OwnModules(modules)
}

/// The file of a module that has no source.
fn opaque(resolver: &mut Resolver, module: &str) -> Option<PathBuf> {
    let place = resolver.find(module);
    let (Place::Module(file) | Place::Package(_, file)) = &*place else {
        return None;
    };
    let is_source = file.extension().is_some_and(|extension| extension == "py");
    (!is_source).then(|| file.clone())
}
