//! Publication numbers of messages that the store keeps: for copies to other shards, to members of groups, and to
//! local sessions.
//!
//! Invariants: a QoS 0 message leaves the shard without a number, because its delivery is not guaranteed. A message
//! that began with a number is noted once it has been delivered to every local session.

use mqtt::QoS;

use crate::logic::delivery::Delivery;
use crate::logic::delivery::journal::{Journal, StoredPublication};
use crate::logic::message::{Message, StoredMessage};
use crate::logic::store::PublicationId;

impl Delivery {
    /// A message is about to go to other shards: returns the form for the store, if the store keeps it.
    #[inline]
    pub(in crate::logic) fn store_for_shards(
        &mut self,
        shards: &[u16],
        message: &Message<'_>,
    ) -> StoredPublication {
        if !self.journal.is_open() || message.qos == QoS::AtMostOnce {
            return StoredPublication::default();
        }
        let message = StoredMessage::new(self.now, message, &mut Vec::new());
        StoredPublication {
            publication: self.journal.record_publication(shards, &message),
            message: Some(message),
        }
    }

    /// The current message is about to go to one member of a group on another shard, or waits for one here.
    pub(in crate::logic) fn publish_for_member(
        &mut self,
        shard: u16,
        share: &str,
        message: &Message<'_>,
    ) -> Option<PublicationId> {
        if !self.journal.is_open() || message.qos == QoS::AtMostOnce {
            return None;
        }
        let stored = self.encodings.stored(self.now, message);
        Some(self.journal.publish(&[shard], share, &stored))
    }

    /// Records that the message was delivered to all of this shard's sessions.
    #[inline]
    pub(in crate::logic) fn note_delivered_to_all(&mut self) {
        if self.journal.current.is_some() || !self.journal.taken.is_empty() {
            self.journal.note_delivered_to_all(self.encodings.kept());
        }
    }

    /// The same for a message that is stored already.
    pub(super) fn note_delivered_to_all_of(&mut self, message: &StoredMessage) {
        if !self.journal.taken.is_empty() {
            self.journal.note_delivered_to_all(Some(message));
        }
    }
}

impl Journal {
    /// As [`Delivery::store_for_shards`], for a message that is stored already.
    pub(in crate::logic) fn record_publication(
        &mut self,
        shards: &[u16],
        message: &StoredMessage,
    ) -> Option<PublicationId> {
        let is_kept = self.is_open() && message.qos() > QoS::AtMostOnce && !shards.is_empty();
        is_kept.then(|| self.publish(shards, "", message))
    }
}
