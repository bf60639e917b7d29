//! What children had to import themselves, kept by project in the user's cache folder. Imports nothing, and judges
//! nothing.
//!
//! Nobody can tell whether a run needs what its template has already. So a module is kept for a number of openings of
//! the project; when it was not missed for so long, it is left out, and a run that still needs it says so: then it is
//! kept twice as long.
//!
//! The file is read when the project is opened, merged with what others wrote since, written whole, and passed over when
//! it is damaged or not the user's own.
#![forbid(unsafe_code)]

mod content;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use self::content::{Bad, Content, Module};
use super::left_out::top;
use super::verdicts::Fnv;
use super::Config;
use crate::protocol::findings::ChildImport;
use crate::protocol::message::PreloadItem;
use crate::scan::FirstParty;
use crate::stamp::{os_text, Touched};
use crate::supervisor::template::Launch;

/// Openings for which a module is kept at first, and at most.
const KEPT: u64 = 100;
const KEPT_LONGEST: u64 = 1_600;
/// A template is not built for fewer microseconds.
const WORTH_IT: u64 = 300;

/// The modules that one project was seen to need.
#[derive(Debug)]
pub(super) struct Learned {
    file: Option<PathBuf>,
    content: Content,
    has_news: bool,
    /// Top-level module -> the distribution that it came with, as far as that was looked up.
    owners: BTreeMap<String, Option<String>>,
}

impl Learned {
    /// What is known of a project, for one interpreter. Nothing is written before something is known.
    pub(super) fn open(config: &Config, launch: &Launch) -> Self {
        let name = format!(
            "learned-{}-{:016x}.json",
            env!("CARGO_PKG_VERSION"),
            key(config, launch)
        );
        let file = config.cache.as_ref().map(|folder| folder.join(name));
        let mut content = Content::read(file.as_deref());
        content.openings += 1;
        let now = content.openings;
        content
            .modules
            .retain(|_, module| !module.is_forgotten(now));
        for module in content.modules.values_mut() {
            let file = &module.file;
            module.bad.take_if(|bad| !bad.holds_elsewhere(file));
        }
        Self {
            file,
            has_news: !content.modules.is_empty(),
            content,
            owners: BTreeMap::new(),
        }
    }

    /// Takes note of what a child has imported itself; true when something is wanted that was not before.
    pub(super) fn hear(&mut self, modules: &[ChildImport], first_party: &FirstParty<'_>) -> bool {
        let mut is_new = false;
        for ChildImport(name, file, own, total) in modules {
            if first_party.is_unwanted(name) {
                continue;
            }
            let path = file.as_deref().map(os_text);
            let is_own = path
                .as_deref()
                .is_some_and(|path| first_party.owns(name, Path::new(path)));
            is_new |= self.note(name, file.as_deref(), is_own, (*own, *total));
        }
        self.content.forget_surplus();
        is_new
    }

    fn note(&mut self, name: &str, file: Option<&str>, is_own: bool, took: (u64, u64)) -> bool {
        let now = self.content.openings;
        let (own, total) = took;
        self.has_news = true;
        if let Some(known) = self.content.modules.get_mut(name) {
            let was_wanted = known.is_wanted(now) && known.is_own == is_own;
            if !known.is_kept(now) {
                known.kept = (known.kept * 2).min(KEPT_LONGEST);
            }
            if known.file.as_deref() != file {
                // Another one by that name.
                known.file = file.map(str::to_owned);
                known.bad = None;
            }
            known.is_own = is_own;
            known.own = known.own.min(own);
            known.total = known.total.min(total);
            known.seen += 1;
            known.last = now;
            return known.is_wanted(now) && !was_wanted;
        }
        let place = self.content.next;
        self.content.next += 1;
        let module = Module {
            place,
            is_own,
            file: file.map(str::to_owned),
            own,
            total,
            seen: 1,
            last: now,
            kept: KEPT,
            distribution: None,
            bad: None,
        };
        self.content.modules.insert(name.to_owned(), module);
        true
    }

