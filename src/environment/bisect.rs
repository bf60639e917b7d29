//! Finds the import that spoils a template, by trying parts of the list in processes of their own. Knows no remedies.
#![forbid(unsafe_code)]

use super::left_out::{Retry, What, Why};
use super::preload::{Attempt, Judged};
use super::{Caller, Environment, State};
use crate::error::Error;
use crate::protocol::findings::Census;
use crate::scan::ImportSet;
use crate::supervisor::template::Launch;

/// What is wrong with a template of which no single import is known to be the cause.
pub(super) fn problem(census: &Census) -> Option<String> {
    if let Some(how) = census.exit.as_deref().filter(|how| *how != "ok") {
        return Some(format!("a child that has it can't exit normally: it {how}"));
    }
    let thread = census.threads.first()?;
    Some(format!(
        "it starts the thread {} while it is imported, which does not survive a fork",
        thread.name
    ))
}

impl Environment {
    /// The import with which `what` begins to be wrong: the shortest list that shows it ends with the one to blame.
    ///
    /// None when no list does, for what shows once and not again can't be blamed on anything.
    pub(super) fn bisect(
        &self,
        state: &State,
        imports: &ImportSet,
        count: usize,
        launch: &Launch,
        caller: &dyn Caller,
    ) -> Result<Option<Judged>, Error> {
        let (mut good, mut bad) = (0, count);
        let mut reason = None;
        // The first try repeats the whole: a problem that does not come again is none of an import's.
        let mut next = count;
        while bad - good > 1 || reason.is_none() {
            log::debug!("trying the first {next} of {count} imports");
            let started = self.spawn(launch, caller)?;
            let id = started.id;
            let attempt = self.attempt(state, imports, &started, Some(next), true, caller);
            self.dispatcher.abandon(id)?;
            let found = match attempt? {
                Attempt::Ready(ready) => problem(&ready.census),
                Attempt::LeaveOut(mut judged) => return Ok(judged.pop()),
            };
            match found {
                Some(found) => {
                    bad = next;
                    reason = Some(found);
                }
                None if next == count => return Ok(None),
                None => good = next,
            }
            next = good + (bad - good) / 2;
            if bad - good <= 1 {
                break;
            }
        }
        let wanted = state.left_out.wanted(imports);
        let Some((place, _)) = bad.checked_sub(1).and_then(|last| wanted.get(last)) else {
            return Ok(None);
        };
        let Some((import, reason)) = imports.imports.get(*place).zip(reason) else {
            return Ok(None);
        };
        let what = What::Item(import.module.clone(), import.names.clone());
        let why = Why {
            reason,
            retry: Retry::Changed,
            files: Vec::new(),
        };
        Ok(Some(Judged {
            what,
            why,
            blamed: Some(import.module.clone()),
        }))
    }
}
