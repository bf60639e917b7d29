//! What a template tells next, or what follows from its silence or its death. Judges nothing.
#![forbid(unsafe_code)]

use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;

use super::preload::Preload;
use super::ATTENTION;
use crate::error::{tail, Error};
use crate::protocol::message::FromTemplate;
use crate::supervisor::template::Event;

/// From spawn to hello, and from the last import to ready: both take milliseconds.
pub(super) const START_LIMIT: Duration = Duration::from_secs(30);
/// For errors that blame no import.
const STARTING: &str = "starting";

/// What a template does, as far as it has told.
#[derive(Clone, Copy)]
pub(super) enum Doing {
    Starting,
    Importing(usize),
    /// At least one import has ended, and none goes on.
    Settling,
}

/// What a template tells, or what follows from its silence.
pub(super) enum Next {
    Said(FromTemplate, Vec<u8>),
    /// This item has ended or stopped it.
    Blame(usize, String),
    /// It ended or stopped after an import.
    Ended {
        how: String,
        error: Error,
    },
}

impl Preload<'_> {
    /// The next message, or what follows from there being none.
    pub(super) fn next(&self, doing: Doing) -> Result<Next, Error> {
        let limit = match doing {
            Doing::Starting => START_LIMIT,
            Doing::Importing(_) => self.limit,
            Doing::Settling => self.tries.limit,
        };
        // Counted in slices, not by the clock: a host that was stopped (Ctrl-Z) did not wait meanwhile.
        let mut left = limit;
        loop {
            let slice = left.min(ATTENTION);
            match self.events.recv_timeout(slice) {
                Ok(Event::Said(message, body)) => return Ok(Next::Said(message, body)),
                Ok(Event::Garbled(error)) => return Err(error.into()),
                Ok(Event::Orphaned) => return Err(Error::NoTemplate),
                Ok(Event::Died { how, output }) => return died(doing, how, output),
                Err(RecvTimeoutError::Disconnected) => return Err(Error::Closed),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.caller.attend()?;
            left = left.saturating_sub(slice);
            if left.is_zero() {
                return silent(doing, limit);
            }
        }
    }
}

fn died(doing: Doing, how: String, output: String) -> Result<Next, Error> {
    let last = tail(&output);
    let phase = STARTING;
    match doing {
        Doing::Starting => Err(Error::TemplateDied { how, phase, output }),
        Doing::Importing(index) => {
            let reason = format!("the template {how} while importing it{last}");
            Ok(Next::Blame(index, reason))
        }
        Doing::Settling => Ok(Next::Ended {
            error: Error::TemplateDied {
                how: how.clone(),
                phase,
                output,
            },
            how: format!("{how} after it was imported{last}"),
        }),
    }
}

fn silent(doing: Doing, after: Duration) -> Result<Next, Error> {
    let phase = STARTING;
    let error = Error::TemplateSilent { after, phase };
    let seconds = after.as_secs_f64();
    match doing {
        Doing::Starting => Err(error),
        Doing::Importing(index) => {
            let reason = format!("its import took more than {seconds} s");
            Ok(Next::Blame(index, reason))
        }
        Doing::Settling => Ok(Next::Ended {
            how: format!("did not answer within {seconds:.0} s after it was imported"),
            error,
        }),
    }
}
