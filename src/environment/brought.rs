//! What each import of a template has brought along, and who asks for it: for users. Decides nothing.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::protocol::findings::{Effect, FileText, LoadedModule, ModuleCost};
use crate::scan::{ImportSet, Site};

/// One module that a template was asked to import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brought {
    /// Its dotted name.
    pub module: String,
    /// It, and the submodules that were asked for by name; how long each took, with all that came with it and was not
    /// there yet, in microseconds.
    pub loaded: Vec<(String, u64)>,
    /// By how many bytes the template has grown meanwhile, where the system tells.
    pub memory: Option<u64>,
    /// No import of the project names it: children were seen to import it.
    pub is_learned: bool,
    /// Where the project imports it, as of the last scan.
    pub sites: Vec<Site>,
    /// What came into `sys.modules`, in order.
    pub modules: Arc<[Came]>,
    /// Other files that were read meanwhile; texts hold one byte in each character.
    pub files: Arc<[String]>,
    /// What was done besides.
    pub effects: Arc<[Effect]>,
}

/// A module that came with an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Came {
    /// Its dotted name.
    pub name: String,
    /// Its file, one byte in each character.
    pub file: Option<String>,
    /// The module whose code asked for it, where that is known.
    pub importer: Option<String>,
    /// What it cost.
    pub cost: ModuleCost,
}

/// What a template tells of the import of one item.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) modules: Vec<LoadedModule>,
    pub(super) costs: Vec<ModuleCost>,
    pub(super) files: Vec<String>,
    pub(super) effects: Vec<Effect>,
}

impl Told {
    /// Of all files that were read, those that are no module's stay.
    pub(super) fn new(
        modules: Vec<LoadedModule>,
        costs: Vec<ModuleCost>,
        files: &[FileText],
        effects: Vec<Effect>,
    ) -> Self {
        let sources: BTreeSet<_> = modules.iter().filter_map(|each| each.1.as_ref()).collect();
        let files = files.iter().map(|(path, _)| path);
        let others = files.filter(|path| !sources.contains(path));
        Self {
            files: others.cloned().collect(),
            modules,
            costs,
            effects,
        }
    }
}

impl Brought {
    pub(super) fn new(
        module: String,
        loaded: Vec<(String, u64)>,
        memory: Option<u64>,
        told: Told,
    ) -> Self {
        let costs = told
            .costs
            .into_iter()
            .chain(std::iter::repeat_with(ModuleCost::default));
        let modules = told.modules.into_iter().zip(costs);
        let modules = modules.map(|(LoadedModule(name, file, importer), cost)| Came {
            name,
            file,
            importer,
            cost,
        });
        Self {
            module,
            loaded,
            memory,
            is_learned: false,
            sites: Vec::new(),
            modules: modules.collect(),
            files: told.files.into(),
            effects: told.effects.into(),
        }
    }

    /// Something that others had brought before it was asked for.
    pub(super) fn nothing(module: String) -> Self {
        Self::new(module, Vec::new(), None, Told::default())
    }

    /// Takes the places from a scan. A module may have several entries there, which share some.
    pub(super) fn locate(&mut self, imports: &ImportSet) {
        self.sites.clear();
        let all = imports.imports.iter();
        for import in all.filter(|import| import.module == self.module) {
            for site in &import.sites {
                if !self.sites.contains(site) {
                    self.sites.push(site.clone());
                }
            }
        }
    }
}
