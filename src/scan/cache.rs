//! What each file said when it was last read: only changed files are read again, and deleted ones are forgotten. Knows
//! nothing of modules.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::disk::{FileStamp, Identity};
use super::read::{read, Desk, Reading};
use super::{threads, FileImports, Problem};

/// How many files keep one thread busy.
const PER_THREAD: usize = 32;

/// What one file said, and when.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// None when the file could not be read: it is tried again.
    pub(super) stamp: Option<FileStamp>,
    /// The content's hash, while the stamp alone does not tell that the file is the same.
    pub(super) unsettled: Option<u64>,
    /// What to go by: what the file says, or said before it broke.
    pub(super) imports: Arc<FileImports>,
    /// What is wrong with it, and the line.
    pub(super) problem: Option<(Option<u32>, String)>,
    seen: Seen,
}

/// What the current scan has to do with an entry.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// Its file is as the entry says.
    checked: bool,
    /// The package has it: not known before its tree is made, where an edit may leave nobody who imports it.
    used: bool,
}

impl Seen {
    fn just_read() -> Self {
        Self {
            checked: true,
            used: false,
        }
    }
}

/// A file of the package.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    pub(super) identity: Option<Identity>,
    pub(super) imports: Arc<FileImports>,
}

/// What has become of the files that the last scan read.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Those that say something else now.
    pub(super) files: Vec<PathBuf>,
    /// What was another file before, or can't be read; before and after.
    pub(super) moved: Vec<(Option<Identity>, Option<Identity>)>,
}

impl Entry {
    /// One that an earlier process has found.
    pub(super) fn stored(
        stamp: FileStamp,
        imports: Arc<FileImports>,
        problem: Option<(Option<u32>, String)>,
    ) -> Self {
        Self {
            stamp: Some(stamp),
            unsettled: None,
            imports,
            problem,
            seen: Seen::default(),
        }
    }
}

/// The results of all files of the last scan.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: HashMap<PathBuf, Entry>,
    parsed: usize,
    /// Whether what is worth storing has changed.
    pub(super) dirty: bool,
}

impl Cache {
    /// Starts with what an earlier process has found.
    pub(super) fn recall(&mut self, entries: impl IntoIterator<Item = (PathBuf, Entry)>) {
        self.entries.extend(entries);
    }

    /// The entries to store for the next process.
    pub(super) fn settled(&self) -> Vec<(PathBuf, Entry)> {
        let settled = |entry: &Entry| entry.stamp.is_some() && entry.unsettled.is_none();
        self.entries
            .iter()
            .filter(|(_, entry)| settled(entry))
            .map(|(path, entry)| (path.clone(), entry.clone()))
            .collect()
    }

    pub(super) fn knows(&self, path: &Path) -> bool {
        self.entries.contains_key(path)
    }

    pub(super) fn imports(&self, path: &Path) -> Option<&Arc<FileImports>> {
        self.entries.get(path).map(|entry| &entry.imports)
    }

    fn identity(&self, path: &Path) -> Option<Identity> {
        Some(self.entries.get(path)?.stamp?.identity())
    }

    /// Starts a scan: what it does not ask for is forgotten at its end.
    pub(super) fn begin(&mut self) {
        for entry in self.entries.values_mut() {
            entry.seen = Seen::default();
        }
    }

    /// Looks at `files`, or at all that are known, and reads those that have changed.
    pub(super) fn check(&mut self, files: Option<Vec<PathBuf>>, now: SystemTime) -> Changes {
        let files = files.unwrap_or_else(|| self.entries.keys().cloned().collect());
        let mut changes = Changes::default();
        for (path, reading) in self.read_all(&files, now) {
            let before = self.identity(path);
            let imports = self.imports(path).cloned();
            self.note(path, reading);
            let after = self.identity(path);
            if before != after || after.is_none() {
                changes.moved.push((before, after));
            }
            let same = imports.zip(self.imports(path));
            if !same.is_some_and(|(before, after)| Arc::ptr_eq(&before, after)) {
                changes.files.push(path.clone());
            }
        }
        changes
    }

