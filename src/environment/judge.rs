//! Whether what an import brought along may stay in a template. Starts nothing.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::left_out::{covers, top};
use crate::protocol::findings::{Action, Effect, LoadedModule, ThreadText};
use crate::scan::{FirstParty, ScanRequest};
use crate::stamp::os_text;

/// What follows for whoever uses a package that is left out.
pub(super) const AFTERWARDS: &str = "each run imports it itself";

const MAIN_ALIAS: &str = "__mp_main__";

/// Judges what a template loads.
pub(super) struct Judge<'s> {
    first_party: FirstParty<'s>,
    leave_out: &'s [(String, String)],
    stdlib: &'s [String],
    /// Whether code of the project may be there, all but what is native: its state can't be told.
    may_be_own: bool,
    /// Module -> who imported it, and the item (its position in the preload list) that brought it.
    loaded: BTreeMap<String, (Option<String>, usize)>,
    /// Module -> its file, if it has one.
    files: BTreeMap<String, Option<String>>,
    /// The top-level packages of which anything has a file: what a library only made is none.
    with_files: BTreeSet<String>,
}

impl<'s> Judge<'s> {
    pub(super) fn new(scan: &'s ScanRequest, leave_out: &'s [(String, String)]) -> Self {
        Self {
            first_party: FirstParty::new(scan),
            leave_out,
            stdlib: &scan.stdlib_modules,
            may_be_own: false,
            loaded: BTreeMap::new(),
            files: BTreeMap::new(),
            with_files: BTreeSet::new(),
        }
    }

    /// For levels of the project's own modules.
    pub(super) fn with_own(mut self) -> Self {
        self.may_be_own = true;
        self
    }

    /// Why an import can't stay, if it can't.
    pub(super) fn objection(
        &mut self,
        index: usize,
        modules: &[LoadedModule],
        effects: &[Effect],
    ) -> Option<Objection> {
        self.note(index, modules);
        if let Some(reason) = self.object_to_modules(modules) {
            return Some(Objection {
                name: None,
                reason,
                blamed: None,
            });
        }
        for kept in effects.iter().filter(|each| each.action == Action::Kept) {
            let (name, kind, detail) = (&kept.name, &kept.kind, &kept.detail);
            log::info!(
                "{name} leaves a {kind} behind ({detail}): kept, a cold start has it as well"
            );
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
        Some(Objection {
            name,
            reason,
            blamed: effect.importer.clone(),
        })
    }

    fn note(&mut self, index: usize, modules: &[LoadedModule]) {
        for LoadedModule(name, file, importer) in modules {
            self.loaded.insert(name.clone(), (importer.clone(), index));
            self.files.insert(name.clone(), file.clone());
            if file.is_some() {
                self.with_files.insert(top(name).to_owned());
            }
        }
    }

    /// Why a template can't be used, for modules that came after the last import: no import is to blame for them.
    pub(super) fn object_to_late(&mut self, late: &[LoadedModule]) -> Option<String> {
        self.note(usize::MAX, late);
        if self.may_be_own {
            return None;
        }
        let own = late.iter().find(|each| self.is_own_module(each))?;
        let LoadedModule(name, _, importer) = own;
        let of = importer
            .as_deref()
            .map_or_else(String::new, |importer| format!(" of {importer}"));
        Some(format!(
            "a hook{of} has imported {name}, code of the project, into the template; no run may depend on code that \
             was read before it began: have the hook import it in children (after_fork_in_child)"
        ))
    }

    fn object_to_modules(&self, modules: &[LoadedModule]) -> Option<String> {
        if self.may_be_own {
            return self.object_to_native(modules);
        }
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

    fn object_to_native(&self, modules: &[LoadedModule]) -> Option<String> {
        let mut own = modules.iter().filter(|each| self.is_own_module(each));
        let LoadedModule(name, ..) = own.find(|LoadedModule(_, file, _)| {
            let extension = file.as_deref().and_then(|file| Path::new(file).extension());
            extension.is_some_and(|end| end == "so" || end == "dylib")
        })?;
        let chain = self.chain(name);
        Some(format!(
            "it imports {name} ({chain}), a native module of the project, which can't be replaced in a process"
        ))
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
        // `multiprocessing` gives the template's own main module, which is empty, a second name.
        name != MAIN_ALIAS
            && file
                .as_deref()
                .is_some_and(|file| self.is_own(name, Path::new(&os_text(file))))
    }

    /// The first item that has loaded a module or something below it.
    pub(super) fn brought_by(&self, module: &str) -> Option<usize> {
        let all = self.loaded.iter();
        let found = all.filter(|(name, _)| covers(module, name));
        found.map(|(_, (_, index))| *index).min()
    }

    /// Everything that was loaded, with its file as a message tells it.
    pub(super) fn take_files(&mut self) -> BTreeMap<String, Option<String>> {
        std::mem::take(&mut self.files)
    }

    /// The top-level names of what was loaded, without the standard library.
    pub(super) fn packages(&self) -> BTreeSet<String> {
        let tops = self.with_files.iter();
        tops.filter(|top| !self.stdlib.contains(top))
            .filter(|top| *top != "firehot" && *top != "__main__")
            .cloned()
            .collect()
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
        while let Some((Some(importer), _)) = self.loaded.get(at) {
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
    /// The module that is to blame, when that may be another one and the verdict is the same in every project.
    pub(super) blamed: Option<String>,
}

/// Why a thread that stays after a fork keeps an import out.
pub(super) fn object_to_thread(thread: &ThreadText) -> Option<Objection> {
    let name = [&thread.item, &thread.package]
        .into_iter()
        .find(|name| !name.is_empty())?;
    let by = match &thread.importer {
        Some(importer) if importer != name => format!(" (started by {importer})"),
        Some(_) | None if thread.package.is_empty() || covers(&thread.package, name) => {
            String::new()
        }
        Some(_) | None => format!(" (started by {})", thread.package),
    };
    let reason =
        match thread.library.as_str() {
            "python" => format!("its thread {}{by} does not survive a fork; {AFTERWARDS}", thread.name),
            library => format!(
            "it starts the thread {} ({}){by} while it is imported, which does not survive a fork; {AFTERWARDS}",
            thread.name,
            if library.is_empty() { "of an unknown library" } else { library }
        ),
        };
    Some(Objection {
        name: Some(name.clone()),
        reason,
        blamed: Some(thread.package.clone()).filter(|package| !package.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_hook_has_imported_is_judged_too() {
        let folder = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(folder.path()).unwrap();
        let file = root.join("app").join("secret.py");
        std::fs::create_dir(root.join("app")).unwrap();
        std::fs::write(&file, b"").unwrap();
        let scan = ScanRequest {
            package: "app".to_owned(),
            locations: vec![root.join("app")],
            first_party: vec!["app".to_owned()],
            sys_path: vec![root],
            ..ScanRequest::default()
        };
        let module = |name: &str, file: Option<&Path>| {
            let file = file.map(|file| file.to_string_lossy().into_owned());
            LoadedModule(name.to_owned(), file, Some("plugin".to_owned()))
        };
        let late = [
            module("plugin.more", None),
            module("app.secret", Some(&file)),
        ];
        let mut judge = Judge::new(&scan, &[]);
        assert_eq!(judge.object_to_late(&late[..1]), None);
        let reason = judge.object_to_late(&late).unwrap();
        assert!(reason.starts_with("a hook of plugin has imported app.secret, code of the project"));
    }
}
