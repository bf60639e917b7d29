//! Templates for calls whose own variables or directory the imports have read: which there are, and how one is made.
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, VecDeque};

use super::chain::{Chain, Kind};
use super::order::{Order, Part};
use super::{host, Caller, Environment};
use crate::error::Error;
use crate::stamp::Change;
use crate::supervisor::template::{Launch, TemplateId};

/// More than that many templates of calls are not kept: the one that was not used for longest goes.
const KEPT: usize = 4;

/// The templates of calls, the one that was used last first.
#[derive(Debug, Default)]
pub(super) struct Asides(VecDeque<Chain>);

impl Asides {
    /// The first that fits; it counts as used.
    fn find(&mut self, fits: impl Fn(&Chain) -> bool) -> Option<Chain> {
        let place = self.0.iter().position(fits)?;
        let found = self.0.remove(place)?;
        self.0.push_front(found.clone());
        Some(found)
    }

    /// Adds one; what is returned is kept no more.
    fn insert(&mut self, new: Chain) -> Option<Chain> {
        self.0.push_front(new);
        (self.0.len() > KEPT).then(|| self.0.pop_back()).flatten()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Chain> {
        self.0.iter()
    }

    pub(super) fn has(&self, id: TemplateId) -> bool {
        self.0.iter().any(|each| each.id() == id)
    }

    /// Takes one out; whether it was there.
    pub(super) fn remove(&mut self, id: TemplateId) -> bool {
        let before = self.0.len();
        self.0.retain(|each| each.id() != id);
        self.0.len() < before
    }
}

impl Environment {
    /// The template of an earlier call that was as this one is. `fresh` are those that need no comparison.
    pub(super) fn aside(&self, own: &Launch, fresh: &BTreeSet<TemplateId>) -> Option<Chain> {
        let fits = |aside: &Chain| {
            fresh.contains(&aside.id()) || aside.context_changes(host(own)).is_empty()
        };
        self.serving().asides.find(fits)
    }

    /// A template for a call that differs from the host in these ways; another thread may have been quicker.
    pub(super) fn build_aside(
        &self,
        own: &Launch,
        differs: &BTreeSet<Change>,
        fresh: &mut BTreeSet<TemplateId>,
        caller: &dyn Caller,
    ) -> Result<Chain, Error> {
        let mut state = self.lock(caller)?;
        if let Some(there) = self.aside(own, fresh) {
            return Ok(there);
        }
        let imports = state.imports.clone().unwrap_or_default();
        log::info!("{}: it gets a template of its own", said(differs));
        let order = Order {
            imports: &imports,
            part: Part::All,
            kind: Kind::Imports,
            below: None,
            launch: own,
            is_aside: true,
            caller,
        };
        // What is found under this call's variables is no matter of the others.
        let kept = state.left_out.clone();
        state.left_out.forget(differs);
        let built = self.build(&mut state, order, None);
        state.left_out = kept;
        let new = Chain::new(built?);
        fresh.insert(new.id());
        let gone = self.serving().asides.insert(new.clone());
        if let Some(gone) = gone {
            self.dispatcher.retire(gone.id())?;
        }
        Ok(new)
    }
}

/// What a call sets, for users.
fn said(differs: &BTreeSet<Change>) -> String {
    let mut names: Vec<&str> = Vec::new();
    let mut others: Vec<String> = Vec::new();
    for change in differs {
        match change {
            Change::Variable(name) => names.push(name),
            Change::Directory(by) => others.push(format!(
                "this call sets its working directory, which an import has read ({by})"
            )),
            Change::Interpreter(_)
            | Change::Distribution { .. }
            | Change::Path
            | Change::Found(_)
            | Change::File { .. } => others.push(change.to_string()),
        }
    }
    if !names.is_empty() {
        let names = names.join(", ");
        others.insert(
            0,
            format!("this call sets {names}, which imports have read"),
        );
    }
    others.join("; ")
}
