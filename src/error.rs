//! The failures that a caller of the engine can act on. Owns no recovery.
#![forbid(unsafe_code)]

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::protocol::message::MessageError;
use crate::scan::ScanError;

/// A failure of the engine, with what a caller needs to act on it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The package could not be read at all.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// The interpreter could not be started.
    #[error("could not start {} in {}", executable.display(), cwd.display())]
    Spawn {
        /// What was to be started.
        executable: PathBuf,
        /// Where.
        cwd: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The template speaks another protocol: two versions of firehot are mixed.
    #[error("the template speaks protocol {theirs} (firehot {their_version}), this process {ours} (firehot {our_version}): reinstall firehot in this environment")]
    Mismatch {
        /// Protocol of the host.
        ours: u32,
        /// Version of the host.
        our_version: &'static str,
        /// Protocol of the template.
        theirs: u32,
        /// Version of the template.
        their_version: String,
    },
    /// The template ended before it was ready, and no import is to blame.
    #[error("the template process {how} while {phase}{}", tail(output))]
    TemplateDied {
        /// "exited with code 1", "was killed by SIGKILL".
        how: String,
        /// What it was doing.
        phase: &'static str,
        /// The last lines it printed.
        output: String,
    },
    /// The template said nothing for too long, and no import is to blame.
    #[error("the template process did not answer within {} s while {phase}", after.as_secs())]
    TemplateSilent {
        /// How long it was given.
        after: Duration,
        /// What it was doing.
        phase: &'static str,
    },
    /// A message that is none, from the template.
    #[error("the template sent something that is no message")]
    Message(#[from] MessageError),
    /// No template can be had without something that must not be in one.
    #[error("no template can be made: {reason}")]
    Unusable {
        /// What is wrong with each.
        reason: String,
    },
    /// The template did not say what it depends on.
    #[error("the template sent a stamp that can't be read")]
    Stamp {
        /// What serde said.
        #[source]
        source: serde_json::Error,
    },
    /// No template is running; the environment starts one and asks again.
    #[error("no template is running")]
    NoTemplate,
    /// No child could be made.
    #[error("could not fork: {reason}")]
    Fork {
        /// What the system said.
        reason: String,
    },
    /// The environment was closed.
    #[error("the environment is closed")]
    Closed,
    /// The process was forked: the environment belongs to its parent.
    #[error("this environment belongs to process {owner}; a forked process opens its own with isolate_imports")]
    Forked {
        /// Who opened it.
        owner: u32,
    },
    /// The caller has a signal to attend to.
    #[error("interrupted")]
    Interrupted,
    /// The system refused something.
    #[error("could not {what}")]
    System {
        /// A verb and its object.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// For `map_err`: the system refused `what`.
    pub fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

/// Output as a part of a message: nothing, or a colon and the lines.
#[must_use]
pub fn tail(output: &str) -> String {
    let output = output.trim_end();
    if output.is_empty() {
        String::new()
    } else {
        format!("; its last output:\n{output}")
    }
}

/// The message with what lies behind it, on one line where it was one.
#[must_use]
pub fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}
