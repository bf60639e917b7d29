//! How children and templates are brought to an end: stopped, closed, out of time. Hears of no deaths.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::child::Cause;
use super::owner::{Owner, FORK_LIMIT};
use super::running::Due;
use super::template::{Phase, TemplateId};
use crate::protocol::message::ChildId;

/// From the end of the last child to SIGKILL for a template that was told to go; and how long a template may take to
/// tell of the death of a child that was killed.
pub(super) const RETIRE_LIMIT: Duration = Duration::from_secs(5);
/// The same when the environment is closed in a hurry: what works does it in milliseconds.
const LEAST_RETIRE_LIMIT: Duration = Duration::from_secs(1);
/// How long a child that has returned may go on when its environment is closed.
const RETURNED_LIMIT: Duration = Duration::from_secs(1);

impl Owner {
    pub(super) fn stop(&mut self, id: ChildId, grace: Duration) {
        let Some(child) = self.children.get_mut(&id) else {
            return;
        };
        child.cancel();
        if matches!(child.due, Due::Fork { .. }) && !self.closing {
            child.stop_when_forked(grace);
            return;
        }
        let now = Instant::now();
        let at = now.checked_add(grace).unwrap_or(now + FORK_LIMIT);
        child.due = match child.due {
            // It is killed already: the wait for the news of it does not begin again.
            Due::Gone(earlier) => Due::Gone(earlier.min(now + self.patience)),
            Due::Kill(earlier) => Due::Kill(earlier.min(at)),
            Due::Never | Due::Fork { .. } | Due::Limit(..) | Due::Terminate(..) => Due::Kill(at),
        };
        self.signal(id, nix::libc::SIGTERM);
    }

    pub(super) fn close(&mut self, grace: Duration) {
        self.closing = true;
        // However little time the children are given, a template that is suspended does not get more.
        let patience = grace.clamp(LEAST_RETIRE_LIMIT, RETIRE_LIMIT);
        self.patience = self.patience.min(patience);
        let latest = Instant::now() + self.patience;
        for goodbye in self.goodbyes.values_mut() {
            *goodbye = latest.min(*goodbye);
        }
        let children: Vec<ChildId> = self.children.keys().copied().collect();
        for id in children {
            let Some(child) = self.children.get_mut(&id) else {
                continue;
            };
            if child.cause == Cause::Itself {
                child.cause = Cause::Closed;
            }
            if child.returned && matches!(child.due, Due::Never | Due::Limit(..)) {
                // Its exit functions and threads may still run: a cold start would let them.
                child.due = Due::Terminate(Instant::now() + grace.min(RETURNED_LIMIT), grace);
            } else {
                self.stop(id, grace);
            }
        }
        let templates: Vec<TemplateId> = self.templates.keys().copied().collect();
        for id in templates {
            let starting = self
                .templates
                .get(&id)
                .is_some_and(|template| template.phase == Phase::Starting);
            if starting {
                // It is busy importing and would not hear.
                self.kill(id);
            } else {
                self.retire(id);
            }
        }
    }

    /// A retiring template is killed if it stays long after its last child.
    pub(super) fn schedule_goodbye(&mut self, id: TemplateId) {
        let is_alone = !self.children.values().any(|child| child.template == id)
            && self.layers(id).next().is_none();
        if self.is_retiring(id) && is_alone {
            self.goodbyes
                .entry(id)
                .or_insert_with(|| Instant::now() + self.patience);
        }
    }

    fn is_retiring(&self, id: TemplateId) -> bool {
        let template = self.templates.get(&id);
        template.is_some_and(|template| template.phase == Phase::Retiring)
    }

    pub(super) fn meet_deadlines(&mut self) {
        let now = Instant::now();
        self.grow_overdue(now);
        let due: Vec<(ChildId, Due)> = self
            .children
            .iter()
            .filter(|(_, child)| child.due.at().is_some_and(|at| at <= now))
            .map(|(id, child)| (*id, child.due))
            .collect();
        for (id, what) in due {
            self.meet(id, what);
        }
        let all = self.goodbyes.iter();
        let overdue: Vec<TemplateId> = all
            .filter(|(_, at)| **at <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in overdue {
            self.goodbyes.remove(&id);
            let Some(template) = self.templates.get(&id) else {
                continue;
            };
            log::debug!("template {} did not go by itself", template.pid());
            let parent = template.parent();
            self.kill(id);
            // Nobody else can end a layer: if that one is to go and does not hear either, it is killed in its turn.
            if let Some(parent) = parent.filter(|id| self.is_retiring(*id)) {
                let at = now + self.patience;
                self.goodbyes.entry(parent).or_insert(at);
            }
        }
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
                let template = child.template;
                self.kill(template);
            }
            Due::Limit(_, limit) => {
                child.cause = Cause::TimedOut(limit);
                child.due = Due::kill_soon();
                self.signal(id, nix::libc::SIGTERM);
            }
            Due::Terminate(_, grace) => self.stop(id, grace),
            Due::Kill(_) => {
                child.due = Due::Gone(Instant::now() + self.patience);
                self.signal(id, nix::libc::SIGKILL);
            }
        }
    }
}
