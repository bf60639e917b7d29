//! The levels of the project's own modules, when they are asked for: which are true, and which are to be built.
//! Builds none.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use super::chain::{Chain, Found, Kind};
use super::levels::{self, Edits};
use super::plan::{import_set, Step};
use super::unseen::Refusal;
use super::{Caller, Environment, State};
use crate::error::Error;
use crate::protocol::message::PreloadItem;
use crate::scan::{FirstParty, OwnModules};
use crate::stamp::{Change, Touched};

/// After so many builds that no call was given to, the next one waits for a call: a module that changes what it has read
/// would be built for ever.
const MOST_UNUSED: u32 = 20;

/// What is known of the project's own modules.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// Files that were edited, each with the number of its last edit.
    edits: Edits,
    count: u64,
    /// How they import each other, as of the last scan.
    pub(super) modules: Arc<OwnModules>,
    /// What can't be in a template, as the files are now.
    refused: BTreeSet<String>,
    /// Their files and those of all others, as they were before they were last tried: one of them may mend it.
    tried: Vec<Touched>,
}

impl Own {
    /// Files that have changed since something was refused, which no level's stamp tells of.
    fn mended(&self) -> Vec<PathBuf> {
        if self.refused.is_empty() {
            return Vec::new();
        }
        let changed = self.tried.iter().filter(|file| file.has_changed());
        changed.map(|file| file.path().to_owned()).collect()
    }

    /// Something of the project is not as it was.
    fn note(&mut self, edited: Vec<PathBuf>) {
        if edited.is_empty() {
            return;
        }
        self.count += 1;
        for path in edited {
            self.edits.insert(path, self.count);
        }
        // Whatever was wrong may be mended.
        self.refused.clear();
    }
}

/// The levels of the project's own modules, as they are to be.
pub(super) struct OwnPlan {
    /// How many levels of the chain stay.
    pub(super) kept: usize,
    pub(super) steps: Vec<Step>,
}

impl Environment {
    /// Takes note of files whose changes have made levels of the project's own modules untrue.
    pub(super) fn note_edits(&self, main: &Chain, found: &Found) {
        let own = found.from(main.below(Kind::Own));
        let files = own.filter_map(|change| match change {
            Change::File { path, .. } => Some(path.clone()),
            Change::Interpreter(_)
            | Change::Distribution { .. }
            | Change::Path
            | Change::Variable(_)
            | Change::Directory(_)
            | Change::Found(_) => None,
        });
        self.edited().extend(files);
    }

    /// What serves, without those levels of the project's own modules that are not true any more: they go at once, so that
    /// none is built for them again and again. None when what lies below them is not true: the next call, or the next
    /// update, replaces it.
    pub(super) fn true_main(&self) -> Option<Chain> {
        let main = self.serving().main.clone()?;
        if !self.config.warm_first_party {
            return Some(main);
        }
        let stale = main.disk_changes();
        let Some(lowest) = stale.lowest() else {
            return Some(main);
        };
        if lowest < main.below(Kind::Own) {
            return None;
        }
        self.note_edits(&main, &stale);
        let below = main.lowest(lowest)?;
        let is_put = self.swap(Some(main.id()), &below);
        matches!(is_put, Ok(true)).then_some(below)
    }

    /// A call has come: what is built from here on may serve one.
    pub(super) fn note_call(&self) {
        if self.unused.swap(0, Ordering::Relaxed) >= MOST_UNUSED {
            self.ring();
        }
    }

