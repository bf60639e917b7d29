//! Scan, compare, keep or replace the template. Does not know how a template is run, nor what Python is.
#![forbid(unsafe_code)]

mod asides;
mod background;
mod bisect;
mod brought;
mod build;
mod caller;
mod chain;
mod config;
mod exec;
mod judge;
mod learned;
mod left_out;
mod lessons;
mod levels;
mod listen;
mod locks;
mod order;
mod own;
mod plan;
mod preload;
mod reads;
mod refresh;
mod repeats;
mod report;
mod unseen;
mod verdicts;
mod watching;

use std::collections::BTreeSet;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;

use self::asides::Asides;
use self::background::{Builder, News};
pub use self::brought::{Brought, Came};
pub use self::caller::Caller;
use self::chain::{Chain, Found};
pub use self::config::Config;
pub use self::exec::{Call, Warm};
use self::learned::Learned;
use self::left_out::LeftOut;
use self::lessons::Lessons;
use self::own::Own;
use self::refresh::Target;
use self::repeats::Repeats;
use self::report::{difference, Problems};
pub use self::report::{Report, Skipped};
use self::verdicts::Verdicts;
use self::watching::Slot;
use crate::error::Error;
use crate::scan::{ImportSet, Scanner};
use crate::stamp::{describe, Host, Watches};
use crate::supervisor::child::Ticket;
use crate::supervisor::dispatcher::Dispatcher;
use crate::supervisor::pump::Pump;
use crate::supervisor::template::{Launch, TemplateId};

/// The caller's signals are looked after at least this often.
const ATTENTION: Duration = Duration::from_millis(100);

/// What children tell of their imports, until somebody takes it; more is dropped, and told again by the next one.
const HEARD_KEPT: usize = 256;

/// The templates that serve.
#[derive(Debug, Default)]
struct Serving {
    /// For the host as it is.
    main: Option<Chain>,
    /// For calls whose own variables or directory the imports had read.
    asides: Asides,
}

/// What is told of the templates that serve.
#[derive(Debug, Clone, Default)]
struct Told {
    report: Report,
    /// Why they were put in the place of others.
    last_rebuild: Option<String>,
}

/// One package's scanner and templates.
#[derive(Debug)]
pub struct Environment {
    dispatcher: Dispatcher,
    /// Of what the templates' stamps depend on.
    watches: Arc<Watches>,
    verdicts: Verdicts,
    config: Config,
    /// Held while a template is built.
    state: Mutex<State>,
    /// Held for a moment; never while `state` is waited for.
    serving: Mutex<Serving>,
    /// What was to be told when templates were last put in the place of others: for those who can't wait for `state`.
    /// Held for a moment.
    told: Mutex<Told>,
    /// Counts the changes of what serves: what is built in the background is built for one of them.
    generation: AtomicU64,
    /// How often levels of the project's own modules were built since the last call.
    unused: AtomicU32,
    /// The host as it was when a main template was last made for it, with its `setup`.
    host: Mutex<Option<(Launch, Vec<u8>)>>,
    /// Files of the project that were found edited, and that nobody has taken note of yet.
    edited: Mutex<Vec<PathBuf>>,
    /// Builds in the background; none before the first template serves, and when the environment is closed.
    builder: Mutex<Option<Builder>>,
    /// Held for a moment, or while a watcher is started.
    watcher: Mutex<Slot>,
    owner: u32,
}

#[derive(Debug)]
struct State {
    scanner: Scanner,
    imports: Option<Arc<ImportSet>>,
    /// The places of the scan that the watcher was told of last.
    watched: Option<BTreeSet<PathBuf>>,
    left_out: LeftOut,
    problems: Problems,
    repeats: Repeats,
    /// What is wrong with templates and no import's fault.
    lived_with: BTreeSet<String>,
    told: Told,
    /// Whether the verdicts of earlier processes were looked at.
    recalled: bool,
    /// A layer has what a cold start would have imported before what lies below.
    is_reversed: bool,
    /// The base of templates that could not be joined: it is not tried again.
    joined_in_vain: Option<TemplateId>,
    lessons: Lessons,
    own: Own,
}

