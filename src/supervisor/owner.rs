//! The dispatcher's thread: owns every template, child, socket and pipe of an environment.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::child::{Cause, Heard, Ticket};
use super::dispatcher::{Command, Dispatcher, Exec};
use super::endings::RETIRE_LIMIT;
use super::link::{Link, Wakeups};
use super::pump::PumpSender;
use super::readiness::{Readiness, Slot};
use super::running::{Leftover, Running};
use super::spares::Spares;
use super::template::{describe_status, watch, Event, Launch, Phase, Template, TemplateId};
use crate::error::Error;
use crate::protocol::message::{decode, ChildId, FromTemplate, Role, ToTemplate};

/// A fork takes milliseconds; a template that has not forked after this is stuck in a fork handler.
pub(super) const FORK_LIMIT: Duration = Duration::from_secs(30);

/// All that the thread owns.
pub(super) struct Owner {
    handle: Dispatcher,
    pump: PumpSender,
    /// For what children import themselves, where anybody wants to know.
    ears: Option<Sender<Heard>>,
    pub(super) templates: BTreeMap<TemplateId, Template>,
    pub(super) children: BTreeMap<ChildId, Running>,
    leftovers: BTreeMap<ChildId, Leftover>,
    /// When a template that was told to go is killed.
    pub(super) goodbyes: BTreeMap<TemplateId, Instant>,
    /// How long a template may take to go, or to tell of a death.
    pub(super) patience: Duration,
    pub(super) spares: Spares,
    pub(super) next: u64,
    pub(super) closing: bool,
}

impl Owner {
    pub(super) fn new(
        handle: Dispatcher,
        pump: PumpSender,
        ears: Option<Sender<Heard>>,
        spares: usize,
    ) -> Self {
        Self {
            handle,
            pump,
            ears,
            templates: BTreeMap::new(),
            children: BTreeMap::new(),
            leftovers: BTreeMap::new(),
            goodbyes: BTreeMap::new(),
            patience: RETIRE_LIMIT,
            spares: Spares::new(spares),
            next: 0,
            closing: false,
        }
    }

