//! What one watch is waiting for: a set that grows until somebody fetches it. Knows nothing of events.
//!
//! One set, not a list of them: a slow reader finds everything that has changed since it asked last, and memory is
//! bounded by the number of files.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::changes::Changes;

/// What a reader gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// These have changed.
    Changes(Changes),
    /// Nothing has, so far.
    Nothing,
    /// There will be no more.
    Ended,
}

#[derive(Debug, Default)]
struct State {
    pending: Changes,
    is_ended: bool,
    /// For an event loop: the one end becomes readable when the other is written to.
    bell: Option<(UnixStream, UnixStream)>,
    /// An event loop looks at the bell: it may not go away.
    is_armed: bool,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// Whoever waits for other things as well.
    listener: Option<Sender<()>>,
}

impl Queue {
    /// One whose changes are told to `listener` too; when that has not heard of the last ones, once for both.
    pub(super) fn telling(listener: Sender<()>) -> Self {
        Self {
            listener: Some(listener),
            ..Self::default()
        }
    }

    pub(super) fn add(&self, changes: &Changes) {
        let mut state = self.lock();
        if state.is_ended {
            return;
        }
        state.pending.merge(changes);
        state.ring();
        self.changed.notify_all();
        if let Some(listener) = &self.listener {
            let _ = listener.try_send(());
        }
    }

    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.is_ended = true;
        state.ring();
        if !state.is_armed {
            state.bell = None;
        }
        self.changed.notify_all();
    }

    /// What there is, without waiting.
    pub(super) fn take(&self) -> Next {
        self.lock().take()
    }

    /// Waits for changes or the end, at most so long.
    pub(super) fn wait(&self, limit: Duration) -> Next {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        loop {
            let next = state.take();
            let left = deadline.saturating_duration_since(Instant::now());
            if next != Next::Nothing || left.is_zero() {
                return next;
            }
            state = match self.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// A descriptor that becomes readable when [`Queue::take`] has something; stays open until [`Queue::disarm`].
    pub(super) fn arm(&self) -> std::io::Result<RawFd> {
        let mut state = self.lock();
        if state.bell.is_none() {
            let (ours, theirs) = UnixStream::pair()?;
            ours.set_nonblocking(true)?;
            theirs.set_nonblocking(true)?;
            state.bell = Some((ours, theirs));
        }
        state.is_armed = true;
        if state.is_ended || !state.pending.is_empty() {
            state.ring();
        }
        let (ours, _) = state
            .bell
            .as_ref()
            .ok_or(std::io::ErrorKind::NotConnected)?;
        Ok(ours.as_raw_fd())
    }

    pub(super) fn disarm(&self) {
        let mut state = self.lock();
        state.is_armed = false;
        if state.is_ended {
            state.bell = None;
        } else if let Some((ours, _)) = &mut state.bell {
            let mut buffer = [0; 64];
            while matches!(ours.read(&mut buffer), Ok(count) if count == buffer.len()) {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self) -> Next {
        if self.is_ended {
            Next::Ended
        } else if self.pending.is_empty() {
            Next::Nothing
        } else {
            Next::Changes(std::mem::take(&mut self.pending))
        }
    }

    fn ring(&mut self) {
        if let Some((_, theirs)) = &mut self.bell {
            // Full: it has been rung often enough.
            let _ = theirs.write(&[1]);
        }
    }
}
