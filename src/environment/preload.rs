//! One template's way from spawn to ready: follows its messages, and finds out whom to blame when it does not get
//! there. Does not wait for them.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::brought::{Brought, Told};
use super::judge::{object_to_thread, Judge, Objection};
use super::left_out::{Retry, What, Why};
use super::listen::{Doing, Next};
use super::reads::Reads;
use super::report::Report;
use super::Caller;
use crate::error::Error;
use crate::protocol::findings::{Census, FileText};
use crate::protocol::message::{FromTemplate, PreloadItem};
use crate::protocol::PROTOCOL;
use crate::scan::{Import, ImportSet};
use crate::stamp::{Listener, Touched};
use crate::supervisor::dispatcher::Dispatcher;
use crate::supervisor::template::{Event, TemplateId};

/// Effects for which it counts what was loaded before: see `firehot/_effects.py`.
const PATCHES: [&str; 2] = ["monkey-patching", "event loop policy"];

/// How one attempt at a template went.
pub(super) enum Attempt {
    Ready(Box<Ready>),
    /// These must not be tried.
    LeaveOut(Vec<Judged>),
    /// It ended, or fell silent, after an import: nobody knows yet which.
    Ended(Box<Ended>),
}

/// A template that was not ready after its imports.
pub(super) struct Ended {
    /// Of the import that will be found to have caused it.
    pub(super) reason: String,
    /// What is raised when there is none.
    pub(super) error: Error,
    pub(super) is_silent: bool,
    /// How long it took to its last import.
    pub(super) took: Duration,
    pub(super) reads: Reads,
}

/// How one attempt is to be made.
#[derive(Clone, Copy)]
pub(super) struct Tries {
    /// Whether to try the exit of a child.
    pub(super) trial: bool,
    /// From the last import to ready.
    pub(super) limit: Duration,
}

/// A template that is ready.
pub(super) struct Ready {
    pub(super) report: Report,
    pub(super) census: Census,
    /// What its imports have read, and the rest of its stamp.
    pub(super) reads: Reads,
    pub(super) stamp: Vec<u8>,
    /// The items with which anything came.
    pub(super) brought: BTreeSet<usize>,
    /// Everything that came into `sys.modules`, with its file as a message tells it.
    pub(super) loaded: BTreeMap<String, Option<String>>,
    /// An import has patched what others had loaded.
    pub(super) has_patched: bool,
}

/// Something that must not be tried, and why.
pub(super) struct Judged {
    pub(super) what: What,
    pub(super) why: Why,
    /// The module that is to blame, when the verdict is the same in every project.
    pub(super) blamed: Option<String>,
}

impl Judged {
    fn new(what: What, why: Why) -> Self {
        Self {
            what,
            why,
            blamed: None,
        }
    }
}

/// One template's way from spawn to ready.
pub(super) struct Preload<'a> {
    pub(super) id: TemplateId,
    pub(super) events: &'a Receiver<Event>,
    pub(super) listener: &'a Listener,
    pub(super) imports: &'a ImportSet,
    /// What is to be imported, with its place in `imports`.
    pub(super) wanted: &'a [(usize, PreloadItem)],
    pub(super) limit: Duration,
    pub(super) judge: Judge<'a>,
    pub(super) tries: Tries,
    pub(super) caller: &'a dyn Caller,
}

