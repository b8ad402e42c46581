//! The shard's calls of its store: opening it, submitting the records of a turn, and checking for failure.
//!
//! Invariant: what the records promise is not sent before the store has recorded it (`delivery/deferred.rs`).

use crate::logic::Shard;
use crate::logic::delivery::journal::FirstNumbers;
use crate::logic::store::{Store, WallClock};

impl Shard {
    /// Sets the store for all further records, which must happen before the first client connects.
    pub fn open_store(&mut self, store: Box<dyn Store>, wall: WallClock, first: FirstNumbers) {
        self.delivery.journal.open(store, wall, first);
    }

    /// Submits records, before the batches for other shards are pushed, so that whatever these cause is stored later.
    #[inline]
    pub fn submit_records(&mut self) {
        self.delivery.submit_records();
    }

    /// Whether there is a store that has failed: the broker has to end.
    #[inline]
    #[must_use]
    pub fn store_has_failed(&self) -> bool {
        self.delivery.journal.has_failed()
    }
}
