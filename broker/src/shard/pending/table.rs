//! All pending connections of a shard, and when the time of each is over.
//!
//! Invariants: the deadlines are in the order of accept; an id whose generation is not its slot's names a connection
//! that is gone.

use std::collections::VecDeque;

use slab::Slab;

use super::{PendingConnection, Phase};
use crate::limits;
use crate::shard::token::same_generation;
use crate::time::Timestamp;

/// The name of a pending connection: its slot, and the generation of who is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shard) struct PendingId {
    pub(in crate::shard) slot: u32,
    pub(in crate::shard) generation: u32,
}

/// All pending connections of a shard.
#[derive(Default)]
pub(in crate::shard) struct PendingConnections {
    /// Each with its generation.
    slots: Slab<(u32, PendingConnection)>,
    /// In the order of accept, which is the order of the deadlines.
    deadlines: VecDeque<(Timestamp, PendingId)>,
    generation: u32,
}

impl PendingConnections {
    pub(in crate::shard) fn insert(&mut self, now: Timestamp, pending: PendingConnection) -> PendingId {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let slot = self.slots.insert((generation, pending)) as u32;
        let id = PendingId { slot, generation };
        let deadline = now.plus_ns(limits::PENDING_CONNECTION_NS_MAX);
        self.deadlines.push_back((deadline, id));
        id
    }

    pub(in crate::shard) fn get(&mut self, id: PendingId) -> Option<&mut PendingConnection> {
        let (generation, pending) = self.slots.get_mut(id.slot as usize)?;
        same_generation(*generation, id.generation).then_some(pending)
    }

    pub(in crate::shard) fn remove(&mut self, id: PendingId) -> Option<PendingConnection> {
        self.get(id)?;
        self.slots
            .try_remove(id.slot as usize)
            .map(|(_, pending)| pending)
    }

    /// The next connection whose time is over; says so in the log.
    pub(in crate::shard) fn expired(&mut self, now: Timestamp) -> Option<PendingConnection> {
        while let Some((deadline, id)) = self.deadlines.front().copied() {
            if deadline > now && self.get(id).is_some() {
                return None;
            }
            self.deadlines.pop_front();
            if let Some(pending) = self.remove(id) {
                let missing = pending.phase.missing();
                let seconds = limits::PENDING_CONNECTION_NS_MAX / 1_000_000_000;
                tracing::info!(
                    "Client {} closed: {missing} within {seconds} seconds.",
                    pending.address
                );
                return Some(pending);
            }
        }
        None
    }

    pub(in crate::shard) fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.front().map(|(deadline, _)| *deadline)
    }

    /// Those whose password is being checked.
    pub(in crate::shard) fn being_checked(&self) -> Vec<PendingId> {
        let is_being_checked = |id: &PendingId| match self.slots.get(id.slot as usize) {
            Some((generation, pending)) => {
                matches!(pending.phase, Phase::CheckingCredentials(_))
                    && same_generation(*generation, id.generation)
            }
            None => false,
        };
        let ids = self.deadlines.iter().map(|(_, id)| *id);
        ids.filter(is_being_checked).collect()
    }

    pub(in crate::shard) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Takes all of them out.
    pub(in crate::shard) fn drain(&mut self) -> impl Iterator<Item = PendingConnection> {
        self.deadlines.clear();
        self.slots.drain().map(|(_, pending)| pending)
    }

    #[cfg(test)]
    pub(in crate::shard) fn begin_generations_at(&mut self, generation: u32) {
        self.generation = generation;
    }

    #[cfg(test)]
    pub(in crate::shard) fn len(&self) -> usize {
        self.slots.len()
    }
}
