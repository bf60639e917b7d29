//! One template's way from spawn to ready: follows its messages, and finds out whom to blame when it does not get there.
#![forbid(unsafe_code)]

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::judge::{object_to_thread, Judge, Objection};
use super::left_out::{Retry, What, Why};
use super::report::Report;
use super::{Caller, ATTENTION};
use crate::error::{tail, Error};
use crate::protocol::findings::{Census, FileText};
use crate::protocol::message::{FromTemplate, PreloadItem};
use crate::protocol::PROTOCOL;
use crate::scan::{Import, ImportSet};
use crate::stamp::Touched;
use crate::supervisor::dispatcher::Dispatcher;
use crate::supervisor::template::{Event, TemplateId};

/// From spawn to hello, and from the last import to ready: both take milliseconds.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A message and its body.
type Said = (FromTemplate, Vec<u8>);

/// How one attempt at a template went.
pub(super) enum Attempt {
    Ready(Box<Ready>),
    /// These must not be tried.
    LeaveOut(Vec<Judged>),
}

/// A template that is ready.
pub(super) struct Ready {
    pub(super) report: Report,
    pub(super) census: Census,
    /// What its imports have read, and the rest of its stamp.
    pub(super) files: Vec<FileText>,
    pub(super) stamp: Vec<u8>,
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
    pub(super) imports: &'a ImportSet,
    /// What is to be imported, with its place in `imports`.
    pub(super) wanted: &'a [(usize, PreloadItem)],
    pub(super) limit: Duration,
    pub(super) judge: Judge<'a>,
    /// Whether to try the exit of a child.
    pub(super) trial: bool,
    pub(super) caller: &'a dyn Caller,
}

impl Preload<'_> {
    pub(super) fn run(mut self, dispatcher: &Dispatcher) -> Result<Attempt, Error> {
        let items = self.wanted.iter().map(|(_, item)| item.clone()).collect();
        dispatcher.preload(self.id, items, self.trial)?;
        let mut report = Report::default();
        let mut read: Vec<FileText> = Vec::new();
        // Where the files of the last item begin.
        let mut last = 0;
        let mut importing: Option<usize> = None;
        loop {
            let (message, body) = match self.next(importing)? {
                Ok(message) => message,
                Err(attempt) => return Ok(attempt),
            };
            match message {
                FromTemplate::Importing { index } => {
                    importing = Some(index);
                    self.caller
                        .progress(&self.module(index), index, self.wanted.len());
                }
                FromTemplate::Imported {
                    index,
                    loaded,
                    modules,
                    files,
                    effects,
                } => {
                    importing = None;
                    last = read.len();
                    if let Some(objection) = self.judge.objection(index, &modules, &effects) {
                        let what = self.item(index);
                        let judged = self.leave_out(what, objection, &files);
                        return Ok(Attempt::LeaveOut(vec![judged]));
                    }
                    read.extend(files);
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
                        let files = read.get(last..).unwrap_or_default();
                        let judged = self.left_by_failure(index, &error, files);
                        return Ok(Attempt::LeaveOut(vec![judged]));
                    }
                    if let Some(import) = self.import(index) {
                        report.skip(name, import, error);
                    }
                }
                FromTemplate::Ready {
                    modules,
                    start,
                    census,
                } => {
                    log::debug!("the template is ready with {modules} modules");
                    let judged = self.left_by_threads(&census);
                    if !judged.is_empty() {
                        return Ok(Attempt::LeaveOut(judged));
                    }
                    report.at_start = self.judge.own(&start);
                    report.packages = self.judge.packages();
                    return Ok(Attempt::Ready(Box::new(Ready {
                        report,
                        census,
                        files: read,
                        stamp: body,
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
        };
        Judged::new(self.item(index), why)
    }

    fn left_by_threads(&self, census: &Census) -> Vec<Judged> {
        let threads = census.threads.iter();
        threads
            .filter_map(|thread| {
                let mut objection = object_to_thread(thread)?;
                let name = objection.name.take()?;
                let what = if self.is_wanted(&name) {
                    What::Name(name)
                } else {
                    self.item(self.judge.brought_by(&name)?)
                };
                Some(self.leave_out(what, objection, &[]))
            })
            .collect()
    }

    /// `item` is the entry of the import set, for when all of it is meant.
    fn leave_out(&self, item: What, objection: Objection, files: &[FileText]) -> Judged {
        let what = objection.name.map_or(item, What::Name);
        let why = Why {
            reason: objection.reason,
            retry: Retry::Changed,
            // The project's own are read anew by each child.
            files: Touched::from_message(files)
                .into_iter()
                .filter(|file| !self.judge.is_own("", file.path()))
                .collect(),
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
        };
        Attempt::LeaveOut(vec![Judged::new(self.item(index), why)])
    }

    fn module(&self, index: usize) -> String {
        self.wanted
            .get(index)
            .map(|(_, item)| item.module.clone())
            .unwrap_or_default()
    }

    /// The next message, or what follows from there being none.
    fn next(&self, importing: Option<usize>) -> Result<Result<Said, Attempt>, Error> {
        let phase = if importing.is_some() {
            "importing"
        } else {
            "starting"
        };
        let limit = importing.map_or(START_LIMIT, |_| self.limit);
        // Counted in slices, not by the clock: a host that was stopped (Ctrl-Z) did not wait meanwhile.
        let mut left = limit;
        loop {
            let slice = left.min(ATTENTION);
            match self.events.recv_timeout(slice) {
                Ok(Event::Said(message, body)) => return Ok(Ok((message, body))),
                Ok(Event::Garbled(error)) => return Err(error.into()),
                Ok(Event::Died { how, output }) => {
                    let Some(index) = importing else {
                        return Err(Error::TemplateDied { how, phase, output });
                    };
                    let output = tail(&output);
                    let reason = format!("the template {how} while importing it{output}");
                    return Ok(Err(self.blame(index, reason)));
                }
                Err(RecvTimeoutError::Disconnected) => return Err(Error::Closed),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.caller.attend()?;
            left = left.saturating_sub(slice);
            if left.is_zero() {
                let Some(index) = importing else {
                    return Err(Error::TemplateSilent {
                        after: limit,
                        phase,
                    });
                };
                let reason = format!("its import took more than {} s", limit.as_secs_f64());
                return Ok(Err(self.blame(index, reason)));
            }
        }
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
