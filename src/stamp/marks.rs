//! What one stamp listens to, and what it has heard. Asks the kernel for watches, reads no queue.
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::compare::compare_all;
use super::queue::{Event, Watch, What};
use super::things::{Thing, Told};
use super::walk::{Place, Walk};
use super::watches::Holds;
use super::Change;

/// Whether a name matters.
pub(super) type Counts = fn(&OsStr) -> bool;

/// What one stamp listens to.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// So many things were compared after their watches were placed; none before that.
    armed: Option<usize>,
    /// Something may lead elsewhere now: all has to be looked up again.
    is_void: bool,
    pub(super) watches: HashSet<Watch>,
    pub(super) folders: HashMap<Watch, Names>,
    /// The things that are read from an inode.
    pub(super) inodes: HashMap<Watch, BTreeSet<usize>>,
    /// Where folders were found to be.
    pub(super) places: HashMap<PathBuf, Place>,
    /// Inodes that are watched before the things are known.
    pub(super) expected: HashMap<PathBuf, Watch>,
    /// Things that something has happened to, until they are found as they were.
    touched: BTreeSet<usize>,
    /// Things whose names have come or gone: what stands there now has to be watched.
    renamed: BTreeSet<usize>,
    /// Things of which the kernel does not tell.
    untold: BTreeSet<usize>,
}

/// The names of a folder that matter.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Folders and links that paths lead through.
    pub(super) on_the_way: HashSet<OsString>,
    /// Files at the end of paths, with their things; none before these are known.
    pub(super) at_the_end: HashMap<OsString, BTreeSet<usize>>,
    /// Things for which names matter by a rule of their own.
    pub(super) counted: Vec<(usize, Counts)>,
}

/// A comparison of things.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) changes: BTreeSet<Change>,
    /// How many things were looked at.
    pub(super) looked: usize,
}

impl Look {
    /// Compares everything.
    pub(super) fn of_all(things: &[Thing]) -> Self {
        Self {
            changes: compare_all(&things.iter().collect::<Vec<_>>()),
            looked: things.len(),
        }
    }
}

impl Marks {
    /// Nothing that is known of names and inodes holds any more.
    pub(super) fn void(&mut self) {
        self.is_void = true;
    }

    pub(super) fn note(&mut self, event: &Event) {
        let folder = self.folders.get(&event.watch);
        let is_void = match &event.what {
            What::Itself => {
                let things = self.inodes.get(&event.watch);
                self.touched.extend(things.into_iter().flatten());
                folder.is_some()
            }
            What::Gone => {
                let things = self.inodes.remove(&event.watch);
                let is_mine = self.watches.remove(&event.watch);
                let is_void = is_mine && (things.is_none() || folder.is_some());
                self.renamed.extend(things.into_iter().flatten());
                is_void
            }
            What::Name(name) => folder.is_some_and(|names| {
                let counted = names.counted.iter();
                let counted = counted.filter(|(_, counts)| counts(name));
                self.touched.extend(counted.map(|(index, _)| *index));
                let things = names.at_the_end.get(name);
                self.renamed.extend(things.into_iter().flatten());
                names.on_the_way.contains(name) || things.is_some_and(BTreeSet::is_empty)
            }),
        };
        if is_void {
            self.void();
        }
    }

    pub(super) fn watches(&mut self) -> HashSet<Watch> {
        std::mem::take(&mut self.watches)
    }

    /// Compares what may have changed.
    pub(super) fn look(&mut self, things: &[Thing], holds: &mut Holds) -> Look {
        if self.is_void || self.armed != Some(things.len()) {
            return self.arm(things, holds);
        }
        let mut look = Look::default();
        for index in std::mem::take(&mut self.renamed) {
            if let Some(thing) = things.get(index) {
                self.listen(index, thing, holds, &mut look);
            }
        }
        self.expected.clear();
        look.looked += self.touched.len() + self.untold.len();
        // Only what is as it was is forgotten: a change that was found is found again the next time.
        self.touched.retain(|index| {
            let thing = things.get(*index);
            thing.is_some_and(|thing| thing.compare(&mut look.changes))
        });
        let untold: Vec<&Thing> = self.untold.iter().flat_map(|at| things.get(*at)).collect();
        look.changes.extend(compare_all(&untold));
        look
    }

    /// Places the watches and compares everything, in this order.
    fn arm(&mut self, things: &[Thing], holds: &mut Holds) -> Look {
        // The watches of before are let go at the end, so that those that stay are not removed and added again.
        let is_stale = self.is_void || self.armed.is_some();
        let before = is_stale.then(|| std::mem::take(self));
        // What was expected and is not among the things does not count.
        for names in self.folders.values_mut() {
            names.at_the_end.clear();
        }
        let mut look = Look::default();
        for (index, thing) in things.iter().enumerate() {
            self.listen(index, thing, holds, &mut look);
        }
        self.expected = HashMap::new();
        self.armed = Some(things.len());
        if let Some(mut before) = before {
            holds.release(before.watches());
        }
        holds.untold = self.untold.len();
        look
    }

    fn listen(&mut self, index: usize, thing: &Thing, holds: &mut Holds, look: &mut Look) {
        let mut walk = Walk { marks: self, holds };
        let (told, has_changed) = thing.listen(index, &mut walk, &mut look.changes);
        look.looked += 1;
        if has_changed {
            self.touched.insert(index);
        }
        if told == Told::No {
            self.untold.insert(index);
        }
    }

    /// Places the watches of files that will be among the things, most likely.
    pub(super) fn expect<'a>(&mut self, paths: impl Iterator<Item = &'a Path>, holds: &mut Holds) {
        if self.is_void || self.armed.is_some() {
            return;
        }
        for path in paths {
            let mut walk = Walk { marks: self, holds };
            walk.file(path, None);
        }
    }
}
