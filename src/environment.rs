//! Scan, compare, keep or replace the template. Does not know how a template is run, nor what Python is.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::error::{tail, Error};
use crate::protocol::message::{FromTemplate, PreloadItem};
use crate::protocol::PROTOCOL;
use crate::scan::{Import, ImportSet, Problem, ScanRequest, Scanner, Severity};
use crate::supervisor::child::{Cause, Ticket, Until};
use crate::supervisor::dispatcher::{Dispatcher, Exec};
use crate::supervisor::pump::Pump;
use crate::supervisor::template::{Event, Launch, TemplateId};

/// The caller's signals are looked after at least this often.
const ATTENTION: Duration = Duration::from_millis(100);
/// From spawn to hello, and from the last import to ready: both take milliseconds.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A template that dies again and again right after it became ready is not started forever.
const REVIVALS: usize = 2;

/// Of the lines that import what is skipped, this many are logged; all are in the report.
const LINES_SHOWN: usize = 3;

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

/// A module that is not preloaded, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// For users.
    pub reason: String,
    /// How loud to say it.
    pub severity: Severity,
    /// Where it is imported: file, line, source line.
    pub lines: Vec<(std::path::PathBuf, u32, String)>,
}

/// What the running template has and has not.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Module and import time in microseconds, in the order of import.
    pub modules: Vec<(String, u64)>,
    /// By module.
    pub skipped: BTreeMap<String, Skipped>,
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
    /// Imports (module, names) that ended or stopped a template, and why: not tried again while the environment is open.
    left_out: BTreeMap<(String, Vec<String>), String>,
    problems: BTreeSet<String>,
    report: Report,
}

/// How one attempt at a template went.
enum Attempt {
    Ready(TemplateId, Report),
    /// This import (its position in the preload list) must not be tried again.
    LeaveOut(usize, String),
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
                problems: BTreeSet::new(),
                report: Report::default(),
            }),
            owner: std::process::id(),
        };
        let opened = environment.update(launch, caller);
        if let Err(error) = opened {
            environment.close(Duration::ZERO);
            return Err(error);
        }
        Ok((environment, pump))
    }

    /// Scans again and replaces the template when the import set has changed, or when there is none.
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
        state.report_problems(&scan.problems);
        let changed = state
            .imports
            .as_ref()
            .is_none_or(|imports| imports.key() != scan.imports.key());
        if changed {
            log_difference(state.imports.as_ref(), &scan.imports);
            let report = self.build(&mut state, &scan.imports, early, launch, caller)?;
            state.report = report;
        }
        // Lines may have moved even when the set is the same.
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
                    ticket.wait(Until::Pid, None, &mut || caller.attend())?;
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
    /// [`Error::Interrupted`].
    pub fn report(&self, caller: &dyn Caller) -> Result<Report, Error> {
        Ok(self.lock(caller)?.report.clone())
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
                    state.add_left_out(imports, &mut report);
                    log_report(&report, &state.report, started.elapsed());
                    self.dispatcher.promote(id)?;
                    return Ok(report);
                }
                Attempt::LeaveOut(index, reason) => {
                    self.dispatcher.abandon(id)?;
                    let Some(import) = wanted.get(index) else {
                        continue;
                    };
                    let name = label(import);
                    log::info!("{name} is left out, and the template started again: {reason}");
                    state.left_out.insert(identity(import), reason);
                }
            }
        }
    }
}

impl State {
    /// Each is told once, and again only after it was mended in between.
    fn report_problems(&mut self, problems: &[Problem]) {
        let now: BTreeSet<String> = problems.iter().map(describe).collect();
        for problem in now.difference(&self.problems) {
            log::warn!("{problem}");
        }
        self.problems = now;
    }

    fn add_left_out(&self, imports: &ImportSet, report: &mut Report) {
        for import in &imports.imports {
            if let Some(reason) = self.left_out.get(&identity(import)) {
                report.skip(label(import), import, reason.clone());
            }
        }
    }
}

impl Report {
    fn skip(&mut self, name: String, import: &Import, reason: String) {
        let lines = import
            .sites
            .iter()
            .map(|site| (site.file.clone(), site.line, site.text.clone()))
            .collect();
        let skipped = Skipped {
            reason,
            severity: import.severity(),
            lines,
        };
        self.skipped.insert(name, skipped);
    }
}

/// What makes an entry of the import set this one.
fn identity(import: &Import) -> (String, Vec<String>) {
    (import.module.clone(), import.names.clone())
}

/// What an entry of the import set is called when it is to blame as a whole.
fn label(import: &Import) -> String {
    match import.names.as_slice() {
        [name] if name != "*" => format!("{}.{name}", import.module),
        [] | [..] => import.module.clone(),
    }
}

/// One template's way from spawn to ready.
struct Preload<'a> {
    id: TemplateId,
    events: &'a Receiver<Event>,
    imports: &'a [&'a Import],
    limit: Duration,
    caller: &'a dyn Caller,
}

