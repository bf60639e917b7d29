//! What children had to import themselves, on its way into a level. Keeps nothing on disk, and builds nothing.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::sync::Arc;

use super::chain::{Chain, Kind, Level};
use super::learned::Learned;
use super::plan::{import_set, Step};
use super::unseen::Refusal;
use crate::protocol::message::PreloadItem;
use crate::supervisor::template::TemplateId;

/// So many times in a row a layer may die.
const DEATHS: u32 = 2;

/// What was learned, and how much of it is tried at once.
#[derive(Debug)]
pub(super) struct Lessons {
    pub(super) learned: Learned,
    is_on: bool,
    /// When nobody knows which of several modules spoils a level, fewer are tried.
    most: usize,
    /// The modules of the layer that died last by itself, and how often in a row: anybody may kill a process once.
    died: (Vec<String>, u32),
    /// The base of which the installed distributions are known.
    looked_at: Option<TemplateId>,
}

impl Lessons {
    pub(super) fn new(learned: Learned, is_on: bool) -> Self {
        Self {
            learned,
            is_on,
            most: usize::MAX,
            died: (Vec::new(), 0),
            looked_at: None,
        }
    }

    /// The level to build next: what no level has; when all levels are built `anew`, everything.
    pub(super) fn step(&mut self, main: &Chain, anew: bool) -> Option<Step> {
        if !self.is_on {
            return None;
        }
        let kept = main
            .levels()
            .filter(|level| level.kind == Kind::Imports || (level.kind == Kind::Learned && !anew));
        let loaded: BTreeSet<String> = kept
            .flat_map(|level| level.loaded.iter().cloned())
            .collect();
        let mut items = self.learned.wanted(&loaded);
        // One that failed was tried.
        items.retain(|item| anew || main.missing(item).is_some());
        if items.is_empty() {
            self.most = usize::MAX;
        }
        if items.is_empty() || (!anew && !self.learned.is_worth_it(&loaded)) {
            return None;
        }
        items.truncate(self.most);
        let file = |item: &PreloadItem| {
            let file = self.learned.file_of(&item.module)?;
            Some((item.module.clone(), file))
        };
        let expected = items.iter().filter_map(file).collect();
        Some(Step {
            kind: Kind::Learned,
            imports: import_set(&items),
            items,
            files: Vec::new(),
            folders: Arc::default(),
            left: BTreeSet::new(),
            expected,
        })
    }

    /// Keeps it for the next process.
    pub(super) fn save(&mut self) {
        if self.is_on {
            self.learned.save();
        }
    }

    /// Another version of a distribution is tried again.
    pub(super) fn look_at_versions(&mut self, base: &Level) {
        if self.looked_at.replace(base.id) != Some(base.id) {
            self.learned.forget_versions();
        }
        self.learned.look_at_versions(|top| base.stamp.owner(top));
    }

    /// A layer with these died while the templates below go on, and its children with it.
    pub(super) fn died(&mut self, asked: &[PreloadItem]) {
        let names: Vec<String> = asked.iter().map(|item| item.module.clone()).collect();
        let times = if self.died.0 == names {
            self.died.1 + 1
        } else {
            1
        };
        self.died = (names, times);
        if times >= DEATHS {
            self.died.1 = 0;
            self.refuse(asked, Refusal::Whole("its template died again".to_owned()));
        }
    }

    /// Takes note of what can't be in a template.
    pub(super) fn refuse(&mut self, tried: &[PreloadItem], why: Refusal) {
        match (why, tried) {
            (Refusal::Names(all), items) => {
                for (name, reason) in &all {
                    self.learned.failed(name, reason);
                }
                // What was found below one of them may be nothing that was learned: the same is never tried again.
                let is_asked = |name: &String| items.iter().any(|item| item.module == *name);
                match (items, all.first()) {
                    (_, _) if all.iter().any(|(name, _)| is_asked(name)) => {}
                    ([only], Some((name, reason))) => {
                        let reason = format!("{name}: {reason}");
                        self.learned.failed(&only.module, &reason);
                    }
                    (_, _) => self.most = (items.len() / 2).max(1),
                }
            }
            (Refusal::Whole(reason), [only]) => {
                self.learned.failed(&only.module, &reason);
                self.most = usize::MAX;
            }
            (Refusal::Whole(_), items) => self.most = (items.len() / 2).max(1),
        }
    }
}
