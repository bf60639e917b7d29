//! What a process has from whoever started it: limits, affinity, namespaces, umask, blocked signals. Changes nothing.
//!
//! A child of the daemon can be given some of it; where it can't, the daemon says so and the run is cold.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::sys::resource::{getrlimit, Resource};
use nix::sys::signal::SigSet;
use nix::sys::stat::{umask, Mode};
use serde::Serialize;
use serde_json::Value;

/// What can be compared between two processes of one user.
#[derive(Debug, Serialize)]
pub struct Surroundings {
    /// Soft and hard, by name; "no limit" is what Python's `resource.RLIM_INFINITY` is.
    pub limits: BTreeMap<&'static str, (i64, i64)>,
    /// The processors that may be used; none where the system does not say.
    pub affinity: Option<Vec<usize>>,
    /// The nice value.
    pub nice: i32,
    /// Namespaces, root folder and groups, by name.
    pub places: BTreeMap<&'static str, Value>,
}

impl Surroundings {
    /// Those of this process.
    #[must_use]
    pub fn now() -> Self {
        Self {
            limits: limits(),
            affinity: affinity(),
            nice: rustix::process::getpriority_process(None).unwrap_or(0),
            places: places(),
        }
    }
}

/// The file mode mask of this process. Only for a process with one thread: it is set, and set back.
// It has 16 bits on macOS.
#[allow(clippy::useless_conversion)]
pub(super) fn file_mode_mask() -> u32 {
    let mask = umask(Mode::empty());
    umask(mask);
    u32::from(mask.bits())
}

/// The numbers of the signals that this thread blocks.
pub(super) fn blocked() -> Vec<i32> {
    let mask = SigSet::thread_get_mask().unwrap_or_else(|_| SigSet::empty());
    mask.iter().map(|signal| signal as i32).collect()
}

macro_rules! limits {
    ($found:ident: $($name:ident)*) => {
        $(if let Ok((soft, hard)) = getrlimit(Resource::$name) {
            $found.insert(stringify!($name), (soft.cast_signed(), hard.cast_signed()));
        })*
    };
}

fn limits() -> BTreeMap<&'static str, (i64, i64)> {
    let mut found = BTreeMap::new();
    limits!(found: RLIMIT_AS RLIMIT_CORE RLIMIT_CPU RLIMIT_DATA RLIMIT_FSIZE RLIMIT_NOFILE RLIMIT_STACK);
    #[cfg(target_os = "linux")]
    limits!(found:
        RLIMIT_MEMLOCK RLIMIT_MSGQUEUE RLIMIT_NICE RLIMIT_NPROC RLIMIT_RSS RLIMIT_RTPRIO RLIMIT_RTTIME RLIMIT_SIGPENDING
    );
    found
}

#[cfg(target_os = "linux")]
fn affinity() -> Option<Vec<usize>> {
    use nix::sched::{sched_getaffinity, CpuSet};
    use nix::unistd::Pid;

    let set = sched_getaffinity(Pid::from_raw(0)).ok()?;
    let is_in = |number: &usize| set.is_set(*number).unwrap_or(false);
    Some((0..CpuSet::count()).filter(is_in).collect())
}

#[cfg(not(target_os = "linux"))]
fn affinity() -> Option<Vec<usize>> {
    None
}

fn places() -> BTreeMap<&'static str, Value> {
    let mut found = BTreeMap::new();
    for name in ["mnt", "net", "pid", "user", "ipc", "uts", "cgroup", "time"] {
        if let Ok(link) = fs::read_link(format!("/proc/self/ns/{name}")) {
            found.insert(name, link.to_string_lossy().into());
        }
    }
    if let Ok(root) = fs::metadata("/") {
        found.insert("root", format!("{}:{}", root.dev(), root.ino()).into());
    }
    if let Ok(groups) = rustix::process::getgroups() {
        let mut groups: Vec<u32> = groups
            .into_iter()
            .map(rustix::process::Gid::as_raw)
            .collect();
        groups.sort_unstable();
        found.insert("groups", groups.into());
    }
    found
}