impl Preload<'_> {
    pub(super) fn run(mut self, dispatcher: &Dispatcher) -> Result<Attempt, Error> {
        let items = self.wanted.iter().map(|(_, item)| item.clone()).collect();
        dispatcher.preload(self.id, items, self.tries.trial)?;
        let began = Instant::now();
        let mut report = Report::default();
        let mut reads = Reads::default();
        let mut doing = Doing::Starting;
        let mut took = Duration::ZERO;
        let mut brought = BTreeSet::new();
        let mut has_patched = false;
        loop {
            let (message, body) = match self.next(doing)? {
                Next::Said(message, body) => (message, body),
                Next::Blame(index, reason) => return Ok(self.blame(index, reason)),
                Next::Ended { how, error } => {
                    return Ok(Attempt::Ended(Box::new(Ended {
                        reason: format!("the template {how}"),
                        is_silent: matches!(error, Error::TemplateSilent { .. }),
                        error,
                        took,
                        reads,
                    })));
                }
            };
            match message {
                FromTemplate::Importing { index } => {
                    doing = Doing::Importing(index);
                    self.caller
                        .progress(&self.module(index), index, self.wanted.len());
                }
                FromTemplate::Imported {
                    index,
                    loaded,
                    modules,
                    costs,
                    files,
                    effects,
                    memory,
                } => {
                    doing = Doing::Settling;
                    took = began.elapsed();
                    let objection = self.judge.objection(index, &modules, &effects);
                    if !modules.is_empty() || !effects.is_empty() {
                        brought.insert(index);
                    }
                    has_patched |= effects
                        .iter()
                        .any(|each| PATCHES.contains(&each.kind.as_str()));
                    // While the template goes on: ready does not wait for it.
                    self.listener.expect(&files);
                    let told = Told::new(modules, costs, &files, effects);
                    reads.add(index, files);
                    let module = self.module(index);
                    report.modules.extend(loaded.iter().cloned());
                    // One that failed is told next.
                    if !loaded.is_empty() {
                        let brought = Brought::new(module, loaded, memory, told);
                        report.brought.push(brought);
                    }
                    if let Some(objection) = objection {
                        let what = self.item(index);
                        let judged = self.leave_out(what, objection, reads.of(index), &report);
                        return Ok(Attempt::LeaveOut(vec![judged]));
                    }
                }
                FromTemplate::Failed {
                    index,
                    name,
                    error,
                    residue,
                } => {
                    doing = Doing::Settling;
                    if residue {
                        let judged = self.left_by_failure(index, &error, reads.of(index));
                        return Ok(Attempt::LeaveOut(vec![judged]));
                    }
                    if let Some(import) = self.import(index) {
                        report.skip(name, import, error, None);
                    }
                }
                FromTemplate::Ready {
                    modules,
                    start,
                    census,
                    late,
                } => {
                    log::debug!("the template is ready with {modules} modules");
                    if let Some(reason) = self.judge.object_to_late(&late) {
                        log::warn!("{reason}");
                        return Err(Error::Unusable { reason });
                    }
                    let judged = self.left_by_threads(&census, &reads, &report);
                    if !judged.is_empty() {
                        return Ok(Attempt::LeaveOut(judged));
                    }
                    report.at_start = self.judge.own(&start);
                    report.packages = self.judge.packages();
                    return Ok(Attempt::Ready(Box::new(Ready {
                        report,
                        census,
                        reads,
                        stamp: body,
                        brought,
                        loaded: self.judge.take_files(),
                        has_patched,
                    })));
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

    fn import(&self, index: usize) -> Option<&Import> {
        let (place, _) = self.wanted.get(index)?;
        self.imports.imports.get(*place)
    }

    /// An entry of the import set, whole.
    fn item(&self, index: usize) -> What {
        self.import(index).map_or_else(
            || What::Name(String::new()),
            |import| What::Item(import.module.clone(), import.names.clone()),
        )
    }

    fn is_wanted(&self, name: &str) -> bool {
        self.wanted.iter().any(|(_, item)| {
            item.module == name
                || name
                    .strip_prefix(&item.module)
                    .and_then(|rest| rest.strip_prefix('.'))
                    .is_some_and(|rest| item.names.iter().any(|each| each == rest))
        })
    }

    /// An import that failed and left a part of it behind: no cold start looks like that.
    fn left_by_failure(&self, index: usize, error: &str, files: &[FileText]) -> Judged {
        let why = Why {
            reason: format!("it failed half-way: {error}"),
            retry: Retry::NextBuild,
            files: Touched::from_message(files),
            cost: None,
        };
        Judged::new(self.item(index), why)
    }

    fn left_by_threads(&self, census: &Census, reads: &Reads, report: &Report) -> Vec<Judged> {
        let threads = census.threads.iter();
        threads
            .filter_map(|thread| {
                let mut objection = object_to_thread(thread)?;
                let name = objection.name.take()?;
                let item = self.judge.brought_by(&name);
                let files = item.map_or(&[][..], |item| reads.of(item));
                let what = if self.is_wanted(&name) {
                    What::Name(name)
                } else {
                    self.item(item?)
                };
                Some(self.leave_out(what, objection, files, report))
            })
            .collect()
    }

    /// `item` is the entry of the import set, for when all of it is meant.
    fn leave_out(
        &self,
        item: What,
        objection: Objection,
        files: &[FileText],
        report: &Report,
    ) -> Judged {
        let what = objection.name.map_or(item, What::Name);
        let cost = report.cost(&what.name());
        let why = Why {
            reason: objection.reason,
            retry: Retry::Changed,
            // The project's own are read anew by each child.
            files: Touched::from_message(files)
                .into_iter()
                .filter(|file| !self.judge.is_own("", file.path()))
                .collect(),
            cost,
        };
        Judged {
            what,
            why,
            blamed: objection.blamed,
        }
    }

    /// The import that ended or stopped the interpreter.
    fn blame(&self, index: usize, reason: String) -> Attempt {
        let found = self.judge.file_of(&self.module(index));
        let why = Why {
            reason,
            retry: Retry::OwnChanged,
            files: found.as_deref().map(Touched::now).into_iter().collect(),
            cost: None,
        };
        Attempt::LeaveOut(vec![Judged::new(self.item(index), why)])
    }

    fn module(&self, index: usize) -> String {
        self.wanted
            .get(index)
            .map(|(_, item)| item.module.clone())
            .unwrap_or_default()
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
