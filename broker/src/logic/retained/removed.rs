//! Topics whose retained message was removed recently. Their tickets are kept so that an older change that arrives
//! later does not restore a message.
//!
//! Changes of one topic reach its owner through several queues, and therefore not always in the order of their tickets.
//! A message has its own ticket. The ticket of a topic without a message is kept here until every other shard has
//! reached a barrier (`barriers.rs`) that was set after the removal: what arrives after that has a later ticket.
//!
//! Invariants: `recent` has the topics for which no barrier was set yet, `awaiting` those with a barrier under way.
//! Each has at most [`limits::RETAINED_REMOVED_MAX`] topics, by their hashes.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use std::collections::HashMap;

use super::Ticket;
use crate::limits;

#[derive(Debug)]
pub(super) struct RemovedTopics {
    hasher: FixedState,
    recent: HashMap<u64, Ticket, FixedState>,
    awaiting: HashMap<u64, Ticket, FixedState>,
    /// The number of the barrier that `awaiting` waits for.
    barrier: Option<u64>,
}

impl RemovedTopics {
    pub(super) fn new(seed: u64) -> Self {
        let hasher = FixedState::with_seed(seed);
        Self {
            recent: HashMap::with_hasher(hasher.clone()),
            awaiting: HashMap::with_hasher(hasher.clone()),
            hasher,
            barrier: None,
        }
    }

    /// The message of a topic was removed by the change with that ticket.
    pub(super) fn insert(&mut self, topic: &str, ticket: Ticket) {
        if self.recent.len() >= limits::RETAINED_REMOVED_MAX {
            return;
        }
        let latest = self.recent.entry(self.hasher.hash_one(topic)).or_insert(ticket);
        *latest = ticket.max(*latest);
    }

    /// Whether a change with that ticket is older than the removal of the topic's message.
    #[inline]
    pub(super) fn is_older(&self, topic: &str, ticket: Ticket) -> bool {
        if self.recent.is_empty() && self.awaiting.is_empty() {
            return false;
        }
        let hash = self.hasher.hash_one(topic);
        let is_later = |removals: &HashMap<u64, Ticket, FixedState>| {
            let removed = removals.get(&hash);
            removed.is_some_and(|&removed| removed > ticket)
        };
        is_later(&self.recent) || is_later(&self.awaiting)
    }

    /// Whether a barrier is needed.
    pub(super) fn wants_barrier(&self) -> bool {
        self.barrier.is_none() && !self.recent.is_empty()
    }

    /// The barrier with that number was set.
    pub(super) fn set_barrier(&mut self, number: u64) {
        std::mem::swap(&mut self.recent, &mut self.awaiting);
        self.barrier = Some(number);
    }

    /// The barrier that is awaited.
    pub(super) fn barrier(&self) -> Option<u64> {
        self.barrier
    }

    /// All other shards have reached the barrier.
    pub(super) fn reached_barrier(&mut self) {
        self.barrier = None;
        self.awaiting = HashMap::with_hasher(self.hasher.clone());
    }

    /// The number of topics whose tickets are remembered.
    pub(super) fn len(&self) -> usize {
        self.recent.len() + self.awaiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_is_known_until_the_barrier_behind_it_is_reached() {
        let mut removed = RemovedTopics::new(7);
        assert!(!removed.wants_barrier());
        removed.insert("a", Ticket(5));
        removed.insert("a", Ticket(3));
        assert!(removed.is_older("a", Ticket(4)) && !removed.is_older("a", Ticket(6)));
        assert!(!removed.is_older("b", Ticket(1)));
        assert!(removed.wants_barrier());
        removed.set_barrier(1);
        removed.insert("b", Ticket(9));
        assert!(!removed.wants_barrier(), "one at a time");
        assert!(removed.is_older("a", Ticket(4)) && removed.is_older("b", Ticket(8)));
        removed.reached_barrier();
        assert!(!removed.is_older("a", Ticket(4)) && removed.is_older("b", Ticket(8)));
        assert!(removed.wants_barrier());
        removed.set_barrier(2);
        removed.reached_barrier();
        assert_eq!((removed.len(), removed.barrier()), (0, None));
    }

    #[test]
    fn removals_are_bounded() {
        let mut removed = RemovedTopics::new(7);
        for number in 0..limits::RETAINED_REMOVED_MAX + 10 {
            removed.insert(&number.to_string(), Ticket(1));
        }
        assert_eq!(removed.len(), limits::RETAINED_REMOVED_MAX);
    }
}
