//! Builds templates while others serve, on one thread per environment. Decides when; what is wanted comes from the
//! import set, from what was learned, and from the plan for the project's own modules.
//!
//! Invariant: what is built here is put in place only while what it was built for still serves. It is built without the
//! lock on the state, so that nobody ever waits for it; whoever changes what serves raises the generation, and the work
//! is given up at the next message of its template.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, never, select, Receiver, RecvTimeoutError, Sender};

use super::plan::Plan;
use super::unseen::Unseen;
use super::{Environment, State};
use crate::error::Error;
use crate::scan::FirstParty;
use crate::supervisor::child::Heard;
use crate::watch::Watch;

/// Nothing is begun before so much time has passed without news: one edit, or one run, rarely comes alone.
const QUIET: Duration = Duration::from_millis(100);
/// Children that were told to end have told everything by then.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// After so much time without a change the layers are joined.
const IDLE: Duration = Duration::from_secs(10);

/// Wakes the thread, and tells when it has ended.
#[derive(Debug)]
pub(super) struct Builder {
    bell: Option<Sender<()>>,
    done: Receiver<()>,
}

impl Builder {
    /// Starts the thread; it ends when this is dropped, or when the environment is.
    ///
    /// # Errors
    /// [`Error::System`] when there are no threads left.
    pub(super) fn start(environment: &Arc<Environment>, news: News) -> Result<Self, Error> {
        let (bell, rung) = bounded(1);
        let (finished, done) = bounded::<()>(0);
        let environment = Arc::downgrade(environment);
        thread::Builder::new()
            .name("firehot-build".to_owned())
            .spawn(move || {
                run(&environment, &rung, news);
                drop(finished);
            })
            .map_err(Error::system("start a thread"))?;
        Ok(Self {
            bell: Some(bell),
            done,
        })
    }

    /// There may be something to do.
    pub(super) fn ring(&self) {
        if let Some(bell) = &self.bell {
            // A bell that has not been heard yet does for both.
            let _ = bell.try_send(());
        }
    }

    /// The thread ends when it is done with what it is at.
    pub(super) fn stop(&mut self) {
        self.bell = None;
    }

    /// For those who wait for its end.
    pub(super) fn done(&self) -> Receiver<()> {
        self.done.clone()
    }
}

/// Where news comes from.
pub(super) struct News {
    /// From children.
    pub(super) heard: Receiver<Heard>,
    /// From the watcher: files of the project were saved.
    pub(super) saved: Option<(Receiver<()>, Watch)>,
}

fn run(environment: &Weak<Environment>, rung: &Receiver<()>, news: News) {
    let News { mut heard, saved } = news;
    let told = heard.clone();
    let (mut saves, watch) = match saved {
        Some((saves, watch)) => (saves, Some(watch)),
        None => (never(), None),
    };
    let mut is_idle = false;
    loop {
        let next = match environment.upgrade() {
            None => return,
            Some(environment) => {
                let next = environment.work(is_idle);
                environment.quietly().lessons.save();
                next
            }
        };
        // Something may still be joined, if nothing comes in between.
        let timeout = if next == Next::Later && !is_idle {
            crossbeam_channel::after(IDLE)
        } else {
            never()
        };
        is_idle = false;
        select! {
            recv(rung) -> bell => if bell.is_err() { return hear_out(environment, &told) },
            recv(heard) -> message => match message {
                Ok(message) => note(environment, message),
                // Nobody will tell more.
                Err(_) => heard = never(),
            },
            recv(saves) -> message => {
                // Which files they were is no matter: the stamps tell.
                let told = watch.as_ref().map(Watch::take);
                if message.is_err() || !matches!(told, Some(Ok(_))) {
                    saves = never();
                }
            }
            recv(timeout) -> _ => { is_idle = true; continue }
        }
        loop {
            match rung.recv_timeout(QUIET) {
                Ok(()) => {}
                Err(RecvTimeoutError::Disconnected) => return hear_out(environment, &told),
                Err(RecvTimeoutError::Timeout) => break,
            }
        }
        for message in heard.try_iter() {
            note(environment, message);
        }
    }
}

/// The environment closes: what its last children tell is for the next one.
fn hear_out(environment: &Weak<Environment>, heard: &Receiver<Heard>) {
    let deadline = Instant::now() + LAST_WORDS;
    while let Ok(message) = heard.recv_deadline(deadline) {
        note(environment, message);
    }
    if let Some(environment) = environment.upgrade() {
        environment.quietly().lessons.save();
    }
}

fn note(environment: &Weak<Environment>, message: Heard) {
    if let Some(environment) = environment.upgrade() {
        environment.hear(message);
    }
}

/// Whether there will be more to do without news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Nothing,
    /// When nothing else happens for a while.
    Later,
}

impl Environment {
    /// Wakes the thread that builds in the background.
    pub(super) fn ring(&self) {
        if let Some(builder) = self.builder().as_ref() {
            builder.ring();
        }
    }

    pub(super) fn quietly(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A child has told what it imported itself.
    fn hear(&self, message: Heard) {
        let mut state = self.quietly();
        let first_party = FirstParty::new(&self.config.scan);
        state.lessons.learned.hear(&message.modules, &first_party);
    }

    /// Does what there is to do.
    fn work(&self, is_idle: bool) -> Next {
        let mut is_first = true;
        loop {
            let (plan, host, seen) = {
                let mut state = self.quietly();
                let Some(main) = self.true_main() else {
                    return Next::Nothing;
                };
                let seen = self.generation.load(Ordering::Acquire);
                let plan = self.plan(&mut state, &main, is_idle && is_first);
                (plan, self.last_host().clone(), seen)
            };
            is_first = false;
            let (plan, (launch, setup)) = match (plan, host) {
                (Plan::Build(plan), Some(host)) => (plan, host),
                (Plan::Later, Some(_)) => return Next::Later,
                (Plan::Nothing, _) | (_, None) => return Next::Nothing,
            };
            let caller = Unseen {
                setup,
                generation: &self.generation,
                seen,
            };
            let (replaced, below, steps) = (plan.replaces, plan.below, plan.steps);
            let is_joined = below.is_none();
            match self.build_unseen(below, &steps, &launch, &caller) {
                Ok(made) => {
                    let mut state = self.quietly();
                    if let Some((step, why)) = made.refused {
                        self.refuse(&mut state, &step, why);
                    }
                    let new = made.chain.filter(|chain| !replaced.has(chain.id()));
                    let is_put = new.map(|chain| self.put_unseen(&mut state, &replaced, &chain));
                    if is_joined && matches!(is_put, Some(Ok(true))) {
                        state.is_reversed = false;
                    }
                    if !matches!(is_put, None | Some(Ok(true))) {
                        return Next::Later;
                    }
                }
                // Something has changed, or the environment closes. Whoever did it has rung.
                Err(_) => return Next::Nothing,
            }
        }
    }
}
