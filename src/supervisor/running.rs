//! One child in the dispatcher: its socket, its pipes, its deadlines. Does not talk to the template.
#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::child::{Cause, End, Heard, Reply, Ticket};
use super::dispatcher::Exec;
use super::link::Link;
use super::output::{Mode, Pipe, Stream, Tail};
use super::owner::FORK_LIMIT;
use super::pump::{PumpSender, Settlement};
use super::template::TemplateId;
use crate::error::Error;
use crate::protocol::findings::ChildImport;
use crate::protocol::message::{decode, encode, FromChild, ToChild};

/// From SIGTERM to SIGKILL when a time limit has passed.
const GRACE: Duration = Duration::from_secs(2);

/// A call that was not sent yet.
#[derive(Debug)]
struct Outgoing {
    header: Vec<u8>,
    body: Arc<Vec<u8>>,
    /// stdin, stdout, stderr.
    stdio: Vec<OwnedFd>,
}

#[derive(Debug)]
pub(super) struct Running {
    pub(super) ticket: Arc<Ticket>,
    pub(super) template: TemplateId,
    pub(super) link: Link,
    pub(super) pipes: Vec<Pipe>,
    /// Why it is about to end, when the host brought it about.
    pub(super) cause: Cause,
    pub(super) due: Due,
    /// What it runs; the call itself only as long as it may be given to another child.
    pub(super) exec: Exec,
    pub(super) pid: Option<i32>,
    /// Its reply has come.
    pub(super) returned: bool,
    /// Sent when the fork is known to have happened, so that a call
    /// whose template died before can be given to another one, and when the template is known to be true.
    call: Option<Outgoing>,
    released: bool,
    /// It was forked before its call came, and the call is kept.
    is_movable: bool,
    /// Its template is dead or dying: it may have been forked by then, and is of no use.
    pub(super) is_orphan: bool,
    /// The pump was given output of it.
    has_shown: bool,
    /// It shall be stopped as soon as it is forked, with this grace.
    unwanted: Option<Duration>,
    tail: Tail,
    /// For what it imports itself, where anybody wants to know.
    ears: Option<Sender<Heard>>,
}

/// A longer call is not kept for the case that a spare dies: what it holds is in memory twice as it is.
const KEPT: usize = 1 << 20;

/// What has to happen to a child, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing.
    Never,
    /// Not forked yet: the template is stuck when this passes.
    Fork {
        by: Instant,
        limit: Option<Duration>,
    },
    /// Its time limit: SIGTERM, then SIGKILL.
    Limit(Instant, Duration),
    /// It has returned and may end by itself until then: SIGTERM, and SIGKILL after the duration.
    Terminate(Instant, Duration),
    /// SIGTERM was sent: SIGKILL.
    Kill(Instant),
    /// SIGKILL was sent: when this passes and nobody told of its death, the template is stuck.
    Gone(Instant),
}

impl Due {
    pub(super) fn at(self) -> Option<Instant> {
        match self {
            Self::Never => None,
            Self::Fork { by, .. } => Some(by),
            Self::Limit(at, _) | Self::Terminate(at, _) | Self::Kill(at) | Self::Gone(at) => {
                Some(at)
            }
        }
    }

    /// A limit counts from the fork.
    pub(super) fn forked(self) -> Self {
        let limit = match self {
            Self::Fork { limit, .. } => limit,
            Self::Never | Self::Limit(..) | Self::Terminate(..) | Self::Kill(_) | Self::Gone(_) => {
                return self
            }
        };
        limit
            .and_then(|limit| Some(Self::Limit(Instant::now().checked_add(limit)?, limit)))
            .unwrap_or(Self::Never)
    }

    pub(super) fn kill_soon() -> Self {
        Self::Kill(Instant::now() + GRACE)
    }
}

impl Running {
    /// A child that has no call yet; `link` leads to it. It may be a spare.
    pub(super) fn new(
        ticket: Arc<Ticket>,
        exec: Exec,
        link: Link,
        is_spare: bool,
        ears: Option<Sender<Heard>>,
    ) -> Result<Self, Error> {
        let (pipes, stdio) = stdio(&exec)?;
        Ok(Self {
            ticket,
            template: exec.template,
            link,
            pipes,
            cause: Cause::Itself,
            due: Due::Fork {
                by: Instant::now() + FORK_LIMIT,
                limit: exec.timeout,
            },
            pid: None,
            returned: false,
            call: Some(Outgoing {
                header: encode(&ToChild::Call {}, exec.call.len())?,
                body: Arc::clone(&exec.call),
                stdio,
            }),
            released: false,
            is_movable: is_spare && exec.call.len() <= KEPT,
            is_orphan: false,
            has_shown: false,
            unwanted: None,
            tail: Tail::default(),
            ears,
            exec,
        })
    }

