//! Children that were forked ahead: asked for, handed out, thrown away. Sends no call.
//!
//! A spare is a child that waits on its private socket; what makes it one is that nobody has given it a call. It
//! belongs to the template that it was forked from and goes with it. No deadline is set for one and its socket is not
//! polled: an idle spare wakes nobody. Its death is told by its template, as any child's.
//!
//! Invariant: a call is in one child's hands only. It is moved to another one only when the first, a spare, is dead and
//! the kernel has said that it never read the call whole; see [`Running::is_movable`].
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use super::link::Link;
use super::memory::Memory;
use super::owner::Owner;
use super::running::Running;
use super::template::TemplateId;
use crate::error::Error;
use crate::protocol::message::{ChildId, Role};

/// A child without a call.
#[derive(Debug)]
pub(super) struct Spare {
    template: TemplateId,
    pub(super) link: Link,
    /// None until its template has told of the fork.
    pub(super) pid: Option<i32>,
    /// The template had loaded cloudpickle when it was asked for this one.
    cloudpickle: bool,
}

/// The spares of an environment.
#[derive(Debug)]
pub(super) struct Spares {
    all: BTreeMap<ChildId, Spare>,
    /// How many are kept for each template that is in use.
    count: usize,
    /// Folder of cloudpickle, by the templates that have loaded it.
    cloudpickle: BTreeMap<TemplateId, String>,
    memory: Memory,
    /// When templates are asked for what they lack.
    wanted: BTreeMap<TemplateId, Instant>,
}

/// A call has the machine for itself until it has returned, or for this long: the fork of the next spare would take a
/// core from it, and more from who waits for it where there are few. Then others may want a spare.
const HEAD_START: Duration = Duration::from_millis(10);

impl Spares {
    pub(super) fn new(count: usize) -> Self {
        Self {
            all: BTreeMap::new(),
            count,
            cloudpickle: BTreeMap::new(),
            memory: Memory::default(),
            wanted: BTreeMap::new(),
        }
    }

    /// One that runs, or the next one to be forked: so no request waits for the fork of a spare and for its own.
    fn take(&mut self, template: TemplateId, cloudpickle: bool) -> Option<(ChildId, Spare)> {
        let fits =
            |spare: &Spare| spare.template == template && (spare.cloudpickle || !cloudpickle);
        let mut fitting = self.all.iter().filter(|(_, spare)| fits(spare));
        let id = *fitting.next()?.0;
        self.all.remove(&id).map(|spare| (id, spare))
    }

    fn of(&self, template: TemplateId) -> usize {
        let all = self.all.values();
        all.filter(|spare| spare.template == template).count()
    }

    /// A call was sent: its successor shall find a spare as well.
    pub(super) fn grow_later(&mut self, template: TemplateId) {
        if self.of(template) < self.count {
            let at = Instant::now() + HEAD_START;
            self.wanted.entry(template).or_insert(at);
        }
    }

    /// When the next template has to be asked.
    pub(super) fn due(&self) -> Option<Instant> {
        self.wanted.values().min().copied()
    }

    /// Its template has told of the fork; false for what is no spare.
    pub(super) fn forked(&mut self, id: ChildId, pid: i32) -> bool {
        let Some(spare) = self.all.get_mut(&id) else {
            return false;
        };
        spare.pid = Some(pid);
        let idle = self.all.values().filter(|spare| spare.pid.is_some());
        log::debug!("{} spares idle", idle.count());
        true
    }

    /// It has ended, or never was; false for what is no spare.
    pub(super) fn ended(&mut self, id: ChildId) -> bool {
        self.all.remove(&id).is_some()
    }

    /// Throws away those for which `unwanted` holds. They end by themselves when they see the end of their socket,
    /// which a forked copy of the host can't keep open.
    fn drop_where(&mut self, unwanted: impl Fn(&Spare) -> bool) {
        self.all.retain(|_, spare| {
            let goes = unwanted(spare);
            if goes {
                spare.link.shut();
            }
            !goes
        });
    }
}

impl Owner {
    /// The spares of a template that is forked no more.
    pub(super) fn drop_spares(&mut self, id: TemplateId) {
        self.spares.drop_where(|spare| spare.template == id);
        self.spares.cloudpickle.remove(&id);
        self.spares.wanted.remove(&id);
    }

    /// A template begins to serve. A layer serves in the place of those below.
    pub(super) fn first_spares(&mut self, id: TemplateId) {
        let mut below = self.parent(id);
        while let Some(lower) = below {
            self.spares.drop_where(|spare| spare.template == lower);
            below = self.parent(lower);
        }
        self.grow_spares(id);
    }

    fn parent(&self, id: TemplateId) -> Option<TemplateId> {
        self.templates
            .get(&id)
            .and_then(|template| template.parent())
    }

    /// Asks a template for the spares that it lacks.
    pub(super) fn grow_spares(&mut self, id: TemplateId) {
        if self.spares.count == 0 || self.closing || !self.is_serving(id) {
            return;
        }
        if self.spares.memory.is_short() {
            log::debug!("memory is short: no spares are kept");
            self.spares.drop_where(|_| true);
            return;
        }
        for _ in self.spares.of(id)..self.spares.count {
            if let Err(error) = self.fork_spare(id) {
                log::debug!("no spare is kept: {error}");
                return;
            }
        }
    }

