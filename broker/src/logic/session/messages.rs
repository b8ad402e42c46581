//! The messages of a session: those in flight, and those in its queue.
//!
//! Invariants: messages to be resent come before the queue. An empty queue takes no memory, except in a session that
//! ends.

use mqtt::PacketIdentifier;

use crate::limits;
use crate::logic::message::StoredMessage;
use crate::logic::session::Session;
use crate::logic::session::inflight::{Acknowledged, Awaits, Inflight, InflightEntry};
use crate::logic::session::queue::{Queue, Queued};

/// The lost messages of a session that ends.
#[derive(Debug, Default)]
pub(in crate::logic) struct Undeliverable {
    /// The first topics, and the number of messages of each.
    pub(in crate::logic) topics: Vec<(Box<str>, u64)>,
    /// Messages of other topics, or messages that are only in the store.
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

    /// The number of messages.
    pub(in crate::logic) fn messages(&self) -> u64 {
        let of_topics: u64 = self.topics.iter().map(|(_, messages)| messages).sum();
        of_topics + self.others
    }

    /// Adds these messages in flight; the others are with the client, or go to another member of a group.
    pub(in crate::logic) fn in_flight(inflight: &Inflight) -> Self {
        let mut all = Self::default();
        inflight.lost_at_end().for_each(|message| all.add(message));
        all
    }
}

impl Session {
    /// The queue of messages for its connection.
    #[inline]
    pub(in crate::logic) fn queue(&self) -> Option<&Queue> {
        self.queue.as_deref()
    }

    /// As [`Self::queue`], mutable; the caller must not empty it.
    #[inline]
    pub(in crate::logic) fn queue_mut(&mut self) -> Option<&mut Queue> {
        self.queue.as_deref_mut()
    }

    /// Its queue, for adding a message.
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

    /// Frees the queue if it is empty.
    #[inline]
    pub(in crate::logic) fn drop_empty_queue(&mut self) {
        self.queue.take_if(|queue| queue.is_empty());
    }

    /// Takes the whole queue, because the session ends.
    pub(in crate::logic) fn take_queue(&mut self) -> Option<Box<Queue>> {
        self.queue.take()
    }

    /// Messages that its next connection would have got, and that are lost otherwise.
    pub(in crate::logic) fn undeliverable(&self) -> Undeliverable {
        let mut all = Undeliverable::in_flight(&self.inflight);
        if let Some(queue) = self.queue() {
            queue.lost_at_end().for_each(|queued| all.add(&queued.message));
            all.others += queue.stored_messages();
        }
        all
    }

    /// Messages and bytes of the queue, including the part in the store.
    pub(in crate::logic) fn queued_totals(&self) -> (u64, u64) {
        self.queue()
            .map_or((0, 0), |queue| (queue.len() as u64, queue.bytes_all()))
    }

    /// Whether a part of the queue is only in the store.
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

    /// Whether messages wait for its connection, or were in flight on the previous one.
    pub(in crate::logic) fn has_waiting(&self) -> bool {
        !self.queue_is_empty() || self.inflight.resends()
    }

    /// Whether its queue has messages at QoS 0.
    pub(in crate::logic) fn queue_has_qos0(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.has_qos0())
    }

    /// Whether a QoS 1 or 2 message may be sent now, with this bound for payload bytes in flight.
    ///
    /// [MQTT-3.3.4-9]
    #[inline]
    pub(in crate::logic) fn window_is_open(&self, bytes_max: u64) -> bool {
        self.inflight.outstanding() < self.window
            && self.inflight.outstanding_bytes() < bytes_max
            && self.inflight.has_identifier()
            && !self.inflight.resends()
    }

    /// Messages in flight that count in its window.
    pub(in crate::logic) fn outstanding(&self) -> u16 {
        self.inflight.outstanding()
    }

    /// Whether half of its window is free.
    pub(in crate::logic) fn has_half_a_window(&self) -> bool {
        self.inflight.outstanding() <= self.window / 2
    }

    /// Whether messages of an earlier connection have to be resent.
    #[inline]
    pub(in crate::logic) fn resends(&self) -> bool {
        self.inflight.resends()
    }

    /// The next message to be resent, if the window has room for it.
    #[inline]
    pub(in crate::logic) fn next_resend(&mut self) -> Option<(PacketIdentifier, InflightEntry)> {
        if self.inflight.outstanding() >= self.window {
            return None;
        }
        self.inflight.next_resend()
    }

    /// A message is sent; returns its Packet Identifier.
    #[inline]
    pub(in crate::logic) fn push_in_flight(&mut self, entry: InflightEntry) -> PacketIdentifier {
        self.inflight.push(entry)
    }

    /// The position of a message in flight in the order of the session's messages.
    #[inline]
    pub(in crate::logic) fn order_of(&self, identifier: PacketIdentifier) -> u64 {
        self.inflight.order_of(identifier)
    }

    /// PUBREC arrived for a message in flight.
    pub(in crate::logic) fn release_in_flight(&mut self, identifier: PacketIdentifier) -> Acknowledged {
        self.inflight.release(identifier)
    }

    /// Ends the flight of a message, if its acknowledgement is awaited.
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

    /// Takes all messages in flight, because the session ends.
    pub(in crate::logic) fn take_in_flight(&mut self) -> Inflight {
        std::mem::take(&mut self.inflight)
    }
}
