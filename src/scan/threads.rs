//! How many threads can be had. Keeps none: a pool would be lost in a process that forks.
#![forbid(unsafe_code)]

use std::thread;

/// A disk does not answer more at once.
const MOST_THREADS: usize = 12;
/// Threads that must be to be had beside those of the walk.
const SPARE_THREADS: usize = 4;

/// How many threads the walk may use, near a limit of them (`ulimit -u`).
///
/// `ignore` panics where it can't start a thread, and of several the ones that it has started wait for the others for
/// ever. So that many are started for nothing first, and some to spare: one that has ended counts a moment longer.
pub(super) fn safe_threads() -> usize {
    let wanted = thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST_THREADS));
    let started = thread::scope(|scope| {
        let (gate, closed) = crossbeam_channel::bounded::<()>(0);
        let started = (0..wanted + SPARE_THREADS)
            .map_while(|_| {
                let closed = closed.clone();
                let wait = move || {
                    let _ = closed.recv();
                };
                thread::Builder::new().spawn_scoped(scope, wait).ok()
            })
            .count();
        drop(gate);
        started
    });
    if started == wanted + SPARE_THREADS {
        wanted
    } else {
        usize::from(started > 1)
    }
}
