//! What a template has and has not, and how it is told. Decides nothing.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use super::brought::Brought;
use crate::protocol::findings::Census;
use crate::scan::{Import, ImportSet, Problem, Severity, Site};

/// Of the lines that import what is skipped, this many are logged; all are in the report.
const LINES_SHOWN: usize = 3;

/// What the running template has and has not.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Module and import time in microseconds, in the order of import.
    pub modules: Vec<(String, u64)>,
    /// The imports that it was asked for, in the same order, with what came with each.
    pub brought: Vec<Brought>,
    /// Those of them that no import of the project names: children were seen to import them.
    pub learned: BTreeSet<String>,
    /// Modules of the project that any interpreter loads when it starts (`sitecustomize`).
    pub at_start: Vec<String>,
    /// The top-level packages that are loaded, without the standard library.
    pub packages: BTreeSet<String>,
    /// What is said of each package: "safe", "safe with ...", "left out: ...".
    pub verdicts: BTreeMap<String, String>,
    /// What is not preloaded, by name.
    pub skipped: BTreeMap<String, Skipped>,
}

/// A module that is not preloaded, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// For users.
    pub reason: String,
    /// Where it is imported, as of the last scan.
    pub sites: Vec<Site>,
    module: String,
    severity: Severity,
    /// It was judged by what it did. The details (a port, a process) differ each time: told once.
    is_judged: bool,
    /// The user has asked for it: no reason to warn.
    is_asked: bool,
    /// How long its import takes in each run, in microseconds, where that is known.
    cost: Option<u64>,
}

impl Report {
    pub(super) fn skip(
        &mut self,
        name: String,
        import: &Import,
        reason: String,
        cost: Option<u64>,
    ) {
        let skipped = Skipped {
            reason,
            sites: Vec::new(),
            module: import.module.clone(),
            severity: Severity::Info,
            is_judged: false,
            is_asked: false,
            cost,
        };
        self.skipped.insert(name, skipped);
    }

    /// How long the import of something took, in microseconds, where it was imported.
    pub(super) fn cost(&self, name: &str) -> Option<u64> {
        let mut all = self.modules.iter();
        all.find(|(each, _)| each == name).map(|(_, cost)| *cost)
    }

    /// Says how something came to be skipped.
    pub(super) fn mark(&mut self, name: &str, is_judged: bool, is_asked: bool) {
        if let Some(skipped) = self.skipped.get_mut(name) {
            skipped.is_judged = is_judged;
            skipped.is_asked = is_asked;
        }
    }

    /// Adds what a level has, and what it has not of these imports.
    pub(super) fn add(&mut self, level: &Self, imports: &ImportSet) {
        self.modules.extend(level.modules.iter().cloned());
        self.brought.extend(level.brought.iter().cloned());
        self.at_start.extend(level.at_start.iter().cloned());
        let verdicts = level.verdicts.iter();
        self.verdicts
            .extend(verdicts.map(|(name, said)| (name.clone(), said.clone())));
        let wanted: BTreeSet<&str> = imports.imports.iter().map(|i| i.module.as_str()).collect();
        let skipped = level.skipped.iter();
        let skipped = skipped.filter(|(_, each)| wanted.contains(each.module.as_str()));
        self.skipped
            .extend(skipped.map(|(name, each)| (name.clone(), each.clone())));
    }

    /// It has this as well, though nobody knows how long its import took.
    pub(super) fn has_also(&mut self, name: String) {
        if !self.modules.iter().any(|(each, _)| *each == name) {
            self.modules.push((name, 0));
        }
    }

    /// It has this module, which came with others before it was asked for.
    pub(super) fn came_with_others(&mut self, module: String) {
        if !self.brought.iter().any(|each| each.module == module) {
            self.brought.push(Brought::nothing(module));
        }
    }

    /// Says of each package what its trial has shown.
    pub(super) fn judge(&mut self, census: &Census) {
        for package in std::mem::take(&mut self.packages) {
            let verdict = if census.quiesced.contains_key(&package) {
                "safe, quiesced by its own fork handlers".to_owned()
            } else if let Some(remedy) = census.remedies.get(&package) {
                format!("safe with {remedy}")
            } else if let Some(threads) = census.harmless.get(&package) {
                format!("safe with its {threads}")
            } else {
                "safe".to_owned()
            };
            self.verdicts.insert(package, verdict);
        }
    }

