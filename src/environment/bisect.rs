//! Finds the import that spoils a template, by trying parts of the list in processes of their own. Knows no remedies.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::judge::AFTERWARDS;
use super::left_out::{Retry, What, Why};
use super::listen::START_LIMIT;
use super::order::Order;
use super::preload::{Attempt, Ended, Judged, Ready, Tries};
use super::reads::Reads;
use super::{Environment, State};
use crate::error::Error;
use crate::protocol::findings::Census;
use crate::protocol::message::PreloadItem;
use crate::stamp::Touched;

/// Added to what the whole needed, for a template that may not become ready at all.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is wrong with a template of which no single import is known to be the cause.
pub(super) enum Problem {
    /// It was ready, and its census tells.
    Census(String),
    /// It was never ready.
    Ended(Box<Ended>),
}

impl Problem {
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Census(reason) => reason,
            Self::Ended(ended) => &ended.reason,
        }
    }

    /// For when nothing can be done about it.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Census(reason) => Error::Unusable { reason },
            Self::Ended(ended) => ended.error,
        }
    }

    /// How long a part of the list may take from its last import to ready.
    fn limit(&self) -> Duration {
        match self {
            Self::Ended(ended) if ended.is_silent => ended.took + PATIENCE,
            Self::Ended(_) | Self::Census(_) => START_LIMIT,
        }
    }
}

/// What is wrong with a template that is ready.
pub(super) fn problem(census: &Census) -> Option<String> {
    if let Some(how) = census.exit.as_deref().filter(|how| *how != "ok") {
        return Some(format!("a child that has it can't exit normally: it {how}"));
    }
    let thread = census.threads.first()?;
    Some(format!(
        "it starts the thread {} while it is imported, which does not survive a fork; {AFTERWARDS}",
        thread.name
    ))
}

/// Who is to blame.
pub(super) enum Blame {
    /// These imports.
    Imports(Vec<Judged>),
    /// Nobody: it did not come again.
    Nobody,
    /// None of the imports: a template without any shows it as well.
    None,
}

/// What one part of the list has shown.
enum Shown {
    Good,
    Bad(String, Reads),
    /// An import is to blame at once.
    LeaveOut(Vec<Judged>),
}

impl Environment {
    /// The import with which `problem` begins: the shortest list that shows it ends with the one to blame.
    pub(super) fn bisect(
        &self,
        state: &State,
        order: Order<'_>,
        problem: &Problem,
    ) -> Result<Blame, Error> {
        let wanted = order.wanted(&state.left_out);
        let count = wanted.len();
        if count == 0 {
            return Ok(Blame::None);
        }
        // The whole again, nothing, and halves.
        let most = 2 + count.next_power_of_two().trailing_zeros();
        let mut tried = 0;
        let mut shows = |next: usize| {
            tried += 1;
            log::info!("trying the first {next} of {count} imports ({tried} of {most})");
            self.shows(order, &wanted, next, problem.limit())
        };
        let mut found = match shows(count)? {
            Shown::Good => return Ok(Blame::Nobody),
            Shown::Bad(reason, reads) => (reason, reads),
            Shown::LeaveOut(all) => return Ok(Blame::Imports(all)),
        };
        match shows(0)? {
            Shown::Good => {}
            Shown::Bad(..) => return Ok(Blame::None),
            Shown::LeaveOut(all) => return Ok(Blame::Imports(all)),
        }
        let (mut good, mut bad) = (0, count);
        while bad - good > 1 {
            let next = good + (bad - good) / 2;
            match shows(next)? {
                Shown::Good => good = next,
                Shown::Bad(reason, reads) => {
                    bad = next;
                    found = (reason, reads);
                }
                Shown::LeaveOut(all) => return Ok(Blame::Imports(all)),
            }
        }
        let (reason, reads) = found;
        let last = bad - 1;
        let import = wanted.get(last).map(|(place, _)| *place);
        let Some(import) = import.and_then(|place| order.imports.imports.get(place)) else {
            return Ok(Blame::Nobody);
        };
        let why = Why {
            reason,
            retry: Retry::Changed,
            files: Touched::from_message(reads.of(last)),
            cost: None,
        };
        Ok(Blame::Imports(vec![Judged {
            what: What::Item(import.module.clone(), import.names.clone()),
            why,
            blamed: Some(import.module.clone()),
        }]))
    }

    /// Starts a template with the first `count` imports of `wanted`.
    fn shows(
        &self,
        order: Order<'_>,
        wanted: &[(usize, PreloadItem)],
        count: usize,
        limit: Duration,
    ) -> Result<Shown, Error> {
        let started = self.begin(order)?;
        let tries = Tries { trial: true, limit };
        let first = wanted.get(..count).unwrap_or(wanted);
        let attempt = self.attempt(order, first, &started, tries);
        self.dispatcher.abandon(started.id)?;
        let attempt = match attempt {
            // Without an import there is nobody else to be blamed for it.
            Err(Error::TemplateDied { how, .. }) if count == 0 => {
                return Ok(Shown::Bad(how, Reads::default()));
            }
            Err(Error::TemplateSilent { .. }) if count == 0 => {
                return Ok(Shown::Bad(String::new(), Reads::default()));
            }
            attempt => attempt?,
        };
        Ok(match attempt {
            Attempt::Ready(ready) => {
                let Ready { census, reads, .. } = *ready;
                problem(&census).map_or(Shown::Good, |reason| Shown::Bad(reason, reads))
            }
            Attempt::Ended(ended) => Shown::Bad(ended.reason, ended.reads),
            Attempt::LeaveOut(all) => Shown::LeaveOut(all),
        })
    }
}
