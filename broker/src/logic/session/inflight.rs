//! The QoS 1 and 2 messages in flight to one client.
//!
//! Invariants: Packet Identifiers are given out in order, from 1 to 65,535 and then from 1 again, so the entry of an
//! identifier is found by its distance from the first entry. The first entry is never a free one. An entry that is
//! completed before those in front of it stays as a free entry: it takes space but no time. No identifier is given out
//! while all 65,535 are taken.

use std::collections::VecDeque;
use std::rc::Rc;

use mqtt::{PacketIdentifier, QoS};

use crate::limits;
use crate::logic::message::StoredMessage;
use crate::logic::via::Via;

/// The packet that is awaited from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logic) enum Awaits {
    /// None: the message is complete, and its place is kept for the order.
    Free,
    /// PUBACK, at QoS 1.
    PubAck,
    /// PUBREC, the first answer at QoS 2.
    PubRec,
    /// PUBCOMP; the message is no longer needed.
    PubComp,
}

/// The effect of an acknowledgement on the client's window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logic) enum Acknowledged {
    /// It is the one that was awaited.
    Awaited,
    /// Nothing is awaited for its identifier.
    Unknown,
    /// Its identifier awaits another packet: the client violates the protocol [MQTT-4.3.2-3], [MQTT-4.3.3-6].
    Mismatched,
}

/// One message in flight, or a free entry.
#[derive(Clone, Debug)]
pub(in crate::logic) struct InflightEntry {
    pub(in crate::logic) awaits: Awaits,
    /// The RETAIN flag of this delivery.
    pub(in crate::logic) retain: bool,
    /// Payload bytes, for `max_inflight_bytes`.
    bytes: u32,
    /// Its position in the order of the session's messages, if the session outlives its connection.
    pub(in crate::logic) order: u64,
    /// Kept only if the session outlives its connection, or the message belongs to a group.
    pub(in crate::logic) message: Option<StoredMessage>,
    pub(in crate::logic) via: Option<Rc<Via>>,
}

/// The messages in flight to one session, by Packet Identifier.
#[derive(Debug, Default)]
pub(in crate::logic) struct Inflight {
    entries: VecDeque<InflightEntry>,
    /// Identifier of the first entry, minus one.
    first: u16,
    /// Number of messages sent on this connection that are not complete.
    outstanding: u16,
    /// Payload bytes of these messages.
    outstanding_bytes: u64,
    /// Entries from here to `resend_end` still have to be resent on this connection.
    resend: u16,
    resend_end: u16,
}

impl Inflight {
    /// Messages sent on this connection that are not complete: what the client's Receive Maximum counts.
    #[inline]
    pub(in crate::logic) fn outstanding(&self) -> u16 {
        self.outstanding
    }

    /// The payload bytes of [`Self::outstanding`].
    #[inline]
    pub(in crate::logic) fn outstanding_bytes(&self) -> u64 {
        self.outstanding_bytes
    }

    /// Whether an identifier is free for a new message.
    #[inline]
    pub(in crate::logic) fn has_identifier(&self) -> bool {
        self.entries.len() < usize::from(limits::PACKET_IDENTIFIERS)
    }

    /// Assigns the next identifier. Only if [`Self::has_identifier`].
    ///
    /// [MQTT3-2.3.1-4], [MQTT-2.2.1-4]
    #[inline]
    pub(in crate::logic) fn push(&mut self, entry: InflightEntry) -> PacketIdentifier {
        let identifier = identifier_at(self.first, self.entries.len());
        self.outstanding_bytes += u64::from(entry.bytes);
        self.entries.push_back(entry);
        self.outstanding = self.outstanding.saturating_add(1);
        identifier
    }

    /// Restores a message that was in flight when the process ended, in the order of identifiers; false if its
    /// identifier precedes an earlier one.
    pub(in crate::logic) fn restore(&mut self, identifier: PacketIdentifier, entry: InflightEntry) -> bool {
        if self.entries.is_empty() {
            self.first = identifier.get() - 1;
        }
        let offset = self.offset(identifier);
        if offset < self.entries.len() {
            return false;
        }
        let free = || InflightEntry {
            awaits: Awaits::Free,
            ..InflightEntry::new(QoS::AtLeastOnce, false, None, None)
        };
        self.entries.resize_with(offset, free);
        self.entries.push_back(entry);
        true
    }

    /// The position of a message in flight in the order of the session's messages.
    pub(in crate::logic) fn order_of(&self, identifier: PacketIdentifier) -> u64 {
        self.entries
            .get(self.offset(identifier))
            .map_or(0, |entry| entry.order)
    }

    /// PUBACK or PUBCOMP arrived, or a PUBREC with an error: removes the message if it is awaited.
    #[inline]
    pub(in crate::logic) fn finish(&mut self, identifier: PacketIdentifier, awaited: Awaits) -> Acknowledged {
        let offset = self.offset(identifier);
        match self.entries.get_mut(offset) {
            Some(entry) if entry.awaits == awaited => {
                entry.awaits = Awaits::Free;
                entry.message = None;
                entry.via = None;
                // A message that has not been resent on this connection is not outstanding.
                if !(usize::from(self.resend)..usize::from(self.resend_end)).contains(&offset) {
                    self.outstanding = self.outstanding.saturating_sub(1);
                    self.outstanding_bytes = self.outstanding_bytes.saturating_sub(u64::from(entry.bytes));
                }
                self.pop_free();
                Acknowledged::Awaited
            }
            entry => mismatched(entry),
        }
    }

