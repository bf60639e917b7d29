//! Starts templates until one is good, each without what spoilt the one before. Decides nothing about when.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::bisect::{problem, Blame, Problem};
use super::chain::{pairs, Chain, Kind, Level};
use super::judge::Judge;
use super::left_out::{covers, top, What};
use super::listen::START_LIMIT;
use super::order::Order;
use super::preload::{Attempt, Judged, Preload, Ready, Tries};
use super::repeats::describe;
use super::verdicts::{about, key};
use super::{host, Caller, Environment, State};
use crate::error::Error;
use crate::protocol::message::PreloadItem;
use crate::stamp::{Folders, Listener, Stamp, Start, Touched};
use crate::supervisor::template::{Event, Launch, TemplateId};

/// An interpreter that was started, and what the host knew just before.
pub(super) struct Started {
    pub(super) id: TemplateId,
    pub(super) events: Receiver<Event>,
    pub(super) start: Start,
    /// Hears of changes to what the template reads.
    pub(super) listener: Listener,
}

/// What a template depends on beside what its own messages tell.
pub(super) struct Also {
    pub(super) files: Vec<Touched>,
    pub(super) folders: Folders,
    /// What was left out when it was made.
    pub(super) left: BTreeSet<What>,
}

impl Environment {
    /// Starts an interpreter, or has the top of the templates below fork a layer.
    pub(super) fn begin(&self, order: Order<'_>) -> Result<Started, Error> {
        let Some(below) = order.below else {
            return self.spawn(order.launch, order.is_aside, order.caller);
        };
        // What changes from here on shows as a difference.
        let start = Start::above(host(order.launch), &below.base().stamp);
        let setup = order.caller.setup(&order.launch.path)?;
        if !order.is_aside {
            self.note_setup(order.launch, &setup);
        }
        let (sender, events) = crossbeam_channel::unbounded();
        let launch = order.launch.clone();
        let id = self.dispatcher.above(below.id(), launch, setup, sender)?;
        Ok(Started {
            id,
            events,
            start,
            listener: Listener::new(&self.watches),
        })
    }

    /// Starts an interpreter.
    pub(super) fn spawn(
        &self,
        launch: &Launch,
        is_aside: bool,
        caller: &dyn Caller,
    ) -> Result<Started, Error> {
        // What changes from here on shows as a difference.
        let start = Start::take(host(launch));
        let setup = caller.setup(&launch.path)?;
        if !is_aside {
            self.note_setup(launch, &setup);
        }
        let (sender, events) = crossbeam_channel::unbounded();
        let id = self.dispatcher.spawn(launch.clone(), setup, sender)?;
        Ok(Started {
            id,
            events,
            start,
            listener: Listener::new(&self.watches),
        })
    }

    /// What is built in the background is built for the host as it is now, also when nothing else is built for it.
    pub(super) fn note_host(&self, launch: &Launch, caller: &dyn Caller) -> Result<(), Error> {
        let setup = caller.setup(&launch.path)?;
        self.note_setup(launch, &setup);
        Ok(())
    }

    fn note_setup(&self, launch: &Launch, setup: &[u8]) {
        *self.last_host() = Some((launch.clone(), setup.to_owned()));
    }

    /// One template's way to ready.
    pub(super) fn attempt(
        &self,
        order: Order<'_>,
        wanted: &[(usize, PreloadItem)],
        started: &Started,
        tries: Tries,
    ) -> Result<Attempt, Error> {
        let judge = Judge::new(&self.config.scan, &self.config.leave_out);
        let judge = match order.kind {
            Kind::Own => judge.with_own(),
            Kind::Imports | Kind::Learned => judge,
        };
        let preload = Preload {
            id: started.id,
            events: &started.events,
            listener: &started.listener,
            imports: order.imports,
            wanted,
            limit: self.config.import_limit,
            judge,
            tries,
            caller: order.caller,
        };
        let attempt = preload.run(&self.dispatcher);
        order.caller.settled();
        attempt
    }

