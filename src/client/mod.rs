//! The thin client of the daemon: finds it, starts it where there is none, hands a run to it, and plays its terminal and
//! its signals until the end. It is never worse than not having firehot: what can't be handed over runs cold.
//!
//! | file | owns |
//! |---|---|
//! | `place` | where daemons are, which project a command is about |
//! | `start`, `boot.py` | the start of a daemon |
//! | `request`, `surroundings` | what a client says |
//! | `link` | the connection, its frames |
//! | `session` | one run: the loop over everything below |
//! | `signals`, `job` | signals that are handed on; what the system knows of jobs |
//! | `terminal`, `real`, `typed` | the program's terminal, the user's, and what is typed |
//!
//! It makes no thread. Client and daemon speak protocol [`PROTOCOL`]; see `docs/architecture.md`.
#![forbid(unsafe_code)]

mod ask;
mod job;
mod link;
mod place;
mod real;
mod request;
mod session;
mod signals;
mod start;
mod surroundings;
mod terminal;
mod typed;

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

pub use self::ask::{ask, plain, AskError, Where};
pub use self::place::{living, project_root, Living, Place, PlaceError};
pub use self::request::{Kind, Request};
pub use self::signals::die_by;
pub use self::start::StartError;
pub use self::surroundings::Surroundings;

use self::link::{Connected, Link};
use self::session::{End, Session};
use self::signals::Signals;
use self::start::{start, Wait};
use self::terminal::Terminal;
use crate::cache;

/// Spoken by client and daemon of this version.
pub const PROTOCOL: u32 = 1;
/// Above the standard ones: Linux lets 253 travel in one message (SCM_MAX_FD).
const MOST_DESCRIPTORS: usize = 250;
/// The exit status of a program that nobody can tell the end of, as of one that was killed by SIGKILL.
const LOST: i32 = 137;

/// What came of a run.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has exited.
    Status(i32),
    /// A signal has ended it.
    Killed(i32),
    /// It has not run: it is to be run without a daemon.
    Cold {
        /// Why.
        reason: String,
        /// Whether that is nobody's concern: something new is always cold at first.
        quiet: bool,
    },
}

/// Runs a program in a child of the project's daemon.
#[must_use]
pub fn run(request: &Request) -> Outcome {
    let place = match place_of(request) {
        Ok(place) => place,
        Err(error) => return cold(crate::error::with_sources(&error), false),
    };
    match reach(request, &place) {
        Ok(outcome) => outcome,
        Err(Unreached { reason, quiet }) => {
            note(&place, request, &reason, quiet);
            cold(reason, quiet)
        }
    }
}

fn place_of(request: &Request) -> Result<Place, PlaceError> {
    Place::of(
        &project_root(request.script())?,
        &request.executable,
        &request.prefix,
    )
}

/// Why no daemon has answered.
struct Unreached {
    reason: String,
    quiet: bool,
}

impl Unreached {
    fn loud(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            quiet: false,
        }
    }
}

fn cold(reason: String, quiet: bool) -> Outcome {
    Outcome::Cold { reason, quiet }
}

fn reach(request: &Request, place: &Place) -> Result<Outcome, Unreached> {
    check(request).map_err(Unreached::loud)?;
    let failed =
        |what: &'static str| move |error: io::Error| Unreached::loud(format!("{what}: {error}"));
    let connected = Link::connect(&place.socket).map_err(failed("the daemon can't be reached"))?;
    let mut link = match connected {
        Connected::To(link) => link,
        Connected::Nobody => return Err(begin(request, place, "no daemon was running")),
        Connected::Full => return Err(Unreached::loud("the daemon does not answer")),
        Connected::Foreign => {
            return Err(Unreached::loud("the daemon belongs to another user"));
        }
    };
    let terminal = Terminal::open().map_err(failed("no pseudo-terminal could be made"))?;
    let frames = request
        .frames(terminal.as_ref().map(Terminal::name))
        .map_err(Unreached::loud)?;
    let signals = Signals::catch(&request.ignored).map_err(failed("signals can't be caught"))?;
    link.push(&frames);
    match Session::new(link, signals, terminal, request.descriptors.clone()).run() {
        End::Exited(status) if status < 0 => Ok(Outcome::Killed(-status)),
        End::Exited(status) => Ok(Outcome::Status(status)),
        End::Killed(signal) => Ok(Outcome::Killed(signal)),
        End::Cold { reason, quiet } => Ok(cold(reason, quiet)),
        End::Unreached(reason) => Err(Unreached::loud(reason)),
        End::Mismatch(reason) => {
            let reason = reason.unwrap_or_else(|| "the daemon was another version's".into());
            Err(begin(request, place, &reason))
        }
        End::Lost(what) => {
            let what = what.unwrap_or_else(|| "the daemon ended while the program ran".into());
            let log = place.log.display();
            say(&format!("firehot: {what}; the daemon's log is {log}"));
            Ok(Outcome::Status(LOST))
        }
    }
}

