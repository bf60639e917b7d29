//! One question to a daemon, one answer. Runs nothing.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

use super::link::{Connected, Link};
use super::place::{project_root, Place, PlaceError};
use super::request::hello;
use super::start::{start, StartError, Wait};
use crate::protocol::frame::prefix;

/// A caller is asked this often whether it still wants to know.
const SLICE: u16 = 100;
/// How often one is asked again that makes room for another.
const REPLACING: u32 = 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// There is no place for a daemon.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// None runs, and none can be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It can't be connected to.
    #[error("the daemon can't be reached")]
    Unreachable(#[from] io::Error),
    /// It is somebody else's.
    #[error("the daemon belongs to another user")]
    Foreign,
    /// It has said nothing in time.
    #[error("the daemon does not answer")]
    Silent,
    /// It has gone, or has not understood.
    #[error("the daemon has not answered; its log says why")]
    Ended,
    /// Another version's: it ends now.
    #[error("the daemon was another version's; it has been told to end")]
    Mismatch,
    /// The question can't be sent.
    #[error("the question is too long")]
    TooLong,
    /// The caller has a signal to attend to.
    #[error("interrupted")]
    Interrupted,
}

/// Which daemon is asked.
#[derive(Debug)]
pub enum Where<'w> {
    /// One that lives.
    Socket(&'w Path),
    /// A project's.
    Project {
        /// The script that is run, or the working directory's project.
        script: Option<&'w Path>,
        /// The interpreter.
        executable: PathBuf,
        /// Its `sys.prefix`.
        prefix: PathBuf,
        /// The folder of firehot, where one is started if there is none.
        start: Option<PathBuf>,
    },
}

/// The frames of a question that is a header alone.
///
/// # Errors
/// It is too long.
pub fn plain(question: &str, build: &str) -> Result<Vec<u8>, AskError> {
    let mut bytes = hello(build);
    bytes.extend(prefix(question.len(), 0).map_err(|_| AskError::TooLong)?);
    bytes.extend(question.as_bytes());
    Ok(bytes)
}

/// The header of the answer; nothing where no daemon runs.
///
/// `frames` are those of [`plain`], or of a request. `goes_on` is asked every 100 ms; `patience` is how long the answer may take.
///
/// # Errors
/// See [`AskError`].
pub fn ask(
    to: &Where<'_>,
    frames: &[u8],
    patience: Option<Duration>,
    mut goes_on: impl FnMut() -> bool,
) -> Result<Option<Vec<u8>>, AskError> {
    let may_start = matches!(to, Where::Project { start: Some(_), .. });
    let mut left = if may_start { REPLACING } else { 0 };
    loop {
        match ask_once(to, frames, patience, &mut goes_on) {
            // It makes room for one of this version.
            Err(AskError::Mismatch | AskError::Ended) if left > 0 => {
                left -= 1;
                std::thread::sleep(Duration::from_millis(u64::from(SLICE)));
            }
            answer => return answer,
        }
    }
}

fn ask_once(
    to: &Where<'_>,
    frames: &[u8],
    patience: Option<Duration>,
    goes_on: &mut impl FnMut() -> bool,
) -> Result<Option<Vec<u8>>, AskError> {
    let Some(mut link) = connected(to)? else {
        return Ok(None);
    };
    link.push(frames);
    let deadline = patience.map(|patience| Instant::now() + patience);
    loop {
        let mut events = PollFlags::POLLIN;
        events.set(PollFlags::POLLOUT, link.wants_to_write());
        // Whatever came of it, both are tried.
        let _ = poll(
            &mut [PollFd::new(link.as_fd(), events)],
            PollTimeout::from(SLICE),
        );
        link.flush();
        if let Some(frame) = link.read().into_iter().next() {
            let said: Option<serde_json::Value> = serde_json::from_slice(&frame.header).ok();
            if said.is_some_and(|said| said["type"] == "mismatch") {
                return Err(AskError::Mismatch);
            }
            return Ok(Some(frame.header));
        }
        if !link.is_open() {
            return Err(AskError::Ended);
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(AskError::Silent);
        }
        if !goes_on() {
            return Err(AskError::Interrupted);
        }
    }
}

fn connected(to: &Where<'_>) -> Result<Option<Link>, AskError> {
    match to {
        Where::Socket(socket) => connect(socket),
        Where::Project {
            script,
            executable,
            prefix,
            start: package,
        } => {
            let place = Place::of(&project_root(*script)?, executable, prefix)?;
            let found = connect(&place.socket)?;
            match (found, package) {
                (None, Some(package)) => {
                    start(&place, executable, package, &[], Wait::Listening)?;
                    connect(&place.socket)
                }
                (found, _) => Ok(found),
            }
        }
    }
}

fn connect(socket: &Path) -> Result<Option<Link>, AskError> {
    match Link::connect(socket)? {
        Connected::To(link) => Ok(Some(link)),
        Connected::Nobody => Ok(None),
        Connected::Full => Err(AskError::Silent),
        Connected::Foreign => Err(AskError::Foreign),
    }
}
