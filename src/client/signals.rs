//! The signals that are the program's: caught, so that they can be handed on, and told in turn with everything else.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::libc::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH};
use nix::sys::resource::{getrlimit, setrlimit, Resource};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

const CAUGHT: [i32; 9] = [
    SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGTSTP, SIGCONT,
];

/// Signals that have come and were not asked for yet.
pub(super) struct Signals(SignalDelivery<UnixStream, SignalOnly>);

impl Signals {
    /// From here on they no longer do what they do by default. What is ignored here stays so, and is the program's to
    /// ignore as well.
    ///
    /// # Errors
    /// No descriptors are left.
    pub(super) fn catch(ignored: &[i32]) -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        let caught = CAUGHT.iter().filter(|signal| !ignored.contains(signal));
        SignalDelivery::with_pipe(read, write, SignalOnly, caught).map(Self)
    }

    /// Those that have come since the last call, each once.
    pub(super) fn pending(&mut self) -> Vec<i32> {
        self.0.pending().collect()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_read().as_fd()
    }
}

/// Whether a signal that nobody handles ends a process.
pub(super) fn ends(signal: i32) -> bool {
    ![SIGWINCH, SIGTSTP, SIGCONT].contains(&signal)
}

/// Ends this process as the program was ended, so that whoever waits for it sees the same. Returns the exit status that
/// is next best, where that can't be done.
pub fn die_by(signal: i32) -> i32 {
    // The program has left the core, if any; this process has none of its own to leave.
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_CORE) {
        // Where that fails, there is a second core.
        let _ = setrlimit(Resource::RLIMIT_CORE, 0, hard);
    }
    // Returns for signals that it does not know, real-time ones.
    let _ = signal_hook::low_level::emulate_default_handler(signal);
    128 + signal
}
