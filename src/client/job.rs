//! What the system knows of jobs: whether a process heeds a signal, whether somebody could make this one go on.

use nix::unistd::{getpgrp, getppid, getsid};

/// What a process does with a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Care {
    /// What the system does by default.
    Default,
    /// Nothing.
    Ignores,
    /// It has a handler, or nobody can tell.
    Handles,
}

/// What a process does with a signal.
#[cfg(target_os = "linux")]
pub(super) fn care_of(pid: i32, signal: i32) -> Care {
    let status = Status::of(pid);
    match (status.has("SigIgn:", signal), status.has("SigCgt:", signal)) {
        (Some(true), _) => Care::Ignores,
        (Some(false), Some(false)) => Care::Default,
        _ => Care::Handles,
    }
}

/// What a process does with a signal.
#[cfg(not(target_os = "linux"))]
pub(super) fn care_of(_pid: i32, _signal: i32) -> Care {
    Care::Handles
}

/// Whether a process may not have handled a signal yet that it was sent: it runs, or has not got it. False where nobody
/// can tell.
#[cfg(target_os = "linux")]
pub(super) fn is_at_work(pid: i32, signal: i32) -> bool {
    let status = Status::of(pid);
    let runs = status
        .value("State:")
        .is_some_and(|state| state.starts_with('R'));
    let waits = ["SigPnd:", "ShdPnd:"]
        .iter()
        .any(|name| status.has(name, signal) == Some(true));
    runs || waits
}

/// Whether a process may not have handled a signal yet that it was sent: it runs, or has not got it. False where nobody
/// can tell.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_at_work(_pid: i32, _signal: i32) -> bool {
    false
}

/// What the system tells of a process; nothing when it is gone.
#[cfg(target_os = "linux")]
struct Status(String);

#[cfg(target_os = "linux")]
impl Status {
    fn of(pid: i32) -> Self {
        Self(std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default())
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.0
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    }

    /// Whether a signal is in the mask of this name.
    fn has(&self, name: &str, signal: i32) -> Option<bool> {
        let mask = u64::from_str_radix(self.value(name)?, 16).ok()?;
        Some(mask >> (signal - 1) & 1 == 1)
    }
}

/// Whether nobody in this session could make this process go on: then the kernel stops nobody by a terminal's signal,
/// and neither should this process stop itself. The session's first group is such a one, and one whose shell has gone.
pub(super) fn is_orphaned() -> bool {
    let Ok(own) = getsid(None) else { return true };
    let parent = getppid();
    own == getpgrp() || parent.as_raw() == 0 || getsid(Some(parent)) != Ok(own)
}
