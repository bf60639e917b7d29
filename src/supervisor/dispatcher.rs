//! The one thread that owns every template, child, socket and pipe of an environment.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, Receiver, Sender};
use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

use super::child::{Cause, Ticket};
use super::link::{waker, Waker, Wakeups};
use super::output::Mode;
use super::pump::{self, Pump, PumpSender};
use super::running::{Due, Running};
use super::template::{watch, Event, Launch, Phase, Template, TemplateId};
use crate::error::Error;
use crate::protocol::message::{decode, ChildId, FromTemplate, PreloadItem, Role, ToTemplate};

/// A fork takes milliseconds; a template that has not forked after this is stuck in a fork handler.
const FORK_LIMIT: Duration = Duration::from_secs(30);
/// From the end of the last child to SIGKILL for a template that was told to go.
const RETIRE_LIMIT: Duration = Duration::from_secs(5);

/// What to run in a child.
#[derive(Debug, Clone)]
pub struct Exec {
    /// Its name.
    pub name: String,
    /// The body of the `call` message, made by `firehot/_call.py`.
    pub call: Arc<Vec<u8>>,
    /// Where its output goes.
    pub mode: Mode,
    /// How long it may run.
    pub timeout: Option<Duration>,
    /// Folder of cloudpickle, when the call needs it.
    pub cloudpickle: Option<String>,
}

/// A request to the dispatcher.
#[derive(Debug)]
enum Command {
    Spawn {
        launch: Box<Launch>,
        events: Sender<Event>,
        answer: Sender<Result<TemplateId, Error>>,
    },
    Preload {
        id: TemplateId,
        imports: Vec<PreloadItem>,
    },
    Promote(TemplateId),
    Abandon(TemplateId),
    Exec {
        exec: Exec,
        answer: Sender<Result<Arc<Ticket>, Error>>,
    },
    Stop {
        id: ChildId,
        grace: Duration,
    },
    HasTemplate(Sender<bool>),
    Died(TemplateId),
    Close {
        grace: Duration,
    },
}

/// Speaks to the dispatcher; cheap to clone, for any thread.
#[derive(Debug, Clone)]
pub struct Dispatcher {
    commands: Sender<Command>,
    waker: Arc<Waker>,
    done: Receiver<()>,
}

impl Dispatcher {
    /// Starts the thread. The pump is for the one that writes output.
    ///
    /// # Errors
    /// [`Error::System`] when there are no descriptors or no threads left.
    pub fn start() -> Result<(Self, Pump), Error> {
        let (waker, wakeups) = waker()?;
        let waker = Arc::new(waker);
        let (commands, requests) = crossbeam_channel::unbounded();
        let (finished, done) = bounded::<()>(0);
        let (sender, pump) = pump::channel(Arc::clone(&waker));
        let handle = Self {
            commands,
            waker,
            done,
        };
        let own = handle.clone();
        thread::Builder::new()
            .name("firehot-dispatch".to_owned())
            .spawn(move || {
                State::new(own, sender).run(&requests, wakeups);
                drop(finished);
            })
            .map_err(Error::system("start a thread"))?;
        Ok((handle, pump))
    }

    fn send(&self, command: Command) -> Result<(), Error> {
        self.commands.send(command).map_err(|_| Error::Closed)?;
        self.waker.wake();
        Ok(())
    }

    /// Starts an interpreter; `events` tells how it goes on.
    ///
    /// # Errors
    /// [`Error::Spawn`], [`Error::System`], [`Error::Closed`].
    pub fn spawn(&self, launch: Launch, events: Sender<Event>) -> Result<TemplateId, Error> {
        let (answer, result) = bounded(1);
        self.send(Command::Spawn {
            launch: Box::new(launch),
            events,
            answer,
        })?;
        result.recv().map_err(|_| Error::Closed)?
    }

