//! Scan, compare, keep or replace the template. Does not know how a template is run, nor what Python is.
#![forbid(unsafe_code)]

mod preload;
mod report;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use self::preload::{Attempt, Preload};
use self::report::{label, log_difference, Problems};
pub use self::report::{Report, Skipped};
use crate::error::Error;
use crate::scan::{Import, ImportSet, ScanRequest, Scanner};
use crate::supervisor::child::{Cause, Ticket, Until};
use crate::supervisor::dispatcher::{Dispatcher, Exec};
use crate::supervisor::pump::Pump;
use crate::supervisor::template::{Event, Launch, TemplateId};

/// The caller's signals are looked after at least this often.
const ATTENTION: Duration = Duration::from_millis(100);
/// A template that dies again and again right after it became ready is not started forever.
const REVIVALS: usize = 2;

/// What the caller's side does while the engine works for it.
pub trait Caller {
    /// Called at least every 100 ms.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when the caller has a signal to attend to.
    fn attend(&self) -> Result<(), Error>;
    /// Preloading has come to this module.
    fn progress(&self, module: &str, position: usize, of: usize);
    /// Preloading is over.
    fn settled(&self);
}

/// What does not change while an environment is open.
#[derive(Debug, Clone)]
pub struct Config {
    /// What to scan.
    pub scan: ScanRequest,
    /// How long the import of one module may take.
    pub import_limit: Duration,
}

/// One package's scanner and template.
#[derive(Debug)]
pub struct Environment {
    dispatcher: Dispatcher,
    import_limit: Duration,
    state: Mutex<State>,
    owner: u32,
}

#[derive(Debug)]
struct State {
    scanner: Scanner,
    imports: Option<ImportSet>,
    /// Imports (module, names) that must not be tried.
    left_out: BTreeMap<(String, Vec<String>), LeftOut>,
    problems: Problems,
    report: Report,
}

