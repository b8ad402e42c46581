//! The identifiers of connections and sessions in a shard.
//!
//! Invariants: none.

use std::num::NonZeroU32;

use crate::logic::slots::{Slot, slot_type};

/// A connection as shell and logic name it. The slot is used again; the generation differs for each use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    /// The slot in the shard's table of connections.
    pub slot: ConnectionSlot,
    /// Counts the connections of the shard.
    pub generation: u32,
}

impl ConnectionId {
    /// How many generations there are before they begin again: what the shell's names of requests have room for.
    pub const GENERATIONS: u32 = 1 << 22;
}

slot_type! {
    /// The place of a connection in its shard: small and dense numbers.
    pub struct ConnectionSlot
}

impl ConnectionSlot {
    /// For the shell's own tables and the names of its requests.
    #[must_use]
    pub fn to_u32(self) -> u32 {
        self.number().get()
    }

    /// Of what [`Self::to_u32`] gave out. 0 is no connection's: it becomes a place where none ever is.
    #[must_use]
    pub fn from_u32(number: u32) -> Self {
        Self::from_number(NonZeroU32::new(number).unwrap_or(NonZeroU32::MAX))
    }
}

slot_type! {
    /// The place of a session in its shard.
    pub(super) struct SessionSlot
}
