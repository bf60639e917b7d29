//! From the templates that serve to those that shall: keeps what still holds, and builds the rest on top of it.
//! Decides nothing about when.
//!
//! Invariant: a level is kept only when everything below it is kept, when its stamp was found true after the refresh
//! was asked for, and when nothing that it has brought is unwanted now.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::asides::Asides;
use super::build::Started;
use super::chain::{full_name, pairs, Chain, Found, Kind, Level, Pair};
use super::left_out::top;
use super::order::{Order, Part};
use super::report::Report;
use super::{Caller, Environment, State, Told};
use crate::error::Error;
use crate::scan::{FirstParty, ImportSet};
use crate::supervisor::template::{Launch, TemplateId};

/// A chain of so many levels grows no more.
const HIGHEST: usize = 8;

/// What the templates shall be.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) imports: &'a ImportSet,
    pub(super) launch: &'a Launch,
    pub(super) caller: &'a dyn Caller,
}

impl Environment {
    /// Makes the main templates what they shall be, and lets them serve. `found` is what is not as it was; `early` an
    /// interpreter that was started already.
    ///
    /// # Errors
    /// As [`Environment::open`]; the templates of before stay.
    pub(super) fn refresh(
        &self,
        state: &mut State,
        target: Target<'_>,
        found: &Found,
        reason: Option<String>,
        early: Option<Started>,
    ) -> Result<Chain, Error> {
        let began = Instant::now();
        // Whoever builds in the background builds for what is no more.
        self.generation.fetch_add(1, Ordering::AcqRel);
        if let Some(main) = self.serving().main.clone() {
            self.note_edits(&main, found);
        }
        let changes = found.all();
        state.left_out.forget(&changes);
        state.repeats.note(&changes);
        state.left_out.apply(&self.config.leave_out, target.imports);
        let tops = target.imports.imports.iter();
        let tops: BTreeSet<&str> = tops.map(|import| top(&import.module)).collect();
        let edited = FirstParty::new(&self.config.scan).edited(tops.into_iter());
        let kept = self.kept(state, target.imports, found)?;
        if let Some(reason) = &reason {
            match &kept {
                None => log::info!("starting a new template: {reason}"),
                Some(chain) if self.serving().main.as_ref().map(Chain::id) == Some(chain.id()) => {
                    log::info!("the template stays, what is new comes in a layer: {reason}");
                }
                Some(chain) => log::info!(
                    "replacing what stands above the lowest {} of the layers: {reason}",
                    chain.len()
                ),
            }
        }
        if kept.is_some() {
            self.note_host(target.launch, target.caller)?;
        }
        let is_kept = kept.is_some();
        let served = kept.clone();
        let mut chain =
            match self.extend(state, target, kept, &edited, early) {
                // What it stood on has died, or does not fork any more.
                Err(
                    Error::NoTemplate | Error::TemplateSilent { .. } | Error::TemplateDied { .. },
                ) if is_kept => self.extend(state, target, None, &edited, None),
                chain => chain,
            }
            // The background's work was given up for this.
            .inspect_err(|_| self.ring())?;
        if is_out_of_order(&chain, target.imports, &edited, |level| level.has_patched) {
            let name = chain.top().asked.first().map(|item| item.module.clone());
            log::info!(
                "{} patches what was loaded before it: the imports are done once more, in order",
                name.unwrap_or_default()
            );
            let flat = self.extend(state, target, None, &edited, None);
            self.drop_unless_serving(&chain, served.as_ref())?;
            chain = flat?;
        }
        state.is_reversed = is_out_of_order(&chain, target.imports, &edited, |_| true);
        self.put(state, &chain, target.imports, reason, Some(began))?;
        Ok(chain)
    }

    /// The levels that still hold, are still wanted and still run.
    fn kept(
        &self,
        state: &mut State,
        imports: &ImportSet,
        found: &Found,
    ) -> Result<Option<Chain>, Error> {
        let Some(main) = self.serving().main.clone() else {
            return Ok(None);
        };
        let items = state.left_out.wanted(imports);
        let wanted: BTreeSet<Pair> = items.iter().flat_map(|(_, item)| pairs(item)).collect();
        let is_wanted = |level: &Level| {
            let mut brought = level.held.iter().filter(|(_, brought)| **brought);
            level.kind != Kind::Imports || brought.all(|(pair, _)| wanted.contains(pair))
        };
        let mut count = found.lowest().unwrap_or(main.len());
        for (at, level) in main.levels().enumerate().take(count) {
            let is_dead = !self.dispatcher.is_serving(level.id)?;
            if is_dead && level.kind == Kind::Learned {
                state.lessons.died(&level.asked);
            }
            if is_dead || !is_wanted(level) {
                count = at;
                break;
            }
        }
        let Some(chain) = main.lowest(count) else {
            return Ok(None);
        };
        let mut items = items.iter();
        let Some(third) = chain.lowest(chain.below(Kind::Own)) else {
            return Ok(None);
        };
        if items.any(|(_, item)| third.missing(item).is_some()) {
            // What is third-party never stands on code of the project. Each level is a process: where layers come faster
            // than they are joined, it is done at once.
            return Ok(Some(third).filter(|third| third.len() < HIGHEST));
        }
        Ok(Some(chain))
    }