/// Why an import is not tried.
#[derive(Debug)]
struct LeftOut {
    reason: String,
    /// It ended the interpreter or stopped it: once is enough while the environment is open. One that merely failed is
    /// tried with each new template, since it may have been mended.
    dangerous: bool,
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
    ) -> Result<(Self, Pump), Error> {
        let (dispatcher, pump) = Dispatcher::start()?;
        let environment = Self {
            dispatcher,
            import_limit: config.import_limit,
            state: Mutex::new(State {
                scanner: Scanner::new(config.scan),
                imports: None,
                left_out: BTreeMap::new(),
                problems: Problems::default(),
                report: Report::default(),
            }),
            owner: std::process::id(),
        };
        environment.update(launch, caller)?;
        Ok((environment, pump))
    }

    /// Scans again and replaces the template when the import set has changed, or when there was none yet.
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
            None => Some(self.spawn(launch)?),
            Some(_) => None,
        };
        let scan = match state.scanner.scan() {
            Ok(scan) => scan,
            Err(error) => {
                if let Some((id, _)) = early {
                    self.dispatcher.abandon(id)?;
                }
                return Err(error.into());
            }
        };
        log::debug!("scanned {} files, parsed {}", scan.files, scan.parsed);
        state.problems.log_new(&scan.problems);
        let changed = state
            .imports
            .as_ref()
            .is_none_or(|imports| imports.key() != scan.imports.key());
        if changed {
            if let Some(before) = &state.imports {
                log_difference(before, &scan.imports);
            }
            let report = self.build(&mut state, &scan.imports, early, launch, caller)?;
            state.report = report;
        }
        state.report.locate(&scan.imports);
        state.imports = Some(scan.imports);
        Ok(changed)
    }

    /// Runs something in a child; starts a template first when the last one has died. Waits for the fork.
    ///
    /// # Errors
    /// [`Error::Fork`], [`Error::Closed`], [`Error::System`], or what starting a template may raise.
    pub fn exec(
        &self,
        exec: &Exec,
        launch: &dyn Fn() -> Result<Launch, Error>,
        caller: &dyn Caller,
    ) -> Result<Arc<Ticket>, Error> {
        self.check_owner()?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let died = match self.dispatcher.exec(exec.clone()) {
                Ok(ticket) => {
                    let forked = ticket.wait(Until::Pid, None, &mut || caller.attend());
                    if let Err(error) = forked {
                        // Nobody will know of it: it must not run.
                        self.dispatcher.stop(ticket.id, Duration::ZERO)?;
                        return Err(error);
                    }
                    match (ticket.pid(), ticket.end().map(|end| end.cause)) {
                        // Its call was not sent, so another template may have it.
                        (None, Some(Cause::TemplateDied(how))) => how,
                        (None, Some(Cause::ForkFailed(reason))) => {
                            return Err(Error::Fork { reason });
                        }
                        (None, Some(Cause::Closed)) => return Err(Error::Closed),
                        (_, _) => return Ok(ticket),
                    }
                }
                Err(Error::NoTemplate) => "ended".to_owned(),
                Err(error) => return Err(error),
            };
            if attempts > REVIVALS {
                return Err(Error::Fork {
                    reason: format!("the template {died}, {attempts} times in a row"),
                });
            }
            self.revive(&launch()?, caller)?;
        }
    }

    fn revive(&self, launch: &Launch, caller: &dyn Caller) -> Result<(), Error> {
        let mut state = self.lock(caller)?;
        if self.dispatcher.has_template()? {
            // Another thread was quicker.
            return Ok(());
        }
        log::info!("the template has died; starting another");
        let imports = state.imports.clone().unwrap_or_default();
        let report = self.build(&mut state, &imports, None, launch, caller)?;
        state.report = report;
        Ok(())
    }

    /// What is preloaded, and what is not.
    ///
    /// # Errors
    /// [`Error::Interrupted`], [`Error::Forked`].
    pub fn report(&self, caller: &dyn Caller) -> Result<Report, Error> {
        self.check_owner()?;
        Ok(self.lock(caller)?.report.clone())
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
            self.dispatcher.close(grace);
        }
    }

    /// Waits until everything has ended, at most `limit`.
    #[must_use]
    pub fn is_done(&self, limit: Duration) -> bool {
        self.check_owner().is_err() || self.dispatcher.is_done(limit)
    }

    fn check_owner(&self) -> Result<(), Error> {
        if std::process::id() == self.owner {
            Ok(())
        } else {
            Err(Error::Forked { owner: self.owner })
        }
    }

    /// Another thread may be building a template: waiting for it obeys the caller's signals.
    fn lock(&self, caller: &dyn Caller) -> Result<MutexGuard<'_, State>, Error> {
        let started = Instant::now();
        loop {
            match self.state.try_lock() {
                Ok(state) => return Ok(state),
                Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => {
                    // Short waits first: mostly the other one only reads the report.
                    let waited = started.elapsed();
                    std::thread::sleep(waited.clamp(Duration::from_millis(1), ATTENTION));
                    caller.attend()?;
                }
            }
        }
    }

    fn spawn(&self, launch: &Launch) -> Result<(TemplateId, Receiver<Event>), Error> {
        let (sender, events) = crossbeam_channel::unbounded();
        let id = self.dispatcher.spawn(launch.clone(), sender)?;
        Ok((id, events))
    }

    /// Starts templates until one is ready, each without what ended the one before, and makes it the current one.
    fn build(
        &self,
        state: &mut State,
        imports: &ImportSet,
        mut early: Option<(TemplateId, Receiver<Event>)>,
        launch: &Launch,
        caller: &dyn Caller,
    ) -> Result<Report, Error> {
        let started = Instant::now();
        state.left_out.retain(|_, left| left.dangerous);
        loop {
            let (id, events) = match early.take() {
                Some(started) => started,
                None => self.spawn(launch)?,
            };
            let wanted: Vec<&Import> = imports
                .imports
                .iter()
                .filter(|import| !state.left_out.contains_key(&identity(import)))
                .collect();
            let preload = Preload {
                id,
                events: &events,
                imports: &wanted,
                limit: self.import_limit,
                caller,
            };
            let attempt = preload.run(&self.dispatcher);
            caller.settled();
            let attempt = match attempt {
                Ok(attempt) => attempt,
                Err(error) => {
                    self.dispatcher.abandon(id)?;
                    return Err(error);
                }
            };
            match attempt {
                Attempt::Ready(id, mut report) => {
                    for import in &imports.imports {
                        if let Some(left) = state.left_out.get(&identity(import)) {
                            report.skip(label(import), import, left.reason.clone());
                        }
                    }
                    report.locate(imports);
                    report.log(&state.report, started.elapsed());
                    self.dispatcher.promote(id)?;
                    return Ok(report);
                }
                Attempt::LeaveOut {
                    index,
                    reason,
                    dangerous,
                } => {
                    self.dispatcher.abandon(id)?;
                    let import = wanted.get(index).ok_or(Error::NoTemplate)?;
                    let name = label(import);
                    log::info!("{name} is left out, and the template started again: {reason}");
                    let left = LeftOut { reason, dangerous };
                    state.left_out.insert(identity(import), left);
                }
            }
        }
    }
}

/// An interrupt may arrive between the opening and the caller's taking it: nothing runs on without an owner.
impl Drop for Environment {
    fn drop(&mut self) {
        self.close(Duration::ZERO);
    }
}

/// What makes an entry of the import set this one.
fn identity(import: &Import) -> (String, Vec<String>) {
    (import.module.clone(), import.names.clone())
}
