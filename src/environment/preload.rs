//! One template's way from spawn to ready: follows its messages, and finds out whom to blame when it does not get there.
#![forbid(unsafe_code)]

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::report::Report;
use super::{Caller, ATTENTION};
use crate::error::{tail, Error};
use crate::protocol::message::{FromTemplate, PreloadItem};
use crate::protocol::PROTOCOL;
use crate::scan::Import;
use crate::supervisor::dispatcher::Dispatcher;
use crate::supervisor::template::{Event, TemplateId};

/// From spawn to hello, and from the last import to ready: both take milliseconds.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How one attempt at a template went.
pub(super) enum Attempt {
    Ready(TemplateId, Report),
    /// This import (its position in the preload list) must not be tried.
    LeaveOut {
        index: usize,
        reason: String,
        /// It ended or stopped the interpreter.
        dangerous: bool,
    },
}

/// One template's way from spawn to ready.
pub(super) struct Preload<'a> {
    pub(super) id: TemplateId,
    pub(super) events: &'a Receiver<Event>,
    pub(super) imports: &'a [&'a Import],
    pub(super) limit: Duration,
    pub(super) caller: &'a dyn Caller,
}

impl Preload<'_> {
    pub(super) fn run(&self, dispatcher: &Dispatcher) -> Result<Attempt, Error> {
        let items = self
            .imports
            .iter()
            .map(|import| PreloadItem {
                module: import.module.clone(),
                names: import.names.clone(),
            })
            .collect();
        dispatcher.preload(self.id, items)?;
        let mut report = Report::default();
        let mut importing: Option<usize> = None;
        loop {
            let message = match self.next(importing)? {
                Ok(message) => message,
                Err(attempt) => return Ok(attempt),
            };
            match message {
                FromTemplate::Importing { index } => {
                    importing = Some(index);
                    self.caller
                        .progress(&self.module(index), index, self.imports.len());
                }
                FromTemplate::Imported { loaded, .. } => {
                    importing = None;
                    report.modules.extend(loaded);
                }
                FromTemplate::Failed {
                    index,
                    name,
                    error,
                    residue,
                } => {
                    importing = None;
                    if residue {
                        let reason = format!("it failed half-way: {error}");
                        return Ok(Attempt::LeaveOut {
                            index,
                            reason,
                            dangerous: false,
                        });
                    }
                    if let Some(import) = self.imports.get(index) {
                        report.skip(name, import, error);
                    }
                }
                FromTemplate::Ready { modules } => {
                    log::debug!("the template is ready with {modules} modules");
                    return Ok(Attempt::Ready(self.id, report));
                }
                FromTemplate::Hello {
                    protocol, firehot, ..
                } => check_versions(protocol, firehot)?,
                FromTemplate::Forked { .. }
                | FromTemplate::ForkFailed { .. }
                | FromTemplate::Exited { .. }
                | FromTemplate::Log { .. } => {}
            }
        }
    }

    fn module(&self, index: usize) -> String {
        self.imports
            .get(index)
            .map(|import| import.module.clone())
            .unwrap_or_default()
    }

    /// The next message, or what follows from there being none.
    fn next(&self, importing: Option<usize>) -> Result<Result<FromTemplate, Attempt>, Error> {
        let phase = if importing.is_some() {
            "importing"
        } else {
            "starting"
        };
        let limit = importing.map_or(START_LIMIT, |_| self.limit);
        // Counted in slices, not by the clock: a host that was stopped (Ctrl-Z) did not wait meanwhile.
        let mut left = limit;
        loop {
            let slice = left.min(ATTENTION);
            match self.events.recv_timeout(slice) {
                Ok(Event::Said(message)) => return Ok(Ok(message)),
                Ok(Event::Garbled(error)) => return Err(error.into()),
                Ok(Event::Died { how, output }) => {
                    let Some(index) = importing else {
                        return Err(Error::TemplateDied { how, phase, output });
                    };
                    let output = tail(&output);
                    let reason = format!("the template {how} while importing it{output}");
                    return Ok(Err(Attempt::LeaveOut {
                        index,
                        reason,
                        dangerous: true,
                    }));
                }
                Err(RecvTimeoutError::Disconnected) => return Err(Error::Closed),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.caller.attend()?;
            left = left.saturating_sub(slice);
            if left.is_zero() {
                let Some(index) = importing else {
                    return Err(Error::TemplateSilent {
                        after: limit,
                        phase,
                    });
                };
                let reason = format!("its import took more than {} s", limit.as_secs_f64());
                return Ok(Err(Attempt::LeaveOut {
                    index,
                    reason,
                    dangerous: true,
                }));
            }
        }
    }
}

fn check_versions(protocol: u32, firehot: String) -> Result<(), Error> {
    if protocol == PROTOCOL {
        return Ok(());
    }
    Err(Error::Mismatch {
        ours: PROTOCOL,
        our_version: env!("CARGO_PKG_VERSION"),
        theirs: protocol,
        their_version: firehot,
    })
}