    /// Serves until it was told to close and everything has ended.
    pub(super) fn run(mut self, requests: &Receiver<Command>, mut wakeups: Wakeups) {
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
                            let template = child.template;
                            if !child.read_reply(&self.pump) {
                                self.stop(id, Duration::ZERO);
                            } else if child.returned {
                                self.grow_if_wanted(template);
                            }
                        }
                    }
                    Slot::ChildOutput(id) => {
                        if let Some(child) = self.children.get_mut(&id) {
                            child.read_output(&self.pump, false);
                        } else if let Some(leftover) = self.leftovers.get_mut(&id) {
                            if !leftover.read(&self.pump) {
                                self.leftovers.remove(&id);
                            }
                        }
                    }
                }
            }
            for command in requests.try_iter() {
                self.obey(command);
            }
            self.meet_deadlines();
        }
        self.handle.let_go();
    }

    /// Sleeps until something can be read or written, a deadline is due, or a command has come.
    fn wait(&self, wakeups: &Wakeups) -> Vec<Slot> {
        let mut readiness = Readiness::new(wakeups);
        for (id, template) in &self.templates {
            readiness.link(Slot::Template(*id), &template.link);
            readiness.pipe(Slot::TemplateOutput(*id), &template.output);
        }
        for (id, child) in &self.children {
            readiness.link(Slot::Child(*id), &child.link);
            if child.is_read(&self.pump) {
                for pipe in &child.pipes {
                    readiness.pipe(Slot::ChildOutput(*id), pipe);
                }
            }
        }
        if !self.pump.is_full() {
            for (id, leftover) in &self.leftovers {
                for pipe in &leftover.pipes {
                    readiness.pipe(Slot::ChildOutput(*id), pipe);
                }
            }
        }
        let children = self.children.values().filter_map(|child| child.due.at());
        let templates = self.goodbyes.values().copied();
        readiness.wait(children.chain(templates).chain(self.spares.due()).min())
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Spawn {
                launch,
                setup,
                events,
                answer,
            } => {
                let _ = answer.send(self.spawn(&launch, setup, events));
            }
            Command::Above {
                parent,
                launch,
                setup,
                events,
                answer,
            } => {
                let _ = answer.send(self.above(parent, &launch, setup, events));
            }
            Command::Preload { id, imports, trial } => {
                self.tell(id, &ToTemplate::Preload { imports, trial });
            }
            Command::Serve(id) => {
                if let Some(template) = self.templates.get_mut(&id) {
                    template.phase = Phase::Serving;
                }
                self.first_spares(id);
            }
            Command::IsServing { id, answer } => {
                let _ = answer.send(self.is_serving(id));
            }
            Command::Retire(id) => self.retire(id),
            Command::Abandon(id) => self.kill(id),
            Command::Exec { exec, answer } => {
                let template = exec.template;
                let ticket = self.exec(exec);
                let id = ticket.as_ref().ok().map(|ticket| ticket.id);
                let _ = answer.send(ticket);
                // While the caller looks at the disk.
                let is_dying = self.is_dying(template);
                if let Some(child) = id.and_then(|id| self.children.get_mut(&id)) {
                    child.is_orphan = is_dying;
                }
            }
            Command::Stop { id, grace } => self.stop(id, grace),
            Command::Signal { id, signal } => self.signal(id, signal),
            Command::Release(id) => {
                if let Some(child) = self.children.get_mut(&id) {
                    // Its call is not sent then: the news of the template's death is on its way, and the next one has it.
                    if child.is_orphan {
                        return;
                    }
                    child.release();
                    let template = child.template;
                    self.spares.grow_later(template);
                }
            }
            Command::Died(id) => self.bury(id),
            Command::Close { grace } => self.close(grace),
        }
    }

    pub(super) fn tell(&mut self, id: TemplateId, message: &ToTemplate) {
        if let Some(template) = self.templates.get_mut(&id) {
            template.send(message, Vec::new());
        }
    }

    fn spawn(
        &mut self,
        launch: &Launch,
        setup: Vec<u8>,
        events: Sender<Event>,
    ) -> Result<TemplateId, Error> {
        if self.closing {
            return Err(Error::Closed);
        }
        let mut template = Template::spawn(launch, setup, events)?;
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

    pub(super) fn retire(&mut self, id: TemplateId) {
        let Some(template) = self.templates.get_mut(&id) else {
            return;
        };
        log::debug!("template {} retires", template.pid());
        template.phase = Phase::Retiring;
        self.drop_spares(id);
        self.tell(id, &ToTemplate::Retire {});
        self.schedule_goodbye(id);
    }

    pub(super) fn is_serving(&self, id: TemplateId) -> bool {
        self.templates
            .get(&id)
            .is_some_and(|template| template.phase == Phase::Serving && template.link.is_open())
    }

    fn exec(&mut self, exec: Exec) -> Result<Arc<Ticket>, Error> {
        if self.closing {
            return Err(Error::Closed);
        }
        let id = exec.template;
        if !self.is_serving(id) {
            return Err(Error::NoTemplate);
        }
        let cloudpickle = exec.cloudpickle.clone();
        let name = exec.name.clone();
        let Some((child_id, spare)) = self.adopt(id, cloudpickle.as_ref()) else {
            let (link, socket) = Link::pair()?;
            let child_id = self.next_child();
            let ticket = Ticket::new(child_id, name);
            let child = Running::new(Arc::clone(&ticket), exec, link, false, self.ears.clone())?;
            self.fork(id, child_id, Role::Child, cloudpickle, socket);
            self.children.insert(child_id, child);
            return Ok(ticket);
        };
        let ticket = Ticket::new(child_id, name);
        let mut child = Running::new(
            Arc::clone(&ticket),
            exec,
            spare.link,
            true,
            self.ears.clone(),
        )?;
        if let Some(pid) = spare.pid {
            child.forked(pid);
        }
        self.children.insert(child_id, child);
        Ok(ticket)
    }

    pub(super) fn next_child(&mut self) -> ChildId {
        self.next += 1;
        ChildId(self.next)
    }

    pub(super) fn fork(
        &mut self,
        template: TemplateId,
        id: ChildId,
        role: Role,
        cloudpickle: Option<String>,
        socket: OwnedFd,
    ) {
        let fork = ToTemplate::Fork {
            id,
            role,
            cloudpickle,
        };
        if let Some(template) = self.templates.get_mut(&template) {
            template.send(&fork, vec![socket]);
        }
    }

    pub(super) fn signal(&mut self, id: ChildId, signal: i32) {
        if let Some(child) = self.children.get(&id) {
            let template = child.template;
            let group = child.leads_group();
            self.tell(template, &ToTemplate::Signal { id, signal, group });
        }
    }

    pub(super) fn serve_template(&mut self, id: TemplateId) {
        let Some(template) = self.templates.get_mut(&id) else {
            return;
        };
        template.link.flush();
        let frames = match template.link.read() {
            Ok(frames) => frames,
            Err(error) => {
                let _ = template.events.send(Event::Garbled(error));
                self.kill(id);
                return;
            }
        };
        for frame in frames {
            match decode::<FromTemplate>(&frame) {
                Ok(message) => self.hear(id, message, frame.body),
                Err(error) => {
                    if let Some(template) = self.templates.get_mut(&id) {
                        let _ = template.events.send(Event::Garbled(error));
                    }
                    self.kill(id);
                    return;
                }
            }
        }
    }

    fn hear(&mut self, id: TemplateId, message: FromTemplate, body: Vec<u8>) {
        match message {
            FromTemplate::Hello { .. }
            | FromTemplate::Importing { .. }
            | FromTemplate::Imported { .. }
            | FromTemplate::Failed { .. }
            | FromTemplate::Ready { .. } => {
                if let Some(template) = self.templates.get(&id) {
                    // Whoever started it may have been interrupted.
                    let _ = template.events.send(Event::Said(message, body));
                }
            }
            FromTemplate::Forked { id, pid } => {
                if let Some(layer) = self.templates.get_mut(&TemplateId(id.0)) {
                    layer.set_pid(pid);
                    log::debug!("layer {pid} started");
                }
                if self.spares.forked(id, pid) {
                    return;
                }
                let unwanted = match self.children.get_mut(&id) {
                    Some(child) => child.forked(pid),
                    None => None,
                };
                if let Some(grace) = unwanted {
                    self.stop(id, grace);
                }
            }
            FromTemplate::ForkFailed { id, error } => {
                self.bury_layer(TemplateId(id.0), &format!("could not be forked: {error}"));
                if !self.spares.ended(id) {
                    self.end(id, None, Cause::ForkFailed(error));
                }
            }
            FromTemplate::Exited { id, status } => {
                self.bury_layer(TemplateId(id.0), &describe_status(status));
                if !self.spares.ended(id) {
                    self.end(id, Some(status), Cause::Itself);
                }
            }
            FromTemplate::Log { level, message } => {
                let level = level.parse().unwrap_or(log::Level::Info);
                log::log!(level, "{message}");
            }
        }
    }

    pub(super) fn end(&mut self, id: ChildId, status: Option<i32>, mut cause: Cause) {
        if let Some(mut child) = self.children.remove(&id) {
            let may_move = !self.closing && self.is_serving(child.template);
            if may_move && cause == Cause::Itself && child.is_movable(&self.pump) {
                match self.move_call(id, &child) {
                    Ok(()) => return,
                    Err(error) => cause = Cause::ForkFailed(error.to_string()),
                }
            }
            let template = child.template;
            if let Some(leftover) = child.end(status, cause, &self.pump) {
                self.leftovers.insert(id, leftover);
            }
            self.schedule_goodbye(template);
            self.grow_if_wanted(template);
        }
    }
}
