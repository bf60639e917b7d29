//! The way of shown output from the dispatcher to the one Python thread that writes it. Writes nothing itself.
//!
//! Invariant: for a child of whom output was shown, its output and its settlements take the same channel, and a
//! settlement is carried out by the pump after it has written what lies before it. So `result()` never returns
//! before the output that was written before the return.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::child::{End, Reply, Ticket};
use super::link::Waker;
use super::output::Stream;

/// Shown output that waits for the pump; above it, pipes are left to fill, which slows their writers down.
pub(super) const BACKLOG: usize = 8 << 20;

/// What the pump's thread has to do in Python.
#[derive(Debug)]
pub enum Task {
    /// Write these whole lines, each with the child's name before it.
    Write {
        /// Whose.
        ticket: Arc<Ticket>,
        /// Where to.
        stream: Stream,
        /// Lines, each ending in a newline.
        lines: Vec<u8>,
    },
    /// Tell those who asked about this child.
    Notify(Arc<Ticket>),
}

#[derive(Debug)]
pub(super) enum Settlement {
    Reply(Reply),
    End(End),
}

#[derive(Debug)]
enum Item {
    Task(Task),
    Settle(Arc<Ticket>, Settlement),
}

/// The dispatcher's end.
#[derive(Debug)]
pub(super) struct PumpSender {
    items: Sender<Item>,
    backlog: Arc<AtomicUsize>,
}

/// The pump's end.
#[derive(Debug, Clone)]
pub struct Pump {
    items: Receiver<Item>,
    backlog: Arc<AtomicUsize>,
    waker: Arc<Waker>,
}

pub(super) fn channel(waker: Arc<Waker>) -> (PumpSender, Pump) {
    let (sender, receiver) = crossbeam_channel::unbounded();
    let backlog = Arc::new(AtomicUsize::new(0));
    let sender = PumpSender {
        items: sender,
        backlog: Arc::clone(&backlog),
    };
    let pump = Pump {
        items: receiver,
        backlog,
        waker,
    };
    (sender, pump)
}

impl PumpSender {
    pub(super) fn write(&self, ticket: &Arc<Ticket>, stream: Stream, lines: Vec<u8>) {
        if lines.is_empty() {
            return;
        }
        self.backlog.fetch_add(lines.len(), Ordering::Relaxed);
        let ticket = Arc::clone(ticket);
        self.send(Item::Task(Task::Write {
            ticket,
            stream,
            lines,
        }));
    }

    /// Settles a ticket: behind its output when some was shown, at once when none was.
    pub(super) fn settle(&self, ticket: &Arc<Ticket>, settlement: Settlement, shown: bool) {
        if shown {
            self.send(Item::Settle(Arc::clone(ticket), settlement));
        } else if settlement.carry_out(ticket) {
            self.send(Item::Task(Task::Notify(Arc::clone(ticket))));
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.backlog.load(Ordering::Relaxed) > BACKLOG
    }

    fn send(&self, item: Item) {
        // No receiver: the interpreter is going down, and nobody is left to show it to.
        let _ = self.items.send(item);
    }
}

impl Settlement {
    fn carry_out(self, ticket: &Ticket) -> bool {
        match self {
            Self::Reply(reply) => ticket.set_reply(reply),
            Self::End(end) => ticket.set_end(end),
        }
    }
}

impl Pump {
    /// Waits for the next task; `None` when the dispatcher has ended. Asking for the next says that the last is done.
    pub fn next(&self) -> Option<Task> {
        loop {
            match self.items.recv().ok()? {
                Item::Task(task) => {
                    if let Task::Write { lines, .. } = &task {
                        let before = self.backlog.fetch_sub(lines.len(), Ordering::Relaxed);
                        if before > BACKLOG && before - lines.len() <= BACKLOG {
                            self.waker.wake();
                        }
                    }
                    return Some(task);
                }
                Item::Settle(ticket, settlement) => {
                    if settlement.carry_out(&ticket) {
                        return Some(Task::Notify(ticket));
                    }
                }
            }
        }
    }
}
