//! Counts the open connections of each listener and refuses those above `max_connections`.
//!
//! Invariants: a connection is counted from accept until its descriptor is closed, regardless of its shard or thread.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use transport::socket;

/// The connections of a listener, on all its sockets and shards.
#[derive(Debug, Default)]
pub(crate) struct ListenerCounts {
    open: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
}

impl ListenerCounts {
    /// Connections that are open now.
    pub(crate) fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections that were accepted since the start.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Connections that were refused because of `max_connections`.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// One connection's place in its listener's count, returned on drop.
pub(crate) struct Admission(Arc<ListenerCounts>);

impl Admission {
    /// Takes a place, unless `connections_max` are taken.
    pub(crate) fn enter(counts: &Arc<ListenerCounts>, connections_max: u64) -> Option<Admission> {
        // If there is no room, dropping it decrements the count again.
        let admission = Admission(Arc::clone(counts));
        let has_room = counts.open.fetch_add(1, Ordering::Relaxed) < connections_max;
        let counter = if has_room {
            &counts.accepted
        } else {
            &counts.refused
        };
        counter.fetch_add(1, Ordering::Relaxed);
        has_room.then_some(admission)
    }
}

/// Why a connection of this socket was refused, as a sentence.
pub(crate) fn too_many(socket: BorrowedFd<'_>, connections_max: u64) -> String {
    let address = socket::local_address(socket).map(|address| format!(" at {address}"));
    format!(
        "the listener{} has {connections_max} connections, the limit that its max_connections sets",
        address.unwrap_or_default()
    )
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_come_back() {
        let counts = Arc::new(ListenerCounts::default());
        let first = Admission::enter(&counts, 1).unwrap();
        assert!(Admission::enter(&counts, 1).is_none());
        drop(first);
        assert!(Admission::enter(&counts, 1).is_some());
        assert_eq!((counts.open(), counts.accepted(), counts.refused()), (0, 2, 1));
    }
}
