//! The same work on many things, on as many threads as are worth it. They end before the answer is there: a pool would
//! be lost in a process that forks.
#![forbid(unsafe_code)]

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::OnceLock;
use std::thread;

/// More do not help: a disk does not answer more at once.
const MOST_THREADS: usize = 12;
/// How many items a thread takes at a time.
const BATCH: usize = 8;

/// The results in the order of the items. A thread is started for every `worthwhile` items, up to the number of
/// cores; each has a state of its own, made by `start`.
pub(super) fn map<T: Sync, S, R: Send>(
    items: &[T],
    worthwhile: usize,
    start: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &T) -> R + Sync,
) -> Vec<R> {
    let threads = items.len().div_ceil(worthwhile.max(1));
    if threads <= 1 {
        let mut state = start();
        return items.iter().map(|item| work(&mut state, item)).collect();
    }
    let threads = threads.min(cores()).min(MOST_THREADS);
    let next = AtomicUsize::new(0);
    let share = || {
        let mut state = start();
        let mut done = Vec::with_capacity(items.len() / threads + BATCH);
        loop {
            let from = next.fetch_add(BATCH, Ordering::Relaxed);
            let Some(rest) = items.get(from..) else {
                return done;
            };
            if rest.is_empty() {
                return done;
            }
            for (at, item) in (from..).zip(rest.iter().take(BATCH)) {
                done.push((at, work(&mut state, item)));
            }
        }
    };
    let mut all: Vec<Option<R>> = items.iter().map(|_| None).collect();
    let mut put = |part: Vec<(usize, R)>| {
        for (at, result) in part {
            if let Some(slot) = all.get_mut(at) {
                *slot = Some(result);
            }
        }
    };
    thread::scope(|scope| {
        // Where no thread can be had, the others do its share.
        let helpers: Vec<_> = (1..threads)
            .map_while(|_| thread::Builder::new().spawn_scoped(scope, share).ok())
            .collect();
        put(share());
        for helper in helpers {
            match helper.join() {
                Ok(part) => put(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    all.into_iter().flatten().collect()
}

/// Asked once: the answer is in files of the system.
fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().map_or(1, NonZeroUsize::get))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        for count in [0, 1, 7, 8, 9, 1000] {
            let items: Vec<usize> = (0..count).collect();
            let doubled: Vec<usize> = items.iter().map(|item| item * 2).collect();
            assert_eq!(map(&items, 10, || (), |(), item| item * 2), doubled);
        }
    }
}
