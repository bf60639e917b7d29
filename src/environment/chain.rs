//! The templates that serve: a base, and the layers above it. Starts none, and decides nothing.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::left_out::What;
use super::report::Report;
use crate::protocol::message::PreloadItem;
use crate::stamp::{disk_changes, Change, Host, Stamp};
use crate::supervisor::template::TemplateId;

/// A module and a name that is imported from it; the name is empty for the module itself.
pub(super) type Pair = (String, String);

/// What a level holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The import set, or a part of it.
    Imports,
    /// What children had to import themselves.
    Learned,
    /// Modules of the project.
    Own,
}

/// A template that was found good: the base or a layer, with what it has beyond the one below.
#[derive(Debug)]
pub(super) struct Level {
    pub(super) id: TemplateId,
    pub(super) kind: Kind,
    pub(super) stamp: Stamp,
    /// What it was asked to import, in order.
    pub(super) asked: Vec<PreloadItem>,
    /// The same in pairs, each with whether anything came with it.
    pub(super) held: BTreeMap<Pair, bool>,
    /// Everything that came into `sys.modules`.
    pub(super) loaded: BTreeSet<String>,
    /// What it has and has not; only what was found while it was made.
    pub(super) report: Report,
    /// What had been left out when it was made.
    pub(super) left: BTreeSet<What>,
    /// An import has patched what others had loaded: its place in the order counts.
    pub(super) has_patched: bool,
}

/// The levels, the base first; there is always one. The last is the one that is forked.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    base: Arc<Level>,
    above: Vec<Arc<Level>>,
}

impl Chain {
    pub(super) fn new(base: Arc<Level>) -> Self {
        Self {
            base,
            above: Vec::new(),
        }
    }

    /// With one more level.
    pub(super) fn with(&self, level: Arc<Level>) -> Self {
        let mut chain = self.clone();
        chain.above.push(level);
        chain
    }

    /// The lowest `count` levels; none if that is none.
    pub(super) fn lowest(&self, count: usize) -> Option<Self> {
        let above = self.above.iter().take(count.checked_sub(1)?);
        Some(Self {
            base: Arc::clone(&self.base),
            above: above.cloned().collect(),
        })
    }

    pub(super) fn base(&self) -> &Level {
        &self.base
    }

    pub(super) fn top(&self) -> &Level {
        self.above.last().unwrap_or(&self.base)
    }

    /// The template to fork.
    pub(super) fn id(&self) -> TemplateId {
        self.top().id
    }

    pub(super) fn levels(&self) -> impl DoubleEndedIterator<Item = &Arc<Level>> + Clone {
        std::iter::once(&self.base).chain(&self.above)
    }

    pub(super) fn len(&self) -> usize {
        1 + self.above.len()
    }

    pub(super) fn has(&self, id: TemplateId) -> bool {
        self.levels().any(|level| level.id == id)
    }

    /// How many levels lie below the first of this kind, or of one that lies higher.
    pub(super) fn below(&self, kind: Kind) -> usize {
        let mut all = self.levels();
        all.position(|level| level.kind >= kind)
            .unwrap_or(self.len())
    }

    /// What of an item no level has.
    pub(super) fn missing(&self, item: &PreloadItem) -> Option<PreloadItem> {
        let names = item.names.iter();
        let names: Vec<String> = names
            .filter(|name| !self.has_name(&item.module, name))
            .cloned()
            .collect();
        let is_there = self.has_name(&item.module, "");
        (!is_there || !names.is_empty()).then(|| PreloadItem {
            module: item.module.clone(),
            names,
        })
    }

    fn has_name(&self, module: &str, name: &str) -> bool {
        let pair = (module.to_owned(), name.to_owned());
        let mut levels = self.levels();
        levels.any(|level| level.held.contains_key(&pair)) || self.has_loaded(module, name)
    }

    /// Whether a module, or the one of this name below it, came into `sys.modules`.
    pub(super) fn has_loaded(&self, module: &str, name: &str) -> bool {
        let full = full_name(module, name);
        self.levels().any(|level| level.loaded.contains(&full))
    }

    /// What differs in the host's own state, level by level.
    pub(super) fn context_changes(&self, host: Host<'_>) -> Found {
        let all = self.levels();
        Found(all.map(|level| level.stamp.context_changes(host)).collect())
    }

    /// What differs on the disk, level by level.
    pub(super) fn disk_changes(&self) -> Found {
        let all = self.levels();
        let mut found = Found(disk_changes(all.map(|level| &level.stamp)));
        // A module that was missing and has come may have been looked for in vain by what lies below as well.
        let third = found.0.iter().take(self.below(Kind::Own)).flatten();
        let came: Vec<Change> = third
            .filter(|change| matches!(change, Change::Found(_)))
            .cloned()
            .collect();
        if let Some(base) = found.0.first_mut() {
            base.extend(came);
        }
        found
    }

    /// All that differs, level by level.
    pub(super) fn changes(&self, host: Host<'_>) -> Found {
        self.context_changes(host).and(self.disk_changes())
    }
}

/// What is not as it was, by level.
#[derive(Debug, Clone, Default)]
pub(super) struct Found(Vec<BTreeSet<Change>>);

impl Found {
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(BTreeSet::is_empty)
    }

    /// The lowest level that is not true any more.
    pub(super) fn lowest(&self) -> Option<usize> {
        self.0.iter().position(|changes| !changes.is_empty())
    }

    /// What is not as it was from one level on.
    pub(super) fn from(&self, level: usize) -> impl Iterator<Item = &Change> {
        self.0.iter().skip(level).flatten()
    }

    pub(super) fn all(&self) -> BTreeSet<Change> {
        self.0.iter().flatten().cloned().collect()
    }

    /// With what somebody else has found.
    pub(super) fn and(mut self, other: Self) -> Self {
        for (at, changes) in other.0.into_iter().enumerate() {
            match self.0.get_mut(at) {
                Some(here) => here.extend(changes),
                None => self.0.push(changes),
            }
        }
        self
    }
}

/// The dotted name of a pair.
pub(super) fn full_name(module: &str, name: &str) -> String {
    if name.is_empty() {
        module.to_owned()
    } else {
        format!("{module}.{name}")
    }
}

/// The pairs of an item.
pub(super) fn pairs(item: &PreloadItem) -> impl Iterator<Item = Pair> + '_ {
    let names = item.names.iter().map(String::as_str);
    let all = std::iter::once("").chain(names);
    all.map(|name| (item.module.clone(), name.to_owned()))
}
