//! What a caller holds of a child: a ticket that the dispatcher writes and anybody waits on.
#![forbid(unsafe_code)]

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::template::TemplateId;
use crate::error::Error;
use crate::protocol::findings::ChildImport;
use crate::protocol::message::{ChildId, FromChild};

/// Signals of the caller's own are looked after at least this often.
const ATTENTION: Duration = Duration::from_millis(100);

/// How a call ended, as the child told it.
#[derive(Debug)]
pub struct Reply {
    /// What it says.
    pub message: FromChild,
    /// The pickle that goes with it.
    pub body: Vec<u8>,
}

/// What a child imported itself.
#[derive(Debug)]
pub struct Heard {
    /// What it was forked from.
    pub template: TemplateId,
    /// In the order in which it began to import them.
    pub modules: Vec<ChildImport>,
}

/// How a child's process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Exit code, negative number of the signal, or none when there was no process or nobody could tell.
    pub status: Option<i32>,
    /// What brought it about.
    pub cause: Cause,
    /// Its last lines on stderr, where they pass through the host.
    pub stderr: String,
}

/// What brought a child's end about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Itself, or whoever sent it a signal.
    Itself,
    /// It was never forked.
    ForkFailed(String),
    /// Its template died; how.
    TemplateDied(String),
    /// The time limit of its exec.
    TimedOut(Duration),
    /// Its environment was closed while it ran.
    Closed,
}

/// What a waiter waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// A process that has its call, or the end.
    Pid,
    /// A reply, or the end.
    Reply,
    /// The end of the process.
    End,
}

/// Written by the dispatcher, each part once; read by anybody. Output that came before a part is delivered
/// before that part is set.
#[derive(Debug)]
pub struct Ticket {
    /// Which child.
    pub id: ChildId,
    /// Its name, for messages and prefixes.
    pub name: String,
    /// The process whose dispatcher writes it; a forked copy of that one would wait for ever.
    owner: u32,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    pid: Option<i32>,
    /// Somebody was told the pid, and may send it signals.
    pid_told: bool,
    reply: Option<Arc<Reply>>,
    end: Option<End>,
    captured: Vec<u8>,
    /// What the pump shall tell of.
    watched: Vec<Until>,
}

impl Ticket {
    pub(super) fn new(id: ChildId, name: String) -> Arc<Self> {
        Arc::new(Self {
            id,
            name,
            owner: std::process::id(),
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process, once it has its call.
    pub fn pid(&self) -> Option<i32> {
        self.state().pid
    }

    /// The same for somebody who may send it signals: it stays this process from now on.
    pub fn tell_pid(&self) -> Option<i32> {
        let mut state = self.state();
        state.pid_told |= state.pid.is_some();
        state.pid
    }

    /// How the call ended, if it has.
    pub fn reply(&self) -> Option<Arc<Reply>> {
        self.state().reply.clone()
    }

    /// How the process ended, if it has.
    pub fn end(&self) -> Option<End> {
        self.state().end.clone()
    }

    /// Output so far, when it is captured.
    pub fn captured(&self) -> Vec<u8> {
        self.state().captured.clone()
    }

    /// Asks to be told through the pump when it has come so far; false when it already has.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn watch(&self, until: Until) -> Result<bool, Error> {
        let mut state = self.state();
        if state.has(until) {
            return Ok(false);
        }
        self.check_owner()?;
        state.watched.push(until);
        Ok(true)
    }

    fn check_owner(&self) -> Result<(), Error> {
        if std::process::id() == self.owner {
            Ok(())
        } else {
            Err(Error::Forked { owner: self.owner })
        }
    }

    /// Lets the reply's pickle go, when it has been loaded.
    pub fn forget_body(&self) {
        let mut state = self.state();
        if let Some(reply) = state.reply.take() {
            let message = reply.message.clone();
            let body = Vec::new();
            state.reply = Some(Arc::new(Reply { message, body }));
        }
    }

    pub(super) fn set_pid(&self, pid: i32) {
        self.state().pid = Some(pid);
        self.changed.notify_all();
    }

    /// Its process has not begun, and another one shall take its place. False when somebody knows the pid: what
    /// happens to that process is what was meant to happen to the call.
    pub(super) fn take_back_pid(&self) -> bool {
        let mut state = self.state();
        if !state.pid_told {
            state.pid = None;
        }
        !state.pid_told
    }

    /// True when somebody asked to be told.
    pub(super) fn set_reply(&self, reply: Reply) -> bool {
        let mut state = self.state();
        state.reply.get_or_insert(Arc::new(reply));
        self.changed.notify_all();
        state.take_due()
    }

    /// True when somebody asked to be told.
    pub(super) fn set_end(&self, end: End) -> bool {
        let mut state = self.state();
        state.end.get_or_insert(end);
        self.changed.notify_all();
        state.take_due()
    }

    pub(super) fn capture(&self, bytes: &[u8]) {
        self.state().captured.extend_from_slice(bytes);
    }

    /// Waits; false when the time is up. `attend` is called at least every 100 ms.
    ///
    /// # Errors
    /// What `attend` returns, and [`Error::Forked`].
    pub fn wait(
        &self,
        until: Until,
        timeout: Option<Duration>,
        attend: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<bool, Error> {
        // A limit too far away to be a point in time is no limit.
        let deadline = timeout.and_then(|limit| Instant::now().checked_add(limit));
        let mut state = self.state();
        loop {
            if state.has(until) {
                return Ok(true);
            }
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
            self.check_owner()?;
            let slice = left.map_or(ATTENTION, |left| left.min(ATTENTION));
            let (guard, _) = self
                .changed
                .wait_timeout(state, slice)
                .unwrap_or_else(PoisonError::into_inner);
            if guard.has(until) {
                return Ok(true);
            }
            // Attending may run the caller's code (a signal handler): never with the lock held.
            drop(guard);
            attend()?;
            state = self.state();
        }
    }
}

impl State {
    /// Whether somebody asked for what there is now; he is told once.
    fn take_due(&mut self) -> bool {
        let asked = std::mem::take(&mut self.watched);
        let (due, later): (Vec<_>, _) = asked.into_iter().partition(|until| self.has(*until));
        self.watched = later;
        !due.is_empty()
    }

    fn has(&self, until: Until) -> bool {
        self.end.is_some()
            || match until {
                Until::Pid => self.pid.is_some(),
                Until::Reply => self.reply.is_some(),
                Until::End => false,
            }
    }
}
