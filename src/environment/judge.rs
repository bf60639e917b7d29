//! Whether what an import brought along may stay in a template. Starts nothing.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::protocol::message::{Action, Effect, LoadedModule};
use crate::scan::{FirstParty, Scanner};
use crate::stamp::os_text;

/// Judges what a template loads.
pub(super) struct Judge<'s> {
    first_party: FirstParty<'s>,
    leave_out: &'s [(String, String)],
    /// Module -> who imported it.
    importers: BTreeMap<String, Option<String>>,
}

impl<'s> Judge<'s> {
    pub(super) fn new(scanner: &'s Scanner, leave_out: &'s [(String, String)]) -> Self {
        Self {
            first_party: scanner.first_party(),
            leave_out,
            importers: BTreeMap::new(),
        }
    }

    /// Why an import can't stay, if it can't.
    pub(super) fn objection(
        &mut self,
        modules: &[LoadedModule],
        effects: &[Effect],
    ) -> Option<Objection> {
        for LoadedModule(name, _, importer) in modules {
            self.importers.insert(name.clone(), importer.clone());
        }
        if let Some(reason) = self.object_to_modules(modules) {
            return Some(Objection { name: None, reason });
        }
        let effect = effects.iter().find(|each| each.action != Action::Kept)?;
        let by = match &effect.importer {
            Some(importer) if *importer != effect.name => format!(" ({importer} does)"),
            Some(_) | None => String::new(),
        };
        let reason = format!(
            "it leaves a {} while it is imported{by}: {}; each run imports it itself",
            effect.kind, effect.detail
        );
        let name = Some(effect.name.clone());
        Some(Objection { name, reason })
    }

    fn object_to_modules(&self, modules: &[LoadedModule]) -> Option<String> {
        let own = modules.iter().filter(|each| self.is_own_module(each));
        // The packages around what was asked for are imported first, at the word of the same importer.
        let asked = own.clone().next().map(|LoadedModule(.., by)| by);
        let deepest = own
            .filter(|LoadedModule(.., by)| Some(by) == asked)
            .max_by_key(|LoadedModule(name, ..)| name.split('.').count());
        if let Some(LoadedModule(name, ..)) = deepest {
            let chain = self.chain(name);
            return Some(format!(
                "it imports {name} while it is imported ({chain}), which is code of the project; \
                 each run imports it itself"
            ));
        }
        let (name, package, why) = modules.iter().find_map(|LoadedModule(name, ..)| {
            let mut all = self.leave_out.iter();
            let (package, why) = all.find(|(package, _)| covers(package, name))?;
            Some((name, package, why))
        })?;
        let chain = self.chain(name);
        Some(if chain.starts_with(package.as_str()) {
            why.clone()
        } else {
            format!("it imports {name} while it is imported ({chain}): {why}")
        })
    }

    /// The file that an import would run first.
    pub(super) fn file_of(&self, module: &str) -> Option<PathBuf> {
        self.first_party.file_of(module)
    }

    /// Whether a module is the project's own.
    pub(super) fn is_own(&self, name: &str, file: &Path) -> bool {
        self.first_party.owns(name, file)
    }

    fn is_own_module(&self, LoadedModule(name, file, _): &LoadedModule) -> bool {
        file.as_deref()
            .is_some_and(|file| self.is_own(name, Path::new(&os_text(file))))
    }

    /// The names of the project's own among these.
    pub(super) fn own(&self, modules: &[LoadedModule]) -> Vec<String> {
        let own = modules.iter().filter(|each| self.is_own_module(each));
        own.map(|LoadedModule(name, ..)| name.clone()).collect()
    }

    /// Who imported whom, down to a module.
    fn chain(&self, name: &str) -> String {
        let mut chain = vec![name];
        let mut at = name;
        while let Some(Some(importer)) = self.importers.get(at) {
            if chain.contains(&importer.as_str()) {
                break;
            }
            chain.push(importer);
            at = importer;
        }
        chain.reverse();
        chain.join(" -> ")
    }
}

/// An import that can't stay.
pub(super) struct Objection {
    /// What was being imported; none when the whole item is meant.
    pub(super) name: Option<String>,
    pub(super) reason: String,
}

fn covers(prefix: &str, name: &str) -> bool {
    name.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
