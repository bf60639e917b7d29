//! Starts a daemon, which is nobody's child and holds nothing of its caller's. Does not know what it does then.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::libc::O_NOFOLLOW;
use serde_json::json;

use super::place::Place;

/// The text that the interpreter runs.
const BOOT: &str = include_str!("boot.py");
/// A log that is longer begins anew with the next daemon.
const LONG_LOG: u64 = 1 << 20;

/// Why there is no daemon.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file of it can't be made, or the interpreter not be executed.
    #[error("the daemon could not be started")]
    System(#[from] io::Error),
    /// It has ended at once.
    #[error("the daemon could not be started: see {log}")]
    Ended {
        /// What it printed.
        log: String,
    },
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Until it is nobody's child: whoever runs a program cold meanwhile has no use for it yet.
    Detached,
    /// Until it listens.
    Listening,
}

/// Starts one, unless one is just being started.
///
/// `first` is a request that it finds in its stdin: what it may make itself ready for.
///
/// # Errors
/// See [`StartError`].
pub(super) fn start(
    place: &Place,
    executable: &Path,
    package: &Path,
    first: &[u8],
    wait: Wait,
) -> Result<(), StartError> {
    let log = open_log(&place.log)?;
    let facts = json!({
        "root": place.root.display().to_string(),
        "python": executable.display().to_string(),
        "firehot": env!("CARGO_PKG_VERSION"),
    })
    .to_string();
    let ended = Command::new(executable)
        .args(["-I", "-S", "-c", BOOT])
        .args([package, &place.socket, &place.lock, &place.log, &place.root])
        // Without its bracket: its process and the time are put in front.
        .arg(facts.trim_start_matches('{'))
        .arg(if wait == Wait::Listening { "wait" } else { "" })
        .stdin(Stdio::from(holding(place, first)?))
        .stdout(Stdio::from(log.try_clone()?))
        .stderr(Stdio::from(log))
        .status();
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(StartError::Ended {
            log: place.log.display().to_string(),
        }),
        // The caller ignores SIGCHLD: it has gone, and nobody can tell how.
        Err(error) if error.raw_os_error() == Some(nix::libc::ECHILD) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .custom_flags(O_NOFOLLOW)
        .mode(0o600)
        .open(path)?;
    if log.metadata()?.len() > LONG_LOG {
        log.set_len(0)?;
    }
    Ok(log)
}

/// A file without a name: unlike a pipe, it takes whatever is written, and nobody has to wait for a reader.
fn holding(place: &Place, content: &[u8]) -> io::Result<File> {
    let name = format!("first.{}", std::process::id());
    let path = place.socket.with_extension(name);
    // One of a process that died here, and had this one's number.
    let _ = std::fs::remove_file(&path);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    std::fs::remove_file(&path)?;
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}
