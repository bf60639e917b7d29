//! Stops the program and this process as Ctrl-Z does, and goes on with both.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::libc::{SIGCONT, SIGSTOP, SIGTSTP, SIGWINCH};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{kill, raise, Signal};
use nix::unistd::Pid;

use super::{Phase, Session};
use crate::client::job;
use crate::client::signals::ends;
use crate::client::terminal::Terminal;

/// A program that handles the stop character gets this long to do it, and up to that long while it is not done: where
/// there is much else to run, it has not even begun.
const HANDLING: Duration = Duration::from_millis(50);
const HANDLING_LIMIT: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(10);
/// What the daemon takes of the last signals before this process is stopped.
const TAKING: Duration = Duration::from_millis(200);

/// A stop that is yet to come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stopping {
    /// When it is due.
    pub(super) at: Instant,
    latest: Instant,
    /// A character asked for it.
    typed: bool,
}

impl Session {
    /// The program is to be suspended: by a character, which its line discipline has had too, or by a signal.
    pub(super) fn suspend(&mut self, typed: bool) {
        let Phase::Running(leader) = self.phase else {
            return;
        };
        let has_terminal = |terminal: &Terminal| terminal.foreground_group() == Some(leader);
        // A shell that the program has started stops its own jobs.
        let is_its = !typed || self.terminal.as_ref().is_some_and(has_terminal);
        let care = job::care_of(leader, SIGTSTP);
        if !is_its || care == job::Care::Ignores || job::is_orphaned() {
            if let Some(terminal) = &mut self.terminal {
                terminal.release_held();
            }
            return;
        }
        let (handling, limit) = match care {
            job::Care::Handles => (HANDLING, HANDLING_LIMIT),
            job::Care::Ignores | job::Care::Default => (Duration::ZERO, Duration::ZERO),
        };
        let now = Instant::now();
        self.stopping.get_or_insert(Stopping {
            at: now + handling,
            latest: now + limit,
            typed,
        });
    }

    /// Stops the program if it is to be stopped and has had its time.
    pub(super) fn stop_if_due(&mut self, now: Instant) {
        let Some(stopping) = &mut self.stopping else {
            return;
        };
        if now < stopping.at {
            return;
        }
        if let Phase::Running(leader) = self.phase {
            if now < stopping.latest && job::is_at_work(leader, SIGTSTP) {
                stopping.at = now + LOOK;
                return;
            }
        }
        let typed = stopping.typed;
        self.stopping = None;
        self.stop(typed);
    }

    /// Stops the program and then this process; returns when it goes on.
    fn stop(&mut self, typed: bool) {
        self.send(SIGSTOP);
        let deadline = Instant::now() + TAKING;
        while self.link.wants_to_write() && Instant::now() < deadline {
            wait_for(self.link.as_fd(), PollFlags::POLLOUT, 20);
            self.link.flush();
        }
        if let Some(terminal) = &mut self.terminal {
            terminal.leave();
        }
        if typed {
            // As a terminal does: everybody who is in this job stops.
            let _ = kill(Pid::from_raw(0), Signal::SIGTSTP);
        }
        let _ = raise(Signal::SIGSTOP);
        // Those of the stop itself; what else came meanwhile is the program's.
        for signal in self.signals.pending() {
            if ends(signal) {
                self.send(signal);
            }
        }
        self.send(SIGCONT);
        if let Some(terminal) = &mut self.terminal {
            terminal.enter();
            // What a full screen program has drawn is gone.
            self.send(SIGWINCH);
        }
    }
}

/// Waits for one descriptor, at most so many milliseconds.
fn wait_for(fd: BorrowedFd<'_>, events: PollFlags, milliseconds: u8) {
    let mut fds = [PollFd::new(fd, events)];
    // Whatever came of it, the caller looks.
    let _ = poll(&mut fds, PollTimeout::from(milliseconds));
}
