//! What changes on disk below the folders that a scan covers. Scans nothing, and starts no process.
//!
//! ```text
//! inotify --notify--> worker --note--> tree --50 ms of quiet--> a set of changes for each watch
//!                        \--every path that was heard of--> what the next scan has to look at
//! ```
//!
//! One thread per environment (`worker`) owns everything. Watches wait on a queue of their own (`queue`). Where the
//! system can't tell of changes, the worker looks at all files again and again.
//!
//! Invariant for scans: what [`Watcher::ask`] returns holds every path at which an edit was finished before it was
//! called, since it was called last, or it is [`Told::Anything`], upon which the scan has to look at everything.
//!
//! The race: the thread of `notify` delivers late, so that the answer must not be what has been heard of by then. A
//! marker is sent through the same queue (`source`), and the answer waits for it.
#![forbid(unsafe_code)]

mod answers;
mod changes;
mod entering;
mod names;
mod plan;
mod queue;
mod rules;
mod seeing;
mod source;
mod tree;
mod worker;

#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, unbounded, Receiver, RecvTimeoutError, Sender};

pub use self::answers::Told;
pub use self::changes::Changes;
pub use self::plan::Plan;
pub use self::queue::Next;
use self::queue::Queue;
use self::worker::{Message, Worker};
use crate::error::Error;

/// Whoever waits looks after its signals this often.
const ATTENTION: Duration = Duration::from_millis(100);

/// One environment's watcher. Dropped, it closes.
#[derive(Debug)]
pub struct Watcher {
    messages: Sender<Message>,
    done: Receiver<()>,
    owner: u32,
}

impl Watcher {
    /// Starts the thread; what is planned is watched before the next question is answered.
    ///
    /// # Errors
    /// [`Error::System`] when there are no threads left.
    pub fn start(plan: Plan, must_poll: bool) -> Result<Self, Error> {
        let (messages, inbox) = unbounded();
        let (finished, done) = bounded::<()>(0);
        let own = messages.clone();
        thread::Builder::new()
            .name("firehot-watch".to_owned())
            .spawn(move || {
                let worker = Worker::start(&own, plan, must_poll);
                drop(own);
                worker.run(&inbox);
                drop(finished);
            })
            .map_err(Error::system("start a thread"))?;
        Ok(Self {
            messages,
            done,
            owner: std::process::id(),
        })
    }

    /// Watches something else, before the next question is answered.
    pub fn follow(&self, plan: Plan) {
        // Closed: nobody will ask again.
        let _ = self.send(Message::Follow(plan));
    }

    /// What a scan has to look at. Everything that was heard of is forgotten with it.
    ///
    /// # Errors
    /// [`Error::Interrupted`], [`Error::Closed`].
    pub fn ask(&self, attend: &mut dyn FnMut() -> Result<(), Error>) -> Result<Told, Error> {
        let (answer, told) = bounded(1);
        self.send(Message::Ask(answer))?;
        wait_for(&told, attend).inspect_err(|_| self.doubt())
    }

    /// What was told last has come to nothing: the next scan has to look at everything.
    pub fn doubt(&self) {
        // Closed: nobody will ask again.
        let _ = self.send(Message::Doubt);
    }

    /// A new watch. It is told of all that happens after this returns.
    ///
    /// # Errors
    /// [`Error::Interrupted`], [`Error::Closed`].
    pub fn subscribe(&self, attend: &mut dyn FnMut() -> Result<(), Error>) -> Result<Watch, Error> {
        self.subscribe_queue(Queue::default(), attend)
    }

    /// The same for a thread that waits for other things as well: `listener` is told when there is something to take.
    ///
    /// # Errors
    /// [`Error::Interrupted`], [`Error::Closed`].
    pub fn subscribe_telling(
        &self,
        listener: Sender<()>,
        attend: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<Watch, Error> {
        self.subscribe_queue(Queue::telling(listener), attend)
    }

    fn subscribe_queue(
        &self,
        queue: Queue,
        attend: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<Watch, Error> {
        let queue = Arc::new(queue);
        let (answer, done) = bounded(1);
        self.send(Message::Subscribe(Arc::clone(&queue), answer))?;
        wait_for(&done, attend)?;
        Ok(Watch {
            queue,
            owner: self.owner,
        })
    }

    /// Ends all watches. Does not wait.
    pub fn close(&self) {
        // Closed already is what was wanted.
        let _ = self.send(Message::Close);
    }

    /// Waits until the threads have ended and everything is given back, at most `limit`.
    #[must_use]
    pub fn is_done(&self, limit: Duration) -> bool {
        matches!(
            self.done.recv_timeout(limit),
            Err(RecvTimeoutError::Disconnected)
        )
    }

    fn send(&self, message: Message) -> Result<(), Error> {
        self.messages.send(message).map_err(|_| Error::Closed)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // A forked copy has no thread to tell, and must not speak to that of its parent.
        if std::process::id() == self.owner {
            self.close();
        }
    }
}

/// What one reader is told.
#[derive(Debug)]
pub struct Watch {
    queue: Arc<Queue>,
    owner: u32,
}

impl Watch {
    /// Waits for changes, at most `limit`.
    ///
    /// # Errors
    /// [`Error::Interrupted`], [`Error::Forked`].
    pub fn next(
        &self,
        limit: Option<Duration>,
        attend: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<Next, Error> {
        self.check_owner()?;
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        loop {
            attend()?;
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let slice = left.unwrap_or(ATTENTION).min(ATTENTION);
            let next = self.queue.wait(slice);
            if next != Next::Nothing || left.is_some_and(|left| left <= slice) {
                return Ok(next);
            }
        }
    }

    /// What there is, without waiting.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn take(&self) -> Result<Next, Error> {
        self.check_owner()?;
        Ok(self.queue.take())
    }

    /// A descriptor for an event loop, readable when there is something to take. It stays open until `disarm`.
    ///
    /// # Errors
    /// [`Error::Forked`], [`Error::System`].
    pub fn arm(&self) -> Result<RawFd, Error> {
        self.check_owner()?;
        self.queue
            .arm()
            .map_err(|error: io::Error| Error::system("open a socket")(error))
    }

    /// The descriptor is looked at no more.
    pub fn disarm(&self) {
        self.queue.disarm();
    }

    /// Ends this watch, for those who wait for it as well.
    pub fn close(&self) {
        if self.check_owner().is_ok() {
            self.queue.end();
        }
    }

    fn check_owner(&self) -> Result<(), Error> {
        if std::process::id() == self.owner {
            Ok(())
        } else {
            Err(Error::Forked { owner: self.owner })
        }
    }
}

fn wait_for<T>(
    answer: &Receiver<T>,
    attend: &mut dyn FnMut() -> Result<(), Error>,
) -> Result<T, Error> {
    loop {
        match answer.recv_timeout(ATTENTION) {
            Ok(value) => return Ok(value),
            Err(RecvTimeoutError::Disconnected) => return Err(Error::Closed),
            Err(RecvTimeoutError::Timeout) => attend()?,
        }
    }
}
