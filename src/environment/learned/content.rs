//! The file of what was learned: what it holds, and how two of them are joined. Decides nothing.
#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cache;
use crate::protocol::findings::FileText;
use crate::stamp::Touched;

/// More modules than that are forgotten, those first that were not missed for the longest time.
const MOST: usize = 5_000;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Content {
    /// How often the project was opened.
    pub(super) openings: u64,
    /// The place of the next module that is new.
    pub(super) next: u64,
    pub(super) modules: BTreeMap<String, Module>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Module {
    /// Its place in the order in which modules were first imported.
    pub(super) place: u64,
    /// Of the project, in contrast to third-party.
    pub(super) is_own: bool,
    /// One byte in each character; none for one of the interpreter's own.
    pub(super) file: Option<String>,
    /// Microseconds, the fewest that were seen: without and with what it imported first.
    pub(super) own: u64,
    pub(super) total: u64,
    /// How many children missed it.
    pub(super) seen: u64,
    /// In which opening the last one did.
    pub(super) last: u64,
    /// For how many openings it is kept.
    pub(super) kept: u64,
    /// "name version" of its distribution, where there is one.
    pub(super) distribution: Option<String>,
    pub(super) bad: Option<Bad>,
}

/// Why it can't be in a template.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Bad {
    pub(super) reason: String,
    /// Its file then; none when a change of that may not show, which counts for this process alone.
    pub(super) file: Option<FileText>,
}

impl Module {
    pub(super) fn is_kept(&self, now: u64) -> bool {
        now <= self.last + self.kept
    }

    /// As long as it was kept it is remembered how long that was.
    pub(super) fn is_forgotten(&self, now: u64) -> bool {
        now > self.last + 2 * self.kept
    }

    pub(super) fn is_wanted(&self, now: u64) -> bool {
        self.bad.is_none() && self.is_kept(now)
    }
}

impl Bad {
    /// In another process than the one that found it: what counts there alone does not hold.
    pub(super) fn holds_elsewhere(&self, file: &Option<String>) -> bool {
        self.file.is_some() != file.is_none() && !self.has_changed()
    }

    /// Whether its file is another one now.
    pub(super) fn has_changed(&self) -> bool {
        let then = Touched::from_message(self.file.as_slice());
        then.iter().any(Touched::has_changed)
    }
}

impl Content {
    /// All of a file; nothing where there is none, or where it is not as it was written.
    pub(super) fn read(file: Option<&Path>) -> Self {
        let Some(file) = file else {
            return Content::default();
        };
        let read = || -> io::Result<Content> { Ok(serde_json::from_slice(&cache::read(file)?)?) };
        read().unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                log::debug!("{} is passed over: {error}", file.display());
            }
            Content::default()
        })
    }

    pub(super) fn write(&self, file: &Path) {
        let written = serde_json::to_vec(self)
            .map_err(io::Error::from)
            .and_then(|bytes| cache::replace(file, &bytes));
        if let Err(error) = written {
            // A full disk, a read-only home: the next process learns for itself.
            log::debug!("{} could not be written: {error}", file.display());
        }
    }

    pub(super) fn forget_surplus(&mut self) {
        let modules = &mut self.modules;
        let surplus = modules.len().saturating_sub(MOST);
        if surplus == 0 {
            return;
        }
        let mut names: Vec<_> = modules
            .iter()
            .map(|(name, module)| {
                (
                    module.last,
                    module.seen,
                    Reverse(module.place),
                    name.clone(),
                )
            })
            .collect();
        names.sort();
        for (.., name) in names.into_iter().take(surplus) {
            modules.remove(&name);
        }
    }

    /// Adds what another process has written.
    pub(super) fn merge(&mut self, other: Self) {
        self.openings = self.openings.max(other.openings);
        self.next = self.next.max(other.next);
        for (name, theirs) in other.modules {
            let Some(ours) = self.modules.get_mut(&name) else {
                if self.modules.len() < MOST && !theirs.is_forgotten(self.openings) {
                    self.modules.insert(name, theirs);
                }
                continue;
            };
            if ours.file != theirs.file {
                continue;
            }
            ours.place = ours.place.min(theirs.place);
            ours.own = ours.own.min(theirs.own);
            ours.total = ours.total.min(theirs.total);
            ours.seen = ours.seen.max(theirs.seen);
            ours.last = ours.last.max(theirs.last);
            ours.kept = ours.kept.max(theirs.kept);
            if ours.bad.is_none() && ours.distribution == theirs.distribution {
                ours.bad = theirs.bad.filter(|bad| bad.holds_elsewhere(&ours.file));
            }
        }
    }
}
