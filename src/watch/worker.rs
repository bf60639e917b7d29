//! The thread that hears of changes, waits for a quiet moment, and tells. Owns the tree and the system's watcher.
//!
//! Two things are kept apart. What users are told is compared with what was there before, and waits for quiet. What a
//! scan is told is every path that was heard of, at once.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use notify::event::Flag;

use super::answers::{Told, Waiting};
use super::changes::Changes;
use super::plan::Plan;
use super::queue::Queue;
use super::source::{Native, Polled};
use super::tree::{Meaning, Refused, Tree, Watch};

/// Changes are told when none has come for so long ...
pub(super) const QUIET: Duration = Duration::from_millis(50);
/// ... or when the first has waited for so long.
const MOST: Duration = Duration::from_secs(1);
/// A watched folder that is gone is looked for so often.
const LOST_PAUSE: Duration = Duration::from_millis(200);
/// Polling: a pause at least, and so many times as long as one look takes.
const POLL_PAUSE: Duration = Duration::from_millis(300);
const POLL_SHARE: u32 = 10;

pub(super) enum Message {
    Event(notify::Result<notify::Event>),
    /// Tell this one from now on. Answered when all that was done before has been heard of.
    Subscribe(Arc<Queue>, Sender<()>),
    /// What a scan has to look at.
    Ask(Sender<Told>),
    /// The answer to the last question was of no use.
    Doubt,
    Follow(Plan),
    Close,
}

pub(super) enum Source {
    Native(Native),
    Polled { next: Instant, none: Polled },
}

/// When the changes that wait have come.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) first: Instant,
    pub(super) last: Instant,
}

/// One watch, and what it has not been told yet.
pub(super) struct Reader {
    pub(super) queue: Weak<Queue>,
    pub(super) pending: Changes,
}

pub(super) struct Worker {
    pub(super) source: Source,
    pub(super) tree: Tree,
    pub(super) window: Option<Window>,
    /// While git holds its lock: when to look again.
    pub(super) held_until: Option<Instant>,
    pub(super) readers: Vec<Reader>,
    /// Since the last question.
    pub(super) heard: BTreeSet<PathBuf>,
    pub(super) is_in_doubt: bool,
    /// Those who wait for the marker that is on its way, and when it is given up; those who wait for the next.
    pub(super) marked: Option<(Vec<Waiting>, Instant)>,
    pub(super) unmarked: Vec<Waiting>,
    pub(super) lost_next: Option<Instant>,
    /// A lock that was waited for in vain.
    pub(super) given_up: Option<(u64, Option<SystemTime>)>,
}

impl Worker {
    /// Watches what is planned; polls where the system can't tell.
    pub(super) fn start(messages: &Sender<Message>, plan: Plan, must_poll: bool) -> Self {
        let source = if must_poll {
            Err("polling was asked for".to_owned())
        } else {
            Native::start(messages)
        };
        let (source, reason) = match source {
            Ok(native) => (Source::Native(native), None),
            Err(reason) => (Source::polled(), Some(reason)),
        };
        let mut worker = Self {
            source,
            tree: Tree::default(),
            window: None,
            held_until: None,
            readers: Vec::new(),
            heard: BTreeSet::new(),
            // The first scan has to come.
            is_in_doubt: true,
            marked: None,
            unmarked: Vec::new(),
            lost_next: None,
            given_up: None,
        };
        match reason {
            Some(reason) if must_poll => log::info!("watching by polling: {reason}"),
            Some(reason) => tell_polling(&reason),
            None => {}
        }
        worker.follow(plan);
        worker
    }

    /// Works until it is told to close, or nobody can tell it anything any more.
    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        loop {
            let message = match self.next_wake() {
                Some(at) => match messages.recv_deadline(at) {
                    Ok(message) => Some(message),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => break,
                },
                None => match messages.recv() {
                    Ok(message) => Some(message),
                    Err(_) => break,
                },
            };
            match message {
                Some(Message::Event(event)) => self.hear(event),
                Some(Message::Subscribe(queue, answer)) => {
                    self.wait_for_mark(Waiting::Reader(queue, answer));
                }
                Some(Message::Ask(answer)) => self.wait_for_mark(Waiting::Scan(answer)),
                Some(Message::Doubt) => self.is_in_doubt = true,
                Some(Message::Follow(plan)) => self.follow(plan),
                Some(Message::Close) => break,
                None => {}
            }
            self.work(Instant::now());
        }
        for queue in self
            .readers
            .iter()
            .filter_map(|reader| reader.queue.upgrade())
        {
            queue.end();
        }
        let waiting = self
            .marked
            .take()
            .map(|(waiting, _)| waiting)
            .into_iter()
            .flatten();
        for each in waiting.chain(std::mem::take(&mut self.unmarked)) {
            if let Waiting::Reader(queue, _) = each {
                queue.end();
            }
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let polled = match self.source {
            Source::Polled { next, .. } => Some(next),
            Source::Native(_) => None,
        };
        let marked = self.marked.as_ref().map(|(_, at)| *at);
        let quiet = self
            .window
            .map(|window| (window.last + QUIET).min(window.first + MOST));
        let quiet = quiet.max(self.held_until);
        [polled, marked, quiet, self.lost_next]
            .into_iter()
            .flatten()
            .min()
    }

