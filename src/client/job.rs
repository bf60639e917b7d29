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
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let has = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let mask = u64::from_str_radix(line.trim(), 16).ok()?;
        Some(mask >> (signal - 1) & 1 == 1)
    };
    match (has("SigIgn:"), has("SigCgt:")) {
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

/// Whether nobody in this session could make this process go on: then the kernel stops nobody by a terminal's signal,
/// and neither should this process stop itself. The session's first group is such a one, and one whose shell has gone.
pub(super) fn is_orphaned() -> bool {
    let Ok(own) = getsid(None) else { return true };
    let parent = getppid();
    own == getpgrp() || parent.as_raw() == 0 || getsid(Some(parent)) != Ok(own)
}
