//! States that cannot occur unless the broker has a bug.
//!
//! Invariant: code that finds such a state calls [`unreachable_state`] and continues without what is missing. A test
//! stops there. In production the shard counts it (`inconsistencies`) and logs it at most once a turn, so that the
//! error of one client does not affect the others.

use std::cell::Cell;

use crate::logic::counters::ShardCounters;

thread_local! {
    /// How many were found in this thread that no shard has counted yet, and what the last one was. A shard has a
    /// thread of its own; where several share one, the next that ticks counts them.
    static FOUND: Cell<(u64, &'static str)> = const { Cell::new((0, "")) };
}

/// What is said to be cannot be.
#[cold]
#[track_caller]
pub(super) fn unreachable_state(what: &'static str) {
    let (found, _) = FOUND.get();
    FOUND.set((found + 1, what));
    debug_assert!(false, "{what}");
}

/// Takes what was found since the last call into the counters of a shard and the log.
pub(super) fn count_found(shard: u16, counters: &ShardCounters) {
    let (found, what) = FOUND.take();
    if found > 0 {
        counters.inconsistencies.add(found);
        tracing::error!("Shard {shard} found {found} states that cannot be, the last one: {what}");
    }
}