impl Preload<'_> {
    fn run(&self, dispatcher: &Dispatcher) -> Result<Attempt, Error> {
        let items = self
            .imports
            .iter()
            .map(|import| PreloadItem {
                module: import.module.clone(),
                names: import.names.clone(),
            })
            .collect();
        dispatcher.preload(self.id, items)?;
        let mut report = Report::default();
        let mut importing: Option<usize> = None;
        loop {
            let message = match self.next(importing)? {
                Ok(message) => message,
                Err(attempt) => return Ok(attempt),
            };
            match message {
                FromTemplate::Importing { index } => {
                    importing = Some(index);
                    self.caller
                        .progress(&self.module(index), index, self.imports.len());
                }
                FromTemplate::Imported { loaded, .. } => {
                    importing = None;
                    report.modules.extend(loaded);
                }
                FromTemplate::Failed {
                    index,
                    name,
                    error,
                    residue,
                } => {
                    importing = None;
                    if residue {
                        let reason = format!("it failed and left parts of itself behind: {error}");
                        return Ok(Attempt::LeaveOut(index, reason));
                    }
                    if let Some(import) = self.imports.get(index) {
                        report.skip(name, import, error);
                    }
                }
                FromTemplate::Ready { modules } => {
                    log::debug!("the template is ready with {modules} modules");
                    return Ok(Attempt::Ready(self.id, report));
                }
                FromTemplate::Hello {
                    protocol, firehot, ..
                } => check_versions(protocol, firehot)?,
                FromTemplate::Forked { .. }
                | FromTemplate::ForkFailed { .. }
                | FromTemplate::Exited { .. }
                | FromTemplate::Log { .. } => {}
            }
        }
    }

    fn module(&self, index: usize) -> String {
        self.imports
            .get(index)
            .map(|import| import.module.clone())
            .unwrap_or_default()
    }

    /// The next message, or what follows from there being none.
    fn next(&self, importing: Option<usize>) -> Result<Result<FromTemplate, Attempt>, Error> {
        let phase = if importing.is_some() {
            "importing"
        } else {
            "starting"
        };
        let limit = importing.map_or(START_LIMIT, |_| self.limit);
        let deadline = Instant::now().checked_add(limit);
        loop {
            let left =
                deadline.map_or(ATTENTION, |at| at.saturating_duration_since(Instant::now()));
            match self.events.recv_timeout(left.min(ATTENTION)) {
                Ok(Event::Said(message)) => return Ok(Ok(message)),
                Ok(Event::Garbled(error)) => return Err(error.into()),
                Ok(Event::Died { how, output }) => {
                    let Some(index) = importing else {
                        return Err(Error::TemplateDied { how, phase, output });
                    };
                    let output = tail(&output);
                    let reason = format!("the template {how} while importing it{output}");
                    return Ok(Err(Attempt::LeaveOut(index, reason)));
                }
                Err(RecvTimeoutError::Disconnected) => return Err(Error::Closed),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.caller.attend()?;
            if deadline.is_some_and(|at| at <= Instant::now()) {
                let Some(index) = importing else {
                    return Err(Error::TemplateSilent {
                        after: limit,
                        phase,
                    });
                };
                let reason = format!("its import took more than {} s", limit.as_secs_f64());
                return Ok(Err(Attempt::LeaveOut(index, reason)));
            }
        }
    }
}

fn describe(problem: &Problem) -> String {
    let file = problem.file.display();
    match problem.line {
        Some(line) => format!("{file}:{line}: {}", problem.message),
        None => format!("{file}: {}", problem.message),
    }
}

fn check_versions(protocol: u32, firehot: String) -> Result<(), Error> {
    if protocol == PROTOCOL {
        return Ok(());
    }
    Err(Error::Mismatch {
        ours: PROTOCOL,
        our_version: env!("CARGO_PKG_VERSION"),
        theirs: protocol,
        their_version: firehot,
    })
}

fn log_difference(before: Option<&ImportSet>, after: &ImportSet) {
    let Some(before) = before else { return };
    let (before, after) = (before.key(), after.key());
    let names = |one: &BTreeSet<(&str, &str)>, other: &BTreeSet<(&str, &str)>| {
        let names: BTreeSet<&str> = one.difference(other).map(|(module, _)| *module).collect();
        names.into_iter().collect::<Vec<_>>().join(", ")
    };
    let (new, gone) = (names(&after, &before), names(&before, &after));
    log::info!("the import set changed (new: {new}; gone: {gone}): building a new template");
}

/// What is skipped for the same reason as before was told then.
fn log_report(report: &Report, before: &Report, took: Duration) {
    log::info!(
        "preloaded {} modules in {:.2} s, left out {}",
        report.modules.len(),
        took.as_secs_f64(),
        report.skipped.len()
    );
    for (name, skipped) in &report.skipped {
        let known = before.skipped.get(name);
        if known.is_some_and(|known| known.reason == skipped.reason) {
            continue;
        }
        let mut text = format!("{name} is not preloaded: {}", skipped.reason);
        for (file, line, source) in skipped.lines.iter().take(LINES_SHOWN) {
            text.push_str(&format!("\n  {}:{line}: {source}", file.display()));
        }
        if skipped.lines.len() > LINES_SHOWN {
            text.push_str(&format!(
                "\n  and {} more",
                skipped.lines.len() - LINES_SHOWN
            ));
        }
        match skipped.severity {
            Severity::Warn => log::warn!("{text}"),
            Severity::Info => log::info!("{text}"),
        }
    }
}