    /// The same call for another child; `link` leads to it.
    pub(super) fn again(&self, link: Link) -> Result<Self, Error> {
        let ticket = Arc::clone(&self.ticket);
        let mut child = Self::new(ticket, self.exec.clone(), link, false, self.ears.clone())?;
        child.released = self.released;
        Ok(child)
    }

    /// Whether this dead child was a spare that has never read its call: then nothing has begun.
    ///
    /// The race: it may die at any moment between the host's last look and its reading. The kernel decides: a call that
    /// was sent after the death is refused (EPIPE); one that lay in the socket at the death is thrown away, and the
    /// host's next read says so (ECONNRESET, on Linux). In any other case it may have begun, and its end is told as it is.
    /// So it is where somebody knows the pid already: a signal to it was meant for this call.
    pub(super) fn is_movable(&mut self, pump: &PumpSender) -> bool {
        self.is_movable
            && self.cause == Cause::Itself
            && self.read_reply(pump)
            && (self.call.is_some() || self.link.is_unread())
            && !self.returned
            && self.ticket.take_back_pid()
    }

    /// Takes the call back if it was not sent yet: the child, which waits for it, sees the end of its socket and goes.
    pub(super) fn cancel(&mut self) {
        self.is_movable = false;
        if self.call.take().is_some() {
            self.link.shut();
        }
    }

    /// Has it stopped when it is forked. Until then the fork's own deadline counts: a slow fork is no reason to kill
    /// the template, which others run in.
    pub(super) fn stop_when_forked(&mut self, grace: Duration) {
        self.unwanted = Some(self.unwanted.map_or(grace, |earlier| earlier.min(grace)));
    }

    /// The grace with which it is to be stopped at once, if nobody wants it any more.
    pub(super) fn forked(&mut self, pid: i32) -> Option<Duration> {
        log::debug!("{} runs as process {pid}", self.ticket.name);
        self.due = self.due.forked();
        self.pid = Some(pid);
        self.send_call();
        self.unwanted.take()
    }

    /// It may have its call.
    pub(super) fn release(&mut self) {
        self.released = true;
        self.send_call();
    }

    fn send_call(&mut self) {
        let Some(pid) = self.pid.filter(|_| self.released) else {
            return;
        };
        let Some(call) = self.call.take() else {
            return;
        };
        self.link.push(call.header.into(), call.stdio);
        self.link.push(call.body, Vec::new());
        self.link.flush();
        self.exec.stdio = None;
        if !self.is_movable {
            self.exec.call = Arc::default();
        }
        // A spare that is dead already is nobody's process: the caller waits on for the one that takes its place.
        if !(self.is_movable && self.link.is_unread()) {
            self.ticket.set_pid(pid);
        }
    }

    /// Whether it is a program, with a process group of its own.
    pub(super) fn leads_group(&self) -> bool {
        self.exec.mode == Mode::Given
    }

    fn is_shown(&self) -> bool {
        self.exec.mode == Mode::Prefix
    }

    /// Whether its pipes may be read now: when too much waits to be shown, they are left to fill.
    pub(super) fn is_read(&self, pump: &PumpSender) -> bool {
        !(self.is_shown() && pump.is_full())
    }

    /// Takes what is in the pipes to where it goes.
    pub(super) fn read_output(&mut self, pump: &PumpSender, all: bool) {
        for pipe in &mut self.pipes {
            let bytes = pipe.drain();
            if pipe.stream == Stream::Stderr {
                self.tail.add(&bytes);
            }
            match self.exec.mode {
                Mode::Prefix => {
                    let mut lines = pipe.lines(&bytes);
                    if all {
                        lines.extend(pipe.rest());
                    }
                    self.has_shown |= !lines.is_empty();
                    pump.write(&self.ticket, pipe.stream, lines);
                }
                Mode::Capture => self.ticket.capture(&bytes),
                Mode::Inherit | Mode::Given => {}
            }
        }
    }

