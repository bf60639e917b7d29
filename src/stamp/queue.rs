//! What the kernel tells of changes: one inotify instance, and the table of mounts. Knows nothing of stamps.
//!
//! Invariant: the kernel queues an event before the call that caused it returns. So whoever reads the queue to its end
//! has heard of every change that was finished before the reading began.
#![forbid(unsafe_code)]

use std::ffi::OsString;

pub(super) use self::kernel::{Queue, Watch};

/// Something that happened to what is watched.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) watch: Watch,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    /// A name came into a folder, or left it.
    Name(OsString),
    /// To the file or folder itself: content, attributes, its place.
    Itself,
    /// It is watched no more.
    Gone,
}

/// What has happened since the last question.
#[derive(Debug)]
pub(super) enum News {
    Events(Vec<Event>),
    /// Nobody knows all of it: the queue ran over, or file systems were mounted.
    Unknown,
}

/// Where a file system tells nothing, or nobody has written down that it does, there is no queue.
#[cfg(not(target_os = "linux"))]
mod kernel {
    use std::convert::Infallible;
    use std::path::Path;

    use nix::errno::Errno;

    use super::News;

    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub(in crate::stamp) struct Watch(Infallible);

    #[derive(Debug)]
    pub(in crate::stamp) struct Queue(Infallible);

    impl Queue {
        pub(in crate::stamp) fn open() -> Result<Self, Errno> {
            Err(Errno::ENOTSUP)
        }

        pub(in crate::stamp) fn share() -> usize {
            0
        }

        pub(in crate::stamp) fn add_folder(&self, _: &Path) -> Result<Watch, Errno> {
            match self.0 {}
        }

        pub(in crate::stamp) fn add_file(&self, _: &Path) -> Result<Watch, Errno> {
            match self.0 {}
        }

        pub(in crate::stamp) fn remove(&self, watch: Watch) {
            match watch.0 {}
        }

        pub(in crate::stamp) fn news(&self) -> Result<News, Errno> {
            match self.0 {}
        }

        pub(in crate::stamp) fn tells_of(_: &Path) -> bool {
            false
        }
    }
}

#[cfg(target_os = "linux")]
mod kernel {
    use std::fs::{read_to_string, File};
    use std::os::fd::{AsFd, AsRawFd};
    use std::path::Path;

