//! When the worker answers those who have to know of everything that was done before, and when it has to hold changes
//! back. Hears of no event itself.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::changes::Changes;
use super::queue::Queue;
use super::worker::{Reader, Source, Window, Worker};

/// A lock of git holds them back while changes come, and so long after the last: one that a crash has left must not
/// hold for ever.
const LOCK_QUIET: Duration = Duration::from_secs(2);
const LOCK_MOST: Duration = Duration::from_secs(30);
/// How long the system may take to tell of the marker.
const MARK_LIMIT: Duration = Duration::from_secs(2);

/// What a scan has to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Nothing else has changed since the last question.
    Changed(BTreeSet<PathBuf>),
    /// Anything may have.
    Anything,
}

/// Who waits until all that was done before has been heard of.
pub(super) enum Waiting {
    Scan(Sender<Told>),
    Reader(Arc<Queue>, Sender<()>),
}

impl Worker {
    pub(super) fn wait_for_mark(&mut self, waiting: Waiting) {
        self.unmarked.push(waiting);
        self.mark();
    }

    /// Sends a marker on its way, unless one is: that one is older than the question.
    fn mark(&mut self) {
        if self.marked.is_some() || self.unmarked.is_empty() {
            return;
        }
        let is_sent = match &mut self.source {
            Source::Native(native) => native.mark(),
            Source::Polled { .. } => {
                // A new reader is told of what comes after this.
                self.tree_as_it_is();
                false
            }
        };
        let waiting = std::mem::take(&mut self.unmarked);
        self.marked = Some((waiting, Instant::now() + MARK_LIMIT));
        if !is_sent {
            self.is_in_doubt = true;
            self.answer();
        }
    }

    fn tree_as_it_is(&mut self) {
        if self
            .unmarked
            .iter()
            .any(|each| matches!(each, Waiting::Reader(..)))
        {
            self.look_at_all();
        }
    }

    /// All that was done before the questions has been heard of.
    pub(super) fn answer(&mut self) {
        let Some((waiting, _)) = self.marked.take() else {
            return;
        };
        for each in waiting {
            match each {
                Waiting::Scan(answer) => {
                    let told = self.told();
                    // Who has asked may be gone; then the next scan needs to look at everything.
                    self.is_in_doubt = answer.send(told).is_err();
                }
                Waiting::Reader(queue, answer) => {
                    // What was before is no change to the new one.
                    self.settle();
                    self.readers.push(Reader {
                        queue: Arc::downgrade(&queue),
                        pending: Changes::default(),
                    });
                    let _ = answer.send(());
                }
            }
        }
        self.mark();
    }

    fn told(&mut self) -> Told {
        let mut heard = std::mem::take(&mut self.heard);
        if !self.tree.is_anchored() {
            self.look_at_all();
        }
        if self.is_in_doubt {
            return Told::Anything;
        }
        heard.extend(self.tree.strays().iter().cloned());
        Told::Changed(heard)
    }

    /// Whether git is in the middle of writing files.
    pub(super) fn is_held(&mut self, window: Window, now: Instant) -> bool {
        let mut locks = self.tree.locks().iter();
        let Some(found) = locks.find_map(|lock| fs::metadata(lock).ok()) else {
            self.given_up = None;
            return false;
        };
        let lock = Some((found.ino(), found.created().ok()));
        if self.given_up == lock {
            return false;
        }
        if now < window.last + LOCK_QUIET && now < window.first + LOCK_MOST {
            return true;
        }
        self.given_up = lock;
        false
    }
}