    /// Has a template import these, in order.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn preload(&self, id: TemplateId, imports: Vec<PreloadItem>) -> Result<(), Error> {
        self.send(Command::Preload { id, imports })
    }

    /// Makes a ready template the one that is forked from; the one before retires.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn promote(&self, id: TemplateId) -> Result<(), Error> {
        self.send(Command::Promote(id))
    }

    /// Kills a template that is not wanted any more.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn abandon(&self, id: TemplateId) -> Result<(), Error> {
        self.send(Command::Abandon(id))
    }

    /// Asks for a child; returns before the fork has happened. The ticket tells its pid, or why there is none.
    ///
    /// # Errors
    /// [`Error::NoTemplate`], [`Error::System`], [`Error::Closed`].
    pub fn exec(&self, exec: Exec) -> Result<Arc<Ticket>, Error> {
        let (answer, result) = bounded(1);
        self.send(Command::Exec { exec, answer })?;
        result.recv().map_err(|_| Error::Closed)?
    }

    /// Whether there is one to fork from.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn has_template(&self) -> Result<bool, Error> {
        let (answer, result) = bounded(1);
        self.send(Command::HasTemplate(answer))?;
        result.recv().map_err(|_| Error::Closed)
    }

    /// SIGTERM, and SIGKILL after `grace`. Does not wait.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn stop(&self, id: ChildId, grace: Duration) -> Result<(), Error> {
        self.send(Command::Stop { id, grace })
    }

    /// Stops all children, then all templates, then the thread. Does not wait: see [`Dispatcher::is_done`].
    pub fn close(&self, grace: Duration) {
        // Closed already is what was wanted.
        let _ = self.send(Command::Close { grace });
    }

    /// Waits until everything has ended, at most `limit`.
    #[must_use]
    pub fn is_done(&self, limit: Duration) -> bool {
        matches!(
            self.done.recv_timeout(limit),
            Err(crossbeam_channel::RecvTimeoutError::Disconnected)
        )
    }
}

/// What one `poll` slot stands for.
#[derive(Debug, Clone, Copy)]
enum Slot {
    Wakeups,
    Template(TemplateId),
    TemplateOutput(TemplateId),
    Child(ChildId),
    ChildOutput(ChildId),
}

struct State {
    handle: Dispatcher,
    pump: PumpSender,
    templates: BTreeMap<TemplateId, Template>,
    children: BTreeMap<ChildId, Running>,
    current: Option<TemplateId>,
    /// When a template that was told to go is killed.
    goodbyes: BTreeMap<TemplateId, Instant>,
    next: u64,
    closing: bool,
}

impl State {
    fn new(handle: Dispatcher, pump: PumpSender) -> Self {
        Self {
            handle,
            pump,
            templates: BTreeMap::new(),
            children: BTreeMap::new(),
            current: None,
            goodbyes: BTreeMap::new(),
            next: 0,
            closing: false,
        }
    }

    fn run(mut self, requests: &Receiver<Command>, mut wakeups: Wakeups) {
        while !(self.closing && self.templates.is_empty() && self.children.is_empty()) {
            let ready = self.wait(&wakeups);
            for slot in ready {
                match slot {
                    Slot::Wakeups => wakeups.clear(),
                    Slot::Template(id) => self.serve_template(id),
                    Slot::TemplateOutput(id) => {
                        if let Some(template) = self.templates.get_mut(&id) {
                            template.read_output();
                        }
                    }
                    Slot::Child(id) => {
                        if let Some(child) = self.children.get_mut(&id) {
                            child.link.flush();
                            child.read_reply(&self.pump);
                        }
                    }
                    Slot::ChildOutput(id) => {
                        if let Some(child) = self.children.get_mut(&id) {
                            child.read_output(&self.pump, false);
                        }
                    }
                }
            }
            for command in requests.try_iter() {
                self.obey(command);
            }
            self.meet_deadlines();
        }
    }

