//! Starts templates until one is good, each without what spoilt the one before. Decides nothing about when.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Receiver;

use super::bisect::{problem, Blame, Problem};
use super::judge::Judge;
use super::left_out::{covers, top, What};
use super::listen::START_LIMIT;
use super::preload::{Attempt, Judged, Preload, Ready, Tries};
use super::repeats::describe;
use super::report::Report;
use super::verdicts::{about, key};
use super::{host, Built, Caller, Environment, State};
use crate::error::Error;
use crate::scan::ImportSet;
use crate::stamp::{Stamp, Start};
use crate::supervisor::template::{Event, Launch, TemplateId};

/// What a template is built for.
#[derive(Clone, Copy)]
pub(super) struct Order<'a> {
    pub(super) imports: &'a ImportSet,
    pub(super) launch: &'a Launch,
    /// It is for calls with variables of their own: what is found holds for these, and is kept nowhere.
    pub(super) is_aside: bool,
    pub(super) caller: &'a dyn Caller,
}

/// An interpreter that was started, and what the host knew just before.
pub(super) struct Started {
    pub(super) id: TemplateId,
    pub(super) events: Receiver<Event>,
    pub(super) start: Start,
}

/// A template that is ready.
pub(super) struct Outcome {
    pub(super) id: TemplateId,
    pub(super) stamp: Stamp,
    pub(super) report: Report,
}

impl Environment {
    pub(super) fn spawn(&self, launch: &Launch, caller: &dyn Caller) -> Result<Started, Error> {
        // What changes from here on shows as a difference.
        let start = Start::take(host(launch));
        let setup = caller.setup(&launch.path)?;
        let (sender, events) = crossbeam_channel::unbounded();
        let id = self.dispatcher.spawn(launch.clone(), setup, sender)?;
        Ok(Started { id, events, start })
    }

    /// One template's way to ready.
    pub(super) fn attempt(
        &self,
        state: &State,
        order: Order<'_>,
        started: &Started,
        tries: Tries,
    ) -> Result<Attempt, Error> {
        let mut wanted = state.left_out.wanted(order.imports);
        wanted.truncate(tries.count.unwrap_or(usize::MAX));
        let preload = Preload {
            id: started.id,
            events: &started.events,
            imports: order.imports,
            wanted: &wanted,
            limit: self.config.import_limit,
            judge: Judge::new(&state.scanner, &self.config.leave_out),
            tries,
            caller: order.caller,
        };
        let attempt = preload.run(&self.dispatcher);
        order.caller.settled();
        attempt
    }

    /// Starts templates until one is good, each without what spoilt the one before.
    pub(super) fn build(
        &self,
        state: &mut State,
        order: Order<'_>,
        mut early: Option<Started>,
    ) -> Result<Outcome, Error> {
        let began = Instant::now();
        state.left_out.apply(&self.config.leave_out, order.imports);
        // Something that nobody can be blamed for is told, once, and lived with.
        let mut is_lived_with = false;
        loop {
            let started = match early.take() {
                Some(started) => started,
                None => self.spawn(order.launch, order.caller)?,
            };
            let installed = started.start.installed();
            let about = self.about(order, &started.start);
            self.recall(state, about, &installed);
            let known = key(about, &installed, &state.left_out.wanted(order.imports));
            let tries = Tries {
                count: None,
                trial: order.is_aside || !self.verdicts.is_good(known),
                limit: START_LIMIT,
            };
            let attempt = self.attempt(state, order, &started, tries);
            let problem = match attempt {
                Err(error) => {
                    self.dispatcher.abandon(started.id)?;
                    return Err(error);
                }
                Ok(Attempt::LeaveOut(all)) => {
                    self.dispatcher.abandon(started.id)?;
                    self.leave_out_all(state, order, all, &started.start)?;
                    continue;
                }
                Ok(Attempt::Ended(ended)) => Problem::Ended(ended),
                Ok(Attempt::Ready(ready)) => {
                    let problem = problem(&ready.census);
                    if problem.is_none() && tries.trial && !order.is_aside {
                        self.verdicts.remember_good(known);
                    }
                    match problem.filter(|reason| !state.lived_with.contains(reason)) {
                        Some(reason) if !is_lived_with => Problem::Census(reason),
                        Some(_) | None => {
                            return self.finish(state, order, started, *ready, began);
                        }
                    }
                }
            };
            self.dispatcher.abandon(started.id)?;
            if is_lived_with {
                return Err(problem.into_error());
            }
            is_lived_with = self.look_into(state, order, problem, &started.start)?;
        }
    }

    /// Leaves out the import that causes a problem; true when it is nobody's fault and may not come again.
    ///
    /// # Errors
    /// The template's end, when it is no import's fault.
    fn look_into(
        &self,
        state: &mut State,
        order: Order<'_>,
        problem: Problem,
        start: &Start,
    ) -> Result<bool, Error> {
        let reason = problem.reason();
        log::info!("{reason}; looking for the import that causes it");
        match (self.bisect(state, order, &problem)?, problem) {
            (Blame::Imports(all), _) => self.leave_out_all(state, order, all, start)?,
            (Blame::Nobody, _) => {
                log::info!("no import is to blame: it did not come again");
                return Ok(true);
            }
            (Blame::None, Problem::Census(reason)) => {
                log::info!("no import is to blame: a template without any shows it as well");
                state.lived_with.insert(reason);
            }
            (Blame::None, ended @ Problem::Ended(_)) => return Err(ended.into_error()),
        }
        Ok(false)
    }

