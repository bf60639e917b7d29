//! What must not be imported in a template, why, and when it is tried again. Reads no messages.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::protocol::message::PreloadItem;
use crate::scan::{Import, ImportSet};
use crate::stamp::{Change, Touched};

use super::report::Report;

/// What is left out: an entry of the import set, or one name wherever it stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    /// A module and the names imported from it.
    Item(String, Vec<String>),
    /// A dotted name: an entry's module, or a submodule of it.
    Name(String),
}

/// When something that was left out is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// It merely failed: with each new template.
    NextBuild,
    /// It was judged by what it did: when a distribution, a variable or a file of its own has changed.
    Changed,
    /// It ended the interpreter or stopped it: when something of its own has changed.
    OwnChanged,
    /// The user, or the table of remedies, says so.
    Never,
}

/// Why something is left out.
#[derive(Debug, Clone)]
pub(super) struct Why {
    pub(super) reason: String,
    pub(super) retry: Retry,
    /// What was read for it: mending these counts.
    pub(super) files: Vec<Touched>,
    /// How long its import took, in microseconds, where that is known.
    pub(super) cost: Option<u64>,
}

/// Everything that is left out.
#[derive(Debug, Clone, Default)]
pub(super) struct LeftOut(BTreeMap<What, Why>);

impl LeftOut {
    pub(super) fn insert(&mut self, what: What, why: Why) {
        self.0.insert(what, why);
    }

    /// Leaves out what somebody has named before: these modules and what is below them.
    pub(super) fn apply(&mut self, leave_out: &[(String, String)], imports: &ImportSet) {
        let said = |name: &str| {
            let found = leave_out.iter().find(|(module, _)| covers(module, name))?;
            Some(Why {
                reason: found.1.clone(),
                retry: Retry::Never,
                files: Vec::new(),
                cost: None,
            })
        };
        for import in &imports.imports {
            if let Some(why) = said(&import.module) {
                self.0.insert(What::Name(import.module.clone()), why);
            }
            for name in &import.names {
                let name = format!("{}.{name}", import.module);
                if let Some(why) = said(&name) {
                    self.0.insert(What::Name(name), why);
                }
            }
        }
    }

    /// What was judged, not merely failed, of these imports.
    pub(super) fn verdicts<'l>(
        &'l self,
        imports: &'l ImportSet,
    ) -> impl Iterator<Item = (String, &'l str)> {
        self.0
            .iter()
            .filter(|(what, why)| why.retry != Retry::NextBuild && what.is_of(imports))
            .map(|(what, why)| (what.name(), why.reason.as_str()))
    }

    /// Forgets what is worth another try, when a new template is built because of these changes.
    pub(super) fn forget(&mut self, changes: &BTreeSet<Change>) {
        self.0.retain(|what, why| {
            // Files have changed meanwhile that no name tells of; and what is as young as its state may have.
            let own = || {
                changes.iter().any(|change| concerns(change, what.top()))
                    || why.files.iter().any(Touched::has_changed)
            };
            match why.retry {
                Retry::NextBuild => false,
                Retry::Never => true,
                Retry::OwnChanged => !own(),
                Retry::Changed => {
                    !own()
                        && !changes.iter().any(|change| {
                            matches!(change, Change::Distribution { .. } | Change::Variable(_))
                        })
                }
            }
        });
    }

    /// What is to be imported, with its place in the import set.
    pub(super) fn wanted(&self, imports: &ImportSet) -> Vec<(usize, PreloadItem)> {
        let mut wanted = Vec::new();
        for (index, import) in imports.imports.iter().enumerate() {
            let whole = What::Item(import.module.clone(), import.names.clone());
            let name = What::Name(import.module.clone());
            if self.0.contains_key(&whole) || self.0.contains_key(&name) {
                continue;
            }
            let names = import.names.iter();
            let names = names.filter(|name| !self.0.contains_key(&below(import, name)));
            let item = PreloadItem {
                module: import.module.clone(),
                names: names.cloned().collect(),
            };
            wanted.push((index, item));
        }
        wanted
    }

    /// Adds what is left out to the report.
    pub(super) fn tell(&self, imports: &ImportSet, report: &mut Report) {
        for import in &imports.imports {
            let whole = What::Item(import.module.clone(), import.names.clone());
            let name = What::Name(import.module.clone());
            let below = import.names.iter().map(|name| below(import, name));
            for what in [whole, name].into_iter().chain(below) {
                let Some(why) = self.0.get(&what) else {
                    continue;
                };
                report.skip(what.name(), import, why.reason.clone(), why.cost);
                let is_judged = why.retry != Retry::NextBuild;
                report.mark(&what.name(), is_judged, why.retry == Retry::Never);
            }
        }
    }

    /// What has read a file and is left out.
    pub(super) fn reader(&self, path: &Path) -> Option<String> {
        let reads = |why: &Why| why.files.iter().any(|file| file.path() == path);
        let mut all = self.0.iter();
        all.find(|(_, why)| reads(why)).map(|(what, _)| what.name())
    }

    /// The files that were read for what is left out, but for `known`.
    pub(super) fn files(&self, known: &BTreeSet<&What>) -> Vec<Touched> {
        let new = self.0.iter().filter(|(what, _)| !known.contains(what));
        new.flat_map(|(_, why)| why.files.iter().cloned()).collect()
    }

    /// What is left out.
    pub(super) fn names(&self) -> BTreeSet<What> {
        self.0.keys().cloned().collect()
    }
}

impl What {
    /// For messages.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Item(module, names) => match names.as_slice() {
                [name] if name != "*" => format!("{module}.{name}"),
                [] | [..] => module.clone(),
            },
            Self::Name(name) => name.clone(),
        }
    }

    fn is_of(&self, imports: &ImportSet) -> bool {
        imports.imports.iter().any(|import| match self {
            Self::Item(module, names) => *module == import.module && *names == import.names,
            Self::Name(name) => {
                *name == import.module
                    || import.names.iter().any(|each| *self == below(import, each))
            }
        })
    }

    fn top(&self) -> &str {
        let (Self::Item(name, _) | Self::Name(name)) = self;
        top(name)
    }
}

/// The top-level package of a dotted name.
pub(super) fn top(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// Whether `name` is `module` or below it.
pub(super) fn covers(module: &str, name: &str) -> bool {
    name.strip_prefix(module)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn below(import: &Import, name: &str) -> What {
    What::Name(format!("{}.{name}", import.module))
}

/// Whether a change is one of the package `top`, as far as names tell.
fn concerns(change: &Change, top: &str) -> bool {
    let plain = |text: &str| text.to_lowercase().replace(['-', '.'], "_");
    match change {
        Change::Distribution { name, .. } => plain(name) == plain(top),
        Change::File { path, .. } => path.components().any(|part| {
            let part = part.as_os_str().to_string_lossy();
            part.split('.').next() == Some(top)
        }),
        Change::Found(_) | Change::Interpreter(_) | Change::Path => true,
        Change::Variable(_) | Change::Directory(_) => false,
    }
}
