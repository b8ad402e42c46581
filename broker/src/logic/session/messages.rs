//! The messages of a session: those in flight, and those in its queue.
//!
//! Invariants: what is to be sent again comes before what waits. An empty queue takes no memory, but in a session that
//! ends.

use mqtt::PacketIdentifier;

use crate::limits;
use crate::logic::message::StoredMessage;
use crate::logic::session::Session;
use crate::logic::session::inflight::{Acknowledged, Awaits, Inflight, InflightEntry};
use crate::logic::session::queue::{Queue, Queued};

/// The messages of a session that ends which nobody gets any more.
#[derive(Debug, Default)]
pub(in crate::logic) struct Undeliverable {
    /// The first topics, and how many messages each has.
    pub(in crate::logic) topics: Vec<(Box<str>, u64)>,
    /// Messages of other topics, or of those that are in the store alone.
    pub(in crate::logic) others: u64,
}

impl Undeliverable {
    /// Counts one more message.
    pub(in crate::logic) fn add(&mut self, message: &StoredMessage) {
        let topic = message.topic();
        if let Some((_, messages)) = self.topics.iter_mut().find(|(known, _)| **known == *topic) {
            *messages += 1;
        } else if self.topics.len() < limits::UNDELIVERED_TOPICS_MAX {
            self.topics.push((topic.into(), 1));
        } else {
            self.others += 1;
        }
    }

    /// How many there are.
    pub(in crate::logic) fn messages(&self) -> u64 {
        let of_topics: u64 = self.topics.iter().map(|(_, messages)| messages).sum();
        of_topics + self.others
    }

    /// These of what is in flight; the rest is with the client, or goes to another member of a group.
    pub(in crate::logic) fn in_flight(inflight: &Inflight) -> Self {
        let mut all = Self::default();
        inflight.lost_at_end().for_each(|message| all.add(message));
        all
    }
}

impl Session {
    /// What waits for its connection.
    #[inline]
    pub(in crate::logic) fn queue(&self) -> Option<&Queue> {
        self.queue.as_deref()
    }

    /// As [`Self::queue`], to be changed; not so that nothing is left.
    #[inline]
    pub(in crate::logic) fn queue_mut(&mut self) -> Option<&mut Queue> {
        self.queue.as_deref_mut()
    }

    /// Its queue, for another message.
    #[inline]
    pub(in crate::logic) fn queue_to_fill(&mut self) -> &mut Queue {
        self.queue.get_or_insert_default()
    }

    /// The first message of the queue.
    #[inline]
    pub(in crate::logic) fn pop_queued(&mut self) -> Option<Queued> {
        let queued = self.queue.as_mut()?.pop();
        self.drop_empty_queue();
        queued
    }

    /// Frees the queue if nothing is in it.
    #[inline]
    pub(in crate::logic) fn drop_empty_queue(&mut self) {
        self.queue.take_if(|queue| queue.is_empty());
    }

    /// Takes the whole queue: the session ends.
    pub(in crate::logic) fn take_queue(&mut self) -> Option<Box<Queue>> {
        self.queue.take()
    }

    /// What its next connection would have got, and nobody else gets.
    pub(in crate::logic) fn undeliverable(&self) -> Undeliverable {
        let mut all = Undeliverable::in_flight(&self.inflight);
        if let Some(queue) = self.queue() {
            queue.lost_at_end().for_each(|queued| all.add(&queued.message));
            all.others += queue.stored_messages();
        }
        all
    }

    /// Messages and bytes of the queue, of which the store may have a part.
    pub(in crate::logic) fn queued_totals(&self) -> (u64, u64) {
        self.queue()
            .map_or((0, 0), |queue| (queue.len() as u64, queue.bytes_all()))
    }

    /// Whether a part of the queue is in the store alone.
    pub(in crate::logic) fn has_stored_queue(&self) -> bool {
        self.queue().is_some_and(Queue::has_stored)
    }

    /// Whether messages of groups wait for it that are in the store alone.
    pub(in crate::logic) fn has_stored_shared(&self) -> bool {
        self.queue().is_some_and(Queue::has_stored_shared)
    }

    #[inline]
    pub(in crate::logic) fn queue_is_empty(&self) -> bool {
        self.queue.as_ref().is_none_or(|queue| queue.is_empty())
    }

    /// Whether messages wait for its connection, or were in flight on the one before.
    pub(in crate::logic) fn has_waiting(&self) -> bool {
        !self.queue_is_empty() || self.inflight.resends()
    }

    /// Whether its queue has messages at QoS 0.
    pub(in crate::logic) fn queue_has_qos0(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.has_qos0())
    }

    /// Whether a QoS 1 or 2 message may go out now, where payload bytes in flight have this bound.
    ///
    /// [MQTT-3.3.4-9]
    #[inline]
    pub(in crate::logic) fn window_is_open(&self, bytes_max: u64) -> bool {
        self.inflight.outstanding() < self.window
            && self.inflight.outstanding_bytes() < bytes_max
            && self.inflight.has_identifier()
            && !self.inflight.resends()
    }

    /// Messages in flight that its window counts.
    pub(in crate::logic) fn outstanding(&self) -> u16 {
        self.inflight.outstanding()
    }

    /// Whether half of its window is free.
    pub(in crate::logic) fn has_half_a_window(&self) -> bool {
        self.inflight.outstanding() <= self.window / 2
    }

    /// Whether something of an earlier connection is to be sent again.
    #[inline]
    pub(in crate::logic) fn resends(&self) -> bool {
        self.inflight.resends()
    }

    /// What is to be sent again next, if the window has room for it.
    #[inline]
    pub(in crate::logic) fn next_resend(&mut self) -> Option<(PacketIdentifier, InflightEntry)> {
        if self.inflight.outstanding() >= self.window {
            return None;
        }
        self.inflight.next_resend()
    }

    /// A message goes out; returns its Packet Identifier.
    #[inline]
    pub(in crate::logic) fn push_in_flight(&mut self, entry: InflightEntry) -> PacketIdentifier {
        self.inflight.push(entry)
    }

    /// The place of a message in flight in the order of what the session gets.
    #[inline]
    pub(in crate::logic) fn order_of(&self, identifier: PacketIdentifier) -> u64 {
        self.inflight.order_of(identifier)
    }

    /// PUBREC came for a message in flight.
    pub(in crate::logic) fn release_in_flight(&mut self, identifier: PacketIdentifier) -> Acknowledged {
        self.inflight.release(identifier)
    }

    /// Ends the flight of a message, if that is awaited.
    #[inline]
    pub(in crate::logic) fn finish_in_flight(
        &mut self,
        identifier: PacketIdentifier,
        awaited: Awaits,
    ) -> Acknowledged {
        self.inflight.finish(identifier, awaited)
    }

    /// A message was in flight when the process ended; false if its identifier is in use.
    pub(in crate::logic) fn restore_in_flight(
        &mut self,
        identifier: PacketIdentifier,
        entry: InflightEntry,
    ) -> bool {
        self.inflight.restore(identifier, entry)
    }

    /// Takes all that is in flight: the session ends.
    pub(in crate::logic) fn take_in_flight(&mut self) -> Inflight {
        std::mem::take(&mut self.inflight)
    }
}