    /// What each file says; none for one that has vanished.
    pub(super) fn load(&mut self, files: &[PathBuf], now: SystemTime) -> Vec<Option<Loaded>> {
        for (path, reading) in self.read_all(files, now) {
            self.note(path, reading);
        }
        files
            .iter()
            .map(|path| {
                let entry = self.entries.get_mut(path)?;
                entry.seen.used = true;
                Some(Loaded {
                    identity: entry.stamp.as_ref().map(FileStamp::identity),
                    imports: Arc::clone(&entry.imports),
                })
            })
            .collect()
    }

    /// Ends a scan: forgets the files that it did not ask for.
    pub(super) fn finish(&mut self) {
        let before = self.entries.len();
        self.entries.retain(|_, entry| entry.seen.used);
        self.dirty |= before != self.entries.len();
    }

    /// What is wrong with the files, and how many were parsed since the last call.
    pub(super) fn report(&mut self) -> (usize, Vec<Problem>) {
        let problems = self.entries.iter().filter_map(|(path, entry)| {
            let (line, message) = entry.problem.clone()?;
            Some(Problem {
                file: path.clone(),
                line,
                message,
            })
        });
        let problems = problems.collect();
        (std::mem::take(&mut self.parsed), problems)
    }

    /// Reads what is not known to be as it was. The files that are the same by their stamp are left out.
    fn read_all<'f>(
        &mut self,
        files: &'f [PathBuf],
        now: SystemTime,
    ) -> Vec<(&'f PathBuf, Reading)> {
        let all = threads::map(files, PER_THREAD, Desk::default, |desk, path| {
            let entry = self.entries.get(path);
            match entry {
                Some(entry) if entry.seen.checked => Reading::Same,
                Some(_) | None => read(path, entry, now, desk),
            }
        });
        let mut changed = Vec::new();
        for (path, reading) in files.iter().zip(all) {
            match reading {
                Reading::Same => {}
                Reading::Settled(_) | Reading::Parsed(..) | Reading::Gone | Reading::Failed(_) => {
                    changed.push((path, reading));
                }
            }
        }
        changed
    }

    fn note(&mut self, path: &Path, reading: Reading) {
        let before = self.entries.get_mut(path);
        let entry = match reading {
            Reading::Same => return,
            Reading::Settled(settled) => {
                if let Some(entry) = before {
                    entry.unsettled = entry.unsettled.filter(|_| !settled);
                    entry.seen.checked = true;
                    self.dirty |= settled;
                }
                return;
            }
            Reading::Gone => {
                self.dirty |= self.entries.remove(path).is_some();
                return;
            }
            Reading::Failed(error) => Entry {
                stamp: None,
                unsettled: None,
                imports: before
                    .map(|entry| Arc::clone(&entry.imports))
                    .unwrap_or_default(),
                problem: Some((None, format!("can't be read: {error}"))),
                seen: Seen::just_read(),
            },
            Reading::Parsed(stamp, found, hash) => {
                self.parsed += 1;
                self.dirty |= hash.is_none();
                let before = before.map(|entry| Arc::clone(&entry.imports));
                let untrusted = found.broken.as_ref().is_some_and(|broken| !broken.trusted);
                // The same object where nothing is new, so that others see that at once.
                let kept = before.filter(|before| untrusted || **before == found);
                Entry {
                    stamp: Some(stamp),
                    unsettled: hash,
                    problem: problem(&found, untrusted && kept.is_some()),
                    imports: kept.unwrap_or_else(|| Arc::new(found)),
                    seen: Seen::just_read(),
                }
            }
        };
        self.entries.insert(path.to_owned(), entry);
    }
}

fn problem(found: &FileImports, kept: bool) -> Option<(Option<u32>, String)> {
    let broken = found.broken.as_ref()?;
    let suffix = if kept {
        "; its last good imports are kept"
    } else {
        ""
    };
    Some((Some(broken.line), format!("{}{suffix}", broken.message)))
}
