//! What is to be built in the background, and on what. Builds nothing.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::chain::{Chain, Kind, Level};
use super::left_out::{top, What};
use super::unseen::Refusal;
use super::{Environment, State};
use crate::protocol::message::PreloadItem;
use crate::scan::{FirstParty, Import, ImportSet};
use crate::stamp::Touched;

/// With so many layers beyond those that a new start would make, they are joined at once.
const FEW: usize = 3;

/// What to do next.
pub(super) enum Plan {
    Nothing,
    /// Something, when nothing else happens for a while.
    Later,
    Build(Work),
}

/// Levels to build.
pub(super) struct Work {
    /// What serves now.
    pub(super) replaces: Chain,
    /// What of it is kept.
    pub(super) below: Option<Chain>,
    pub(super) steps: Vec<Step>,
}

/// One level.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) kind: Kind,
    pub(super) imports: Arc<ImportSet>,
    pub(super) items: Vec<PreloadItem>,
    /// What of other things it depends on.
    pub(super) files: Vec<Touched>,
    /// Where the coming of a module would count.
    pub(super) folders: Arc<BTreeSet<PathBuf>>,
    pub(super) left: BTreeSet<What>,
    /// Modules that are only wanted from these files.
    pub(super) expected: BTreeMap<String, PathBuf>,
}

impl Environment {
    pub(super) fn plan(&self, state: &mut State, main: &Chain, is_idle: bool) -> Plan {
        let third = main.below(Kind::Own);
        let imports = state.imports.clone().unwrap_or_default();
        let edited = self.edited_tops(&imports);
        let surplus = surplus(main, &edited);
        let base = main.base();
        state.lessons.look_at_versions(base);
        let can_join = state.joined_in_vain != Some(main.base().id);
        let is_joined = surplus == 0 && !state.is_reversed;
        let join = can_join && !is_joined && (surplus >= FEW || is_idle);
        let learned = state.lessons.step(main, join);
        let own = self.own_steps(state, main, join || learned.is_some());
        let mut below = main.lowest(own.kept);
        let mut steps = Vec::new();
        if join {
            below = None;
            steps.extend(self.import_steps(state, &imports, &edited));
        } else if learned.is_some() {
            below = main.lowest(third);
        }
        steps.extend(learned);
        steps.extend(own.steps);
        if steps.is_empty() && own.kept == main.len() {
            return match is_joined || !can_join {
                true => Plan::Nothing,
                false => Plan::Later,
            };
        }
        if steps.is_empty() {
            return Plan::Nothing;
        }
        Plan::Build(Work {
            replaces: main.clone(),
            below,
            steps,
        })
    }

    fn edited_tops(&self, imports: &ImportSet) -> BTreeSet<String> {
        let tops: BTreeSet<&str> = imports.imports.iter().map(|i| top(&i.module)).collect();
        FirstParty::new(&self.config.scan).edited(tops.into_iter())
    }

    /// The levels of the import set, as a new start would make them.
    fn import_steps(
        &self,
        state: &State,
        imports: &Arc<ImportSet>,
        edited: &BTreeSet<String>,
    ) -> Vec<Step> {
        let (above, below): (Vec<_>, Vec<_>) = state
            .left_out
            .wanted(imports)
            .into_iter()
            .map(|(_, item)| item)
            .partition(|item| edited.contains(top(&item.module)));
        let mut files = state.left_out.files(&BTreeSet::new());
        files.retain(|file| !state.repeats.is_told(file.path()));
        let mut files = Some(files);
        [below, above]
            .into_iter()
            .filter(|items| !items.is_empty())
            .map(|items| Step {
                kind: Kind::Imports,
                imports: import_set(&items),
                items,
                files: files.take().unwrap_or_default(),
                folders: Arc::default(),
                left: state.left_out.names(),
                expected: BTreeMap::new(),
            })
            .collect()
    }

    /// Takes note of what can't be had.
    pub(super) fn refuse(&self, state: &mut State, step: &Step, why: Refusal) {
        log::debug!(
            "a template can't be built in the background: {}",
            why.text()
        );
        match step.kind {
            Kind::Imports => {
                log::debug!("the templates can't be joined: they go on as they are");
                let main = self.serving().main.clone();
                state.joined_in_vain = main.map(|main| main.base().id);
            }
            Kind::Learned => state.lessons.refuse(&step.items, why),
            Kind::Own => state.refuse_own(step, why),
        }
    }
}

/// How many levels there are beyond those that a new start would make: what is installed, what is edited, what was
/// learned.
fn surplus(main: &Chain, edited: &BTreeSet<String>) -> usize {
    let count = |kind: Kind| main.levels().filter(|level| level.kind == kind).count();
    let is_edited = |level: &Level| {
        let mut asked = level.asked.iter();
        asked.any(|item| edited.contains(top(&item.module)))
    };
    let has_both = main.levels().any(|level| is_edited(level)) && !is_edited(main.base());
    let imports = count(Kind::Imports).saturating_sub(1 + usize::from(has_both));
    imports + count(Kind::Learned).saturating_sub(1)
}

/// An import set of modules that stand nowhere in the project's files.
pub(super) fn import_set(items: &[PreloadItem]) -> Arc<ImportSet> {
    let imports = items.iter().map(|item| Import {
        module: item.module.clone(),
        names: item.names.clone(),
        sites: Vec::new(),
    });
    Arc::new(ImportSet {
        imports: imports.collect(),
    })
}