    /// Takes the reply off the socket, if it is there. Output goes first, since it was written first.
    ///
    /// False when the child has sent something that is no message: nothing more can be read, and it may be waiting
    /// for somebody who does.
    pub(super) fn read_reply(&mut self, pump: &PumpSender) -> bool {
        let frames = match self.link.read() {
            Ok(frames) => frames,
            Err(error) => {
                log::warn!("{} sent no message: {error}", self.ticket.name);
                return false;
            }
        };
        for frame in frames {
            match decode::<FromChild>(&frame) {
                Ok(FromChild::Imported { modules }) => self.tell_imports(modules),
                Ok(
                    message @ (FromChild::Returned { .. }
                    | FromChild::Raised { .. }
                    | FromChild::Unpicklable { .. }),
                ) => {
                    self.returned = true;
                    self.exec.call = Arc::default();
                    self.read_output(pump, true);
                    let reply = Settlement::Reply(Reply {
                        message,
                        body: frame.body,
                    });
                    pump.settle(&self.ticket, reply, self.has_shown);
                }
                // All that counts has come.
                Err(error) if self.returned => {
                    log::debug!("{} sent no message: {error}", self.ticket.name);
                }
                Err(error) => {
                    log::warn!("{} sent no message: {error}", self.ticket.name);
                    return false;
                }
            }
        }
        true
    }

    /// What nobody takes in time is told again by the next child that misses it.
    fn tell_imports(&self, modules: Vec<ChildImport>) {
        log::debug!("{} imported {} modules", self.ticket.name, modules.len());
        if let Some(ears) = &self.ears {
            let template = self.template;
            let _ = ears.try_send(Heard { template, modules });
        }
    }

    /// Its process is no more, or never was: reads what is left and settles the ticket.
    ///
    /// The reading goes on until socket and pipes are empty, not until their end: a grandchild may hold them.
    /// What is returned shows what such a grandchild writes later.
    pub(super) fn end(
        mut self,
        status: Option<i32>,
        cause: Cause,
        pump: &PumpSender,
    ) -> Option<Leftover> {
        self.read_reply(pump);
        self.read_output(pump, true);
        let end = End {
            status,
            cause: if self.cause == Cause::Itself {
                cause
            } else {
                self.cause.clone()
            },
            stderr: self.tail.text(),
        };
        log::debug!("{} ended: {end:?}", self.ticket.name);
        pump.settle(&self.ticket, Settlement::End(end), self.has_shown);
        self.pipes.retain(Pipe::is_open);
        (!self.pipes.is_empty()).then_some(Leftover {
            ticket: self.ticket,
            pipes: self.pipes,
            mode: self.exec.mode,
        })
    }
}

/// The pipes of a child that has ended, held open by processes that it left behind.
///
/// They are read until their end, so that a daemon can write on, as it could after a cold start.
#[derive(Debug)]
pub(super) struct Leftover {
    pub(super) pipes: Vec<Pipe>,
    ticket: Arc<Ticket>,
    mode: Mode,
}

impl Leftover {
    /// False when nobody holds them any more.
    pub(super) fn read(&mut self, pump: &PumpSender) -> bool {
        for pipe in &mut self.pipes {
            let bytes = pipe.drain();
            if self.mode == Mode::Prefix {
                let mut lines = pipe.lines(&bytes);
                if !pipe.is_open() {
                    lines.extend(pipe.rest());
                }
                pump.write(&self.ticket, pipe.stream, lines);
            }
        }
        self.pipes.retain(Pipe::is_open);
        !self.pipes.is_empty()
    }
}

/// The host's ends of what a child writes, and what is to be its stdin, stdout and stderr.
fn stdio(exec: &Exec) -> Result<(Vec<Pipe>, Vec<OwnedFd>), Error> {
    let mut pipes = Vec::new();
    let mut fds = Vec::new();
    match exec.mode {
        Mode::Given => {
            let Some(given) = &exec.stdio else {
                return Err(Error::Fork {
                    reason: "the process that had its call has died".to_owned(),
                });
            };
            for fd in given.iter() {
                fds.push(
                    fd.try_clone()
                        .map_err(Error::system("duplicate a descriptor"))?,
                );
            }
        }
        Mode::Inherit => {
            let stdio = [
                (io::stdin().as_fd().try_clone_to_owned(), true),
                (io::stdout().as_fd().try_clone_to_owned(), false),
                (io::stderr().as_fd().try_clone_to_owned(), false),
            ];
            for (fd, reads) in stdio {
                // A host may run with a standard descriptor closed.
                fds.push(fd.or_else(|_| null(reads))?);
            }
        }
        Mode::Prefix | Mode::Capture => {
            fds.push(null(true)?);
            for stream in [Stream::Stdout, Stream::Stderr] {
                let (pipe, writer) = Pipe::new(stream)?;
                pipes.push(pipe);
                fds.push(writer);
            }
        }
    }
    Ok((pipes, fds))
}

/// `/dev/null`.
fn null(reads: bool) -> Result<OwnedFd, Error> {
    let file: io::Result<File> = if reads {
        File::open("/dev/null")
    } else {
        OpenOptions::new().write(true).open("/dev/null")
    };
    file.map(OwnedFd::from)
        .map_err(Error::system("open /dev/null"))
}