    /// Says what is left out.
    pub(super) fn leave_out<'a>(&mut self, left_out: impl Iterator<Item = (String, &'a str)>) {
        for (name, reason) in left_out {
            self.verdicts.insert(name, format!("left out: {reason}"));
        }
    }

    /// Takes the places from a scan: edits move lines without changing what is imported.
    pub(super) fn locate(&mut self, imports: &ImportSet) {
        for brought in &mut self.brought {
            brought.locate(imports);
        }
        for skipped in self.skipped.values_mut() {
            // A module has several entries when its submodules are named after other imports: one verdict for all.
            let sites = imports
                .imports
                .iter()
                .filter(|import| import.module == skipped.module)
                .flat_map(|import| import.sites.clone())
                .collect();
            let merged = Import {
                module: skipped.module.clone(),
                names: Vec::new(),
                sites,
            };
            skipped.severity = merged.severity();
            skipped.sites = merged.sites;
        }
    }

    /// Says what became of the preload of `count` modules. What is skipped for the same reason as before was told then.
    pub(super) fn log(&self, before: &Self, count: usize, is_layer: bool, took: Duration) {
        log::info!(
            "preloaded {count}{} module{} in {:.2} s, left out {}",
            if is_layer { " more" } else { "" },
            if count == 1 { "" } else { "s" },
            took.as_secs_f64(),
            self.skipped.len()
        );
        for name in self
            .at_start
            .iter()
            .filter(|name| !before.at_start.contains(name))
        {
            log::info!(
                "{name} is code of the project that every interpreter runs when it starts; \
                 the template is replaced when it changes"
            );
        }
        for (name, skipped) in &self.skipped {
            let known = before.skipped.get(name);
            let is_known = |known: &Skipped| {
                known.reason == skipped.reason || (known.is_judged && skipped.is_judged)
            };
            if known.is_some_and(is_known) {
                continue;
            }
            let text = skipped.describe(name);
            match skipped.severity {
                Severity::Warn if !skipped.is_asked => log::warn!("{text}"),
                Severity::Warn | Severity::Info => log::info!("{text}"),
            }
        }
    }
}

impl Skipped {
    fn describe(&self, name: &str) -> String {
        let mut text = format!("{name} is not preloaded: {}", self.reason);
        // Writing to a String does not fail.
        if let Some(milliseconds) = self.cost.map(|cost| cost / 1000).filter(|ms| *ms > 0) {
            let _ = write!(text, " ({milliseconds} ms)");
        }
        for site in self.sites.iter().take(LINES_SHOWN) {
            let (file, line) = (site.file.display(), site.line);
            let _ = write!(text, "\n  {file}:{line}: {}", site.text);
        }
        let more = self.sites.len().saturating_sub(LINES_SHOWN);
        if more > 0 {
            let _ = write!(text, "\n  and {more} more");
        }
        text
    }
}

/// Files that are broken. Each is told once, and again only after it was mended in between.
#[derive(Debug, Default)]
pub(super) struct Problems(BTreeSet<String>);

impl Problems {
    pub(super) fn log_new(&mut self, problems: &[Problem]) {
        let now: BTreeSet<String> = problems
            .iter()
            .map(|problem| {
                let file = problem.file.display();
                match problem.line {
                    Some(line) => format!("{file}:{line}: {}", problem.message),
                    None => format!("{file}: {}", problem.message),
                }
            })
            .collect();
        for problem in now.difference(&self.0) {
            log::warn!("{problem}");
        }
        self.0 = now;
    }
}

/// Why two import sets need two templates.
pub(super) fn difference(before: &ImportSet, after: &ImportSet) -> String {
    let (before, after) = (before.key(), after.key());
    let names = |one: &BTreeSet<(&str, &str)>, other: &BTreeSet<(&str, &str)>| {
        let names: BTreeSet<&str> = one.difference(other).map(|(module, _)| *module).collect();
        let names: Vec<&str> = names.into_iter().collect();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    };
    let (new, gone) = (names(&after, &before), names(&before, &after));
    format!("the imports have changed (new: {new}; gone: {gone})")
}
