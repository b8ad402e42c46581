//! The messages that wait for one client because it is disconnected, its window is full, or its socket has too much
//! output.
//!
//! Invariants: published messages are bounded in number and bytes (`max_queued_messages`, `max_queued_bytes`). When
//! the queue is full, the newest message is dropped and counted, as in mosquitto. Before that, the publishers of a
//! connected client are paused (flow/mod.rs), and messages that were on their way then are queued beyond the bounds,
//! up to an overrun. Retained messages after a SUBSCRIBE have their own bound
//! ([`crate::limits::RETAINED_WAITING_MAX`]); they are shared, so each costs only its entry. Both kinds are in one
//! order. Of a long queue that is in a store, only the front is in memory (`stored_queue.rs`). What expires while the
//! client is disconnected leaves the queue (`queue_expiry.rs`).

use std::rc::Rc;

use mqtt::QoS;
use mqtt::property::Properties;

use crate::limits;
use crate::logic::message::StoredMessage;
use crate::logic::session::block_queue::BlockQueue;
use crate::logic::session::queue_expiry::QueueExpiry;
use crate::logic::session::stored_queue::{Loaded, StoredQueue};
use crate::logic::via::Via;
use crate::settings::Settings;

/// A message in the queue, with the properties of its delivery.
#[derive(Clone, Debug)]
pub(in crate::logic) struct Queued {
    pub(in crate::logic) message: StoredMessage,
    pub(in crate::logic) via: Option<Rc<Via>>,
    pub(in crate::logic) qos: QoS,
    /// The RETAIN flag of this delivery.
    pub(in crate::logic) retain: bool,
    /// Its position in the order of the session's messages, if the session outlives its connection; otherwise 0.
    pub(in crate::logic) order: u64,
    /// A retained message after SUBSCRIBE, and not one published since.
    pub(in crate::logic) retained: bool,
    /// It was queued beyond the bounds; [`Queue::push`] sets this.
    pub(in crate::logic) is_overrun: bool,
}

/// The queue of one session.
#[derive(Debug, Default)]
pub(in crate::logic) struct Queue {
    pub(super) entries: BlockQueue<Queued>,
    /// The parts that are only in the store, before, between and after the entries.
    pub(super) stored: StoredQueue,
    /// Published messages and their bytes: what the settings bound.
    pub(super) messages: u64,
    pub(super) bytes: u64,
    /// The cost of the messages that were queued beyond the bounds.
    pub(super) overrun_bytes: u64,
    retained: usize,
    /// Entries at QoS 0.
    pub(super) qos0: usize,
    pub(super) expiry: QueueExpiry,
}

/// The bounds of a queue, from the settings.
#[derive(Clone, Copy, Debug)]
pub(in crate::logic) struct Bounds {
    pub(in crate::logic) messages_max: u64,
    pub(in crate::logic) bytes_max: u64,
}

impl Bounds {
    /// The bounds in these settings.
    pub(in crate::logic) fn of(settings: &Settings) -> Self {
        Self {
            messages_max: settings.queued_messages_max,
            bytes_max: settings.queued_bytes_max,
        }
    }
}

impl Queue {
    /// Queues the message, beyond the bounds as long as that costs no more than `overrun_bytes_max`; false if it does
    /// not fit and is dropped. If it is stored and enough messages are in memory already, it is kept only in the
    /// store.
    #[inline(always)]
    pub(in crate::logic) fn push(
        &mut self,
        mut queued: Queued,
        bounds: Bounds,
        overrun_bytes_max: u64,
        loaded: Option<Loaded>,
    ) -> bool {
        if queued.retained {
            if self.is_full_of_retained() {
                return false;
            }
            self.retained += 1;
        } else {
            let bytes = self.bytes.saturating_add(queued.message.queue_bytes());
            queued.is_overrun = self.messages >= bounds.messages_max || bytes > bounds.bytes_max;
            if queued.is_overrun {
                let overrun_bytes = self.overrun_bytes.saturating_add(queued.overrun_bytes());
                if overrun_bytes > overrun_bytes_max {
                    return false;
                }
                self.overrun_bytes = overrun_bytes;
            }
            self.messages += 1;
            self.bytes = bytes;
        }
        self.expiry.add(queued.message.expires_at());
        if loaded.is_some_and(|loaded| self.is_loaded(loaded)) {
            self.leave_in_store(&queued);
            return true;
        }
        self.stored.close_range();
        self.qos0 += usize::from(queued.qos == QoS::AtMostOnce);
        self.entries.push_back(queued);
        true
    }

