//! Who is told of changes: users, and the scan. Hears of none itself.
//!
//! Invariant: a scan that is told what changed stands on one that looked at everything after all its folders were
//! watched. Where a scan has come to a folder that was not, the next one looks at everything (`Watcher::follow`).
#![forbid(unsafe_code)]

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Caller, Environment, State};
use crate::error::Error;
use crate::scan::Scan;
use crate::watch::{Plan, Told, Watch, Watcher};

/// Where the watcher is.
#[derive(Debug, Default)]
pub(super) enum Slot {
    /// Nobody has asked for one.
    #[default]
    Empty,
    Running(Arc<Watcher>),
    /// The environment is closed; what ends is waited for.
    Closed(Option<Arc<Watcher>>),
}

impl Environment {
    /// Tells of changes on disk from now on: of all files in the folders that the scan covers.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Forked`], [`Error::Interrupted`], [`Error::System`].
    pub fn watch(&self, caller: &dyn Caller) -> Result<Watch, Error> {
        self.check_owner()?;
        let watcher = match self.watcher() {
            Some(watcher) => watcher,
            None => {
                let state = self.lock(caller)?;
                self.start_watcher(&state)?
            }
        };
        watcher.subscribe(&mut || caller.attend())
    }

    /// Starts the watcher, unless there is one.
    pub(super) fn start_watcher(&self, state: &State) -> Result<Arc<Watcher>, Error> {
        let mut slot = self.watcher_slot();
        match &*slot {
            Slot::Running(watcher) => Ok(Arc::clone(watcher)),
            Slot::Closed(_) => Err(Error::Closed),
            Slot::Empty => {
                let plan = Plan::new(&self.config.scan, state.scanner.places());
                let watcher = Arc::new(Watcher::start(plan, self.config.must_poll)?);
                *slot = Slot::Running(Arc::clone(&watcher));
                Ok(watcher)
            }
        }
    }

    /// Scans what the watcher tells, and everything where it can't; `is_stale` when something outside the project has
    /// changed, which a watcher of the project does not know of.
    pub(super) fn scan(
        &self,
        state: &mut State,
        is_stale: bool,
        caller: &dyn Caller,
    ) -> Result<Scan, Error> {
        let watcher = self.watcher();
        let is_first = state.imports.is_none();
        let told = match &watcher {
            // The first scan does not wait until all is watched; so the second looks at everything once more.
            Some(watcher) if self.config.watch && !is_first => {
                watcher.ask(&mut || caller.attend())?
            }
            Some(_) | None => Told::Anything,
        };
        let scan = match told {
            Told::Changed(changed) if !is_stale => state.scanner.rescan(&changed),
            Told::Changed(_) | Told::Anything => state.scanner.scan(),
        };
        if let Some(watcher) = &watcher {
            if scan.is_err() {
                watcher.doubt();
            }
            // The scan may have come to other places.
            if state.watched.as_ref() != Some(state.scanner.places()) {
                let plan = Plan::new(&self.config.scan, state.scanner.places());
                watcher.follow(plan);
                state.watched = Some(state.scanner.places().clone());
            }
        }
        Ok(scan?)
    }

    pub(super) fn close_watcher(&self) {
        let mut slot = self.watcher_slot();
        let running = match std::mem::take(&mut *slot) {
            Slot::Empty => None,
            Slot::Running(watcher) => Some(watcher),
            Slot::Closed(ending) => ending,
        };
        if let Some(watcher) = &running {
            watcher.close();
        }
        *slot = Slot::Closed(running);
    }

    /// Waits until the watcher has ended, at most `limit`.
    pub(super) fn is_watcher_done(&self, limit: Duration) -> bool {
        let ending = match &*self.watcher_slot() {
            Slot::Closed(ending) => ending.clone(),
            Slot::Empty | Slot::Running(_) => None,
        };
        ending.is_none_or(|watcher| watcher.is_done(limit))
    }

    fn watcher(&self) -> Option<Arc<Watcher>> {
        match &*self.watcher_slot() {
            Slot::Running(watcher) => Some(Arc::clone(watcher)),
            Slot::Empty | Slot::Closed(_) => None,
        }
    }

    fn watcher_slot(&self) -> MutexGuard<'_, Slot> {
        self.watcher.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
