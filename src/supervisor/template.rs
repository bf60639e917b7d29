//! One template's process: starts it, watches for its death, holds its socket. Does not decide when it is replaced.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use crossbeam_channel::Sender;

use super::link::Link;
use super::output::{Pipe, Stream, Tail};
use crate::error::Error;
use crate::protocol::message::{encode, FromTemplate, ToTemplate};
use crate::protocol::PROTOCOL;

/// Which template of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TemplateId(pub u64);

/// The host's interpreter, as a template shall find it: all of it is read when a template is started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// `sys.executable`.
    pub executable: PathBuf,
    /// Interpreter options and the bootstrap.
    pub arguments: Vec<OsString>,
    /// `os.environ`.
    pub environment: Vec<(OsString, OsString)>,
    /// `os.getcwd()`.
    pub cwd: PathBuf,
    /// `sys.path`.
    pub path: Vec<PathBuf>,
}

/// What the one who started a template is told.
#[derive(Debug)]
pub enum Event {
    /// A message of the template's start: hello, importing, imported, failed, ready; and its body.
    Said(FromTemplate, Vec<u8>),
    /// It sent something that is no message, and was ended.
    Garbled(crate::protocol::message::MessageError),
    /// It is a layer, and the template below is gone.
    Orphaned,
    /// It is gone.
    Died {
        /// "exited with code 1", "was killed by SIGKILL".
        how: String,
        /// The last lines it printed.
        output: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Starting,
    Serving,
    Retiring,
}

#[derive(Debug)]
pub(super) struct Template {
    pub(super) link: Link,
    pub(super) output: Pipe,
    pub(super) tail: Tail,
    pub(super) phase: Phase,
    pub(super) events: Sender<Event>,
    process: Process,
}

/// Who reaps it.
#[derive(Debug)]
enum Process {
    /// This process, which started it.
    Own(Child),
    /// The template that it was forked from; its pid is known when that has told it.
    Forked {
        parent: TemplateId,
        pid: Option<u32>,
    },
}

impl Template {
    /// Starts the interpreter. Its stdin is the socket; its output comes back through a pipe, for messages.
    ///
    /// # Errors
    /// [`Error::Spawn`], [`Error::System`].
    pub(super) fn spawn(
        launch: &Launch,
        body: Vec<u8>,
        events: Sender<Event>,
    ) -> Result<Self, Error> {
        let launched = now();
        let (mut link, socket) = Link::pair()?;
        let (output, writer) = Pipe::new(Stream::Stderr)?;
        let second = writer
            .try_clone()
            .map_err(Error::system("duplicate a pipe"))?;
        let process = Command::new(&launch.executable)
            .args(&launch.arguments)
            .env_clear()
            .envs(launch.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&launch.cwd)
            .stdin(Stdio::from(socket))
            .stdout(Stdio::from(writer))
            .stderr(Stdio::from(second))
            .spawn()
            .map_err(|source| Error::Spawn {
                executable: launch.executable.clone(),
                cwd: launch.cwd.clone(),
                source,
            })?;
        let setup = ToTemplate::Setup {
            protocol: PROTOCOL,
            firehot: env!("CARGO_PKG_VERSION").to_owned(),
            host: i32::try_from(std::process::id()).unwrap_or(0),
            launched,
        };
        link.push(encode(&setup, body.len())?.into(), Vec::new());
        link.push(body.into(), Vec::new());
        Ok(Self {
            link,
            output,
            tail: Tail::default(),
            phase: Phase::Starting,
            events,
            process: Process::Own(process),
        })
    }

    /// A layer that is yet to be forked from `parent`, and what goes to the parent for it.
    ///
    /// # Errors
    /// [`Error::System`], [`Error::Message`].
    pub(super) fn above(
        parent: TemplateId,
        launch: &Launch,
        body: Vec<u8>,
        events: Sender<Event>,
    ) -> Result<(Self, Vec<OwnedFd>), Error> {
        let (mut link, socket) = Link::pair()?;
        let (output, writer) = Pipe::new(Stream::Stderr)?;
        let text = |value: &OsStr| value.as_bytes().iter().copied().map(char::from).collect();
        let above = ToTemplate::Above {
            environment: launch
                .environment
                .iter()
                .map(|(name, value)| (text(name), text(value)))
                .collect(),
            cwd: text(launch.cwd.as_os_str()),
            launched: now(),
        };
        link.push(encode(&above, body.len())?.into(), Vec::new());
        link.push(body.into(), Vec::new());
        let layer = Self {
            link,
            output,
            tail: Tail::default(),
            phase: Phase::Starting,
            events,
            process: Process::Forked { parent, pid: None },
        };
        Ok((layer, vec![socket, writer]))
    }

