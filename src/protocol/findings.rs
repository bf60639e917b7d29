//! What a template has found about what it imported: parts of its messages.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A path (one byte in each character), and its state before it was read; none when there was no file.
pub type FileText = (String, Option<StateText>);

/// Size, mtime and ctime in nanoseconds, inode, device, and 1 when a further change may not show.
pub type StateText = (u64, i64, i64, u64, u64, u8);

/// A module that was loaded: dotted name, file (one byte in each character), the module whose code asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadedModule(pub String, pub Option<String>, pub Option<String>);

/// What the import of a module cost: microseconds without and with what it imported first, bytes that the template has
/// grown by, and the module during whose import its own began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleCost(pub u64, pub u64, pub u64, pub Option<String>);

/// A module that a child imported itself: dotted name, file (one byte in each character; none for one of the
/// interpreter's own), and how long its import took, in microseconds, without and with what it imported first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildImport(pub String, pub Option<String>, pub u64, pub u64);

/// What an import did besides defining things.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// What was being imported: an item's module, or a submodule of it.
    pub name: String,
    /// Such as "listening socket".
    pub kind: String,
    /// Such as its address.
    pub detail: String,
    /// The module whose code did it, where that is known.
    pub importer: Option<String>,
    /// What follows.
    pub action: Action,
}

/// What follows from an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Children must not share it.
    LeaveOut,
    /// A cold start would have it as well.
    Kept,
    /// The template took it back.
    Undone,
}

/// A thread that is still there after a fork of the template, and that nobody knows to be harmless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadText {
    /// Its name.
    pub name: String,
    /// File name of the shared object that runs it; "python" for one that Python code has started; may be empty.
    pub library: String,
    /// The top-level module that it belongs to; may be empty.
    pub package: String,
    /// The dotted name whose import made it appear; may be empty.
    pub item: String,
    /// The module whose code started it, where that is known.
    pub importer: Option<String>,
}

/// What a template holds besides memory, as found after its throwaway fork.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Census {
    /// Threads that nobody knows to be harmless.
    pub threads: Vec<ThreadText>,
    /// Packages whose threads went away with the fork: what went.
    pub quiesced: BTreeMap<String, String>,
    /// Packages whose threads are known to be harmless: why.
    pub harmless: BTreeMap<String, String>,
    /// Packages for which something was done: what.
    pub remedies: BTreeMap<String, String>,
    /// How a child that did nothing ended: "ok", or what went wrong; none when it was not tried.
    pub exit: Option<String>,
    /// How long that took, in milliseconds.
    pub exit_ms: Option<u64>,
    /// Descriptors that the imports have left open.
    pub fds: u64,
}
