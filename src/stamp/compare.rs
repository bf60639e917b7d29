//! Many things compared with the disk at once, on two threads: where the kernel does not tell of changes.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::thread::{self, ScopedJoinHandle};

use super::things::Thing;
use super::Change;

/// So few are not worth the start of a second thread.
const ALONE: usize = 128;

/// What has changed.
pub(super) fn compare_all(things: &[&Thing]) -> BTreeSet<Change> {
    if things.len() < ALONE {
        return compare(things);
    }
    let (here, there) = things.split_at(things.len() / 2);
    thread::scope(|scope| {
        let second = thread::Builder::new().name("firehot-compare".to_owned());
        let second = second.spawn_scoped(scope, || compare(there));
        let mut changes = compare(here);
        // Where no thread can be had, this one does it all.
        let theirs = second.ok().map(ScopedJoinHandle::join);
        changes.extend(match theirs {
            Some(Ok(theirs)) => theirs,
            Some(Err(_)) | None => compare(there),
        });
        changes
    })
}

fn compare(things: &[&Thing]) -> BTreeSet<Change> {
    let mut changes = BTreeSet::new();
    for thing in things {
        thing.compare(&mut changes);
    }
    changes
}
