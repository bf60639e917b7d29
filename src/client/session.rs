//! One run, from the request to the end: a loop over the socket, the signals and both terminals. Decides nothing else.
//!
//! The program is begun by a hand-shake: the daemon says `ready`, the client answers `go`, and until then it may turn
//! away and run the program itself. So a daemon that answers too late never runs what was run cold already. stdin, stdout
//! and stderr travel with `go`: what lies unread in the socket of a daemon that hangs would hold a pipe open for ever.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::{SIGCONT, SIGHUP, SIGSTOP, SIGTSTP, SIGWINCH};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{kill, raise, Signal};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::job;
use super::link::Link;
use super::signals::{ends, Signals};
use super::terminal::Terminal;
use crate::protocol::message::{decode, encode};

/// A daemon that has not begun by then is passed by.
const PATIENCE: Duration = Duration::from_secs(1);
/// A program that handles the stop character gets this long to do it.
const HANDLING: Duration = Duration::from_millis(50);
/// Nobody tells a process that it was brought to the foreground while it ran.
const LOOK: Duration = Duration::from_millis(200);
/// What the daemon takes of the last signals before this process is stopped.
const TAKING: Duration = Duration::from_millis(200);

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
    /// The daemon is of another version, and ends.
    Mismatch,
    /// The program has ended, and nobody knows how: what went wrong.
    Lost(Option<String>),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Answer {
    Mismatch,
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
    /// It may have begun.
    Agreed,
    /// The program runs: the leader of its process group.
    Running(i32),
}

/// A connection on which a program was asked for.
pub(super) struct Session {
    link: Link,
    signals: Signals,
    terminal: Option<Terminal>,
    phase: Phase,
    /// Those that came before there was a program.
    waiting: Vec<i32>,
    /// When the program is to be stopped, and whether a character asked for it.
    stopping: Option<(Instant, bool)>,
    /// SIGHUP is the program's by now.
    hung_up: bool,
}

impl Session {
    pub(super) fn new(link: Link, signals: Signals, terminal: Option<Terminal>) -> Self {
        Self {
            link,
            signals,
            terminal,
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
            End::Cold { .. } | End::Unreached(_) | End::Mismatch => {
                match self.waiting.iter().find(|signal| ends(**signal)) {
                    Some(signal) => End::Killed(*signal),
                    None => end,
                }
            }
            end => end,
        }
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
                Phase::Agreed | Phase::Running(_) => End::Lost(None),
            });
        }
        let now = Instant::now();
        if matches!(self.phase, Phase::Asked(deadline) if deadline <= now) {
            return Some(End::Unreached("the daemon does not answer".into()));
        }
        if self.stopping.is_some_and(|(at, _)| at <= now) {
            self.stop();
        }
        if let (Some(terminal), Phase::Running(_)) = (&mut self.terminal, &self.phase) {
            terminal.look_for_foreground();
        }
        None
    }

    fn on_answer(&mut self, answer: Answer) -> Option<End> {
        match answer {
            Answer::Mismatch => Some(End::Mismatch),
            Answer::Cold { reason, quiet } => Some(End::Cold { reason, quiet }),
            Answer::Ready => {
                if !matches!(self.phase, Phase::Asked(_)) {
                    return None;
                }
                self.phase = Phase::Agreed;
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

    /// The three standard descriptors, or what stands for them.
    fn hand_over(&mut self, go: &[u8]) -> io::Result<()> {
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        let own = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        let mut stdio = own;
        for (standard, fd) in stdio.iter_mut().enumerate() {
            let standing = self
                .terminal
                .as_ref()
                .and_then(|terminal| terminal.standing_for(standard));
            *fd = standing.unwrap_or(*fd);
        }
        self.link.hand_over(go, stdio)
    }

    fn on_signal(&mut self, signal: i32) {
        let Phase::Running(_) = self.phase else {
            self.waiting.push(signal);
            return;
        };
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

    /// The program is to be suspended: by a character, which its line discipline has had too, or by a signal.
    fn suspend(&mut self, typed: bool) {
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
        let handling = match care {
            job::Care::Handles => HANDLING,
            job::Care::Ignores | job::Care::Default => Duration::ZERO,
        };
        self.stopping
            .get_or_insert((Instant::now() + handling, typed));
    }

    /// Stops the program and then this process; returns when it goes on.
    fn stop(&mut self) {
        let Some((_, typed)) = self.stopping.take() else {
            return;
        };
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

    fn send(&mut self, number: i32) {
        self.tell(&Told::Signal { number });
    }

    fn tell(&mut self, told: &Told) {
        // It is small: nothing can be too long about it.
        if let Ok(frame) = encode(told, 0) {
            self.link.push(&frame);
        }
    }

    /// Sleeps until something is to be done.
    fn wait(&self) -> Ready {
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
        if let Phase::Asked(deadline) = self.phase {
            at_most(deadline.saturating_duration_since(now));
        }
        if let Some((at, _)) = self.stopping {
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

/// What can be done without waiting.
struct Ready {
    link_in: bool,
    link_out: bool,
    signals: bool,
    master: PollFlags,
    real: PollFlags,
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

/// Waits for one descriptor, at most so many milliseconds.
fn wait_for(fd: BorrowedFd<'_>, events: PollFlags, milliseconds: u8) {
    let mut fds = [PollFd::new(fd, events)];
    // Whatever came of it, the caller looks.
    let _ = poll(&mut fds, PollTimeout::from(milliseconds));
}
