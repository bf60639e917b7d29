//! The locks of an environment: each is taken here, and by no other way. Knows nothing of what they hold.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::{MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::background::Builder;
use super::caller::Caller;
use super::{Environment, Serving, State, Told, ATTENTION};
use crate::error::Error;
use crate::supervisor::template::Launch;

impl Environment {
    pub(super) fn builder(&self) -> MutexGuard<'_, Option<Builder>> {
        self.builder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn edited(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.edited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The host as it was last seen, and the body of its `setup`.
    pub(super) fn last_host(&self) -> MutexGuard<'_, Option<(Launch, Vec<u8>)>> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn serving(&self) -> MutexGuard<'_, Serving> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn last_told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another thread may be building a template: waiting for it obeys the caller's signals.
    pub(super) fn lock(&self, caller: &dyn Caller) -> Result<MutexGuard<'_, State>, Error> {
        loop {
            if let Some(state) = self.lock_within(caller, None)? {
                return Ok(state);
            }
        }
    }

    /// None when somebody else still holds it after `patience`.
    pub(super) fn lock_within(
        &self,
        caller: &dyn Caller,
        patience: Option<Duration>,
    ) -> Result<Option<MutexGuard<'_, State>>, Error> {
        let started = Instant::now();
        loop {
            match self.state.try_lock() {
                Ok(state) => return Ok(Some(state)),
                Err(TryLockError::Poisoned(poisoned)) => return Ok(Some(poisoned.into_inner())),
                Err(TryLockError::WouldBlock) => {
                    let waited = started.elapsed();
                    if patience.is_some_and(|patience| patience <= waited) {
                        return Ok(None);
                    }
                    // Short waits first: mostly the other one only reads the report.
                    std::thread::sleep(waited.clamp(Duration::from_millis(1), ATTENTION));
                    caller.attend()?;
                }
            }
        }
    }
}
