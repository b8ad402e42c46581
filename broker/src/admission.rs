//! Counts the open connections of each listener and refuses those above `max_connections`.
//!
//! Invariants: a connection is counted from accept until its descriptor is closed, on whichever shard or thread it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One connection's place in its listener's count, given back on drop.
pub(crate) struct Admission(Arc<AtomicU64>);

impl Admission {
    /// A place, unless `connections_max` are taken.
    pub(crate) fn enter(count: &Arc<AtomicU64>, connections_max: u64) -> Option<Admission> {
        // If there is no room, dropping it takes it off the count again.
        let admission = Admission(Arc::clone(count));
        (count.fetch_add(1, Ordering::Relaxed) < connections_max).then_some(admission)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_come_back() {
        let count = Arc::new(AtomicU64::new(0));
        let first = Admission::enter(&count, 1).unwrap();
        assert!(Admission::enter(&count, 1).is_none());
        drop(first);
        assert!(Admission::enter(&count, 1).is_some());
    }
}