    /// Builds what is missing on top of `kept`: what is installed first, what is edited above it, since it changes more
    /// often.
    fn extend(
        &self,
        state: &mut State,
        target: Target<'_>,
        kept: Option<Chain>,
        edited: &BTreeSet<String>,
        mut early: Option<Started>,
    ) -> Result<Chain, Error> {
        let served = kept.clone();
        let mut chain = kept;
        let parts = [Part::Without(edited), Part::Only(edited)];
        for (at, part) in parts.into_iter().enumerate() {
            let order = Order {
                imports: target.imports,
                part,
                kind: Kind::Imports,
                below: chain.as_ref(),
                launch: target.launch,
                is_aside: false,
                caller: target.caller,
            };
            let is_last = at + 1 == parts.len();
            let is_needed = !order.wanted(&state.left_out).is_empty()
                || (chain.is_none() && (is_last || edited.is_empty()));
            if !is_needed {
                continue;
            }
            let built = self.build(state, order, early.take());
            chain = match (built, chain) {
                (Ok(level), None) => Some(Chain::new(level)),
                (Ok(level), Some(chain)) => Some(chain.with(level)),
                (Err(error), below) => {
                    if let Some(below) = below {
                        self.drop_unless_serving(&below, served.as_ref())?;
                    }
                    return Err(error);
                }
            };
        }
        chain.ok_or(Error::NoTemplate)
    }

    /// Ends those templates of a chain that were never given a call: all but those of `served`, and of what serves.
    pub(super) fn drop_unless_serving(
        &self,
        chain: &Chain,
        served: Option<&Chain>,
    ) -> Result<(), Error> {
        let main = self.serving().main.clone();
        for level in chain.levels().rev() {
            let has = |chain: &Chain| chain.has(level.id);
            if !main.as_ref().is_some_and(has) && !served.is_some_and(has) {
                self.dispatcher.abandon(level.id)?;
            }
        }
        Ok(())
    }

    /// Puts templates in the place of those that serve, which go when their last child has ended.
    pub(super) fn put(
        &self,
        state: &mut State,
        chain: &Chain,
        imports: &ImportSet,
        reason: Option<String>,
        began: Option<Instant>,
    ) -> Result<(), Error> {
        let old = self.serving().main.clone();
        self.swap(None, chain)?;
        let report = self.report_of(state, chain, imports);
        if let Some(began) = began {
            let old = old.as_ref();
            let new = chain.levels();
            let new = new.filter(|level| !old.is_some_and(|old| old.has(level.id)));
            let count = new.map(|level| level.report.modules.len()).sum();
            let is_layer = old.is_some_and(|old| old.has(chain.base().id));
            report.log(&state.told.report, count, is_layer, began.elapsed());
        }
        state.told = Told {
            report,
            last_rebuild: reason,
        };
        self.last_told().clone_from(&state.told);
        self.ring();
        Ok(())
    }

    /// Has other templates serve, if those with this top serve now; false when they do not.
    pub(super) fn swap(&self, expected: Option<TemplateId>, chain: &Chain) -> Result<bool, Error> {
        let (main, asides) = {
            let mut serving = self.serving();
            let now = serving.main.as_ref().map(Chain::id);
            if expected.is_some() && expected != now {
                return Ok(false);
            }
            let main = serving.main.replace(chain.clone());
            // What calls have of their own holds as it did, unless the imports were looked at anew.
            let asides = match expected {
                None => std::mem::take(&mut serving.asides),
                Some(_) => Asides::default(),
            };
            (main, asides)
        };
        self.generation.fetch_add(1, Ordering::AcqRel);
        for old in main.iter().chain(asides.iter()).flat_map(Chain::levels) {
            if !chain.has(old.id) {
                self.dispatcher.retire(old.id)?;
            }
        }
        Ok(true)
    }

    /// What all levels have and have not.
    pub(super) fn report_of(&self, state: &State, chain: &Chain, imports: &ImportSet) -> Report {
        let mut report = Report::default();
        for level in chain.levels() {
            report.add(&level.report, imports);
            if level.kind == Kind::Learned {
                let names = level.report.modules.iter().map(|(name, _)| name.clone());
                report.learned.extend(names);
                let new = report.brought.len() - level.report.brought.len();
                let learned = report.brought.iter_mut().skip(new);
                learned.for_each(|brought| brought.is_learned = true);
            }
        }
        // What had come with others was not asked for again.
        let wanted = state.left_out.wanted(imports);
        for (module, name) in wanted.iter().flat_map(|(_, item)| pairs(item)) {
            let full = full_name(&module, &name);
            // One that failed was loaded, and taken out again.
            if chain.has_loaded(&module, &name) && !report.skipped.contains_key(&full) {
                if name.is_empty() {
                    report.came_with_others(module);
                }
                report.has_also(full);
            }
        }
        report.leave_out(state.left_out.verdicts(imports));
        state.left_out.tell(imports, &mut report);
        report.locate(imports);
        report
    }
}

/// Whether something that a level has brought stands, in the order of a cold start, before what lies below it, among the
/// levels above the base that `counts` takes. What is edited is meant to stand above what is installed.
fn is_out_of_order(
    chain: &Chain,
    imports: &ImportSet,
    edited: &BTreeSet<String>,
    counts: impl Fn(&Level) -> bool,
) -> bool {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for (place, import) in imports.imports.iter().enumerate() {
        places.entry(import.module.as_str()).or_insert(place);
    }
    // The highest place so far, of what is installed and of what is edited.
    let mut highest = [None, None];
    for (at, level) in chain.levels().enumerate() {
        let before = highest;
        for item in &level.asked {
            let Some(place) = places.get(item.module.as_str()).copied() else {
                continue;
            };
            let part = usize::from(edited.contains(top(&item.module)));
            let is_before = before
                .get(part)
                .is_some_and(|highest| Some(place) < *highest);
            if at > 0 && is_before && counts(level) {
                return true;
            }
            if let Some(highest) = highest.get_mut(part) {
                *highest = (*highest).max(Some(place));
            }
        }
    }
    false
}