    /// Whether it is above its high-water mark multiplied by that factor: half of the bounds, or
    /// [`limits::QUEUE_HIGH_BYTES`].
    pub(in crate::logic) fn is_above_high(&self, bounds: Bounds, times: u64) -> bool {
        let bytes = (bounds.bytes_max / 2).min(limits::QUEUE_HIGH_BYTES);
        self.messages > (bounds.messages_max / 2).saturating_mul(times)
            || self.bytes > bytes.saturating_mul(times)
    }

    /// Whether it is above its low-water mark: a quarter of the bounds, or half of [`limits::QUEUE_HIGH_BYTES`].
    pub(in crate::logic) fn is_above_low(&self, bounds: Bounds) -> bool {
        self.messages > bounds.messages_max / 4
            || self.bytes > (bounds.bytes_max / 4).min(limits::QUEUE_HIGH_BYTES / 2)
    }

    /// Whether no more retained messages are accepted.
    pub(in crate::logic) fn is_full_of_retained(&self) -> bool {
        self.retained >= limits::RETAINED_WAITING_MAX
    }

    /// The next message, if it is in memory.
    pub(in crate::logic) fn front(&self) -> Option<&Queued> {
        let is_next = |queued: &&Queued| self.stored.first().is_none_or(|stored| queued.order < stored);
        self.entries.front().filter(is_next)
    }

    /// Removes the first one in memory; others may be in the store before it.
    #[inline(always)]
    pub(in crate::logic) fn pop(&mut self) -> Option<Queued> {
        let queued = self.entries.pop_front()?;
        self.uncount(&queued);
        Some(queued)
    }

    /// A message has left the part in memory.
    #[inline(always)]
    pub(super) fn uncount(&mut self, queued: &Queued) {
        if queued.retained {
            self.retained = self.retained.saturating_sub(1);
        } else {
            self.messages = self.messages.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(queued.message.queue_bytes());
            if queued.is_overrun {
                self.overrun_bytes = self.overrun_bytes.saturating_sub(queued.overrun_bytes());
            }
        }
        self.qos0 = self
            .qos0
            .saturating_sub(usize::from(queued.qos == QoS::AtMostOnce));
    }

    /// The messages in memory that belong to a group, in their order.
    pub(in crate::logic) fn into_shared(self) -> impl Iterator<Item = (StoredMessage, Rc<Via>)> {
        let of_group = self.entries.into_entries().filter(Queued::is_of_group);
        of_group.filter_map(|queued| Some((queued.message, queued.via?)))
    }

    /// The messages in memory that belong to no group: they are lost when the session ends.
    pub(in crate::logic) fn lost_at_end(&self) -> impl Iterator<Item = &Queued> {
        self.entries.iter().filter(|queued| !queued.is_of_group())
    }

    /// Number of messages that are only in the store.
    pub(in crate::logic) fn stored_messages(&self) -> u64 {
        self.stored.messages()
    }

    pub(in crate::logic) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.stored.is_empty()
    }

    /// Published messages: those that `max_queued_messages` bounds.
    pub(in crate::logic) fn messages(&self) -> u64 {
        self.messages
    }

    pub(in crate::logic) fn len(&self) -> usize {
        let stored = usize::try_from(self.stored.messages()).unwrap_or(usize::MAX);
        self.entries.len().saturating_add(stored)
    }

    /// Topic and payload bytes of all messages.
    pub(in crate::logic) fn bytes_all(&self) -> u64 {
        self.entries
            .iter()
            .map(|queued| queued.message.queue_bytes())
            .sum::<u64>()
            .saturating_add(self.stored.bytes())
    }

    /// Whether QoS 0 messages wait: newer ones are queued behind them.
    pub(in crate::logic) fn has_qos0(&self) -> bool {
        self.qos0 > 0 || self.stored.has_qos0()
    }
}

impl Queued {
    /// The Subscription Identifiers of the message.
    pub(in crate::logic) fn identifiers(&self) -> Properties<'_> {
        let via = self.via.as_ref();
        via.map(|via| via.identifiers.as_properties()).unwrap_or_default()
    }

    /// Whether another member of a group gets it if the session ends.
    pub(in crate::logic) fn is_of_group(&self) -> bool {
        self.via.as_ref().is_some_and(|via| via.group.is_some())
    }

    /// Its cost in the overrun: its bytes, and its entry.
    pub(super) fn overrun_bytes(&self) -> u64 {
        self.message
            .queue_bytes()
            .saturating_add(limits::QUEUED_MESSAGE_BYTES)
    }
}