    /// One of its calls has returned.
    pub(super) fn grow_if_wanted(&mut self, id: TemplateId) {
        if self.spares.wanted.remove(&id).is_some() {
            self.grow_spares(id);
        }
    }

    pub(super) fn grow_overdue(&mut self, now: Instant) {
        let wanted = self.spares.wanted.iter();
        let due = wanted.filter(|(_, at)| **at <= now).map(|(id, _)| *id);
        for id in due.collect::<Vec<_>>() {
            self.grow_if_wanted(id);
        }
    }

    fn fork_spare(&mut self, template: TemplateId) -> Result<(), Error> {
        let (link, socket) = Link::pair()?;
        let cloudpickle = self.spares.cloudpickle.get(&template).cloned();
        let spare = Spare {
            template,
            link,
            pid: None,
            cloudpickle: cloudpickle.is_some(),
        };
        let id = self.next_child();
        self.fork(template, id, Role::Spare, cloudpickle, socket);
        self.spares.all.insert(id, spare);
        Ok(())
    }

    /// A spare for a call, if there is one that can serve it.
    pub(super) fn adopt(
        &mut self,
        template: TemplateId,
        cloudpickle: Option<&String>,
    ) -> Option<(ChildId, Spare)> {
        if let Some(folder) = cloudpickle {
            let known = &mut self.spares.cloudpickle;
            known.entry(template).or_insert_with(|| folder.clone());
            // Their successors have it.
            let without = |spare: &Spare| spare.template == template && !spare.cloudpickle;
            self.spares.drop_where(without);
        }
        let found = self.spares.take(template, cloudpickle.is_some());
        if found.is_some() {
            log::debug!("served by a spare");
        }
        found
    }

    /// Whether a template was dead or about to die when this was asked: then its spares are, too, though they may be
    /// there for another moment.
    ///
    /// The race: its death is told when it is over, which takes milliseconds for a large process. A kill before the exec
    /// shows in what the kernel says of it at once; one after the exec takes the call along, as it does all that run.
    pub(super) fn is_dying(&self, id: TemplateId) -> bool {
        let Some(template) = self.templates.get(&id) else {
            return true;
        };
        let stat = fs::read_to_string(format!("/proc/{}/stat", template.pid()));
        let is_going = match stat {
            Ok(stat) => is_going(&stat),
            // A host may reap all of its children by itself. Elsewhere than on Linux, or where /proc is that of others,
            // there is no such file of this process either.
            // Another error is a lack of descriptors.
            Err(error) => {
                error.kind() == ErrorKind::NotFound
                    && template.pid() > 0
                    && Path::new(&format!("/proc/{}/stat", std::process::id())).exists()
            }
        };
        is_going || template.link.is_at_end()
    }

    /// Gives the call of a dead spare to a child that is forked for it.
    ///
    /// # Errors
    /// [`Error::System`]: there are no descriptors left.
    pub(super) fn move_call(&mut self, id: ChildId, dead: &Running) -> Result<(), Error> {
        log::debug!(
            "{} is given to another child: its spare has died",
            dead.ticket.name
        );
        let (link, socket) = Link::pair()?;
        let child = dead.again(link)?;
        let cloudpickle = child.exec.cloudpickle.clone();
        // Its id is free: the template has reaped the one that bore it.
        self.fork(child.template, id, Role::Child, cloudpickle, socket);
        self.children.insert(id, child);
        Ok(())
    }
}

/// Whether a process ends, or has SIGKILL before it, as `/proc/PID/stat` tells.
fn is_going(stat: &str) -> bool {
    const EXITING: u64 = 4;
    const KILLED: u64 = 1 << (nix::libc::SIGKILL - 1);
    // The name before the last parenthesis may hold anything. Flags are field 9, pending signals field 31.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let mut numbers = fields.split_whitespace().skip(6);
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let flags = number(numbers.next());
    let pending = number(numbers.nth(21));
    flags & EXITING != 0 || pending & KILLED != 0
}

#[cfg(test)]
mod tests {
    use super::is_going;

    #[test]
    fn a_process_that_ends_or_is_killed_is_known_by_its_stat() {
        let stat = |flags: u32, pending: u32| {
            format!(
                "77 (a) R b) S 1 77 77 0 -1 {flags} 100 0 0 0 1 2 0 0 20 0 1 0 500 1000 200 \
                 18446744073709551615 1 1 0 0 0 {pending} 0 0 0 0 0 0 17 0 0 0 0 0 0"
            )
        };
        assert!(!is_going(&stat(0x0040_0000, 0)));
        assert!(is_going(&stat(0x0040_0004, 0)), "PF_EXITING");
        assert!(is_going(&stat(0x0040_0000, 256)), "SIGKILL is pending");
        assert!(!is_going(&stat(0x0040_0000, 2)), "SIGINT is blocked there");
        assert!(!is_going(""));
    }
}