    fn about(&self, order: Order<'_>, start: &Start) -> u64 {
        let config = &self.config;
        about(
            order.launch,
            &config.python,
            start,
            &config.native_variables,
        )
    }

    /// A good template begins to serve.
    fn finish(
        &self,
        state: &mut State,
        order: Order<'_>,
        started: Started,
        ready: Ready,
        began: Instant,
    ) -> Result<Outcome, Error> {
        let id = started.id;
        if !order.is_aside {
            tell_repeats(state, order.imports, &ready);
        }
        let mut report = ready.report;
        let native = &self.config.native_variables;
        let files = ready.reads.into_files();
        let stamp = Stamp::new(started.start, files, &ready.stamp, native);
        let mut stamp = match stamp {
            Ok(stamp) => stamp,
            Err(source) => {
                self.dispatcher.abandon(id)?;
                return Err(Error::Stamp { source });
            }
        };
        // Each run imports what is left out itself, and may write such a file each time.
        let files = state.left_out.files();
        stamp.add_files(files.filter(|file| !state.repeats.is_told(file.path())));
        log::debug!("the template depends on {} files", stamp.len());
        report.judge(&ready.census, state.left_out.verdicts(order.imports));
        state.left_out.tell(order.imports, &mut report);
        report.locate(order.imports);
        report.log(&state.report, began.elapsed());
        self.dispatcher.serve(id)?;
        Ok(Outcome { id, stamp, report })
    }

    /// Takes note of what must not be tried.
    ///
    /// # Errors
    /// [`Error::Unusable`] when nothing is left out by that: it would go on like this for ever.
    fn leave_out_all(
        &self,
        state: &mut State,
        order: Order<'_>,
        all: Vec<Judged>,
        start: &Start,
    ) -> Result<(), Error> {
        let before = state.left_out.wanted(order.imports);
        let reasons: Vec<String> = all.iter().map(|each| each.why.reason.clone()).collect();
        for judged in all {
            self.leave_out(state, order, judged, start);
        }
        if state.left_out.wanted(order.imports) == before {
            let reason = reasons.join("; ");
            return Err(Error::Unusable { reason });
        }
        Ok(())
    }

    /// Takes note of something that must not be tried, here and, when it is no matter of the project, for later.
    fn leave_out(&self, state: &mut State, order: Order<'_>, judged: Judged, start: &Start) {
        let name = judged.what.name();
        let why = &judged.why;
        log::debug!(
            "the template is started again without {name}: {}",
            why.reason
        );
        if let Some(blamed) = judged.blamed.as_ref().filter(|_| !order.is_aside) {
            let of = [top(&name), top(blamed)];
            let owners: Option<BTreeSet<String>> = of.iter().map(|top| start.owner(top)).collect();
            if let Some(distributions) = owners {
                let about = self.about(order, start);
                self.verdicts.remember_bad(&name, why, about, distributions);
            }
        }
        state.left_out.insert(judged.what, judged.why);
    }

    /// Leaves out what was found bad before, in the same versions.
    fn recall(&self, state: &mut State, about: u64, installed: &BTreeSet<String>) {
        if std::mem::replace(&mut state.recalled, true) {
            return;
        }
        for (name, why) in self.verdicts.bad(about, installed) {
            if self.config.safe.iter().any(|safe| covers(safe, &name)) {
                continue;
            }
            state.left_out.insert(What::Name(name), why);
        }
    }

    /// Puts a new main template in the place of the old one, and says why.
    pub(super) fn replace(
        &self,
        state: &mut State,
        built: Outcome,
        reason: Option<String>,
    ) -> Result<(), Error> {
        state.last_rebuild = reason;
        state.report = built.report;
        let new = Arc::new(Built {
            id: built.id,
            stamp: built.stamp,
        });
        let (main, asides) = {
            let mut serving = self.serving();
            let main = serving.main.replace(new);
            (main, std::mem::take(&mut serving.asides))
        };
        for old in main.into_iter().chain(asides) {
            self.dispatcher.retire(old.id)?;
        }
        Ok(())
    }
}

/// Warns of a file that makes one template after another stale, with the package that reads it.
fn tell_repeats(state: &mut State, imports: &ImportSet, ready: &Ready) {
    let Some(path) = state.repeats.news() else {
        return;
    };
    let wanted = state.left_out.wanted(imports);
    let item = ready.reads.reader(&path);
    let module = item
        .and_then(|item| wanted.get(item))
        .map(|(_, item)| item.module.clone())
        .or_else(|| state.left_out.reader(&path));
    let reader = module.as_deref().map(top);
    log::warn!("{}", describe(&path, reader));
}
