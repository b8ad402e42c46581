//! State that all shards share about one owner's topics: the order of their changes (tickets), and how much of the
//! operator's bounds they use.
//!
//! The shard that publishes a retained message draws its ticket here. Tickets are drawn one after the other. A client
//! may make a change because it has got another change, or the PUBACK of it; then its change has the later ticket, on
//! whatever shard it is made, and no shard has to be notified. One counter for each owner is enough, because all
//! changes of a topic have one owner.
//!
//! If `max_retained_messages` or `max_retained_bytes` is set and there are several shards, the publisher's shard also
//! enters the message here before the owner has it. So the next publisher, on any shard, sees messages that are still
//! on their way.
//!
//! Invariant: an entry has the latest ticket of its topic. The bounds may be exceeded by one message of each other
//! shard that checks them between this shard's check and its entry. Messages that were published before a bound was set
//! are entered when their owner takes them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use std::collections::HashMap;

use crate::logic::slots::shrink_map;
use crate::logic::unpublishable::Unpublishable;
use crate::settings::{Settings, UNLIMITED};

/// Orders the changes of a topic: a later change has a higher ticket. With one shard all are equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub(super) u64);

impl Ticket {
    pub(super) fn to_u64(self) -> u64 {
        self.0
    }
}

/// The state of one owner; on separate cache lines, because all shards draw tickets.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct RetainedQuota {
    tickets: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
    /// The entries by the hash of the topic; `None` while no bound is set.
    entries: Mutex<Option<HashMap<u64, QuotaEntry>>>,
}

#[derive(Clone, Copy, Debug)]
struct QuotaEntry {
    /// Bytes of topic and payload.
    bytes: u64,
    ticket: Ticket,
}

/// The bounds for the retained messages of all shards.
#[derive(Clone, Copy, Debug)]
pub(in crate::logic) struct RetainedBounds {
    pub(in crate::logic) messages_max: u64,
    pub(in crate::logic) bytes_max: u64,
}

impl RetainedBounds {
    pub(in crate::logic) fn of(settings: &Settings) -> Self {
        Self {
            messages_max: settings.retained_messages_max,
            bytes_max: settings.retained_bytes_max,
        }
    }

    /// Whether any bound is configured.
    pub(in crate::logic) fn are_set(self) -> bool {
        self.messages_max != UNLIMITED || self.bytes_max != UNLIMITED
    }

    /// Checks whether a message of `new` bytes exceeds a bound, and which, if `messages` have `bytes`, including the
    /// topic's current message of `before` bytes.
    pub(in crate::logic) fn check(
        self,
        messages: u64,
        bytes: u64,
        before: Option<u64>,
        new: u64,
    ) -> Result<(), Unpublishable> {
        let Self {
            messages_max,
            bytes_max,
        } = self;
        let all = bytes.saturating_sub(before.unwrap_or(0)).saturating_add(new);
        if before.is_none() && messages >= messages_max {
            return Err(Unpublishable::RetainedMessages { messages_max });
        }
        if all > bytes_max {
            let bytes = new.saturating_sub(before.unwrap_or(0));
            return Err(Unpublishable::RetainedBytes { bytes, bytes_max });
        }
        Ok(())
    }
}

impl RetainedQuota {
    /// Draws the ticket of a change.
    #[inline]
    pub(in crate::logic) fn draw(&self) -> Ticket {
        Ticket(self.tickets.fetch_add(1, Relaxed) + 1)
    }

    /// As [`Self::draw`], and enters the topic's size after the change: this many bytes, or none if it is deleted.
    pub(in crate::logic) fn draw_for(&self, hash: u64, bytes: Option<u64>) -> Ticket {
        let mut entries = self.entries();
        // With the lock, so that entries are made in the order of their tickets.
        let ticket = self.draw();
        if let Some(entries) = entries.as_mut() {
            self.enter(entries, hash, bytes, ticket);
        }
        ticket
    }

    /// The entered messages and bytes.
    pub(in crate::logic) fn totals(&self) -> (u64, u64) {
        (self.messages.load(Relaxed), self.bytes.load(Relaxed))
    }

    /// The bytes of a topic, if it is entered.
    pub(in crate::logic) fn bytes_of(&self, hash: u64) -> Option<u64> {
        Some(self.entries().as_ref()?.get(&hash)?.bytes)
    }

    /// The owner has applied a change: it is entered now if it was not, because it was made before a bound was set.
    pub(in crate::logic) fn applied(&self, hash: u64, bytes: Option<u64>, ticket: Ticket) {
        if let Some(entries) = self.entries().as_mut()
            && entries.get(&hash).is_none_or(|entry| entry.ticket < ticket)
        {
            self.enter(entries, hash, bytes, ticket);
        }
    }