    /// The levels of the project's own modules: what of the chain stays, and what is to be built above it. When what
    /// lies below is built `anew`, all of them are.
    pub(super) fn own_steps(&self, state: &mut State, main: &Chain, anew: bool) -> OwnPlan {
        let third = main.below(Kind::Own);
        if !self.config.warm_first_party {
            return OwnPlan {
                kept: main.len(),
                steps: Vec::new(),
            };
        }
        let mut edited = std::mem::take(&mut *self.edited());
        edited.extend(state.own.mended());
        if !edited.is_empty() {
            self.look_again(state);
        }
        state.own.note(edited);
        let wanted = self.own_levels(state);
        let built = main.levels().skip(third);
        let same = built.zip(&wanted).take_while(|(level, wanted)| {
            let asked = level.asked.iter().map(|item| &item.module);
            asked.eq(wanted.iter())
        });
        let same = if anew { 0 } else { same.count() };
        if self.unused.load(Ordering::Relaxed) >= MOST_UNUSED {
            log::debug!("modules of the project wait for a call: {MOST_UNUSED} builds in a row have served none");
            return OwnPlan {
                kept: main.len(),
                steps: Vec::new(),
            };
        }
        if wanted.len() > same {
            let files = state.own.modules.0.values();
            state.own.tried = files.map(|module| Touched::now(&module.file)).collect();
        }
        // The lowest of these levels has them: all go when a module comes that any of them may have looked for.
        let mut folders = (same == 0).then(|| Arc::new(self.folders(state)));
        let steps = wanted.into_iter().skip(same).map(|names| {
            let items: Vec<PreloadItem> = names
                .into_iter()
                .map(|module| PreloadItem {
                    module,
                    names: Vec::new(),
                })
                .collect();
            Step {
                kind: Kind::Own,
                imports: import_set(&items),
                items,
                files: Vec::new(),
                folders: folders.take().unwrap_or_default(),
                left: BTreeSet::new(),
                expected: BTreeMap::new(),
            }
        });
        OwnPlan {
            kept: third + same,
            steps: steps.collect(),
        }
    }
}

impl Environment {
    /// Imports may have changed with the files. What is third-party among them is for the next update.
    fn look_again(&self, state: &mut State) {
        match self.scan(state, false, &Nobody) {
            Ok(scan) => state.own.modules = scan.own.unwrap_or_default(),
            Err(error) => log::debug!("modules of the project can't be scanned: {error}"),
        }
    }

    /// The folders in which the project's own modules lie, up to where the path leads.
    fn folders(&self, state: &State) -> BTreeSet<PathBuf> {
        let first_party = FirstParty::new(&self.config.scan);
        let roots = first_party.roots();
        let mut folders: BTreeSet<PathBuf> = roots.iter().cloned().collect();
        for module in state.own.modules.0.values() {
            let above = module.file.ancestors().skip(1);
            let within =
                above.take_while(|folder| roots.iter().any(|root| folder.starts_with(root)));
            folders.extend(module.file.parent().map(PathBuf::from));
            folders.extend(within.map(PathBuf::from));
        }
        folders
    }

    fn own_levels(&self, state: &State) -> Vec<Vec<String>> {
        let package = &self.config.scan.package;
        let learned = state.lessons.learned.first_party();
        let modules = &state.own.modules;
        let mut wanted = levels::wanted(modules, package, &learned);
        // What imports one that was refused would bring it along.
        let refused = levels::importers(modules, &state.own.refused);
        wanted.retain(|name| !refused.contains(name.as_str()));
        levels::levels(modules, package, &wanted, &state.own.edits)
    }
}

/// The scan of a thread that has no signals to look after.
struct Nobody;

impl Caller for Nobody {
    fn attend(&self) -> Result<(), Error> {
        Ok(())
    }

    fn setup(&self, _: &[PathBuf]) -> Result<Vec<u8>, Error> {
        Err(Error::NoTemplate)
    }

    fn progress(&self, _: &str, _: usize, _: usize) {}

    fn settled(&self) {}
}

impl State {
    /// Takes note of modules of the project that can't be in a template.
    pub(super) fn refuse_own(&mut self, step: &Step, why: Refusal) {
        match why {
            Refusal::Names(all) => {
                for (name, reason) in all {
                    log::info!("{name} is not imported ahead: {reason}");
                    self.own.refused.insert(name);
                }
            }
            // Nobody knows which: none of them until one was edited.
            Refusal::Whole(reason) => {
                log::info!("modules of the project are not imported ahead: {reason}");
                let names = step.items.iter().map(|item| item.module.clone());
                self.own.refused.extend(names);
            }
        }
    }
}