/// What a child of the daemon could not be given.
fn check(request: &Request) -> Result<(), String> {
    let names = ["stdin", "stdout", "stderr"];
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let all: [BorrowedFd<'_>; 3] = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    for (fd, name) in all.iter().zip(names) {
        if nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_GETFD).is_err() {
            return Err(format!("{name} is closed"));
        }
    }
    if std::env::var_os("LISTEN_FDS").is_some() {
        return Err("LISTEN_FDS: sockets were handed to this process".into());
    }
    let others = request.descriptors.len();
    if others > MOST_DESCRIPTORS {
        return Err(format!(
            "{others} descriptors are more than can be handed on"
        ));
    }
    if request
        .options
        .iter()
        .any(|option| option.to_str().is_none())
    {
        return Err("an option is no text".into());
    }
    Ok(())
}

/// Starts a daemon that makes itself ready for this; the run that finds none is cold.
fn begin(request: &Request, place: &Place, reason: &str) -> Unreached {
    // The second time in a row, somebody has to hear of what the first one has died of.
    let wait = if cache::read(&place.why).is_ok_and(|note| says(&note, reason)) {
        Wait::Listening
    } else {
        Wait::Detached
    };
    let started = request
        .frames(None)
        .map_err(Unreached::loud)
        .and_then(|frames| {
            start(place, &request.executable, &request.package, &frames, wait)
                .map_err(|error| Unreached::loud(crate::error::with_sources(&error)))
        });
    match started {
        Ok(()) => Unreached {
            reason: reason.into(),
            quiet: true,
        },
        Err(unreached) => unreached,
    }
}

/// Whether a note gives this reason, or that no daemon could be started.
fn says(note: &[u8], reason: &str) -> bool {
    let note: Option<serde_json::Value> = serde_json::from_slice(note).ok();
    let found = note.as_ref().and_then(|note| note["reason"].as_str());
    found.is_some_and(|found| {
        found == reason || found.starts_with("the daemon could not be started")
    })
}

/// Keeps why a run was cold that was not even asked for.
pub fn keep_reason(request: &Request, reason: &str) {
    // Where there is no place for a daemon, there is none for a note.
    if let Ok(place) = place_of(request) {
        note(&place, request, reason, false);
    }
}

/// Keeps why a run was cold of which no daemon knows.
fn note(place: &Place, request: &Request, reason: &str, quiet: bool) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let target = match request.asked.as_str() {
        "run" => request.target.to_string_lossy().into_owned(),
        command => command.to_owned(),
    };
    let note = json!({
        "reason": reason,
        "quiet": quiet,
        "time": now.map_or(0.0, |now| now.as_secs_f64()),
        "asked": request.asked,
        "target": target,
    });
    // A full disk is no reason not to run.
    let _ = cache::replace(&place.why, note.to_string().as_bytes());
}

/// Says on stderr, once and for all, what concerns the run; nobody may read it.
pub fn say(line: &str) {
    use std::io::Write;

    let _ = writeln!(io::stderr(), "{line}");
}

/// Becomes the interpreter that runs a program with nothing of firehot. Returns only where that can't be.
#[must_use]
pub fn become_cold(request: &Request) -> io::Error {
    let words: Result<Vec<CString>, _> = request
        .cold_command()
        .iter()
        .map(|word: &OsString| CString::new(word.as_bytes()))
        .collect();
    let Ok(words) = words else {
        return io::Error::other("an argument holds a NUL character");
    };
    let Some(executable) = words.first() else {
        return io::ErrorKind::NotFound.into();
    };
    // Not by the standard library, which would undo what this process was started with: blocked and ignored signals.
    let failed: nix::Result<Infallible> = nix::unistd::execv(executable, &words);
    match failed {
        Err(error) => error.into(),
        Ok(never) => match never {},
    }
}

/// What tells the build of a native module from others.
///
/// # Errors
/// It is not there.
pub fn build_of(native: &Path) -> io::Result<String> {
    let found = fs::metadata(native)?;
    let modified = i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec());
    let version = env!("CARGO_PKG_VERSION");
    Ok(format!("{version}+{}+{modified}", found.size()))
}
