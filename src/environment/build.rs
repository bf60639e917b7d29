//! Starts templates until one is good, each without what spoilt the one before. Decides nothing about when.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Receiver;

use super::bisect::problem;
use super::judge::Judge;
use super::left_out::{covers, top, Retry, What, Why};
use super::preload::{Attempt, Judged, Preload, Ready};
use super::report::Report;
use super::{host, Built, Caller, Environment, State};
use crate::error::Error;
use crate::scan::ImportSet;
use crate::stamp::{Stamp, Start};
use crate::supervisor::template::{Event, Launch, TemplateId};

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
        let setup = caller.setup()?;
        let (sender, events) = crossbeam_channel::unbounded();
        let id = self.dispatcher.spawn(launch.clone(), setup, sender)?;
        Ok(Started { id, events, start })
    }

    /// One template's way to ready, with the first `count` of what is wanted.
    pub(super) fn attempt(
        &self,
        state: &State,
        imports: &ImportSet,
        started: &Started,
        count: Option<usize>,
        trial: bool,
        caller: &dyn Caller,
    ) -> Result<Attempt, Error> {
        let mut wanted = state.left_out.wanted(imports);
        wanted.truncate(count.unwrap_or(usize::MAX));
        let preload = Preload {
            id: started.id,
            events: &started.events,
            imports,
            wanted: &wanted,
            limit: self.config.import_limit,
            judge: Judge::new(&state.scanner, &self.config.leave_out),
            trial,
            caller,
        };
        let attempt = preload.run(&self.dispatcher);
        caller.settled();
        attempt
    }

    /// Starts templates until one is good, each without what spoilt the one before.
    pub(super) fn build(
        &self,
        state: &mut State,
        imports: &ImportSet,
        mut early: Option<Started>,
        launch: &Launch,
        caller: &dyn Caller,
    ) -> Result<Outcome, Error> {
        let began = Instant::now();
        state.left_out.apply(&self.config.leave_out, imports);
        // Something that nobody can be blamed for is told, once, and lived with.
        let mut is_lived_with = false;
        loop {
            let started = match early.take() {
                Some(started) => started,
                None => self.spawn(launch, caller)?,
            };
            let id = started.id;
            let installed = started.start.installed();
            self.recall(state, &installed);
            let known = self
                .verdicts
                .key(launch, &installed, &state.left_out.wanted(imports));
            let trial = !self.verdicts.is_good(known);
            let attempt = match self.attempt(state, imports, &started, None, trial, caller) {
                Ok(attempt) => attempt,
                Err(error) => {
                    self.dispatcher.abandon(id)?;
                    return Err(error);
                }
            };
            match attempt {
                Attempt::LeaveOut(all) => {
                    self.dispatcher.abandon(id)?;
                    self.leave_out_all(state, imports, all, &started.start)?;
                }
                Attempt::Ready(ready) => {
                    if let Some(problem) = problem(&ready.census).filter(|_| !is_lived_with) {
                        self.dispatcher.abandon(id)?;
                        let count = state.left_out.wanted(imports).len();
                        log::info!("{problem}; looking for the import that causes it");
                        match self.bisect(state, imports, count, launch, caller)? {
                            Some(judged) => self.leave_out(state, judged, &started.start),
                            None => is_lived_with = true,
                        }
                        continue;
                    }
                    if trial && !is_lived_with {
                        self.verdicts.remember_good(known);
                    }
                    return self.finish(state, imports, started, *ready, began);
                }
            }
        }
    }

    /// A good template begins to serve.
    fn finish(
        &self,
        state: &State,
        imports: &ImportSet,
        started: Started,
        ready: Ready,
        began: Instant,
    ) -> Result<Outcome, Error> {
        let id = started.id;
        let mut report = ready.report;
        let native = &self.config.native_variables;
        let stamp = Stamp::new(started.start, ready.files, &ready.stamp, native);
        let mut stamp = match stamp {
            Ok(stamp) => stamp,
            Err(source) => {
                self.dispatcher.abandon(id)?;
                return Err(Error::Stamp { source });
            }
        };
        stamp.add_files(state.left_out.files());
        log::debug!("the template depends on {} files", stamp.len());
        report.judge(&ready.census, state.left_out.verdicts(imports));
        state.left_out.tell(imports, &mut report);
        report.locate(imports);
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
        imports: &ImportSet,
        all: Vec<Judged>,
        start: &Start,
    ) -> Result<(), Error> {
        let before = state.left_out.wanted(imports);
        let reasons: Vec<String> = all.iter().map(|each| each.why.reason.clone()).collect();
        for judged in all {
            self.leave_out(state, judged, start);
        }
        if state.left_out.wanted(imports) == before {
            let reason = reasons.join("; ");
            return Err(Error::Unusable { reason });
        }
        Ok(())
    }

    /// Takes note of something that must not be tried, here and, when it is no matter of the project, for later.
    fn leave_out(&self, state: &mut State, judged: Judged, start: &Start) {
        let name = judged.what.name();
        let reason = &judged.why.reason;
        log::debug!("the template is started again without {name}: {reason}");
        if let Some(blamed) = &judged.blamed {
            let of = [top(&name), top(blamed)];
            let owners: Option<BTreeSet<String>> = of.iter().map(|top| start.owner(top)).collect();
            if let Some(distributions) = owners {
                self.verdicts.remember_bad(&name, reason, distributions);
            }
        }
        state.left_out.insert(judged.what, judged.why);
    }

    /// Leaves out what was found bad before, in the same versions.
    fn recall(&self, state: &mut State, installed: &BTreeSet<String>) {
        if std::mem::replace(&mut state.recalled, true) {
            return;
        }
        for (name, reason) in self.verdicts.bad(installed) {
            if self.config.safe.iter().any(|safe| covers(safe, &name)) {
                continue;
            }
            let why = Why {
                reason,
                retry: Retry::Changed,
                files: Vec::new(),
            };
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
        let mut serving = self.serving();
        let gone = [serving.main.replace(new), serving.aside.take()];
        drop(serving);
        for old in gone.into_iter().flatten() {
            self.dispatcher.retire(old.id)?;
        }
        Ok(())
    }
}
