//! What the dispatcher sleeps on, and what woke it. Reads and writes nothing.
#![forbid(unsafe_code)]

use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

use super::link::{Link, Wakeups};
use super::output::Pipe;
use super::template::TemplateId;
use crate::protocol::message::ChildId;

/// What one entry of the `poll` table stands for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Slot {
    Wakeups,
    Template(TemplateId),
    TemplateOutput(TemplateId),
    Child(ChildId),
    ChildOutput(ChildId),
}

/// A table for one `poll`.
#[derive(Debug)]
pub(super) struct Readiness<'a> {
    slots: Vec<Slot>,
    fds: Vec<PollFd<'a>>,
}

impl<'a> Readiness<'a> {
    pub(super) fn new(wakeups: &'a Wakeups) -> Self {
        Self {
            slots: vec![Slot::Wakeups],
            fds: vec![PollFd::new(wakeups.as_fd(), PollFlags::POLLIN)],
        }
    }

    pub(super) fn link(&mut self, slot: Slot, link: &'a Link) {
        if !link.is_open() {
            return;
        }
        let mut events = PollFlags::POLLIN;
        events.set(PollFlags::POLLOUT, link.wants_to_write());
        self.slots.push(slot);
        self.fds.push(PollFd::new(link.as_fd(), events));
    }

    pub(super) fn pipe(&mut self, slot: Slot, pipe: &'a Pipe) {
        if pipe.is_open() {
            self.slots.push(slot);
            self.fds.push(PollFd::new(pipe.as_fd(), PollFlags::POLLIN));
        }
    }

    /// Sleeps until something is ready, or until `deadline`.
    pub(super) fn wait(mut self, deadline: Option<Instant>) -> Vec<Slot> {
        match poll(&mut self.fds, patience(deadline)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => {
                // The kernel has no memory for its own table, or the table is longer than the limit of descriptors, which
                // may have been lowered: nothing here blocks, so everything is looked at, but not in a spin.
                log::error!("could not wait for events: {error}");
                thread::sleep(Duration::from_millis(50));
                return self.slots;
            }
        }
        self.slots
            .into_iter()
            .zip(&self.fds)
            .filter(|(_, fd)| fd.any() == Some(true))
            .map(|(slot, _)| slot)
            .collect()
    }
}

fn patience(deadline: Option<Instant>) -> PollTimeout {
    let Some(deadline) = deadline else {
        return PollTimeout::NONE;
    };
    // Rounded up: waking a moment early would spin.
    let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
}