    /// Asks which distributions the modules came with; what is bad is tried again with another version, or when its file
    /// has changed. `owner` is asked once for each top-level name.
    pub(super) fn look_at_versions(&mut self, owner: impl Fn(&str) -> Option<String>) {
        for (name, module) in &mut self.content.modules {
            if module.is_own || module.file.is_none() {
                continue;
            }
            let top = top(name);
            let found = match self.owners.get(top) {
                Some(found) => found,
                None => self.owners.entry(top.to_owned()).or_insert(owner(top)),
            };
            if module.distribution != *found {
                if module.distribution.is_some() {
                    module.bad = None;
                }
                module.distribution.clone_from(found);
                self.has_news = true;
            }
            module.bad.take_if(|bad| bad.has_changed());
        }
    }

    /// Distributions may have changed: they are looked up again.
    pub(super) fn forget_versions(&mut self) {
        self.owners.clear();
    }

    /// The third-party modules that no template has, in the order in which they were first imported.
    pub(super) fn wanted(&self, loaded: &BTreeSet<String>) -> Vec<PreloadItem> {
        let found = self.in_order(false);
        found
            .filter(|(name, _)| !loaded.contains(*name))
            .map(|(name, _)| PreloadItem {
                module: name.to_owned(),
                names: Vec::new(),
            })
            .collect()
    }

    /// Whether their imports take long enough for a layer.
    pub(super) fn is_worth_it(&self, loaded: &BTreeSet<String>) -> bool {
        let found = self.in_order(false);
        let missing = found.filter(|(name, _)| !loaded.contains(*name));
        missing.map(|(_, module)| module.own).sum::<u64>() >= WORTH_IT
    }

    /// The project's own modules that were imported, in that order.
    pub(super) fn first_party(&self) -> Vec<String> {
        let found = self.in_order(true);
        found.map(|(name, _)| name.to_owned()).collect()
    }

    /// The file that children found a third-party module in: what a template loads from another one is another module.
    pub(super) fn file_of(&self, name: &str) -> Option<PathBuf> {
        let module = self.content.modules.get(name)?;
        module.file.as_deref().map(|file| os_text(file).into())
    }

    /// It can't be in a template: it is not tried again before its distribution or its file changes.
    pub(super) fn failed(&mut self, name: &str, reason: &str) {
        let Some(module) = self.content.modules.get_mut(name) else {
            return;
        };
        let path = module
            .file
            .as_deref()
            .map(|file| PathBuf::from(os_text(file)));
        module.bad = Some(Bad {
            reason: reason.to_owned(),
            file: path.and_then(|path| Touched::now(&path).to_message()),
        });
        self.has_news = true;
        log::debug!("{name} was learned and can't be preloaded: {reason}");
    }

    #[cfg(test)]
    fn why_not(&self, name: &str) -> Option<&str> {
        let module = self.content.modules.get(name)?;
        module.bad.as_ref().map(|bad| bad.reason.as_str())
    }

    /// Writes what is new, with what other processes have written since.
    pub(super) fn save(&mut self) {
        let Some(file) = self.file.as_deref().filter(|_| self.has_news) else {
            return;
        };
        self.has_news = false;
        let mut content = self.content.clone();
        content.merge(Content::read(Some(file)));
        content.write(file);
    }

    fn in_order(&self, is_own: bool) -> impl Iterator<Item = (&str, &Module)> {
        let now = self.content.openings;
        let all = self.content.modules.iter();
        let mut found: Vec<_> = all
            .filter(|(_, module)| module.is_own == is_own && module.is_wanted(now))
            .map(|(name, module)| (name.as_str(), module))
            .collect();
        found.sort_by_key(|(name, module)| (module.place, *name));
        found.into_iter()
    }
}

/// What the file is about: the project as it is scanned, and the interpreter.
fn key(config: &Config, launch: &Launch) -> u64 {
    let mut hash = Fnv::new();
    hash.add(launch.executable.as_os_str().as_bytes());
    hash.add(config.python.as_bytes());
    let scan = &config.scan;
    hash.add(scan.package.as_bytes());
    hash.add(&scan.locations.len().to_le_bytes());
    for location in &scan.locations {
        hash.add(location.as_os_str().as_bytes());
    }
    for names in [&scan.first_party, &scan.ignored] {
        hash.add(&names.len().to_le_bytes());
        for name in names {
            hash.add(name.as_bytes());
        }
    }
    hash.0
}

#[cfg(test)]
mod tests;
