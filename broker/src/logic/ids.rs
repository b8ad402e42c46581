//! The identifiers of connections, sessions, filters, groups and routes in a shard, and positions in their lists.
//!
//! Invariants: none.

use std::num::NonZeroU32;

use crate::logic::slots::{Slot, slot_type};

/// The name of a connection for shell and logic. The slot is reused; the generation differs for each use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    /// The slot in the shard's table of connections.
    pub slot: ConnectionSlot,
    /// Counts the connections of the shard.
    pub generation: u32,
}

impl ConnectionId {
    /// Number of generations before they repeat: as many as fit into the shell's names of requests.
    pub const GENERATIONS: u32 = 1 << 22;
}

slot_type! {
    /// The slot of a connection in its shard: small and dense numbers.
    pub struct ConnectionSlot
}

impl ConnectionSlot {
    /// For the shell's own tables and the names of its requests.
    #[must_use]
    pub fn to_u32(self) -> u32 {
        self.number().get()
    }

    /// The inverse of [`Self::to_u32`]. 0 belongs to no connection: it becomes a slot that is never used.
    #[must_use]
    pub fn from_u32(number: u32) -> Self {
        Self::from_number(NonZeroU32::new(number).unwrap_or(NonZeroU32::MAX))
    }
}

slot_type! {
    /// The slot of a session in its shard.
    pub(super) struct SessionSlot
}

slot_type! {
    /// The slot of a Topic Filter in its shard.
    pub(in crate::logic) struct FilterSlot
}

slot_type! {
    /// The slot of a group in its shard.
    pub(in crate::logic) struct GroupSlot
}

slot_type! {
    /// The slot of a route in the cache.
    pub(in crate::logic) struct RouteSlot
}

/// The position of a session in the list of a filter or a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logic) struct Position(u32);

/// The position of a filter or a group in the list of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logic) struct SessionPosition(u32);

impl Position {
    /// Lists are far shorter than 2^32.
    pub(in crate::logic) fn from_index(index: usize) -> Self {
        Self(u32::try_from(index).unwrap_or(u32::MAX))
    }

    pub(in crate::logic) fn index(self) -> usize {
        self.0 as usize
    }
}

impl SessionPosition {
    /// A session has far fewer than 2^32 subscriptions.
    pub(in crate::logic) fn from_index(index: usize) -> Self {
        Self(u32::try_from(index).unwrap_or(u32::MAX))
    }

    pub(in crate::logic) fn index(self) -> usize {
        self.0 as usize
    }
}
