//! The levels of the project's own modules, when they are asked for: which are true, and which are to be built.
//! Builds none.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::chain::{Chain, Found, Kind};
use super::levels::{self, Edits};
use super::plan::{import_set, Step};
use super::unseen::Refusal;
use super::{Caller, Environment, State};
use crate::error::Error;
use crate::protocol::message::PreloadItem;
use crate::scan::OwnModules;
use crate::stamp::Change;

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
}

impl Own {
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
        let stale = main.disk_changes();
        self.note_edits(main, &stale);
        let edited = std::mem::take(&mut *self.edited());
        if !edited.is_empty() {
            self.look_again(state);
        }
        state.own.note(edited);
        let wanted = self.own_levels(state);
        let highest = stale.lowest().unwrap_or(main.len());
        let built = main.levels().take(highest).skip(third);
        let same = built.zip(&wanted).take_while(|(level, wanted)| {
            let asked = level.asked.iter().map(|item| &item.module);
            asked.eq(wanted.iter())
        });
        let same = if anew { 0 } else { same.count() };
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