    /// Sleeps until something can be read or written, a deadline is due, or a command has come.
    fn wait(&self, wakeups: &Wakeups) -> Vec<Slot> {
        let mut slots = vec![Slot::Wakeups];
        let mut fds = vec![PollFd::new(wakeups.as_fd(), PollFlags::POLLIN)];
        let both = |writes: bool| {
            if writes {
                PollFlags::POLLIN | PollFlags::POLLOUT
            } else {
                PollFlags::POLLIN
            }
        };
        for (id, template) in &self.templates {
            if template.link.is_open() {
                slots.push(Slot::Template(*id));
                fds.push(PollFd::new(
                    template.as_fd(),
                    both(template.link.wants_to_write()),
                ));
            }
            if template.output.is_open() {
                slots.push(Slot::TemplateOutput(*id));
                fds.push(PollFd::new(template.output.as_fd(), PollFlags::POLLIN));
            }
        }
        for (id, child) in &self.children {
            if child.link.is_open() {
                slots.push(Slot::Child(*id));
                fds.push(PollFd::new(
                    child.as_fd(),
                    both(child.link.wants_to_write()),
                ));
            }
            if child.is_read(&self.pump) {
                for pipe in child.pipes.iter().filter(|pipe| pipe.is_open()) {
                    slots.push(Slot::ChildOutput(*id));
                    fds.push(PollFd::new(pipe.as_fd(), PollFlags::POLLIN));
                }
            }
        }
        match poll(&mut fds, self.patience()) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => {
                // Out of memory for the kernel's own table: try again rather than spin.
                log::error!("could not wait for events: {error}");
                thread::sleep(Duration::from_millis(50));
            }
        }
        slots
            .into_iter()
            .zip(&fds)
            .filter(|(_, fd)| fd.any() == Some(true))
            .map(|(slot, _)| slot)
            .collect()
    }

    /// How long nothing is due.
    fn patience(&self) -> PollTimeout {
        let children = self.children.values().filter_map(|child| child.due.at());
        let Some(first) = children.chain(self.goodbyes.values().copied()).min() else {
            return PollTimeout::NONE;
        };
        // Rounded up: waking a moment early would spin.
        let left = first.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Spawn {
                launch,
                events,
                answer,
            } => {
                let _ = answer.send(self.spawn(&launch, events));
            }
            Command::Preload { id, imports } => {
                self.tell(id, &ToTemplate::Preload { imports });
            }
            Command::Promote(id) => self.promote(id),
            Command::Abandon(id) => {
                if let Some(template) = self.templates.get_mut(&id) {
                    template.kill();
                }
            }
            Command::Exec { exec, answer } => {
                let _ = answer.send(self.exec(exec));
            }
            Command::Stop { id, grace } => self.stop(id, grace),
            Command::HasTemplate(answer) => {
                let _ = answer.send(self.serving().is_some());
            }
            Command::Died(id) => self.bury(id),
            Command::Close { grace } => self.close(grace),
        }
    }

    fn tell(&mut self, id: TemplateId, message: &ToTemplate) {
        if let Some(template) = self.templates.get_mut(&id) {
            template.send(message, Vec::new());
        }
    }

    fn spawn(&mut self, launch: &Launch, events: Sender<Event>) -> Result<TemplateId, Error> {
        if self.closing {
            return Err(Error::Closed);
        }
        let mut template = Template::spawn(launch, events)?;
        self.next += 1;
        let id = TemplateId(self.next);
        let handle = self.handle.clone();
        let watched = watch(template.pid(), move || {
            let _ = handle.send(Command::Died(id));
        });
        if let Err(source) = watched {
            template.kill();
            template.reap();
            return Err(Error::System {
                what: "start a thread",
                source,
            });
        }
        template.link.flush();
        log::debug!("template {} started", template.pid());
        self.templates.insert(id, template);
        Ok(id)
    }

    fn promote(&mut self, id: TemplateId) {
        let Some(template) = self.templates.get_mut(&id) else {
            return;
        };
        template.phase = Phase::Serving;
        if let Some(old) = self.current.replace(id) {
            self.retire(old);
        }
    }

    fn retire(&mut self, id: TemplateId) {
        let Some(template) = self.templates.get_mut(&id) else {
            return;
        };
        log::debug!("template {} retires", template.pid());
        template.phase = Phase::Retiring;
        self.tell(id, &ToTemplate::Retire {});
        self.schedule_goodbye(id);
    }

    /// A retiring template is killed if it stays long after its last child.
    fn schedule_goodbye(&mut self, id: TemplateId) {
        let retiring = self
            .templates
            .get(&id)
            .is_some_and(|template| template.phase == Phase::Retiring);
        if retiring && !self.children.values().any(|child| child.template == id) {
            self.goodbyes
                .entry(id)
                .or_insert_with(|| Instant::now() + RETIRE_LIMIT);
        }
    }

    /// The template to fork from, if it is alive.
    fn serving(&self) -> Option<TemplateId> {
        let id = self.current?;
        self.templates.get(&id)?.link.is_open().then_some(id)
    }

    fn exec(&mut self, exec: Exec) -> Result<Arc<Ticket>, Error> {
        if self.closing {
            return Err(Error::Closed);
        }
        let id = self.serving().ok_or(Error::NoTemplate)?;
        self.next += 1;
        let child_id = ChildId(self.next);
        let ticket = Ticket::new(child_id, exec.name);
        let due = Due::Fork {
            by: Instant::now() + FORK_LIMIT,
            limit: exec.timeout,
        };
        let (child, fds) = Running::new(Arc::clone(&ticket), id, exec.mode, exec.call, due)?;
        let fork = ToTemplate::Fork {
            id: child_id,
            role: Role::Child,
            cloudpickle: exec.cloudpickle,
        };
        if let Some(template) = self.templates.get_mut(&id) {
            template.send(&fork, fds);
        }
        self.children.insert(child_id, child);
        Ok(ticket)
    }

    fn stop(&mut self, id: ChildId, grace: Duration) {
        let Some(child) = self.children.get_mut(&id) else {
            return;
        };
        let now = Instant::now();
        let at = now.checked_add(grace).unwrap_or(now + FORK_LIMIT);
        let at = match child.due {
            Due::Kill(earlier) | Due::Gone(earlier) => earlier.min(at),
            Due::Never | Due::Fork { .. } | Due::Limit(..) => at,
        };
        child.due = Due::Kill(at);
        self.signal(id, nix::libc::SIGTERM);
    }

    fn signal(&mut self, id: ChildId, signal: i32) {
        if let Some(template) = self.children.get(&id).map(|child| child.template) {
            self.tell(template, &ToTemplate::Signal { id, signal });
        }
    }

    fn close(&mut self, grace: Duration) {
        self.closing = true;
        self.current = None;
        let children: Vec<ChildId> = self.children.keys().copied().collect();
        for id in children {
            if let Some(child) = self.children.get_mut(&id) {
                if child.cause == Cause::Itself {
                    child.cause = Cause::Closed;
                }
            }
            self.stop(id, grace);
        }
        let templates: Vec<TemplateId> = self.templates.keys().copied().collect();
        for id in templates {
            let starting = self
                .templates
                .get_mut(&id)
                .filter(|template| template.phase == Phase::Starting);
            if let Some(template) = starting {
                // It is busy importing and would not hear.
                template.kill();
            } else {
                self.retire(id);
            }
        }
    }

    fn serve_template(&mut self, id: TemplateId) {
        let Some(template) = self.templates.get_mut(&id) else {
            return;
        };
        template.link.flush();
        let frames = match template.link.read() {
            Ok(frames) => frames,
            Err(error) => {
                let _ = template.events.send(Event::Garbled(error));
                template.kill();
                return;
            }
        };
        for frame in frames {
            match decode::<FromTemplate>(&frame) {
                Ok(message) => self.hear(id, message),
                Err(error) => {
                    if let Some(template) = self.templates.get_mut(&id) {
                        let _ = template.events.send(Event::Garbled(error));
                        template.kill();
                    }
                    return;
                }
            }
        }
    }

    fn hear(&mut self, id: TemplateId, message: FromTemplate) {
        match message {
            FromTemplate::Hello { .. }
            | FromTemplate::Importing { .. }
            | FromTemplate::Imported { .. }
            | FromTemplate::Failed { .. }
            | FromTemplate::Ready { .. } => {
                if let Some(template) = self.templates.get(&id) {
                    // Whoever started it may have been interrupted.
                    let _ = template.events.send(Event::Said(message));
                }
            }
            FromTemplate::Forked { id, pid } => {
                if let Some(child) = self.children.get_mut(&id) {
                    child.forked(pid);
                }
            }
            FromTemplate::ForkFailed { id, error } => {
                self.end(id, None, Cause::ForkFailed(error));
            }
            FromTemplate::Exited { id, status } => self.end(id, Some(status), Cause::Itself),
            FromTemplate::Log { level, message } => {
                let level = level.parse().unwrap_or(log::Level::Info);
                log::log!(level, "{message}");
            }
        }
    }

    fn end(&mut self, id: ChildId, status: Option<i32>, cause: Cause) {
        if let Some(child) = self.children.remove(&id) {
            let template = child.template;
            child.end(status, cause, &self.pump);
            self.schedule_goodbye(template);
        }
    }

    /// A template is dead: hears its last words, and tells its children's waiters.
    fn bury(&mut self, id: TemplateId) {
        self.serve_template(id);
        let Some(mut template) = self.templates.remove(&id) else {
            return;
        };
        self.goodbyes.remove(&id);
        if self.current == Some(id) {
            self.current = None;
        }
        let how = template.reap();
        template.read_output();
        log::debug!("template {} {how}", template.pid());
        let orphans: Vec<ChildId> = self
            .children
            .iter()
            .filter(|(_, child)| child.template == id)
            .map(|(id, _)| *id)
            .collect();
        for orphan in orphans {
            self.end_orphan(orphan, &how);
        }
        let output = template.tail.text();
        let _ = template.events.send(Event::Died { how, output });
    }

    /// The kernel kills the children of a dead template (`PR_SET_PDEATHSIG`); where it can't, the host does.
    fn end_orphan(&mut self, id: ChildId, how: &str) {
        let pid = self.children.get(&id).and_then(|child| child.ticket.pid());
        #[cfg(not(target_os = "linux"))]
        if let Some(pid) = pid {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        let status = pid.map(|_| -nix::libc::SIGKILL);
        self.end(id, status, Cause::TemplateDied(how.to_owned()));
    }

    fn meet_deadlines(&mut self) {
        let now = Instant::now();
        let due: Vec<(ChildId, Due)> = self
            .children
            .iter()
            .filter(|(_, child)| child.due.at().is_some_and(|at| at <= now))
            .map(|(id, child)| (*id, child.due))
            .collect();
        for (id, what) in due {
            self.meet(id, what);
        }
        self.goodbyes.retain(|id, at| {
            if *at <= now {
                if let Some(template) = self.templates.get_mut(id) {
                    log::debug!("template {} did not go by itself", template.pid());
                    template.kill();
                }
            }
            *at > now
        });
    }

    fn meet(&mut self, id: ChildId, what: Due) {
        let Some(child) = self.children.get_mut(&id) else {
            return;
        };
        match what {
            Due::Never => {}
            Due::Fork { .. } | Due::Gone(_) => {
                log::error!("a template does not answer; it is killed");
                child.due = Due::Never;
                if let Some(template) = self.templates.get_mut(&child.template) {
                    template.kill();
                }
            }
            Due::Limit(_, limit) => {
                child.cause = Cause::TimedOut(limit);
                child.due = Due::kill_soon();
                self.signal(id, nix::libc::SIGTERM);
            }
            Due::Kill(_) => {
                child.due = Due::Gone(Instant::now() + RETIRE_LIMIT);
                self.signal(id, nix::libc::SIGKILL);
            }
        }
    }
}
