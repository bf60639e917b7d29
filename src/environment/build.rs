//! Starts templates until one is good, each without what spoilt the one before. Decides nothing about when.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Receiver;

use super::judge::Judge;
use super::preload::{Attempt, Preload};
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
    pub(super) fn spawn(&self, launch: &Launch) -> Result<Started, Error> {
        // What changes from here on shows as a difference.
        let start = Start::take(host(launch));
        let (sender, events) = crossbeam_channel::unbounded();
        let id = self.dispatcher.spawn(launch.clone(), sender)?;
        Ok(Started { id, events, start })
    }

    /// Starts templates until one is ready, each without what ended the one before.
    pub(super) fn build(
        &self,
        state: &mut State,
        imports: &ImportSet,
        mut early: Option<Started>,
        launch: &Launch,
        caller: &dyn Caller,
    ) -> Result<Outcome, Error> {
        let began = Instant::now();
        loop {
            let started = match early.take() {
                Some(started) => started,
                None => self.spawn(launch)?,
            };
            let id = started.id;
            let wanted = state.left_out.wanted(imports);
            let judge = Judge::new(&state.scanner, &self.config.leave_out);
            let preload = Preload {
                id,
                events: &started.events,
                imports,
                wanted: &wanted,
                limit: self.config.import_limit,
                judge,
                caller,
            };
            let attempt = preload.run(&self.dispatcher);
            caller.settled();
            match attempt {
                Err(error) => {
                    self.dispatcher.abandon(id)?;
                    return Err(error);
                }
                Ok(Attempt::LeaveOut(what, why)) => {
                    self.dispatcher.abandon(id)?;
                    let name = what.name();
                    log::debug!(
                        "the template is started again without {name}: {}",
                        why.reason
                    );
                    state.left_out.insert(what, why);
                }
                Ok(Attempt::Ready {
                    mut report,
                    files,
                    stamp,
                }) => {
                    let native = &self.config.native_variables;
                    let stamp = Stamp::new(started.start, files, &stamp, native);
                    let mut stamp = stamp.map_err(|source| Error::Stamp { source })?;
                    stamp.add_files(state.left_out.files());
                    log::debug!("the template depends on {} files", stamp.len());
                    state.left_out.tell(imports, &mut report);
                    report.locate(imports);
                    report.log(&state.report, began.elapsed());
                    self.dispatcher.serve(id)?;
                    return Ok(Outcome { id, stamp, report });
                }
            }
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
