//! The shard's calls of its store: it is opened, gets the records of a turn, and may have failed.
//!
//! Invariant: what the records promise is not sent before the store has them (`delivery/deferred.rs`).

use crate::logic::Shard;
use crate::logic::delivery::journal::FirstNumbers;
use crate::logic::store::{Store, WallClock};

impl Shard {
    /// From now on what happens goes to a store, which it must before the first client connects.
    pub fn open_store(&mut self, store: Box<dyn Store>, wall: WallClock, first: FirstNumbers) {
        self.delivery.journal.open(store, wall, first);
    }

    /// Hands over what is to be stored; before the batches for other shards are pushed, so that whatever they cause is
    /// stored later.
    #[inline]
    pub fn submit_records(&mut self) {
        self.delivery.submit_records();
    }

    /// Whether there is a store in which nothing becomes durable any more: the broker has to end.
    #[inline]
    #[must_use]
    pub fn store_has_failed(&self) -> bool {
        self.delivery.journal.has_failed()
    }
}
