//! What a message on a route costs, in units of work (see [`crate::turn::WorkBudget`]).
//!
//! Invariants: none.

use crate::limits;
use crate::logic::routing::route::Route;

impl Route {
    /// About what a message of so many bytes on it costs this shard, in units of work.
    #[inline]
    pub(in crate::logic) fn work(&self, bytes: usize) -> u64 {
        let copies = self.targets.len() as u64;
        copies + copies.saturating_mul(bytes as u64) / limits::COPIED_BYTES
    }

    /// About what finding it costs another shard.
    #[inline]
    pub(in crate::logic) fn nodes(&self) -> u64 {
        u64::from(self.nodes)
    }

    /// Sessions of this shard that get a message on it; `None` if it is of another topic.
    #[inline]
    pub(in crate::logic) fn copies(&self, topic: &str) -> Option<u64> {
        (*self.topic == *topic).then_some(self.targets.len() as u64)
    }
}
