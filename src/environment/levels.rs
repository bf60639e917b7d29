//! Which of the project's own modules are imported ahead, and in which layers: what was edited last lies on top, so that
//! the next edit drops little. Imports nothing, and asks no disk.
//!
//! A level is an ordered list. Importing the levels one after the other, lowest first, runs the modules as a cold start
//! of the package would, but for the levels themselves.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::scan::OwnModules;

/// When a file was edited: a larger number is a later time. Files that were saved together have the same.
pub(super) type Edits = BTreeMap<PathBuf, u64>;

/// The modules to import ahead: the package, what other modules of the project import, and what runs were seen to
/// import. No tests, nothing that runs a program, and nothing that needs machine code of the project's own.
pub(super) fn wanted(own: &OwnModules, package: &str, learned: &[String]) -> BTreeSet<String> {
    let imported = own.0.iter().filter(|(name, _)| !is_apart(name));
    let imported = imported.flat_map(|(_, module)| module.imports.iter());
    let asked = imported
        .chain(learned)
        .map(String::as_str)
        .chain([package])
        .filter(|name| !is_apart(name));
    let refused = refused(own);
    let mut wanted = BTreeSet::new();
    let mut waiting: Vec<&str> = asked.collect();
    // What a module imports comes with it.
    while let Some(name) = waiting.pop() {
        let Some(module) = own.0.get(name).filter(|_| !refused.contains(name)) else {
            continue;
        };
        if wanted.insert(name.to_owned()) {
            waiting.extend(module.imports.iter().map(String::as_str));
        }
    }
    wanted
}

/// At most three levels, lowest first: what does not depend on anything that was edited; what does; and what is, or
/// depends on, what was edited last. None is empty.
///
/// What a module of `wanted` imports must be in it, too.
pub(super) fn levels(
    own: &OwnModules,
    package: &str,
    wanted: &BTreeSet<String>,
    edits: &Edits,
) -> Vec<Vec<String>> {
    let edited = |name: &str| {
        let module = own.0.get(name)?;
        edits.get(&module.file).copied()
    };
    let last = wanted.iter().filter_map(|name| edited(name)).max();
    let mut levels = [const { Vec::new() }; 3];
    let mut heights: BTreeMap<&str, usize> = BTreeMap::new();
    for mut group in groups(own, package, wanted) {
        let names = || group.iter().map(|(_, name)| *name);
        let itself = names().map(|name| match edited(name) {
            None => 0,
            when if when == last => 2,
            Some(_) => 1,
        });
        // Groups come after those that they import.
        let below = names()
            .filter_map(|name| own.0.get(name))
            .flat_map(|module| &module.imports)
            .filter_map(|import| heights.get(import.as_str()).copied());
        let height = itself.chain(below).max().unwrap_or(0);
        heights.extend(names().map(|name| (name, height)));
        // Of modules that import each other, the one that a cold start enters first.
        group.sort_unstable();
        if let Some(level) = levels.get_mut(height) {
            level.extend(group.iter().map(|(_, name)| (*name).to_owned()));
        }
    }
    levels
        .into_iter()
        .filter(|level| !level.is_empty())
        .collect()
}

/// Tests, and what is run rather than imported.
fn is_apart(name: &str) -> bool {
    let mut parts = name.split('.');
    parts.any(|part| {
        matches!(part, "__main__" | "conftest" | "test" | "tests")
            || part.starts_with("test_")
            || part.ends_with("_test")
    })
}

/// What can't be imported ahead, and whatever imports it.
fn refused(own: &OwnModules) -> BTreeSet<&str> {
    let is_main = |name: &str| name.rsplit('.').next() == Some("__main__");
    let bad = own.0.iter();
    let bad = bad.filter(|(name, module)| module.is_opaque || is_main(name));
    with_importers(own, bad.map(|(name, _)| name.as_str()).collect())
}