    use nix::errno::Errno;
    use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
    use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent};
    use nix::sys::statfs::{
        statfs, FsType, BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, F2FS_SUPER_MAGIC, TMPFS_MAGIC,
        XFS_SUPER_MAGIC,
    };

    pub(in crate::stamp) use nix::sys::inotify::WatchDescriptor as Watch;

    use super::{Event, News, What};

    /// File systems whose changes all go through this kernel. Not among them: those of a network or of a process (nfs,
    /// cifs, 9p, fuse), overlays, whose layers may be written to from below, and what has no changes (proc, sysfs).
    const TELLING: [FsType; 5] = [
        BTRFS_SUPER_MAGIC,
        EXT4_SUPER_MAGIC,
        F2FS_SUPER_MAGIC,
        TMPFS_MAGIC,
        XFS_SUPER_MAGIC,
    ];
    const NAMES: AddWatchFlags = AddWatchFlags::IN_CREATE
        .union(AddWatchFlags::IN_DELETE)
        .union(AddWatchFlags::IN_MOVED_FROM)
        .union(AddWatchFlags::IN_MOVED_TO);
    const ITSELF: AddWatchFlags = AddWatchFlags::IN_ATTRIB
        .union(AddWatchFlags::IN_DELETE_SELF)
        .union(AddWatchFlags::IN_MOVE_SELF);
    /// The end of a write through a mapping shows as the closing of the file, and nowhere else.
    const CONTENT: AddWatchFlags = AddWatchFlags::IN_MODIFY.union(AddWatchFlags::IN_CLOSE_WRITE);
    /// `IN_MASK_ADD`, which nix has no name for: one inode may be watched for two reasons.
    const ADD: AddWatchFlags = AddWatchFlags::from_bits_retain(0x2000_0000);
    /// Readings of at most 4 KiB: more than the longest queue that the kernel has by default.
    const READINGS: usize = 1024;
    /// One user's environments, editors and file managers share the watches.
    const SHARE: usize = 8;

    #[derive(Debug)]
    pub(in crate::stamp) struct Queue {
        inotify: Inotify,
        /// Says at each poll whether anything was mounted or unmounted since the last one.
        mounts: File,
    }

    /// Holds the places of standard descriptors that the host has closed: a child that inherits the host's stdio must
    /// not be given what is opened here.
    fn stdio_places() -> Vec<File> {
        let mut places = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            if file.as_raw_fd() > nix::libc::STDERR_FILENO {
                break;
            }
            places.push(file);
        }
        places
    }

    impl Queue {
        pub(in crate::stamp) fn open() -> Result<Self, Errno> {
            let _places = stdio_places();
            let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
            let mounts = File::open("/proc/self/mountinfo");
            let mounts =
                mounts.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
            Ok(Self { inotify, mounts })
        }

        /// How many watches one environment takes at most.
        pub(in crate::stamp) fn share() -> usize {
            let all = read_to_string("/proc/sys/fs/inotify/max_user_watches");
            let all: Option<usize> = all.ok().and_then(|text| text.trim().parse().ok());
            all.map_or(0, |all| all / SHARE)
        }

        /// Watches the names in a folder; `ENOTDIR` for anything else, a link to a folder too.
        pub(in crate::stamp) fn add_folder(&self, path: &Path) -> Result<Watch, Errno> {
            let only = AddWatchFlags::IN_ONLYDIR | AddWatchFlags::IN_DONT_FOLLOW;
            self.inotify.add_watch(path, NAMES | ITSELF | only | ADD)
        }

        /// Watches an inode, by whichever of its names it is changed; a link itself.
        pub(in crate::stamp) fn add_file(&self, path: &Path) -> Result<Watch, Errno> {
            let only = AddWatchFlags::IN_DONT_FOLLOW;
            self.inotify.add_watch(path, CONTENT | ITSELF | only | ADD)
        }

        pub(in crate::stamp) fn remove(&self, watch: Watch) {
            // It is gone already when what it watched is.
            let _ = self.inotify.rm_watch(watch);
        }

        /// Reads the queue to its end; one system call when it is empty.
        pub(in crate::stamp) fn news(&self) -> Result<News, Errno> {
            let mut fds = [
                PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.mounts.as_fd(), PollFlags::POLLPRI),
            ];
            while let Err(error) = poll(&mut fds, PollTimeout::ZERO) {
                if error != Errno::EINTR {
                    return Err(error);
                }
            }
            let [has_events, has_mounts] = fds.map(|fd| fd.any().unwrap_or(true));
            let mut events = Vec::new();
            let mut is_known = !has_mounts;
            if has_events {
                // A writer may go on all the while: what was there at first is enough.
                let mut ends = false;
                for _ in 0..READINGS {
                    match self.inotify.read_events() {
                        Ok(read) => {
                            let lost = AddWatchFlags::IN_Q_OVERFLOW | AddWatchFlags::IN_UNMOUNT;
                            is_known &= !read.iter().any(|event| event.mask.intersects(lost));
                            events.extend(read.into_iter().filter_map(understand));
                        }
                        Err(Errno::EAGAIN) => {
                            ends = true;
                            break;
                        }
                        Err(Errno::EINTR) => {}
                        Err(error) => return Err(error),
                    }
                }
                is_known &= ends;
            }
            Ok(if is_known {
                News::Events(events)
            } else {
                News::Unknown
            })
        }

        /// Whether all that changes in the file system of a folder comes to the queue.
        pub(in crate::stamp) fn tells_of(folder: &Path) -> bool {
            statfs(folder).is_ok_and(|found| TELLING.contains(&found.filesystem_type()))
        }
    }

    fn understand(event: InotifyEvent) -> Option<Event> {
        let what = match event.name {
            _ if event.mask.contains(AddWatchFlags::IN_IGNORED) => What::Gone,
            None => What::Itself,
            Some(name) if event.mask.intersects(NAMES) => What::Name(name),
            // Attributes of something in a folder: it is watched itself where that counts.
            Some(_) => return None,
        };
        Some(Event {
            watch: event.wd,
            what,
        })
    }
}