    /// 0 for a layer that is not forked yet.
    pub(super) fn pid(&self) -> u32 {
        match &self.process {
            Process::Own(child) => child.id(),
            Process::Forked { pid, .. } => pid.unwrap_or(0),
        }
    }

    /// The template that it was forked from, if it is a layer.
    pub(super) fn parent(&self) -> Option<TemplateId> {
        match self.process {
            Process::Own(_) => None,
            Process::Forked { parent, .. } => Some(parent),
        }
    }

    pub(super) fn set_pid(&mut self, forked: i32) {
        if let Process::Forked { pid, .. } = &mut self.process {
            *pid = u32::try_from(forked).ok();
        }
    }

    pub(super) fn send(&mut self, message: &ToTemplate, fds: Vec<OwnedFd>) {
        match encode(message, 0) {
            Ok(bytes) => self.link.push(bytes.into(), fds),
            Err(error) => log::error!("a message to the template could not be made: {error}"),
        }
        self.link.flush();
    }

    pub(super) fn read_output(&mut self) {
        let bytes = self.output.drain();
        for line in String::from_utf8_lossy(&bytes).lines() {
            log::debug!("template {}: {line}", self.pid());
        }
        self.tail.add(&bytes);
    }

    /// Takes the dead process from the system and says how it ended.
    ///
    /// Only the dispatcher reaps a template, and only after [`watch`] told of its death: until then its pid names it.
    /// A layer is reaped by the template below.
    pub(super) fn reap(&mut self) -> String {
        match &mut self.process {
            Process::Own(child) => child.wait().map_or_else(|_| "ended".to_owned(), describe),
            Process::Forked { .. } => "ended".to_owned(),
        }
    }

    /// For one that does not end by itself. A layer is killed by the one that reaps it.
    pub(super) fn kill(&mut self) {
        if let Process::Own(child) = &mut self.process {
            // It may have died a moment ago; then it is still there to be reaped.
            let _ = child.kill();
        }
    }
}

/// Nanoseconds of the wall clock, as file systems count them.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

/// "exited with code 1", from what a template tells of a process that it has reaped.
pub(super) fn describe_status(status: i32) -> String {
    if status < 0 {
        format!("was killed by {}", signal_name(-status))
    } else {
        format!("exited with code {status}")
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("was killed by {}", signal_name(signal)),
        (None, None) => "ended".to_owned(),
    }
}

/// `SIGKILL` for 9, as users know it.
#[must_use]
pub fn signal_name(signal: i32) -> String {
    nix::sys::signal::Signal::try_from(signal).map_or_else(
        |_| format!("signal {signal}"),
        |signal| signal.as_str().to_owned(),
    )
}

/// Waits, on a thread of its own, until the process `pid` is dead, without reaping it; then calls `dead`.
///
/// The pid stays the template's until the dispatcher reaps it, so that nothing else can be killed in its place.
/// An error means that somebody else reaped it (a host that ignores SIGCHLD): dead as well.
pub(super) fn watch(pid: u32, dead: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name("firehot-watch".to_owned())
        .stack_size(64 << 10)
        .spawn(move || {
            wait_for_death(pid);
            dead();
        })?;
    Ok(())
}

#[cfg(target_os = "linux")]
fn wait_for_death(pid: u32) {
    use nix::errno::Errno;
    use nix::sys::wait::{waitid, Id, WaitPidFlag};
    let Ok(pid) = i32::try_from(pid) else { return };
    let pid = nix::unistd::Pid::from_raw(pid);
    while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
}

#[cfg(not(target_os = "linux"))]
fn wait_for_death(pid: u32) {
    use nix::errno::Errno;
    use nix::sys::event::{EvFlags, EventFilter, FilterFlag, KEvent, Kqueue};
    let Ok(queue) = Kqueue::new() else { return };
    let exit = KEvent::new(
        pid as usize,
        EventFilter::EVFILT_PROC,
        EvFlags::EV_ADD | EvFlags::EV_ONESHOT,
        FilterFlag::NOTE_EXIT,
        0,
        0,
    );
    let mut seen = [exit];
    // An error other than EINTR: it is dead already.
    while queue.kevent(&[exit], &mut seen, None) == Err(Errno::EINTR) {}
}
