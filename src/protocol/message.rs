//! The typed messages, and how they become frames. Owns no socket and no process.
#![forbid(unsafe_code)]

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::findings::{Census, ChildImport, Effect, FileText, LoadedModule, ModuleCost};
use super::frame::{prefix, Frame, FrameError};

/// Which process of an environment; unique within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChildId(pub u64);

/// One import to preload, as `__import__(module, fromlist=names)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreloadItem {
    /// Dotted name.
    pub module: String,
    /// Names imported from it that may be submodules.
    pub names: Vec<String>,
}

/// What the forked process shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Runs one call and ends.
    Child,
    /// The same, but no call is there yet: it makes itself ready and waits.
    Spare,
    /// A template above this one: it imports more, and forks.
    Layer,
}

/// From the host to the template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToTemplate {
    /// First message; its body is the state of the host's interpreter (`firehot/_host.py`).
    Setup {
        /// [`super::PROTOCOL`] of the host.
        protocol: u32,
        /// Version of firehot in the host.
        firehot: String,
        /// The process that the template must not outlive.
        host: i32,
        /// Before it was started, in nanoseconds of the wall clock.
        launched: u64,
    },
    /// First message to a layer, in the place of `setup`: the host as it is now. The body is that of `setup`. Texts
    /// hold one byte in each character.
    Above {
        /// `os.environ`.
        environment: Vec<(String, String)>,
        /// `os.getcwd()`.
        cwd: String,
        /// Before it was forked, in nanoseconds of the wall clock.
        launched: u64,
    },
    /// Import these, in order, then answer `ready`.
    Preload {
        /// In the order of a cold start.
        imports: Vec<PreloadItem>,
        /// Whether to try the exit of a child: not when it is known.
        trial: bool,
    },
    /// Fork. With it travels, for a child, its private socket; for a layer, its socket, and a pipe for what its imports
    /// print.
    Fork {
        /// The new process.
        id: ChildId,
        /// What it shall be.
        #[serde(rename = "as")]
        role: Role,
        /// Folder of cloudpickle when the call holds a function by value, else none.
        cloudpickle: Option<String>,
    },
    /// Send a signal to a child. The template does it, since only the one who reaps a child knows
    /// that its pid still names it.
    Signal {
        /// The child.
        id: ChildId,
        /// Its number.
        signal: i32,
        /// Whether it is for the child's process group, if that has one of its own.
        group: bool,
    },
    /// Fork no more and exit when the last child has ended.
    Retire {},
}

/// From the template to the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromTemplate {
    /// First message.
    Hello {
        /// Its [`super::PROTOCOL`].
        protocol: u32,
        /// Its process.
        pid: i32,
        /// Version of its interpreter.
        python: String,
        /// Version of its firehot.
        firehot: String,
    },
    /// About to import an item; tells whom to blame when nothing follows.
    Importing {
        /// Position in the preload list.
        index: usize,
    },
    /// The item is imported.
    Imported {
        /// Position in the preload list.
        index: usize,
        /// Module and how long its import took, in microseconds.
        loaded: Vec<(String, u64)>,
        /// Everything that came into `sys.modules` with it.
        modules: Vec<LoadedModule>,
        /// What each of these cost, in the same order.
        #[serde(default)]
        costs: Vec<ModuleCost>,
        /// What was read for it.
        files: Vec<FileText>,
        /// What its imports did besides.
        #[serde(default)]
        effects: Vec<Effect>,
        /// By how many bytes the template has grown, where the system tells.
        #[serde(default)]
        memory: Option<u64>,
    },
    /// The item failed; the next ones are still tried.
    Failed {
        /// Position in the preload list.
        index: usize,
        /// What failed: the item's module, or a submodule of it.
        name: String,
        /// Exception type and text, on one line.
        error: String,
        /// Whether it asked the interpreter to exit, or submodules of it stayed behind in `sys.modules`: then the
        /// template is not what a cold start would be.
        residue: bool,
    },
    /// Everything is imported. The body is the rest of the stamp (`src/stamp`).
    Ready {
        /// Entries in `sys.modules`.
        modules: usize,
        /// Modules from outside the standard library that the interpreter's own start loaded.
        start: Vec<LoadedModule>,
        /// What a fork of it holds besides memory.
        #[serde(default)]
        census: Census,
        /// Modules that came after the last import, with hooks and entry points.
        #[serde(default)]
        late: Vec<LoadedModule>,
    },
    /// A child runs.
    Forked {
        /// The child.
        id: ChildId,
        /// Its process.
        pid: i32,
    },
    /// A fork that did not happen.
    ForkFailed {
        /// The child that was asked for.
        id: ChildId,
        /// Why.
        error: String,
    },
    /// A child has ended and was reaped.
    Exited {
        /// The child.
        id: ChildId,
        /// Exit code, or the negative number of the signal that ended it.
        status: i32,
    },
    /// Something for the log.
    Log {
        /// trace, debug, info, warn or error.
        level: String,
        /// One line.
        message: String,
    },
}

