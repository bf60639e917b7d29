//! What a template is to be built for, and on what. Starts none.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use super::chain::{Chain, Kind};
use super::left_out::{top, LeftOut};
use super::Caller;
use crate::protocol::message::PreloadItem;
use crate::scan::ImportSet;
use crate::supervisor::template::Launch;

/// What a template is built for.
#[derive(Clone, Copy)]
pub(super) struct Order<'a> {
    pub(super) imports: &'a ImportSet,
    pub(super) part: Part<'a>,
    pub(super) kind: Kind,
    /// The templates that it is to be forked from; a new interpreter if none.
    pub(super) below: Option<&'a Chain>,
    pub(super) launch: &'a Launch,
    /// It is for calls with variables of their own: what is found holds for these, and is kept nowhere.
    pub(super) is_aside: bool,
    pub(super) caller: &'a dyn Caller,
}

/// Which of the imports a level takes.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    All,
    /// None of these top-level packages.
    Without(&'a BTreeSet<String>),
    /// Only these.
    Only(&'a BTreeSet<String>),
}

impl Order<'_> {
    /// What is to be imported, with its place in the import set.
    pub(super) fn wanted(&self, left_out: &LeftOut) -> Vec<(usize, PreloadItem)> {
        let all = left_out.wanted(self.imports).into_iter();
        let all = all.filter(|(_, item)| match self.part {
            Part::All => true,
            Part::Without(tops) => !tops.contains(top(&item.module)),
            Part::Only(tops) => tops.contains(top(&item.module)),
        });
        match self.below {
            None => all.collect(),
            Some(chain) => all
                .filter_map(|(place, item)| Some((place, chain.missing(&item)?)))
                .collect(),
        }
    }

    /// The whole list that a template will have imported, from the base up.
    pub(super) fn whole(&self, wanted: &[(usize, PreloadItem)]) -> Vec<PreloadItem> {
        let below = self.below.into_iter().flat_map(Chain::levels);
        let below = below.flat_map(|level| level.asked.iter().cloned());
        below
            .chain(wanted.iter().map(|(_, item)| item.clone()))
            .collect()
    }
}