    /// The owner's message with that ticket has expired.
    pub(in crate::logic) fn expired(&self, hash: u64, ticket: Ticket) {
        if let Some(entries) = self.entries().as_mut()
            && entries.get(&hash).is_some_and(|entry| entry.ticket <= ticket)
        {
            self.enter(entries, hash, None, ticket);
        }
    }

    /// The owner's bounds have changed: with the first one its topics are entered, without any they are removed.
    pub(in crate::logic) fn set_bounds(
        &self,
        bounds: RetainedBounds,
        owned: impl Iterator<Item = (u64, u64, Ticket)>,
    ) {
        let mut entries = self.entries();
        if bounds.are_set() == entries.is_some() {
            return;
        }
        self.messages.store(0, Relaxed);
        self.bytes.store(0, Relaxed);
        *entries = bounds.are_set().then(|| {
            let mut all = HashMap::new();
            for (hash, bytes, ticket) in owned {
                self.enter(&mut all, hash, Some(bytes), ticket);
            }
            all
        });
    }

    fn enter(&self, entries: &mut HashMap<u64, QuotaEntry>, hash: u64, bytes: Option<u64>, ticket: Ticket) {
        let before = match bytes {
            Some(bytes) => entries.insert(hash, QuotaEntry { bytes, ticket }),
            None => {
                let removed = entries.remove(&hash);
                shrink_map(entries);
                removed
            }
        };
        // Only with the lock: a plain load and store is exact.
        let change = |total: &AtomicU64, less: u64, more: u64| {
            total.store(total.load(Relaxed).saturating_sub(less) + more, Relaxed);
        };
        change(
            &self.messages,
            u64::from(before.is_some()),
            u64::from(bytes.is_some()),
        );
        change(
            &self.bytes,
            before.map_or(0, |entry| entry.bytes),
            bytes.unwrap_or(0),
        );
    }

    fn entries(&self) -> MutexGuard<'_, Option<HashMap<u64, QuotaEntry>>> {
        // The state is consistent even after a panic.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: RetainedBounds = RetainedBounds {
        messages_max: 2,
        bytes_max: UNLIMITED,
    };

    #[test]
    fn what_is_on_its_way_counts() {
        let quota = RetainedQuota::default();
        quota.set_bounds(BOUNDS, std::iter::empty());
        let first = quota.draw_for(1, Some(10));
        let second = quota.draw_for(2, Some(20));
        assert!(first < second);
        assert_eq!(quota.totals(), (2, 30));
        assert_eq!((quota.bytes_of(1), quota.bytes_of(3)), (Some(10), None));
        let third = quota.draw_for(1, Some(15));
        quota.applied(1, Some(10), first);
        assert_eq!(quota.totals(), (2, 35), "the older one changes nothing");
        quota.expired(1, first);
        assert_eq!(quota.bytes_of(1), Some(15));
        quota.expired(1, third);
        quota.draw_for(2, None);
        assert_eq!(quota.totals(), (0, 0));
    }

    #[test]
    fn topics_are_entered_when_a_bound_is_set_and_forgotten_without() {
        let quota = RetainedQuota::default();
        let none = RetainedBounds {
            messages_max: UNLIMITED,
            ..BOUNDS
        };
        let before = quota.draw();
        assert_eq!(quota.totals(), (0, 0));
        quota.set_bounds(BOUNDS, [(1, 10, before), (2, 5, Ticket(0))].into_iter());
        assert_eq!(quota.totals(), (2, 15));
        quota.set_bounds(BOUNDS, std::iter::empty());
        assert_eq!(quota.totals(), (2, 15));
        quota.set_bounds(none, std::iter::empty());
        assert_eq!((quota.totals(), quota.bytes_of(1)), ((0, 0), None));
    }

    #[test]
    fn only_what_fits_is_not_refused() {
        let bounds = RetainedBounds {
            messages_max: 2,
            bytes_max: 20,
        };
        let refuses = |messages, bytes, before, new| bounds.check(messages, bytes, before, new).is_err();
        assert!(!refuses(1, 10, None, 10) && refuses(1, 10, None, 11));
        assert!(refuses(2, 2, None, 1) && !refuses(2, 20, Some(10), 10));
        let refused = bounds.check(2, 20, Some(10), 11).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "max_retained_bytes is 20, and 1 more of topic and payload exceed it"
        );
    }
}
