//! All pending connections of a shard, and when the time of each is over.
//!
//! Invariants: connections run out of time in the order in which they were accepted. An id whose generation differs
//! from its slot's belongs to a connection that is gone. The sum of the bytes that all of them keep is exact after
//! each call, and at most [`limits::PENDING_BYTES_MAX`].

use std::collections::VecDeque;

use slab::Slab;

use super::{PendingConnection, Phase};
use crate::limits;
use crate::log::SeldomLogged;
use crate::shard::token::{PendingId, same_generation};
use crate::time::Timestamp;

/// All pending connections of a shard.
#[derive(Default)]
pub(in crate::shard) struct PendingConnections {
    slots: Slab<Place>,
    /// In the order of accept, with its time.
    accepted: VecDeque<(Timestamp, PendingId)>,
    /// Connections in a password check, in the order in which to check whether the client is still connected.
    checked: VecDeque<(Timestamp, PendingId)>,
    generation: u32,
    /// The bytes that all pending connections keep.
    bytes: usize,
    /// Connections that are closed because they do not read: one costs its client almost nothing, so not every one is
    /// logged.
    pub(super) not_reading_logged: SeldomLogged,
}

struct Place {
    generation: u32,
    accepted_at: Timestamp,
    /// Bytes of its CONNECT that are kept.
    bytes: usize,
    pending: PendingConnection,
}

impl PendingConnections {
    pub(in crate::shard) fn insert(&mut self, now: Timestamp, pending: PendingConnection) -> PendingId {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let place = Place {
            generation,
            accepted_at: now,
            bytes: 0,
            pending,
        };
        let slot = self.slots.insert(place) as u32;
        let id = PendingId { slot, generation };
        self.accepted.push_back((now, id));
        id
    }

    pub(in crate::shard) fn get(&mut self, id: PendingId) -> Option<&mut PendingConnection> {
        self.place(id).map(|place| &mut place.pending)
    }

    /// When the connection was accepted; its time runs from then.
    pub(in crate::shard) fn accepted_at(&mut self, id: PendingId) -> Option<Timestamp> {
        self.place(id).map(|place| place.accepted_at)
    }

    fn place(&mut self, id: PendingId) -> Option<&mut Place> {
        let place = self.slots.get_mut(id.slot as usize)?;
        same_generation(place.generation, id.generation).then_some(place)
    }

    pub(in crate::shard) fn remove(&mut self, id: PendingId) -> Option<PendingConnection> {
        self.place(id)?;
        let place = self.slots.try_remove(id.slot as usize)?;
        self.bytes -= place.bytes;
        Some(place.pending)
    }

    /// To be called when a connection has received: counts what it keeps. Returns the connections to close, because
    /// all of them together keep too much.
    pub(in crate::shard) fn count_bytes(&mut self, now: Timestamp, id: PendingId) -> Vec<PendingId> {
        if let Some(place) = self.place(id) {
            let bytes = place.pending.kept_bytes();
            let before = std::mem::replace(&mut place.bytes, bytes);
            self.bytes = self.bytes + bytes - before;
        }
        if self.bytes <= limits::PENDING_BYTES_MAX {
            return Vec::new();
        }
        self.largest_and_oldest(now)
    }

    /// The connections with the largest product of bytes and age; without them, the sum is at most three quarters of
    /// the bound.
    fn largest_and_oldest(&self, now: Timestamp) -> Vec<PendingId> {
        let mut places: Vec<_> = self.slots.iter().filter(|(_, place)| place.bytes > 0).collect();
        places.sort_by_cached_key(|(_, place)| {
            let cost = place.bytes as u128 * u128::from(now.since_ns(place.accepted_at));
            std::cmp::Reverse(cost)
        });
        let mut excess = self.bytes.saturating_sub(limits::PENDING_BYTES_MAX / 4 * 3);
        let is_excess = |(_, place): &(usize, &Place)| {
            let is_excess = excess > 0;
            excess = excess.saturating_sub(place.bytes);
            is_excess
        };
        let id = |(slot, place): (usize, &Place)| PendingId {
            slot: slot as u32,
            generation: place.generation,
        };
        places.into_iter().take_while(is_excess).map(id).collect()
    }

    /// The next connection that was not accepted as a client within this many seconds; logs it.
    pub(in crate::shard) fn expired(&mut self, now: Timestamp, timeout_s: u16) -> Option<PendingConnection> {
        while let Some((accepted_at, id)) = self.accepted.front().copied() {
            if accepted_at.plus_s(u64::from(timeout_s)) > now && self.get(id).is_some() {
                return None;
            }
            self.accepted.pop_front();
            if let Some(pending) = self.remove(id) {
                let missing = pending.missing();
                tracing::info!(
                    "Client {} closed: {missing} within {timeout_s} seconds (connect_timeout).",
                    pending.address
                );
                return Some(pending);
            }
        }
        None
    }

    pub(in crate::shard) fn next_deadline(&self, timeout_s: u16) -> Option<Timestamp> {
        let (accepted_at, _) = self.accepted.front()?;
        let times_out = accepted_at.plus_s(u64::from(timeout_s));
        let look = self.checked.front().map_or(Timestamp::NEVER, |(at, _)| *at);
        Some(times_out.min(look))
    }

    /// The password check of a connection begins.
    pub(in crate::shard) fn is_checked(&mut self, now: Timestamp, id: PendingId) {
        self.checked
            .push_back((now.plus_ns(limits::ABANDONED_LOOK_NS), id));
    }

    /// Checks the next one whose password check has run for a while; returns its id if it was abandoned, and `None` if
    /// there is none to check.
    pub(in crate::shard) fn look_at_checked(&mut self, now: Timestamp) -> Option<Option<PendingId>> {
        let (at, id) = *self.checked.front()?;
        if at > now {
            return None;
        }
        self.checked.pop_front();
        let Some(pending) = self.get(id) else {
            return Some(None);
        };
        if pending.is_abandoned() {
            return Some(Some(id));
        }
        self.is_checked(now, id);
        Some(None)
    }

    /// Connections in a password check.
    pub(in crate::shard) fn being_checked(&self) -> Vec<PendingId> {
        let is_being_checked = |id: &PendingId| match self.slots.get(id.slot as usize) {
            Some(place) => {
                matches!(place.pending.phase, Phase::CheckingCredentials(..))
                    && same_generation(place.generation, id.generation)
            }
            None => false,
        };
        let ids = self.accepted.iter().map(|(_, id)| *id);
        ids.filter(is_being_checked).collect()
    }

    pub(in crate::shard) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Removes all pending connections and returns them.
    pub(in crate::shard) fn drain(&mut self) -> impl Iterator<Item = PendingConnection> {
        self.accepted.clear();
        self.checked.clear();
        self.bytes = 0;
        self.slots.drain().map(|place| place.pending)
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