impl Environment {
    /// Scans and starts the template, both at the same time, and waits until it is ready.
    ///
    /// # Errors
    /// [`Error::Scan`], [`Error::Spawn`], [`Error::TemplateDied`], [`Error::Interrupted`] ...; nothing is left running.
    pub fn open(
        config: Config,
        launch: &Launch,
        caller: &dyn Caller,
    ) -> Result<(Opened, Pump), Error> {
        let (ears, heard) = crossbeam_channel::bounded(HEARD_KEPT);
        let ears = config.learn.then_some(ears);
        let (dispatcher, pump) = Dispatcher::start(ears, config.spares)?;
        let mut scanner =
            Scanner::new(config.scan.clone()).with_own_modules(config.warm_first_party);
        if let Some(folder) = &config.cache {
            scanner = scanner.with_store(folder);
        }
        let environment = Self {
            dispatcher,
            watches: Watches::new(),
            state: Mutex::new(State {
                scanner,
                imports: None,
                watched: None,
                left_out: LeftOut::default(),
                problems: Problems::default(),
                repeats: Repeats::default(),
                lived_with: BTreeSet::new(),
                told: Told::default(),
                recalled: false,
                is_reversed: false,
                joined_in_vain: None,
                lessons: Lessons::new(Learned::open(&config, launch), config.learn),
                own: Own::default(),
            }),
            verdicts: Verdicts::new(config.cache.clone()),
            config,
            serving: Mutex::default(),
            told: Mutex::default(),
            generation: AtomicU64::new(0),
            unused: AtomicU32::new(0),
            host: Mutex::default(),
            edited: Mutex::default(),
            builder: Mutex::default(),
            watcher: Mutex::default(),
            owner: std::process::id(),
        };
        let opened = Opened(Arc::new(environment));
        if opened.config.watch {
            opened.start_watcher(&*opened.lock(caller)?)?;
        }
        opened.update(launch, caller)?;
        let saved = if opened.config.warm_first_party {
            let watcher = opened.start_watcher(&*opened.lock(caller)?)?;
            let (bell, saves) = crossbeam_channel::bounded(1);
            let watch = watcher.subscribe_telling(bell, &mut || caller.attend())?;
            Some((saves, watch))
        } else {
            None
        };
        let builder = Builder::start(&opened.0, News { heard, saved })?;
        *opened.builder() = Some(builder);
        opened.ring();
        Ok((opened, pump))
    }

    /// Scans again and replaces the template when the import set or anything in its stamp has changed, or when there
    /// was none yet.
    ///
    /// True when it was replaced. The new one is ready before the old one retires.
    ///
    /// # Errors
    /// As [`Environment::open`]; the old template stays.
    pub fn update(&self, launch: &Launch, caller: &dyn Caller) -> Result<bool, Error> {
        self.check_owner()?;
        let mut state = self.lock(caller)?;
        // The first time there is something to import for sure: the interpreter starts while the scan runs.
        let early = match state.imports {
            None => Some(self.spawn(launch, false, caller)?),
            Some(_) => None,
        };
        let found = self.changes(launch);
        let scanning = Instant::now();
        let scan = match self.scan(&mut state, !found.is_empty(), caller) {
            Ok(scan) => scan,
            Err(error) => {
                if let Some(started) = early {
                    self.dispatcher.abandon(started.id)?;
                }
                return Err(error);
            }
        };
        let took = scanning.elapsed().as_micros();
        log::debug!(
            "scanned {} files, parsed {} ({took} us)",
            scan.files,
            scan.parsed
        );
        state.problems.log_new(&scan.problems);
        state.own.modules = scan.own.clone().unwrap_or_default();
        let reason = match &state.imports {
            None => None,
            Some(before)
                if !Arc::ptr_eq(before, &scan.imports) && before.key() != scan.imports.key() =>
            {
                Some(difference(before, &scan.imports))
            }
            Some(_) if !found.is_empty() => Some(describe(&found.all())),
            Some(_) if !self.main_runs()? => Some("the template died".to_owned()),
            Some(_) => {
                state.told.report.locate(&scan.imports);
                state.imports = Some(scan.imports);
                return Ok(false);
            }
        };
        let target = Target {
            imports: &scan.imports,
            launch,
            caller,
        };
        self.refresh(&mut state, target, &found, reason, early)?;
        state.imports = Some(scan.imports);
        Ok(true)
    }

    /// What of a host's own state is not as the main templates, which have read it, were started with; in words, empty
    /// if nothing is.
    #[must_use]
    pub fn differs(&self, launch: &Launch) -> String {
        let main = self.serving().main.clone();
        main.map_or_else(String::new, |main| {
            describe(&main.context_changes(host(launch)).all())
        })
    }

