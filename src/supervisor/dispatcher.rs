//! How other threads speak to the dispatcher's thread. Owns nothing but the channel to it.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{bounded, Receiver, Sender};

use super::child::{Heard, Ticket};
use super::link::{waker, Waker};
use super::output::{Mode, Stdio};
use super::owner::Owner;
use super::pump::{self, Pump};
use super::template::{Event, Launch, TemplateId};
use crate::error::Error;
use crate::protocol::message::{ChildId, PreloadItem};

/// What to run in a child.
#[derive(Debug, Clone)]
pub struct Exec {
    /// The template to fork.
    pub template: TemplateId,
    /// Its name.
    pub name: String,
    /// The body of the `call` message, made by `firehot/_call.py`.
    pub call: Arc<Vec<u8>>,
    /// Where its output goes.
    pub mode: Mode,
    /// For [`Mode::Given`]: until the call is sent, so that nobody else holds them open.
    pub stdio: Option<Arc<Stdio>>,
    /// How long it may run.
    pub timeout: Option<Duration>,
    /// Folder of cloudpickle, when the call needs it.
    pub cloudpickle: Option<String>,
}

/// A request to the dispatcher.
#[derive(Debug)]
pub(super) enum Command {
    Spawn {
        launch: Box<Launch>,
        setup: Vec<u8>,
        events: Sender<Event>,
        answer: Sender<Result<TemplateId, Error>>,
    },
    Above {
        parent: TemplateId,
        launch: Box<Launch>,
        setup: Vec<u8>,
        events: Sender<Event>,
        answer: Sender<Result<TemplateId, Error>>,
    },
    Preload {
        id: TemplateId,
        imports: Vec<PreloadItem>,
        trial: bool,
    },
    Serve(TemplateId),
    IsServing {
        id: TemplateId,
        answer: Sender<bool>,
    },
    Retire(TemplateId),
    Abandon(TemplateId),
    Exec {
        exec: Exec,
        answer: Sender<Result<Arc<Ticket>, Error>>,
    },
    Release(ChildId),
    Stop {
        id: ChildId,
        grace: Duration,
    },
    Signal {
        id: ChildId,
        signal: i32,
    },
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
    /// Starts the thread. The pump is for the one that writes output; `ears` hear what children import themselves;
    /// `spares` is how many children each template keeps ahead of need.
    ///
    /// # Errors
    /// [`Error::System`] when there are no descriptors or no threads left.
    pub fn start(ears: Option<Sender<Heard>>, spares: usize) -> Result<(Self, Pump), Error> {
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
                Owner::new(own, sender, ears, spares).run(&requests, wakeups);
                drop(finished);
            })
            .map_err(Error::system("start a thread"))?;
        Ok((handle, pump))
    }

    pub(super) fn send(&self, command: Command) -> Result<(), Error> {
        self.commands.send(command).map_err(|_| Error::Closed)?;
        self.waker.wake();
        Ok(())
    }

    /// The thread has ended: nobody is left to be woken.
    pub(super) fn let_go(&self) {
        self.waker.close();
    }

    /// Starts an interpreter; `setup` is the body of the `setup` message, made by `firehot/_host.py`; `events` tells
    /// how it goes on.
    ///
    /// # Errors
    /// [`Error::Spawn`], [`Error::System`], [`Error::Closed`].
    pub fn spawn(
        &self,
        launch: Launch,
        setup: Vec<u8>,
        events: Sender<Event>,
    ) -> Result<TemplateId, Error> {
        let (answer, result) = bounded(1);
        self.send(Command::Spawn {
            launch: Box::new(launch),
            setup,
            events,
            answer,
        })?;
        result.recv().map_err(|_| Error::Closed)?
    }

    /// Has a template fork another one, a layer, which has all that it has. `launch` and `setup` say how the host is
    /// now; `events` tells how it goes on.
    ///
    /// # Errors
    /// [`Error::NoTemplate`], [`Error::System`], [`Error::Closed`].
    pub fn above(
        &self,
        parent: TemplateId,
        launch: Launch,
        setup: Vec<u8>,
        events: Sender<Event>,
    ) -> Result<TemplateId, Error> {
        let (answer, result) = bounded(1);
        self.send(Command::Above {
            parent,
            launch: Box::new(launch),
            setup,
            events,
            answer,
        })?;
        result.recv().map_err(|_| Error::Closed)?
    }

    /// Has a template import these, in order, and try the exit of a child if `trial`.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn preload(
        &self,
        id: TemplateId,
        imports: Vec<PreloadItem>,
        trial: bool,
    ) -> Result<(), Error> {
        self.send(Command::Preload { id, imports, trial })
    }

    /// A template is ready to be forked.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn serve(&self, id: TemplateId) -> Result<(), Error> {
        self.send(Command::Serve(id))
    }

    /// Whether a template runs and may be forked.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn is_serving(&self, id: TemplateId) -> Result<bool, Error> {
        let (answer, result) = bounded(1);
        self.send(Command::IsServing { id, answer })?;
        result.recv().map_err(|_| Error::Closed)
    }

    /// A template is forked no more; it goes after its last child.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn retire(&self, id: TemplateId) -> Result<(), Error> {
        self.send(Command::Retire(id))
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
    /// It waits for its call until [`Dispatcher::release`].
    ///
    /// # Errors
    /// [`Error::NoTemplate`], [`Error::System`], [`Error::Closed`].
    pub fn exec(&self, exec: Exec) -> Result<Arc<Ticket>, Error> {
        let (answer, result) = bounded(1);
        self.send(Command::Exec { exec, answer })?;
        result.recv().map_err(|_| Error::Closed)?
    }

    /// Lets a child have its call: its template was found true.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn release(&self, id: ChildId) -> Result<(), Error> {
        self.send(Command::Release(id))
    }

    /// SIGTERM, and SIGKILL after `grace`. Does not wait.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn stop(&self, id: ChildId, grace: Duration) -> Result<(), Error> {
        self.send(Command::Stop { id, grace })
    }

    /// Sends a signal, if it has not ended. Does not wait.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn signal(&self, id: ChildId, signal: i32) -> Result<(), Error> {
        self.send(Command::Signal { id, signal })
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
