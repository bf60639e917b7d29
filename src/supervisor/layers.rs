//! Templates that stand on templates: how one is asked for, killed, and buried with its children. Does not decide when.
#![forbid(unsafe_code)]

use crossbeam_channel::Sender;

use super::child::Cause;
use super::owner::Owner;
use super::template::{Event, Launch, Template, TemplateId};
use crate::error::Error;
use crate::protocol::message::{ChildId, Role, ToTemplate};

impl Owner {
    /// A layer's id is that of the fork it is asked for with: both are counted together.
    pub(super) fn above(
        &mut self,
        parent: TemplateId,
        launch: &Launch,
        setup: Vec<u8>,
        events: Sender<Event>,
    ) -> Result<TemplateId, Error> {
        if self.closing {
            return Err(Error::Closed);
        }
        if !self.is_serving(parent) {
            return Err(Error::NoTemplate);
        }
        let (mut layer, fds) = Template::above(parent, launch, setup, events)?;
        self.next += 1;
        let id = TemplateId(self.next);
        let fork = ToTemplate::Fork {
            id: ChildId(self.next),
            role: Role::Layer,
            cloudpickle: None,
        };
        if let Some(template) = self.templates.get_mut(&parent) {
            template.send(&fork, fds);
        }
        layer.link.flush();
        self.templates.insert(id, layer);
        Ok(id)
    }

    /// Kills a template; a layer through the one below, which alone knows that its pid still names it.
    pub(super) fn kill(&mut self, id: TemplateId) {
        let Some(template) = self.templates.get_mut(&id) else {
            return;
        };
        match template.parent() {
            None => template.kill(),
            Some(parent) => {
                let id = ChildId(id.0);
                let signal = nix::libc::SIGKILL;
                let group = false;
                self.tell(parent, &ToTemplate::Signal { id, signal, group });
            }
        }
    }

    /// A template is dead: hears its last words, and tells its children's waiters.
    pub(super) fn bury(&mut self, id: TemplateId) {
        self.serve_template(id);
        if let Some(template) = self.templates.get_mut(&id) {
            let how = template.reap();
            self.bury_reaped(id, &how);
        }
    }

    /// The same for a layer, of which the template below has told; nothing for anybody else.
    pub(super) fn bury_layer(&mut self, id: TemplateId, how: &str) {
        if self.templates.contains_key(&id) {
            self.serve_template(id);
            self.bury_reaped(id, how);
        }
    }

    fn bury_reaped(&mut self, id: TemplateId, how: &str) {
        let Some(mut template) = self.templates.remove(&id) else {
            return;
        };
        self.goodbyes.remove(&id);
        self.drop_spares(id);
        template.read_output();
        log::debug!("template {} {how}", template.pid());
        let orphans: Vec<ChildId> = self
            .children
            .iter()
            .filter(|(_, child)| child.template == id)
            .map(|(id, _)| *id)
            .collect();
        for orphan in orphans {
            self.end_orphan(orphan, how);
        }
        let above: Vec<TemplateId> = self.layers(id).collect();
        for layer in above {
            self.bury_orphan(layer, how);
        }
        let parent = template.parent();
        let event = if parent.is_some_and(|parent| !self.templates.contains_key(&parent)) {
            Event::Orphaned
        } else {
            let output = template.tail.text();
            let how = how.to_owned();
            Event::Died { how, output }
        };
        let _ = template.events.send(event);
        if let Some(parent) = parent {
            self.schedule_goodbye(parent);
        }
    }

    /// The templates that were forked from one.
    pub(super) fn layers(&self, id: TemplateId) -> impl Iterator<Item = TemplateId> + '_ {
        let all = self.templates.iter();
        all.filter(move |(_, template)| template.parent() == Some(id))
            .map(|(id, _)| *id)
    }

    /// A layer of a dead template: the kernel kills it, or the host does.
    fn bury_orphan(&mut self, id: TemplateId, how: &str) {
        #[cfg(not(target_os = "linux"))]
        if let Some(pid) = self
            .templates
            .get(&id)
            .map(Template::pid)
            .filter(|pid| *pid > 0)
        {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap_or(0));
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        self.bury_layer(id, how);
    }

    /// The kernel kills the children of a dead template (`PR_SET_PDEATHSIG`); where it can't, the host does.
    fn end_orphan(&mut self, id: ChildId, how: &str) {
        let pid = self.children.get(&id).and_then(|child| child.pid);
        #[cfg(not(target_os = "linux"))]
        if let Some(pid) = pid {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        let status = pid.map(|_| -nix::libc::SIGKILL);
        self.end(id, status, Cause::TemplateDied(how.to_owned()));
    }
}