    /// Whether the main template can be forked.
    fn main_runs(&self) -> Result<bool, Error> {
        let main = self.serving().main.as_ref().map(Chain::id);
        main.map_or(Ok(false), |id| self.dispatcher.is_serving(id))
    }

    /// What differs from what the main templates depend on.
    fn changes(&self, launch: &Launch) -> Found {
        let main = self.serving().main.clone();
        main.map_or_else(Found::default, |main| main.changes(host(launch)))
    }

    /// What is preloaded, and what is not. Waits for what is being built, at most for `patience`: then it is what was
    /// preloaded before.
    ///
    /// # Errors
    /// [`Error::Interrupted`], [`Error::Forked`].
    pub fn report(&self, caller: &dyn Caller, patience: Option<Duration>) -> Result<Report, Error> {
        Ok(self.told(caller, patience)?.report)
    }

    /// Why the template was last replaced; none when it never was. Waits as [`Environment::report`] does.
    ///
    /// # Errors
    /// [`Error::Interrupted`], [`Error::Forked`].
    pub fn last_rebuild(
        &self,
        caller: &dyn Caller,
        patience: Option<Duration>,
    ) -> Result<Option<String>, Error> {
        Ok(self.told(caller, patience)?.last_rebuild)
    }

    fn told(&self, caller: &dyn Caller, patience: Option<Duration>) -> Result<Told, Error> {
        self.check_owner()?;
        Ok(match self.lock_within(caller, patience)? {
            Some(state) => state.told.clone(),
            None => self.last_told().clone(),
        })
    }

    /// The templates that stand on each other and serve now, the lowest first.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn levels(&self) -> Result<Vec<u64>, Error> {
        self.check_owner()?;
        let main = self.serving().main.clone();
        let levels = main.iter().flat_map(Chain::levels);
        Ok(levels.map(|level| level.id.0).collect())
    }

    /// For those who hold a ticket longer than the environment.
    pub fn dispatcher(&self) -> &Dispatcher {
        &self.dispatcher
    }

    /// Stops a child: SIGTERM, and SIGKILL after `grace`.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn stop(&self, ticket: &Ticket, grace: Duration) -> Result<(), Error> {
        self.check_owner()?;
        self.dispatcher.stop(ticket.id, grace)
    }

    /// Stops everything. Does not wait; a forked process that inherited the environment does nothing.
    pub fn close(&self, grace: Duration) {
        if self.check_owner().is_ok() {
            self.generation.fetch_add(1, Ordering::AcqRel);
            self.close_watcher();
            self.dispatcher.close(grace);
            if let Some(builder) = self.builder().as_mut() {
                builder.stop();
            }
            // Meanwhile the templates end, which takes as long.
            self.watches.close();
        }
    }

    /// Waits until everything has ended, at most `limit`.
    #[must_use]
    pub fn is_done(&self, limit: Duration) -> bool {
        if self.check_owner().is_err() {
            return true;
        }
        let began = Instant::now();
        if !self.dispatcher.is_done(limit) {
            return false;
        }
        let left = limit.saturating_sub(began.elapsed());
        if !self.is_watcher_done(left) {
            return false;
        }
        // Never waited for with the lock held.
        let done = self.builder().as_ref().map(Builder::done);
        done.is_none_or(|done| {
            let left = limit.saturating_sub(began.elapsed());
            done.recv_timeout(left) == Err(RecvTimeoutError::Disconnected)
        })
    }

    fn check_owner(&self) -> Result<(), Error> {
        if std::process::id() == self.owner {
            Ok(())
        } else {
            Err(Error::Forked { owner: self.owner })
        }
    }
}

/// An environment, as the one who opened it holds it: when that one lets it go, it closes.
///
/// An interrupt may arrive between the opening and the caller's taking it: nothing runs on without an owner.
#[derive(Debug)]
pub struct Opened(Arc<Environment>);

impl Deref for Opened {
    type Target = Environment;

    fn deref(&self) -> &Environment {
        &self.0
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.close(Duration::ZERO);
    }
}

fn host(launch: &Launch) -> Host<'_> {
    Host {
        executable: &launch.executable,
        arguments: &launch.arguments,
        environment: &launch.environment,
        cwd: &launch.cwd,
        path: &launch.path,
    }
}
