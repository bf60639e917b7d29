//! The system's word on what changes, through the `notify` crate: where it can be had, and how to know that it has told
//! everything. Knows no files.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::{bounded, Receiver, Sender};
use notify::{
    Config, ErrorKind, Event, EventHandler, EventKind, RecommendedWatcher, RecursiveMode,
};
use notify::{Result as Told, Watcher as _};

use super::tree::{Refused, Watch};
use super::worker::Message;

/// How long the thread of `notify` may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is on while the system tells.
pub(super) struct Native {
    watcher: Option<RecommendedWatcher>,
    /// Disconnected when the thread of `notify` has ended, and its descriptors are closed.
    gone: Receiver<()>,
    /// Devices whose changes the system knows of.
    devices: BTreeSet<u64>,
    /// Those that are watched with all below them; none on Linux.
    trees: BTreeSet<PathBuf>,
    marker: Option<Marker>,
}

struct Handler {
    messages: Sender<Message>,
    _alive: Sender<()>,
}

impl EventHandler for Handler {
    fn handle_event(&mut self, event: Told<Event>) {
        // Children that import read thousands of files: that changes none.
        if matches!(
            &event,
            Ok(Event {
                kind: EventKind::Access(_),
                ..
            })
        ) {
            return;
        }
        // The worker is gone: so will this be.
        let _ = self.messages.send(Message::Event(event));
    }
}

impl Native {
    /// # Errors
    /// Why the system can't tell, for users.
    pub(super) fn start(messages: &Sender<Message>) -> Result<Self, String> {
        // `notify` panics later where it gets no thread.
        std::thread::Builder::new()
            .spawn(|| ())
            .map(|thread| drop(thread.join()))
            .map_err(|error| format!("no thread can be started ({error})"))?;
        let (alive, gone) = bounded(0);
        let handler = Handler {
            messages: messages.clone(),
            _alive: alive,
        };
        // Of a host without stdin, stdout or stderr: what is opened next must not take their place.
        let standard = stand_in().map_err(|error| limit_text(&error))?;
        let watcher = RecommendedWatcher::new(handler, Config::default());
        let mut native = match watcher {
            Ok(watcher) => Self {
                watcher: Some(watcher),
                gone,
                devices: BTreeSet::new(),
                trees: BTreeSet::new(),
                marker: None,
            },
            Err(error) => return Err(describe(&error)),
        };
        native.renew_marker();
        drop(standard);
        Ok(native)
    }

    /// Has the system tell, after everything else that it has to tell by now, of the marker. False where it can't.
    pub(super) fn mark(&mut self) -> bool {
        self.marker
            .as_ref()
            .is_some_and(|marker| marker.touch().is_ok())
    }

    pub(super) fn is_mark(&self, path: &Path) -> bool {
        self.marker
            .as_ref()
            .is_some_and(|marker| marker.path == path)
    }

    /// A late answer must not be taken for that to a later question: so the next one has another name. The old marker
    /// stays open, or its name would be given again.
    pub(super) fn renew_marker(&mut self) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let marker = Marker::new(self.marker.take()).filter(|marker| {
            watcher
                .watch(&marker.path, RecursiveMode::NonRecursive)
                .is_ok()
        });
        self.marker = marker;
    }
}

impl Watch for Native {
    fn watch(&mut self, folder: &Path, device: u64) -> Result<(), Refused> {
        if self.devices.insert(device) {
            if let Some(name) = remote_name(folder) {
                let folder = folder.display();
                return Err(Refused::System(format!(
                    "{folder} lies on a file system ({name}) whose changes the system does not tell of"
                )));
            }
        }
        let Some(watcher) = &mut self.watcher else {
            return Ok(());
        };
        // inotify: each folder by itself, so that those that are ignored cost nothing. FSEvents starts anew with each
        // that is added, and tells of whole trees as cheaply.
        let mode = if cfg!(target_os = "macos") {
            if folder.ancestors().any(|above| self.trees.contains(above)) {
                return Ok(());
            }
            self.trees.insert(folder.to_owned());
            RecursiveMode::Recursive
        } else {
            RecursiveMode::NonRecursive
        };
        match watcher.watch(folder, mode) {
            Ok(()) => Ok(()),
            Err(error) => match &error.kind {
                ErrorKind::PathNotFound | ErrorKind::WatchNotFound => Err(Refused::Folder),
                ErrorKind::Io(io) if is_of_folder(io) => Err(Refused::Folder),
                ErrorKind::MaxFilesWatch
                | ErrorKind::Io(_)
                | ErrorKind::Generic(_)
                | ErrorKind::InvalidConfig(_) => Err(Refused::System(describe(&error))),
            },
        }
    }

