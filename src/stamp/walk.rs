//! The way of a path: looks it up as the kernel does, and watches all that decides where it ends. Reads no queue.
//!
//! Invariant: the outcome of a path is decided by the names that are looked up on its way (folders, links, the file) and
//! by the inode at its end. Each folder on the way is watched before a name is looked up in it, and each file's inode
//! before its state is taken. So from then on nothing can change that is not heard of, whatever it was done through: a
//! folder above, a link, another name of the file.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;

use super::marks::{Counts, Marks};
use super::queue::{Queue, Watch};
use super::things::Told;
use super::watches::Holds;

/// As many links as the kernel follows.
pub(super) const LINKS: usize = 40;

/// Where a folder is.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// There, without any link in its path.
    Watched(Arc<Path>, Watch),
    /// Nowhere; its coming is watched.
    Absent,
    /// Where the kernel does not tell of changes.
    Untold,
}

/// Looks up paths, and watches all that is on their way.
pub(super) struct Walk<'a> {
    pub(super) marks: &'a mut Marks,
    pub(super) holds: &'a mut Holds,
}

/// What stands at the end of a path.
pub(super) enum End {
    /// A file or a link, by a path without any link before; its inode.
    There(PathBuf, Watch),
    Absent,
    Untold,
}

impl Walk<'_> {
    /// Watches a path to its end; what stands there may be a link.
    pub(super) fn file(&mut self, path: &Path, index: Option<usize>) -> End {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return End::Untold;
        };
        let (real, watch) = match self.place(folder) {
            Place::Watched(real, watch) => (real, watch),
            Place::Absent => return End::Absent,
            Place::Untold => return End::Untold,
        };
        let names = self.marks.folders.entry(watch).or_default();
        let things = names.at_the_end.entry(name.to_owned()).or_default();
        things.extend(index);
        let here = real.join(name);
        if let Some(watch) = self.marks.expected.get(path) {
            return End::There(here, *watch);
        }
        match self
            .holds
            .add(&mut self.marks.watches, &here, Queue::add_file)
        {
            Ok(watch) => {
                self.marks.expected.insert(path.to_owned(), watch);
                End::There(here, watch)
            }
            Err(Errno::ENOENT) => End::Absent,
            Err(_) => End::Untold,
        }
    }

    /// Has a thing be touched by whatever happens to an inode.
    pub(super) fn listen_to_inode(&mut self, watch: Watch, index: usize) {
        let things = self.marks.inodes.entry(watch).or_default();
        things.insert(index);
    }

    /// Has a thing be touched by the coming and going of names in a folder.
    pub(super) fn listen_to_names(&mut self, folder: &Path, index: usize, counts: Counts) -> Told {
        match self.place(folder) {
            Place::Watched(_, watch) => {
                let names = self.marks.folders.entry(watch).or_default();
                names.counted.retain(|(each, _)| *each != index);
                names.counted.push((index, counts));
                Told::Yes
            }
            Place::Absent => Told::Yes,
            Place::Untold => Told::No,
        }
    }

    /// Watches for names that are not there.
    pub(super) fn wait_for<'n>(
        &mut self,
        folder: &Path,
        index: usize,
        awaited: impl Iterator<Item = &'n OsStr>,
    ) -> Told {
        match self.place(folder) {
            Place::Watched(_, watch) => {
                let names = self.marks.folders.entry(watch).or_default();
                for name in awaited {
                    let things = names.at_the_end.entry(name.to_owned()).or_default();
                    things.insert(index);
                }
                Told::Yes
            }
            Place::Absent => Told::Yes,
            Place::Untold => Told::No,
        }
    }

    fn place(&mut self, folder: &Path) -> Place {
        self.place_of(folder, 0)
    }

    fn place_of(&mut self, folder: &Path, links: usize) -> Place {
        if let Some(known) = self.marks.places.get(folder) {
            return known.clone();
        }
        let found = self.look_up(folder, links);
        self.marks.places.insert(folder.to_owned(), found.clone());
        found
    }

    fn look_up(&mut self, folder: &Path, links: usize) -> Place {
        let parent = folder.parent();
        match (folder.components().next_back(), parent) {
            (Some(Component::RootDir), _) => self.watch_folder(folder).unwrap_or(Place::Untold),
            (Some(Component::Normal(name)), Some(parent)) => match self.place_of(parent, links) {
                Place::Watched(real, watch) => {
                    let names = self.marks.folders.entry(watch).or_default();
                    names.on_the_way.insert(name.to_owned());
                    self.enter(&real, name, links)
                }
                elsewhere => elsewhere,
            },
            (Some(Component::ParentDir), Some(parent)) => match self.place_of(parent, links) {
                Place::Watched(real, _) => self.place_of(real.parent().unwrap_or(&real), links),
                elsewhere => elsewhere,
            },
            // A relative path has no beginning.
            (_, _) => Place::Untold,
        }
    }

    fn enter(&mut self, real: &Path, name: &OsStr, links: usize) -> Place {
        let here = real.join(name);
        match self.watch_folder(&here) {
            Ok(place) => place,
            Err(Errno::ENOENT) => Place::Absent,
            Err(Errno::ENOTDIR) if links < LINKS => match fs::read_link(&here) {
                Ok(target) => self.place_of(&real.join(target), links + 1),
                // A file: nothing is in it.
                Err(error) if error.kind() == ErrorKind::InvalidInput => Place::Absent,
                Err(_) => Place::Untold,
            },
            Err(_) => Place::Untold,
        }
    }

    fn watch_folder(&mut self, real: &Path) -> Result<Place, Errno> {
        let watch = self
            .holds
            .add(&mut self.marks.watches, real, Queue::add_folder)?;
        self.marks.folders.entry(watch).or_default();
        Ok(if Queue::tells_of(real) {
            Place::Watched(real.into(), watch)
        } else {
            Place::Untold
        })
    }
}
