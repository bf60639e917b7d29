//! What each import of a template has brought along, and who asks for it: for users. Decides nothing.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::protocol::findings::LoadedModule;
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
    /// What came into `sys.modules`, in order, and the module whose code asked for each, where that is known.
    pub modules: Arc<[(String, Option<String>)]>,
}

impl Brought {
    pub(super) fn new(
        module: String,
        loaded: Vec<(String, u64)>,
        memory: Option<u64>,
        modules: Vec<LoadedModule>,
    ) -> Self {
        let modules = modules
            .into_iter()
            .map(|LoadedModule(name, _, importer)| (name, importer));
        Self {
            module,
            loaded,
            memory,
            is_learned: false,
            sites: Vec::new(),
            modules: modules.collect(),
        }
    }

    /// Something that others had brought before it was asked for.
    pub(super) fn nothing(module: String) -> Self {
        Self::new(module, Vec::new(), None, Vec::new())
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