    fn unwatch(&mut self, folder: &Path) {
        if let Some(watcher) = &mut self.watcher {
            // Mostly the system has done so already.
            let _ = watcher.unwatch(folder);
        }
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        drop(self.watcher.take());
        let _ = self.gone.recv_timeout(PATIENCE);
    }
}

/// Where nothing has to be asked for.
pub(super) struct Polled;

impl Watch for Polled {
    fn watch(&mut self, _: &Path, _: u64) -> Result<(), Refused> {
        Ok(())
    }

    fn unwatch(&mut self, _: &Path) {}
}

/// A file of our own that is watched by the same inotify instance.
///
/// Invariant: the events of one instance come in the order in which they happened. An edit has put its event into the
/// queue before the system call returned that made it; so when the marker's event, which was caused later, comes out,
/// all events of edits that were finished before have come out.
///
/// The file has no name on any disk, and nothing of it stays when the host is killed. To set its rights to what they
/// are is an event that does not depend on how it was opened.
struct Marker {
    file: File,
    path: PathBuf,
    _before: Option<Box<Marker>>,
}

impl Marker {
    #[cfg(target_os = "linux")]
    fn new(before: Option<Self>) -> Option<Self> {
        use nix::sys::memfd::{memfd_create, MFdFlags};
        let file = File::from(memfd_create("firehot-watch", MFdFlags::MFD_CLOEXEC).ok()?);
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        Some(Self {
            file,
            path,
            _before: before.map(Box::new),
        })
    }

    /// FSEvents gives no order to rely on: there the scan walks.
    #[cfg(not(target_os = "linux"))]
    fn new(_: Option<Self>) -> Option<Self> {
        None
    }

    fn touch(&self) -> io::Result<()> {
        self.file
            .set_permissions(self.file.metadata()?.permissions())
    }
}

/// Opens what is needed so that the next descriptor is not that of a standard stream.
fn stand_in() -> io::Result<Vec<File>> {
    let mut held = Vec::new();
    loop {
        let file = File::open("/dev/null")?;
        if file.as_raw_fd() > nix::libc::STDERR_FILENO {
            return Ok(held);
        }
        held.push(file);
    }
}

fn is_of_folder(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    [NotADirectory, NotFound, PermissionDenied].contains(&error.kind())
}

fn describe(error: &notify::Error) -> String {
    match &error.kind {
        ErrorKind::MaxFilesWatch => {
            "the limit of watched folders is reached; raise it with `sysctl fs.inotify.max_user_watches=524288`"
                .to_owned()
        }
        ErrorKind::Io(error) => limit_text(error),
        _ => format!("the system refuses to tell: {error}"),
    }
}

fn limit_text(error: &io::Error) -> String {
    let is_limit = error.raw_os_error() == Some(nix::libc::EMFILE);
    if !is_limit {
        return format!("the system refuses to tell: {error}");
    }
    // The same error for two limits: of the process, and of the user.
    if File::open("/dev/null").is_err() {
        "no descriptors are left; raise the limit with `ulimit -n`".to_owned()
    } else {
        "the limit of watchers is reached; raise it with `sysctl fs.inotify.max_user_instances=1024`".to_owned()
    }
}

/// The name of a file system that others can change without this system knowing.
#[cfg(target_os = "linux")]
fn remote_name(folder: &Path) -> Option<&'static str> {
    let found = nix::sys::statfs::statfs(folder).ok()?;
    // From linux/magic.h and the modules that have none there. All fit 32 bits, whatever the width of the field.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    name_of_type(found.filesystem_type().0 as u32)
}

#[cfg(not(target_os = "linux"))]
fn remote_name(_: &Path) -> Option<&'static str> {
    None
}

#[cfg(any(target_os = "linux", test))]
fn name_of_type(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "nfs",
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => "cifs",
        0x0102_1997 => "9p",
        // sshfs, and what virtual machines and Docker share.
        0x6573_5546 => "fuse",
        0x786f_4256 => "vboxsf",
        0xbacb_acbc => "vmhgfs",
        0x7c7c_6673 => "prl_fs",
        0x5346_4846 => "drvfs",
        0x5346_414f => "afs",
        0x7375_7245 => "coda",
        0x00c3_6400 => "ceph",
        0x0bd0_0bd0 => "lustre",
        0x4750_4653 => "gpfs",
        0x0116_1970 => "gfs2",
        0x7461_636f => "ocfs2",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_and_local_ones_are_not() {
        assert_eq!(name_of_type(0x6969), Some("nfs"));
        assert_eq!(name_of_type(0x0102_1997), Some("9p"));
        for local in [0xef53, 0x9123_683e, 0x5846_5342, 0x0102_1994, 0x794c_7630] {
            assert_eq!(name_of_type(local), None);
        }
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(remote_name(folder.path()), None);
    }
}