    /// Starts templates until one is good, each without what spoilt the one before.
    pub(super) fn build(
        &self,
        state: &mut State,
        order: Order<'_>,
        mut early: Option<Started>,
    ) -> Result<Arc<Level>, Error> {
        state.left_out.apply(&self.config.leave_out, order.imports);
        // Something that nobody can be blamed for is told, once, and lived with.
        let mut is_lived_with = false;
        loop {
            let started = match early.take() {
                Some(started) => started,
                None => self.begin(order)?,
            };
            let installed = started.start.installed();
            let about = self.about(order, &started.start);
            self.recall(state, about, &installed);
            let wanted = order.wanted(&state.left_out);
            let known = key(about, &installed, &order.whole(&wanted));
            let tries = Tries {
                trial: order.is_aside || !self.verdicts.is_good(known),
                limit: START_LIMIT,
            };
            let attempt = self.attempt(order, &wanted, &started, tries);
            let problem = match attempt {
                Err(error) => {
                    self.dispatcher.abandon(started.id)?;
                    return Err(error);
                }
                Ok(Attempt::LeaveOut(all)) => {
                    self.dispatcher.abandon(started.id)?;
                    self.leave_out_all(state, order, all, &started.start)?;
                    continue;
                }
                Ok(Attempt::Ended(ended)) => Problem::Ended(ended),
                Ok(Attempt::Ready(ready)) => {
                    let problem = problem(&ready.census);
                    if problem.is_none() && tries.trial && !order.is_aside {
                        self.verdicts.remember_good(known);
                    }
                    match problem.filter(|reason| !state.lived_with.contains(reason)) {
                        Some(reason) if !is_lived_with => Problem::Census(reason),
                        Some(_) | None => {
                            return self.finish(state, order, started, &wanted, *ready);
                        }
                    }
                }
            };
            self.dispatcher.abandon(started.id)?;
            if is_lived_with {
                return Err(problem.into_error());
            }
            is_lived_with = self.look_into(state, order, problem, &started.start)?;
        }
    }

    /// Leaves out the import that causes a problem; true when it is nobody's fault and may not come again.
    ///
    /// # Errors
    /// The template's end, when it is no import's fault.
    fn look_into(
        &self,
        state: &mut State,
        order: Order<'_>,
        problem: Problem,
        start: &Start,
    ) -> Result<bool, Error> {
        let reason = problem.reason();
        log::info!("{reason}; looking for the import that causes it");
        match (self.bisect(state, order, &problem)?, problem) {
            (Blame::Imports(all), _) => self.leave_out_all(state, order, all, start)?,
            (Blame::Nobody, _) => {
                log::info!("no import is to blame: it did not come again");
                return Ok(true);
            }
            (Blame::None, Problem::Census(reason)) => {
                log::info!("no import is to blame: a template without any shows it as well");
                state.lived_with.insert(reason);
            }
            (Blame::None, ended @ Problem::Ended(_)) => return Err(ended.into_error()),
        }
        Ok(false)
    }

    fn about(&self, order: Order<'_>, start: &Start) -> u64 {
        let config = &self.config;
        about(
            order.launch,
            &config.python,
            start,
            &config.native_variables,
        )
    }

    /// A good template begins to serve.
    fn finish(
        &self,
        state: &mut State,
        order: Order<'_>,
        started: Started,
        wanted: &[(usize, PreloadItem)],
        ready: Ready,
    ) -> Result<Arc<Level>, Error> {
        if !order.is_aside {
            tell_repeats(state, wanted, &ready);
        }
        // Each run imports what is left out itself, and may write such a file each time.
        let below = order.below.into_iter().flat_map(Chain::levels);
        let known: BTreeSet<&What> = below.flat_map(|level| &level.left).collect();
        let mut files = state.left_out.files(&known);
        files.retain(|file| !state.repeats.is_told(file.path()));
        let left = state.left_out.names();
        let also = Also {
            files,
            folders: Folders::default(),
            left,
        };
        self.serve(order, started, wanted, ready, also)
    }

