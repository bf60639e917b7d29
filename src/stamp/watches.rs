//! The watches of one environment: which there are, who needs them, and what was heard. Compares nothing itself.
//!
//! The race: two threads may ask at once, for one stamp or for several. One lock is held from the reading of the queue
//! to the end of the comparison. So what one thread reads is noted for all stamps, and no thread takes a thing for
//! untouched while another is still comparing it. All of it happens in the thread that asks: no other could be behind.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;

use super::marks::{Look, Marks};
use super::os_text;
use super::queue::{News, Queue, Watch, What};
use super::things::Thing;
use crate::protocol::findings::FileText;

/// Other threads wait no longer than it takes to watch so many files.
const AT_A_TIME: usize = 64;

/// The watches of one environment, shared by the stamps of its templates.
#[derive(Debug)]
pub struct Watches {
    state: Mutex<State>,
    owner: u32,
}

#[derive(Debug, Default)]
struct State {
    holds: Holds,
    stamps: BTreeMap<u64, Marks>,
    last: u64,
}

/// What the kernel watches, and for how many stamps.
#[derive(Debug, Default)]
pub(super) struct Holds {
    queue: Source,
    counts: HashMap<Watch, usize>,
    /// No more watches than that.
    share: usize,
    /// Why a watch was refused, when they are all in use.
    shortage: Option<Errno>,
    /// How many things are looked at each time, as was found last.
    pub(super) untold: usize,
    is_told: bool,
}

/// Where changes are heard of.
#[derive(Debug, Default)]
enum Source {
    /// Nobody has asked yet.
    #[default]
    Unopened,
    Open(Queue),
    /// There is none: everything is looked at each time.
    None,
}

impl Holds {
    fn open(&mut self) {
        if !matches!(self.queue, Source::Unopened) {
            return;
        }
        self.share = Queue::share();
        self.queue = match Queue::open() {
            Ok(queue) => Source::Open(queue),
            Err(error) => {
                self.shortage = (error != Errno::ENOTSUP).then_some(error);
                Source::None
            }
        };
    }

    fn is_open(&self) -> bool {
        matches!(self.queue, Source::Open(_))
    }

    /// Watches a path, and counts it for whoever has `mine`.
    pub(super) fn add(
        &mut self,
        mine: &mut HashSet<Watch>,
        path: &Path,
        add: fn(&Queue, &Path) -> Result<Watch, Errno>,
    ) -> Result<Watch, Errno> {
        let Source::Open(queue) = &self.queue else {
            return Err(Errno::ENOTSUP);
        };
        let watch = add(queue, path).inspect_err(|error| {
            if *error == Errno::ENOSPC {
                self.shortage = Some(*error);
            }
        })?;
        if mine.contains(&watch) {
            return Ok(watch);
        }
        if self.counts.len() >= self.share && !self.counts.contains_key(&watch) {
            queue.remove(watch);
            self.shortage = Some(Errno::ENOSPC);
            return Err(Errno::ENOSPC);
        }
        mine.insert(watch);
        *self.counts.entry(watch).or_default() += 1;
        Ok(watch)
    }

    pub(super) fn release(&mut self, watches: HashSet<Watch>) {
        for watch in watches {
            let Some(count) = self.counts.get_mut(&watch) else {
                continue;
            };
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&watch);
                if let Source::Open(queue) = &self.queue {
                    queue.remove(watch);
                }
            }
        }
    }

    /// What a user should know, once.
    fn news(&mut self) -> Option<String> {
        let error = self.shortage?;
        if std::mem::replace(&mut self.is_told, true) {
            return None;
        }
        let what = match self.queue {
            Source::Open(_) => format!("{} files", self.untold),
            Source::Unopened | Source::None => "all files".to_owned(),
        };
        let limit = match error {
            Errno::ENOSPC => "; see fs.inotify.max_user_watches",
            Errno::EMFILE => "; see fs.inotify.max_user_instances",
            _ => "",
        };
        let error = error.desc();
        Some(format!(
            "{what} are looked at before each run, since the kernel can't tell of their changes ({error}{limit})"
        ))
    }
}

impl State {
    /// Notes all that has happened, for every stamp.
    fn hear(&mut self) {
        let Source::Open(queue) = &self.holds.queue else {
            return;
        };
        match queue.news() {
            Ok(News::Events(events)) => {
                let gone = events
                    .iter()
                    .filter(|event| matches!(event.what, What::Gone));
                for event in gone {
                    self.holds.counts.remove(&event.watch);
                }
                for marks in self.stamps.values_mut() {
                    events.iter().for_each(|event| marks.note(event));
                }
            }
            Ok(News::Unknown) => self.stamps.values_mut().for_each(Marks::void),
            Err(error) => {
                self.holds.shortage = Some(error);
                self.holds.queue = Source::None;
            }
        }
    }
}

impl Watches {
    /// None yet; the kernel is asked when there is something to watch.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            owner: std::process::id(),
        })
    }

    /// Lets everything go; from here on files are looked at.
    pub fn close(&self) {
        // It takes some 15 ms, which the kernel waits for all its processors.
        let queue = {
            let mut state = self.lock();
            state.holds.counts.clear();
            std::mem::replace(&mut state.holds.queue, Source::None)
        };
        drop(queue);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One stamp's part of the watches.
#[derive(Debug)]
pub struct Listener {
    watches: Arc<Watches>,
    id: u64,
}

impl Listener {
    /// Listens to nothing yet.
    #[must_use]
    pub fn new(watches: &Arc<Watches>) -> Self {
        let mut state = watches.lock();
        state.last += 1;
        let id = state.last;
        state.stamps.insert(id, Marks::default());
        drop(state);
        Self {
            watches: Arc::clone(watches),
            id,
        }
    }

    /// Has files watched that will be part of the stamp, so that the first comparison need not.
    pub fn expect(&self, files: &[FileText]) {
        let paths = files.iter().map(|(path, _)| PathBuf::from(os_text(path)));
        let paths: Vec<PathBuf> = paths.collect();
        for some in paths.chunks(AT_A_TIME) {
            let mut state = self.watches.lock();
            let State { holds, stamps, .. } = &mut *state;
            holds.open();
            if let (Source::Open(_), Some(marks)) = (&holds.queue, stamps.get_mut(&self.id)) {
                marks.expect(some.iter().map(PathBuf::as_path), holds);
            }
        }
    }

    /// Compares the things that may have changed, of stamps of one environment, after one question to the kernel.
    pub(super) fn look(stamps: &[(&Self, &[Thing])]) -> Vec<Look> {
        let Some((first, _)) = stamps.first() else {
            return Vec::new();
        };
        let (looks, news) = {
            let mut state = first.watches.lock();
            state.holds.open();
            state.hear();
            let State {
                holds, stamps: all, ..
            } = &mut *state;
            let look = |(listener, things): &(&Self, &[Thing])| match (
                holds.is_open(),
                all.get_mut(&listener.id),
            ) {
                (true, Some(marks)) => marks.look(things, holds),
                (_, _) => Look::of_all(things),
            };
            let looks = stamps.iter().map(look).collect();
            (looks, holds.news())
        };
        if let Some(news) = news {
            log::info!("{news}");
        }
        looks
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // A forked copy of the host shares the kernel's queue with it, and perhaps a lock that nobody will open.
        if std::process::id() != self.watches.owner {
            return;
        }
        let mut state = self.watches.lock();
        if let Some(mut marks) = state.stamps.remove(&self.id) {
            state.holds.release(marks.watches());
        }
    }
}
