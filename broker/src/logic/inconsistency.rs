//! States that cannot occur unless the broker has a bug.
//!
//! Invariant: code that finds such a state calls [`unreachable_state`] and continues without what is missing. A test
//! fails there. In production the shard counts it (`inconsistencies`) and logs it at most once per turn, so that a bug
//! that concerns one client does not affect the others.

use std::cell::Cell;

use crate::logic::counters::ShardCounters;

thread_local! {
    /// The number of states found in this thread that no shard has counted yet, and the description of the last one. A
    /// shard has its own thread; if several share one, the next one that ticks counts them.
    static FOUND: Cell<(u64, &'static str)> = const { Cell::new((0, "")) };
}

/// Reports that the described state was found.
#[cold]
#[track_caller]
pub(super) fn unreachable_state(what: &'static str) {
    let (found, _) = FOUND.get();
    FOUND.set((found + 1, what));
    debug_assert!(false, "{what}");
}

/// Adds what was found since the last call to the counters of a shard and the log.
pub(super) fn count_found(shard: u16, counters: &ShardCounters) {
    let (found, what) = FOUND.take();
    if found > 0 {
        counters.inconsistencies.add(found);
        tracing::error!("Shard {shard} found {found} impossible states, the last one: {what}");
    }
}