    /// What is known of a template that is ready, and which files of others it depends on as well; it begins to serve.
    pub(super) fn serve(
        &self,
        order: Order<'_>,
        started: Started,
        wanted: &[(usize, PreloadItem)],
        ready: Ready,
        also: Also,
    ) -> Result<Arc<Level>, Error> {
        let id = started.id;
        let mut report = ready.report;
        let native = &self.config.native_variables;
        let stamp = Stamp::new(
            started.start,
            started.listener,
            ready.reads.into_files(),
            &ready.stamp,
            native,
        );
        let mut stamp = match stamp {
            Ok(stamp) => stamp,
            Err(source) => {
                self.dispatcher.abandon(id)?;
                return Err(Error::Stamp { source });
            }
        };
        stamp.add_files(also.files);
        stamp.add_folders(also.folders);
        log::debug!("the template depends on {} files", stamp.len());
        report.judge(&ready.census);
        let items = wanted.iter().map(|(_, item)| item);
        let held = items.clone().enumerate().flat_map(|(at, item)| {
            let brought = ready.brought.contains(&at);
            pairs(item).map(move |pair| (pair, brought))
        });
        let level = Level {
            id,
            kind: order.kind,
            stamp,
            asked: items.clone().cloned().collect(),
            held: held.collect(),
            loaded: ready.loaded.into_keys().collect(),
            report,
            left: also.left,
            has_patched: ready.has_patched,
        };
        self.dispatcher.serve(id)?;
        Ok(Arc::new(level))
    }

    /// Takes note of what must not be tried.
    ///
    /// # Errors
    /// [`Error::Unusable`] when nothing is left out by that: it would go on like this for ever.
    fn leave_out_all(
        &self,
        state: &mut State,
        order: Order<'_>,
        all: Vec<Judged>,
        start: &Start,
    ) -> Result<(), Error> {
        let before = order.wanted(&state.left_out);
        let reasons: Vec<String> = all.iter().map(|each| each.why.reason.clone()).collect();
        for judged in all {
            self.leave_out(state, order, judged, start);
        }
        if order.wanted(&state.left_out) == before {
            let reason = reasons.join("; ");
            return Err(Error::Unusable { reason });
        }
        Ok(())
    }

    /// Takes note of something that must not be tried, here and, when it is no matter of the project, for later.
    fn leave_out(&self, state: &mut State, order: Order<'_>, judged: Judged, start: &Start) {
        let name = judged.what.name();
        let why = &judged.why;
        log::debug!(
            "the template is started again without {name}: {}",
            why.reason
        );
        if let Some(blamed) = judged.blamed.as_ref().filter(|_| !order.is_aside) {
            let of = [top(&name), top(blamed)];
            let owners: Option<BTreeSet<String>> = of.iter().map(|top| start.owner(top)).collect();
            if let Some(distributions) = owners {
                let about = self.about(order, start);
                self.verdicts.remember_bad(&name, why, about, distributions);
            }
        }
        state.left_out.insert(judged.what, judged.why);
    }

    /// Leaves out what was found bad before, in the same versions.
    fn recall(&self, state: &mut State, about: u64, installed: &BTreeSet<String>) {
        if std::mem::replace(&mut state.recalled, true) {
            return;
        }
        for (name, why) in self.verdicts.bad(about, installed) {
            if self.config.safe.iter().any(|safe| covers(safe, &name)) {
                continue;
            }
            state.left_out.insert(What::Name(name), why);
        }
    }
}

/// Warns of a file that makes one template after another stale, with the package that reads it.
fn tell_repeats(state: &mut State, wanted: &[(usize, PreloadItem)], ready: &Ready) {
    let Some(path) = state.repeats.news() else {
        return;
    };
    let item = ready.reads.reader(&path);
    let module = item
        .and_then(|item| wanted.get(item))
        .map(|(_, item)| item.module.clone())
        .or_else(|| state.left_out.reader(&path));
    let reader = module.as_deref().map(top);
    log::warn!("{}", describe(&path, reader));
}