/// From the host to the child: one call; stdin, stdout and stderr travel with it. The body is made by `firehot/_call.py`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToChild {
    /// Run what the body holds.
    Call {},
}

/// From the child to the host: how the call ended, and what it imported. Death is told by the template, not by the child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromChild {
    /// The body is the pickled result.
    Returned {
        /// Dotted name of the result's type.
        type_name: String,
    },
    /// The body is the pickled exception, or empty when it can't be pickled.
    Raised {
        /// Dotted name of the exception's type.
        type_name: String,
        /// `str()` of the exception.
        text: String,
        /// The child's traceback, formatted.
        traceback: String,
    },
    /// The call returned something that can't be pickled.
    Unpicklable {
        /// Dotted name of the result's type.
        type_name: String,
        /// What pickle said.
        error: String,
    },
    /// What it imported that its template had not, in order; comes after the reply, if at all, and maybe in parts.
    Imported {
        /// Each of them once.
        modules: Vec<ChildImport>,
    },
}

/// A frame that holds no message of the expected kind.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Not a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Not JSON, or not a known message.
    #[error("unknown message {header:?}")]
    Header {
        /// The start of the header, made printable.
        header: String,
        /// What serde said.
        #[source]
        source: serde_json::Error,
    },
}

/// Prefix and header of a frame whose body has `body` bytes; the body follows it on the wire.
///
/// # Errors
/// [`MessageError`] when a part is too long.
pub fn encode<M: Serialize>(message: &M, body: usize) -> Result<Vec<u8>, MessageError> {
    let header = serde_json::to_vec(message).map_err(|source| MessageError::Header {
        header: String::new(),
        source,
    })?;
    let mut bytes = prefix(header.len(), body)?.to_vec();
    bytes.extend(header);
    Ok(bytes)
}

/// The message in a frame's header.
///
/// # Errors
/// [`MessageError::Header`] when it is none of the known ones.
pub fn decode<M: DeserializeOwned>(frame: &Frame) -> Result<M, MessageError> {
    serde_json::from_slice(&frame.header).map_err(|source| {
        let start = frame.header.get(..80).unwrap_or(&frame.header);
        MessageError::Header {
            header: String::from_utf8_lossy(start).into_owned(),
            source,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_message_is_an_error_that_shows_it() {
        let frame = Frame {
            header: br#"{"type":"dance"}"#.to_vec(),
            body: Vec::new(),
        };
        let error = decode::<FromTemplate>(&frame).unwrap_err();
        assert!(error.to_string().contains("dance"), "{error}");
    }

    #[test]
    fn late_modules_are_told_with_ready_and_may_be_missing() {
        let ready = |late: &str| Frame {
            header: format!(r#"{{"type":"ready","modules":1,"start":[]{late}}}"#).into_bytes(),
            body: Vec::new(),
        };
        let late = |text: &str| match decode(&ready(text)) {
            Ok(FromTemplate::Ready { late, .. }) => late,
            other => panic!("{other:?}"),
        };
        assert!(late("").is_empty());
        let hook = LoadedModule("app.secret".into(), Some("/app/secret.py".into()), None);
        let said = late(r#","late":[["app.secret","/app/secret.py",null]]"#);
        assert_eq!(said, [hook]);
    }

    #[test]
    fn the_golden_frames_are_what_this_side_writes_and_reads() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/fixtures/frames.json")).unwrap();
        let bytes = |name: &str| -> Vec<u8> {
            let hex = golden[name]["hex"].as_str().unwrap().to_owned();
            (0..hex.len())
                .step_by(2)
                .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
                .collect()
        };
        let fork = ToTemplate::Fork {
            id: ChildId(7),
            role: Role::Child,
            cloudpickle: None,
        };
        assert_eq!(encode(&fork, 0).unwrap(), bytes("fork"));
        assert_eq!(encode(&ToChild::Call {}, 0).unwrap(), bytes("call"));
        let returned = bytes("returned");
        let mut input = returned.as_slice();
        let frame = super::super::frame::Decoder::default()
            .next(&mut input)
            .unwrap()
            .unwrap();
        assert_eq!(
            decode::<FromChild>(&frame).unwrap(),
            FromChild::Returned {
                type_name: "builtins.int".into()
            }
        );
        assert_eq!(frame.body, b"\x80\x05K*.");
        let imported = FromChild::Imported {
            modules: vec![
                ChildImport(
                    "_strptime".into(),
                    Some("/lib/_strptime.py".into()),
                    900,
                    1500,
                ),
                ChildImport("_locale".into(), None, 80, 80),
            ],
        };
        assert_eq!(encode(&imported, 0).unwrap(), bytes("imported"));
    }
}
