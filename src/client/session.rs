//! One run, from the request to the end: a loop over the socket, the signals and both terminals. Decides nothing else.
//!
//! The program is begun by a hand-shake: the daemon says `ready`, the client answers `go`, and until then it may turn
//! away and run the program itself. So a daemon that answers too late never runs what was run cold already. Descriptors
//! travel with `go`: what lies unread in the socket of a daemon that hangs would hold a pipe open for ever.

mod stop;
mod wait;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::{SIGCONT, SIGHUP, SIGTSTP, SIGWINCH};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use serde::{Deserialize, Serialize};

use self::stop::Stopping;
use self::wait::Ready;
use super::link::Link;
use super::signals::{ends, Signals};
use super::terminal::Terminal;
use crate::protocol::message::{decode, encode};

/// A daemon that has not begun by then is passed by.
const PATIENCE: Duration = Duration::from_secs(1);
/// One that has agreed is given this long to begin, when a signal has come that would end the program.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The program has: with a status, or by a signal (negative).
    Exited(i32),
    /// Nothing was run, says the daemon.
    Cold { reason: String, quiet: bool },
    /// Nothing was run, and the daemon does not know.
    Unreached(String),
    /// Nothing was run, and a signal came that ends this process.
    Killed(i32),
    /// The daemon is not for this caller, and makes room for one that is.
    Mismatch(Option<String>),
    /// The program has ended, and nobody knows how: what went wrong.
    Lost(Option<String>),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Answer {
    Mismatch {
        reason: Option<String>,
    },
    Cold {
        reason: String,
        #[serde(default)]
        quiet: bool,
    },
    Ready,
    Started {
        pid: Option<i32>,
    },
    Exited {
        status: i32,
        lost: Option<String>,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Told {
    Go,
    Signal { number: i32 },
}

enum Phase {
    /// The daemon may still be passed by.
    Asked(Instant),
    /// It may have begun; what came meanwhile ends this process at that time, if the program is not there by then.
    Agreed(Option<Instant>),
    /// The program runs: the leader of its process group.
    Running(i32),
}

/// A connection on which a program was asked for.
pub(super) struct Session {
    link: Link,
    signals: Signals,
    terminal: Option<Terminal>,
    /// Those above the standard ones that the program inherits.
    descriptors: Vec<RawFd>,
    phase: Phase,
    /// Those that came before there was a program.
    waiting: Vec<i32>,
    /// The program is to be stopped.
    stopping: Option<Stopping>,
    /// SIGHUP is the program's by now.
    hung_up: bool,
}

impl Session {
    pub(super) fn new(
        link: Link,
        signals: Signals,
        terminal: Option<Terminal>,
        descriptors: Vec<RawFd>,
    ) -> Self {
        Self {
            link,
            signals,
            terminal,
            descriptors,
            phase: Phase::Asked(Instant::now() + PATIENCE),
            waiting: Vec::new(),
            stopping: None,
            hung_up: false,
        }
    }

    /// Until its end. The terminal is as it was when this returns.
    pub(super) fn run(mut self) -> End {
        let end = loop {
            if let Some(end) = self.turn() {
                break end;
            }
        };
        let Self {
            terminal, signals, ..
        } = &mut self;
        if let Some(terminal) = terminal {
            if matches!(end, End::Exited(_) | End::Lost(_)) {
                terminal.end(|real| wait_to_write(real, signals));
            }
        }
        match end {
            // Whoever sent it meant the command, and nothing has taken it.
            End::Cold { .. } | End::Unreached(_) | End::Mismatch(_) => {
                self.deadly().map_or(end, End::Killed)
            }
            end => end,
        }
    }

    /// The first of the signals that wait for the program which would end it.
    fn deadly(&self) -> Option<i32> {
        self.waiting.iter().copied().find(|signal| ends(*signal))
    }

    fn turn(&mut self) -> Option<End> {
        let ready = self.wait();
        if ready.signals {
            for signal in self.signals.pending() {
                self.on_signal(signal);
            }
        }
        if ready.link_out {
            self.link.flush();
        }
        if ready.link_in {
            for frame in self.link.read() {
                // A newer daemon's word that this one does not know counts for nothing.
                let Ok(answer) = decode::<Answer>(&frame) else {
                    continue;
                };
                if let Some(end) = self.on_answer(answer) {
                    return Some(end);
                }
            }
        }
        self.copy(&ready);
        if !self.link.is_open() {
            return Some(match self.phase {
                Phase::Asked(_) => End::Unreached("the daemon has ended".into()),
                Phase::Agreed(_) | Phase::Running(_) => End::Lost(None),
            });
        }
        let now = Instant::now();
        if matches!(self.phase, Phase::Asked(deadline) if deadline <= now) {
            return Some(End::Unreached("the daemon does not answer".into()));
        }
        if matches!(self.phase, Phase::Agreed(Some(deadline)) if deadline <= now) {
            // The daemon hangs. It finds nobody here when it goes on, and ends the program.
            return self.deadly().map(End::Killed);
        }
        self.stop_if_due(now);
        if let (Some(terminal), Phase::Running(_)) = (&mut self.terminal, &self.phase) {
            terminal.look_for_foreground();
        }
        None
    }

    fn on_answer(&mut self, answer: Answer) -> Option<End> {
        match answer {
            Answer::Mismatch { reason } => Some(End::Mismatch(reason)),
            Answer::Cold { reason, quiet } => Some(End::Cold { reason, quiet }),
            Answer::Ready => {
                if !matches!(self.phase, Phase::Asked(_)) {
                    return None;
                }
                self.phase = Phase::Agreed(self.deadly().map(|_| Instant::now() + LAST_PATIENCE));
                // It is small: nothing can be too long about it.
                let go = encode(&Told::Go, 0).unwrap_or_default();
                self.hand_over(&go).err().map(|error| {
                    End::Unreached(format!("the daemon takes no descriptors: {error}"))
                })
            }
            Answer::Started { pid } => {
                // Without one, nothing is its group's.
                self.phase = Phase::Running(pid.unwrap_or(0));
                if let Some(terminal) = &mut self.terminal {
                    terminal.enter();
                }
                for signal in std::mem::take(&mut self.waiting) {
                    self.on_signal(signal);
                }
                None
            }
            Answer::Exited { status, lost: None } => Some(End::Exited(status)),
            Answer::Exited { lost, .. } => Some(End::Lost(lost)),
        }
    }

    /// The three standard descriptors, or what stands for them, and the others.
    fn hand_over(&mut self, go: &[u8]) -> io::Result<()> {
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        let own = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        let mut all = Vec::with_capacity(own.len() + self.descriptors.len());
        for (standard, fd) in own.into_iter().enumerate() {
            let standing = self
                .terminal
                .as_ref()
                .and_then(|terminal| terminal.standing_for(standard));
            all.push(standing.unwrap_or(fd).as_raw_fd());
        }
        all.extend(&self.descriptors);
        self.link.hand_over(go, &all)
    }

    fn on_signal(&mut self, signal: i32) {
        match &mut self.phase {
            Phase::Asked(_) => return self.waiting.push(signal),
            Phase::Agreed(deadline) => {
                if ends(signal) {
                    deadline.get_or_insert(Instant::now() + LAST_PATIENCE);
                }
                return self.waiting.push(signal);
            }
            Phase::Running(_) => {}
        }
        match signal {
            SIGWINCH => {
                // A new size has told the program already.
                let told = self.terminal.as_ref().is_some_and(Terminal::mirror_size);
                if !told {
                    self.send(signal);
                }
            }
            SIGTSTP => {
                self.send(signal);
                self.suspend(false);
            }
            SIGCONT => {
                if let Some(terminal) = &mut self.terminal {
                    terminal.enter();
                }
                self.send(signal);
            }
            SIGHUP => {
                if !std::mem::replace(&mut self.hung_up, true) {
                    self.send(signal);
                }
                // One that is sent by hand, later, is another.
                self.hung_up = self.terminal.is_some();
            }
            signal => self.send(signal),
        }
    }

    fn copy(&mut self, ready: &Ready) {
        let Some(terminal) = &mut self.terminal else {
            return;
        };
        if ready
            .master
            .intersects(PollFlags::POLLIN | PollFlags::POLLHUP)
        {
            terminal.read_written();
        }
        if ready.master.contains(PollFlags::POLLOUT) {
            terminal.write_to_program();
        }
        if ready.real.contains(PollFlags::POLLOUT) {
            terminal.write_to_user();
        }
        let typed = PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR;
        if ready.real.intersects(typed) && terminal.read_typed() {
            self.suspend(true);
        }
        if self.terminal.as_ref().is_some_and(Terminal::is_gone) && !self.hung_up {
            // The master closes: the program's terminal hangs up as the real one has, and the kernel sends SIGHUP.
            self.hung_up = true;
            self.terminal = None;
        }
    }

    fn send(&mut self, number: i32) {
        self.tell(&Told::Signal { number });
    }

    fn tell(&mut self, told: &Told) {
        // It is small: nothing can be too long about it.
        if let Ok(frame) = encode(told, 0) {
            self.link.push(&frame);
        }
    }
}

/// Waits until the user's terminal takes more; false when a signal says to leave it at that.
fn wait_to_write(real: BorrowedFd<'_>, signals: &mut Signals) -> bool {
    let mut fds = [
        PollFd::new(real, PollFlags::POLLOUT),
        PollFd::new(signals.as_fd(), PollFlags::POLLIN),
    ];
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(_) => return false,
    }
    !signals.pending().into_iter().any(ends)
}