    /// What has come due.
    fn work(&mut self, now: Instant) {
        if matches!(&self.source, Source::Polled { next, .. } if *next <= now) {
            self.look_at_all();
        }
        if matches!(&self.marked, Some((_, at)) if *at <= now) {
            log::debug!("the system did not tell in time what has changed");
            self.is_in_doubt = true;
            if let Source::Native(native) = &mut self.source {
                native.renew_marker();
            }
            self.answer();
        }
        if self.lost_next.is_some_and(|at| at <= now) {
            self.lost_next = None;
            self.is_in_doubt = true;
            self.with_tree(|tree, source| tree.find_lost(source.watch()));
            self.settle();
        }
        if self.lost_next.is_none() && self.tree.has_lost() {
            self.lost_next = Some(now + LOST_PAUSE);
        }
        if let Some(window) = self.window {
            let is_due = now >= window.last + QUIET || now >= window.first + MOST;
            if is_due && self.held_until.is_none_or(|at| at <= now) {
                if self.is_held(window, now) {
                    self.held_until = Some(now + QUIET);
                } else {
                    self.publish();
                }
            }
        }
    }

    fn hear(&mut self, event: notify::Result<notify::Event>) {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                log::debug!("watching: {error}");
                return self.look_at_all();
            }
        };
        if event.flag() == Some(Flag::Rescan) {
            log::debug!("more has changed than the system can tell: everything is looked at");
            if let (Some(_), Source::Native(native)) = (&self.marked, &mut self.source) {
                // The marker may be among what was lost.
                native.renew_marker();
                native.mark();
            }
            return self.look_at_all();
        }
        for path in event.paths {
            if matches!(&self.source, Source::Native(native) if native.is_mark(&path)) {
                self.answer();
            } else {
                self.note(&path);
            }
        }
    }

    fn note(&mut self, path: &Path) {
        let named;
        let path = if cfg!(target_os = "macos") {
            named = self.tree.name_of(path.to_owned());
            &named
        } else {
            path
        };
        let mut meaning = Meaning::default();
        self.with_tree(|tree, source| {
            meaning = tree.note(path, source.watch())?;
            Ok(())
        });
        if meaning.concerns_scan {
            self.heard.insert(path.to_owned());
        }
        if meaning.is_change {
            self.open_window();
        }
    }

    fn open_window(&mut self) {
        let now = Instant::now();
        let first = self.window.map_or(now, |window| window.first);
        self.window = Some(Window { first, last: now });
    }

    /// Nobody knows what has changed.
    pub(super) fn look_at_all(&mut self) {
        let began = Instant::now();
        self.is_in_doubt = true;
        self.with_tree(|tree, source| tree.look_at_all(source.watch()));
        self.settle();
        if let Source::Polled { next, .. } = &mut self.source {
            *next = Instant::now() + POLL_PAUSE.max(began.elapsed() * POLL_SHARE);
        }
    }

    /// Compares what was heard of with what was there.
    pub(super) fn settle(&mut self) {
        let changes = self.tree.settle();
        for reader in &mut self.readers {
            reader.pending.merge(&changes);
        }
        if !changes.is_empty() {
            self.open_window();
        }
    }

    fn follow(&mut self, plan: Plan) {
        // What waits must not be taken for what was there when a folder came under watch.
        self.settle();
        let mut is_new = false;
        self.with_tree(|tree, source| {
            is_new = tree.follow(plan, source.watch())?;
            Ok(())
        });
        // It was scanned before it was watched: what changed in between is not known.
        self.is_in_doubt |= is_new;
    }

    /// From the first refusal on, everything is polled.
    fn with_tree(&mut self, ask: impl FnOnce(&mut Tree, &mut Source) -> Result<(), Refused>) {
        let reason = match ask(&mut self.tree, &mut self.source) {
            Ok(()) | Err(Refused::Folder) => return,
            Err(Refused::System(reason)) => reason,
        };
        tell_polling(&reason);
        self.is_in_doubt = true;
        self.source = Source::polled();
        // Nothing is refused any more.
        let _ = self.tree.look_at_all(&mut Polled);
        self.answer();
    }

    pub(super) fn publish(&mut self) {
        self.settle();
        self.window = None;
        self.held_until = None;
        self.readers.retain_mut(|reader| {
            let Some(queue) = reader.queue.upgrade() else {
                return false;
            };
            if !reader.pending.is_empty() {
                queue.add(&std::mem::take(&mut reader.pending));
            }
            true
        });
    }
}

impl Source {
    fn polled() -> Self {
        Self::Polled {
            next: Instant::now() + POLL_PAUSE,
            none: Polled,
        }
    }

    fn watch(&mut self) -> &mut dyn Watch {
        match self {
            Self::Native(native) => native,
            Self::Polled { none, .. } => none,
        }
    }
}

fn tell_polling(reason: &str) {
    log::warn!("watching by polling, which is slower: {reason}");
}