    /// PUBREC arrived: PUBREL has to be sent. A repeated one is answered again.
    ///
    /// [MQTT-4.3.3-3]
    pub(in crate::logic) fn release(&mut self, identifier: PacketIdentifier) -> Acknowledged {
        let offset = self.offset(identifier);
        match self.entries.get_mut(offset) {
            Some(entry) if matches!(entry.awaits, Awaits::PubRec | Awaits::PubComp) => {
                entry.awaits = Awaits::PubComp;
                entry.message = None;
                entry.via = None;
                Acknowledged::Awaited
            }
            entry => mismatched(entry),
        }
    }

    /// A new connection: all messages have to be resent, none of them is outstanding yet.
    pub(in crate::logic) fn reconnected(&mut self) {
        self.outstanding = 0;
        self.outstanding_bytes = 0;
        self.resend = 0;
        self.resend_end = u16::try_from(self.entries.len()).unwrap_or(u16::MAX);
    }

    /// The next message to be resent on this connection; it then counts as outstanding.
    pub(in crate::logic) fn next_resend(&mut self) -> Option<(PacketIdentifier, InflightEntry)> {
        while self.resend < self.resend_end {
            let offset = usize::from(self.resend);
            self.resend += 1;
            match self.entries.get(offset) {
                Some(entry) if entry.awaits != Awaits::Free => {
                    self.outstanding = self.outstanding.saturating_add(1);
                    self.outstanding_bytes += u64::from(entry.bytes);
                    return Some((identifier_at(self.first, offset), entry.clone()));
                }
                _ => {}
            }
        }
        None
    }

    /// The QoS 1 messages in flight that belong to a group, in order.
    pub(in crate::logic) fn into_shared(self) -> impl Iterator<Item = (StoredMessage, Rc<Via>)> {
        let of_group = self.entries.into_iter().filter(InflightEntry::goes_to_group);
        of_group.filter_map(|entry| entry.message.zip(entry.via))
    }

    /// The messages that would be resent, and that are lost if the session ends.
    pub(super) fn lost_at_end(&self) -> impl Iterator<Item = &StoredMessage> {
        let lost = self.entries.iter().filter(|entry| !entry.goes_to_group());
        lost.filter_map(|entry| entry.message.as_ref())
    }

    /// Whether messages still have to be resent: new ones must wait behind them.
    #[inline]
    pub(in crate::logic) fn resends(&self) -> bool {
        self.resend < self.resend_end
    }

    #[inline]
    fn offset(&self, identifier: PacketIdentifier) -> usize {
        let from_one = u32::from(identifier.get()) - 1;
        let identifiers = u32::from(limits::PACKET_IDENTIFIERS);
        ((from_one + identifiers - u32::from(self.first)) % identifiers) as usize
    }

    #[inline]
    fn pop_free(&mut self) {
        while self
            .entries
            .front()
            .is_some_and(|entry| entry.awaits == Awaits::Free)
        {
            self.entries.pop_front();
            self.first = if self.first == limits::PACKET_IDENTIFIERS - 1 {
                0
            } else {
                self.first + 1
            };
            self.resend = self.resend.saturating_sub(1);
            self.resend_end = self.resend_end.saturating_sub(1);
        }
    }
}

impl InflightEntry {
    /// Whether another member of a group gets it if the session ends [MQTT-4.8.2-5].
    fn goes_to_group(&self) -> bool {
        self.awaits == Awaits::PubAck && self.via.as_ref().is_some_and(|via| via.group.is_some())
    }

    /// A message that is being sent at `qos`, which is not 0.
    #[inline]
    pub(in crate::logic) fn new(
        qos: QoS,
        retain: bool,
        message: Option<StoredMessage>,
        via: Option<Rc<Via>>,
    ) -> Self {
        let awaits = if qos == QoS::ExactlyOnce {
            Awaits::PubRec
        } else {
            Awaits::PubAck
        };
        Self {
            awaits,
            retain,
            bytes: 0,
            order: 0,
            message,
            via,
        }
    }

    /// The same with its position in the order of the session's messages.
    #[inline]
    pub(in crate::logic) fn of_order(mut self, order: u64) -> Self {
        self.order = order;
        self
    }

    /// The same with the size of its payload.
    #[inline]
    pub(in crate::logic) fn of_bytes(mut self, bytes: usize) -> Self {
        self.bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self
    }
}

/// The result for an acknowledgement that the entry of its identifier, if there is one, does not await.
fn mismatched(entry: Option<&mut InflightEntry>) -> Acknowledged {
    match entry {
        Some(entry) if entry.awaits != Awaits::Free => Acknowledged::Mismatched,
        _ => Acknowledged::Unknown,
    }
}

#[inline]
fn identifier_at(first: u16, offset: usize) -> PacketIdentifier {
    let identifiers = usize::from(limits::PACKET_IDENTIFIERS);
    let from_one = (usize::from(first) + offset) % identifiers + 1;
    u16::try_from(from_one)
        .ok()
        .and_then(PacketIdentifier::new)
        .unwrap_or(PacketIdentifier::MIN)
}

#[cfg(test)]
mod tests;
