//! What a run waits for, and for how long.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

use super::stop::Stopping;
use super::{Phase, Session};
use crate::client::terminal::Terminal;

/// Nobody tells a process that it was brought to the foreground while it ran.
const LOOK: Duration = Duration::from_millis(200);

/// What can be done without waiting.
pub(super) struct Ready {
    pub(super) link_in: bool,
    pub(super) link_out: bool,
    pub(super) signals: bool,
    pub(super) master: PollFlags,
    pub(super) real: PollFlags,
}

impl Session {
    /// Sleeps until something is to be done.
    pub(super) fn wait(&self) -> Ready {
        let input = PollFlags::POLLIN;
        let mut link = input;
        link.set(PollFlags::POLLOUT, self.link.wants_to_write());
        let (real, master) = self
            .terminal
            .as_ref()
            .map_or((PollFlags::empty(), PollFlags::empty()), Terminal::interest);
        let mut fds = vec![
            PollFd::new(self.link.as_fd(), link),
            PollFd::new(self.signals.as_fd(), input),
        ];
        if let Some(terminal) = &self.terminal {
            // One without interest would still tell that it has hung up, at once and for ever.
            if !master.is_empty() {
                fds.push(PollFd::new(terminal.master(), master));
            }
            if !real.is_empty() {
                fds.push(PollFd::new(terminal.real(), real));
            }
        }
        // Interrupted by a signal: its pipe says so in the next turn.
        let _ = poll(&mut fds, self.timeout());
        let mut events = fds
            .iter()
            .map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        let mut next = || events.next().unwrap_or(PollFlags::empty());
        let (link, signals) = (next(), next());
        Ready {
            link_in: link.intersects(!PollFlags::POLLOUT),
            link_out: link.contains(PollFlags::POLLOUT),
            signals: !signals.is_empty(),
            master: if master.is_empty() { master } else { next() },
            real: if real.is_empty() { real } else { next() },
        }
    }

    fn timeout(&self) -> PollTimeout {
        let now = Instant::now();
        let mut soonest: Option<Duration> = None;
        let mut at_most =
            |one: Duration| soonest = Some(soonest.map_or(one, |so_far| so_far.min(one)));
        if let Phase::Asked(deadline) | Phase::Agreed(Some(deadline)) = self.phase {
            at_most(deadline.saturating_duration_since(now));
        }
        if let Some(Stopping { at, .. }) = self.stopping {
            at_most(at.saturating_duration_since(now));
        }
        let looks = self
            .terminal
            .as_ref()
            .is_some_and(Terminal::waits_for_foreground);
        if looks && matches!(self.phase, Phase::Running(_)) {
            at_most(LOOK);
        }
        match soonest {
            // Not a moment too early: a deadline is passed when its time comes.
            Some(wait) => PollTimeout::try_from(wait.as_millis() + 1).unwrap_or(PollTimeout::MAX),
            None => PollTimeout::NONE,
        }
    }
}
