//! Counters of `http_api` listeners: TLS handshakes, and requests for which there was no room.
//!
//! Invariants: any thread may increment them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::logic::{CounterLabel, Handshake};

/// The counts of all listeners of `http_api` together, and of the control socket.
#[derive(Debug, Default)]
pub(crate) struct ApiCounts {
    /// One counter for each [`Handshake`].
    handshakes: [AtomicU64; Handshake::LABELS.len()],
    turned_away: AtomicU64,
}

impl ApiCounts {
    /// Counts a TLS handshake that has ended.
    pub(super) fn count_handshake(&self, ended: Handshake) {
        if let Some(count) = self.handshakes.get(ended.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a request that was answered with 503, because there was no room.
    pub(super) fn count_turned_away(&self) {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
    }

    /// The handshakes, in the order of the labels.
    pub(super) fn handshakes(&self) -> impl Iterator<Item = u64> + '_ {
        self.handshakes.iter().map(|count| count.load(Ordering::Relaxed))
    }

    /// The requests that were answered with 503.
    pub(super) fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }
}