/// These modules, and whatever imports one of them, directly or by others.
pub(super) fn importers<'m>(own: &'m OwnModules, names: &'m BTreeSet<String>) -> BTreeSet<&'m str> {
    with_importers(own, names.iter().map(String::as_str).collect())
}

fn with_importers<'m>(own: &'m OwnModules, mut waiting: Vec<&'m str>) -> BTreeSet<&'m str> {
    let mut importers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, module) in &own.0 {
        for import in &module.imports {
            importers.entry(import).or_default().push(name);
        }
    }
    let mut found = BTreeSet::new();
    while let Some(name) = waiting.pop() {
        if found.insert(name) {
            waiting.extend(importers.get(name).into_iter().flatten());
        }
    }
    found
}

/// A module with its place in the order in which a cold start would enter them.
type Entered<'m> = (usize, &'m str);

/// The modules in groups of those that import each other, each group after the ones that it imports (Tarjan's strongly
/// connected components, with a stack of its own: a chain of imports may be longer than the thread's).
fn groups<'m>(
    own: &'m OwnModules,
    package: &'m str,
    wanted: &'m BTreeSet<String>,
) -> Vec<Vec<Entered<'m>>> {
    let mut walk = Walk {
        own,
        wanted,
        entered: BTreeMap::new(),
        open: Vec::new(),
        groups: Vec::new(),
    };
    let first = wanted.get(package);
    for name in first.into_iter().chain(wanted) {
        walk.run(name);
    }
    walk.groups
}

struct Walk<'m> {
    own: &'m OwnModules,
    wanted: &'m BTreeSet<String>,
    /// Module -> its place, and the lowest place that it leads back to; none when its group is complete.
    entered: BTreeMap<&'m str, (usize, Option<usize>)>,
    /// Modules whose group is not complete.
    open: Vec<&'m str>,
    groups: Vec<Vec<Entered<'m>>>,
}

impl<'m> Walk<'m> {
    fn run(&mut self, name: &'m str) {
        let mut running = Vec::new();
        running.extend(self.enter(name));
        while let Some((name, place, next)) = running.last_mut() {
            let (name, place) = (*name, *place);
            let imports = self.own.0.get(name).map(|module| &module.imports);
            let import = imports.and_then(|imports| imports.get(*next));
            *next += 1;
            match import {
                Some(import) => match self.entered.get(import.as_str()) {
                    None => running.extend(self.enter(import)),
                    Some((back, Some(_))) => {
                        let back = *back;
                        self.lead_back(name, back);
                    }
                    Some((_, None)) => {}
                },
                None => {
                    running.pop();
                    let lowest = self.entered.get(name).and_then(|(_, lowest)| *lowest);
                    match (lowest, running.last()) {
                        (Some(lowest), _) if lowest == place => self.complete(place),
                        (Some(lowest), Some((above, ..))) => self.lead_back(above, lowest),
                        (_, _) => {}
                    }
                }
            }
        }
    }

    fn enter(&mut self, name: &str) -> Option<(&'m str, usize, usize)> {
        let name = self.wanted.get(name)?.as_str();
        if self.entered.contains_key(name) {
            return None;
        }
        let place = self.entered.len();
        self.entered.insert(name, (place, Some(place)));
        self.open.push(name);
        Some((name, place, 0))
    }

    fn lead_back(&mut self, name: &str, to: usize) {
        if let Some((_, Some(lowest))) = self.entered.get_mut(name) {
            *lowest = to.min(*lowest);
        }
    }

    /// Everything that was entered from this place on, and is open, is one group.
    fn complete(&mut self, from: usize) {
        let entered = &mut self.entered;
        let place = |name: &&str| entered.get(name).map_or(0, |(place, _)| *place);
        let start = self.open.partition_point(|name| place(name) < from);
        let mut group = Vec::new();
        for name in self.open.drain(start..) {
            if let Some((place, lowest)) = entered.get_mut(name) {
                *lowest = None;
                group.push((*place, name));
            }
        }
        self.groups.push(group);
    }
}

#[cfg(test)]
mod tests;
