//! How the part of a queue that is only in the store leaves memory and comes back.
//!
//! Invariants: those of `stored_queue.rs`. The queue counts the messages in memory and those that are only in the
//! store.

use mqtt::QoS;
use store::{ReadRequest, WaitingRange, Wanted};

use crate::limits::LoadedQueue;
use crate::logic::session::queue::{Queue, Queued};
use crate::logic::session::stored_queue::{Answered, Loaded, StoredQueue};
use crate::time::Timestamp;

impl Queue {
    /// Whether a message that is in the store is kept in memory too.
    pub(super) fn is_loaded(&self, loaded: Loaded) -> bool {
        !self.stored.is_empty() || loaded.is_reached(self.entries.len(), self.bytes)
    }

    /// From now on the message is only in the store.
    pub(super) fn leave_in_store(&mut self, queued: &Queued) {
        let overrun_bytes = if queued.is_overrun {
            queued.overrun_bytes()
        } else {
            0
        };
        let bytes = queued.message.queue_bytes();
        let is_shared = queued.is_of_group();
        self.stored
            .push(queued.order, bytes, overrun_bytes, queued.qos, is_shared);
    }

    /// Whether messages wait that are only in the store.
    pub(in crate::logic) fn has_stored(&self) -> bool {
        !self.stored.is_empty()
    }

    /// Whether messages wait for members of groups that are in the store alone.
    pub(in crate::logic) fn has_stored_shared(&self) -> bool {
        self.stored.has_shared()
    }

    /// The request for messages of groups that are in the store alone, from the place `from` of the session's order on:
    /// the session has ended. None if there are no messages.
    pub(in crate::logic) fn ask_shared(
        &self,
        session: u64,
        tag: u32,
        from: u64,
        limits: LoadedQueue,
    ) -> Option<ReadRequest> {
        let (first, last) = self.stored.span().filter(|(_, last)| from <= *last)?;
        Some(ReadRequest {
            session,
            tag,
            wanted: Wanted::Shared,
            from: from.max(first),
            to: last,
            messages_max: limits.read_messages,
            bytes_max: limits.read_bytes,
        })
    }

    /// Messages that a start did not read.
    pub(in crate::logic) fn restore_range(&mut self, range: WaitingRange) {
        self.messages += range.messages;
        self.bytes += range.bytes;
        self.stored.restore(range);
        // The store knows what of it expires.
        self.expiry.add(Timestamp(0));
    }

    /// The request for more, if it is needed.
    pub(in crate::logic) fn ask(
        &mut self,
        session: u64,
        tag: u32,
        limits: LoadedQueue,
    ) -> Option<ReadRequest> {
        let range = *self.stored.front()?;
        if self.stored.is_asked() || self.entries_before(range.from) >= limits.low_messages {
            return None;
        }
        self.stored.set_asked(true);
        Some(ReadRequest {
            session,
            tag,
            wanted: Wanted::First,
            from: range.from,
            to: range.to,
            messages_max: limits.read_messages,
            bytes_max: limits.read_bytes,
        })
    }

    /// Whether the next messages are being read.
    pub(in crate::logic) fn is_being_read(&self) -> bool {
        self.stored.is_asked() && self.front().is_none()
    }

    /// The answer is not used: the messages may be requested again.
    pub(in crate::logic) fn ignore_answer(&mut self) {
        self.stored.set_asked(false);
    }

    /// A message was read back from the store.
    pub(in crate::logic) fn load(&mut self, queued: Queued) {
        self.stored.take(queued.order, queued.message.queue_bytes());
        self.qos0 += usize::from(queued.qos == QoS::AtMostOnce);
        self.expiry.add(queued.message.expires_at());
        self.entries.insert(self.entries_before(queued.order), queued);
    }

    /// Number of messages in memory before a position in the session's order.
    fn entries_before(&self, order: u64) -> usize {
        self.entries.partition_point(|queued| queued.order < order)
    }

    /// A message can no longer be read from the store.
    pub(in crate::logic) fn lose(&mut self, order: u64) {
        self.stored.take(order, 0);
        self.messages = self.messages.saturating_sub(1);
    }

    /// All messages of an answer were used.
    pub(in crate::logic) fn answered(&mut self) -> Answered {
        let answered = self.stored.answered();
        self.messages = self.messages.saturating_sub(answered.lost);
        self.bytes = self.bytes.saturating_sub(answered.bytes);
        self.drop_empty_stored();
        answered
    }

    /// Nothing is in the store alone, if that is so.
    pub(super) fn drop_empty_stored(&mut self) {
        if self.stored.is_empty() {
            self.overrun_bytes = self.overrun_bytes.saturating_sub(self.stored.overrun_bytes());
            self.stored = StoredQueue::default();
        }
    }

    /// Drops the part that is only in the store; returns its messages and bytes.
    pub(in crate::logic) fn drop_stored(&mut self) -> (u64, u64) {
        let dropped = (self.stored.messages(), self.stored.bytes());
        self.messages = self.messages.saturating_sub(dropped.0);
        self.bytes = self.bytes.saturating_sub(dropped.1);
        self.stored = StoredQueue::default();
        dropped
    }
}
