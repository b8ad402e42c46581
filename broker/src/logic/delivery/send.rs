//! Sends packets other than PUBLISH to a client.
//!
//! Invariants: a packet is never larger than the client's Maximum Packet Size; no packet is appended once the
//! connection closes.

use mqtt::frame::PacketType;
use mqtt::packet::Ack;
use mqtt::property::{Properties, PropertiesBuf, Property};
use mqtt::{PacketIdentifier, ProtocolVersion, ReasonCode};

use crate::logic::connection::{Connection, ConnectionSlot};
use crate::logic::delivery::Delivery;
use crate::logic::delivery::outputs::Outputs;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::reason_string;

impl Delivery {
    /// Appends a packet to the connection's `out` with `write`, unless it is larger than the client accepts
    /// [MQTT-3.1.2-24]. Returns whether it was appended.
    #[inline]
    pub(in crate::logic) fn send(
        &mut self,
        slot: ConnectionSlot,
        write: impl FnOnce(&mut Vec<u8>, ProtocolVersion),
    ) -> bool {
        self.append(slot, write, Outputs::mark_dirty)
    }

    /// As [`Self::send`], for a packet from which the client learns nothing that another shard must know before: it
    /// may be sent while batches wait.
    #[inline]
    pub(in crate::logic) fn send_independent(
        &mut self,
        slot: ConnectionSlot,
        write: impl FnOnce(&mut Vec<u8>, ProtocolVersion),
    ) -> bool {
        self.append(slot, write, Outputs::mark_independent)
    }

    /// As [`Self::send_independent`], if the session is new: an existing one has subscriptions, of which other shards
    /// may not know yet.
    pub(in crate::logic) fn send_connack(
        &mut self,
        slot: ConnectionSlot,
        is_new: bool,
        write: impl FnOnce(&mut Vec<u8>, ProtocolVersion),
    ) -> bool {
        if is_new {
            self.send_independent(slot, write)
        } else {
            self.send(slot, write)
        }
    }

    #[inline]
    fn append(
        &mut self,
        slot: ConnectionSlot,
        write: impl FnOnce(&mut Vec<u8>, ProtocolVersion),
        mark: impl FnOnce(&mut Outputs, ConnectionSlot, &mut Connection),
    ) -> bool {
        let Some(connection) = self.clients.connection(slot) else {
            unreachable_state("a packet for a connection that is gone");
            return false;
        };
        if connection.is_closing() {
            return false;
        }
        self.outputs.open(connection);
        let (version, bytes_max) = (connection.version(), connection.packet_bytes_max() as usize);
        let out = connection.out();
        let start = out.len();
        write(out, version);
        if out.len() - start > bytes_max {
            out.truncate(start);
            return false;
        }
        let first_byte = out.get(start).copied().unwrap_or_default();
        mark(&mut self.outputs, slot, connection);
        self.counters().count_sent(first_byte);
        true
    }

    /// As [`Self::send`], for a packet with a promise to the client: it is sent once the store has recorded that.
    #[inline]
    pub(in crate::logic) fn send_promise(
        &mut self,
        slot: ConnectionSlot,
        write: impl FnOnce(&mut Vec<u8>, ProtocolVersion),
    ) {
        let Some(connection) = self.clients.connections().get(slot) else {
            return unreachable_state("a packet for a connection that is gone");
        };
        if !self.defers(connection) {
            self.send(slot, write);
        } else if !connection.is_closing() {
            let mut first_byte = 0;
            let written = self.defer(slot, |out, version| {
                let start = out.len();
                write(out, version);
                first_byte = out.get(start).copied().unwrap_or_default();
            });
            if written {
                self.counters().count_sent(first_byte);
            }
        }
    }

    /// As [`Self::send`] with a Reason String for a 5.0 client that accepts one [MQTT-3.1.2-29], unless the packet
    /// would be larger than the client accepts: [MQTT-3.2.2-19], [MQTT-3.4.2-2], [MQTT-3.5.2-2], [MQTT-3.6.2-2],
    /// [MQTT-3.7.2-2], [MQTT-3.9.2-1], [MQTT-3.11.2-1], [MQTT-3.14.2-3], [MQTT-3.15.2-2]. There is no User Property:
    /// [MQTT-3.4.2-3], [MQTT-3.5.2-3], [MQTT-3.6.2-3], [MQTT-3.7.2-3], [MQTT-3.9.2-2], [MQTT-3.11.2-2],
    /// [MQTT-3.14.2-4], [MQTT-3.15.2-3].
    pub(in crate::logic) fn send_explained(
        &mut self,
        slot: ConnectionSlot,
        why: Option<&str>,
        write: impl Fn(&mut Vec<u8>, ProtocolVersion, Properties<'_>),
    ) {
        match self.clients.connections().get(slot) {
            Some(connection) => {
                let write = explained(connection, why, write);
                self.send(slot, write);
            }
            None => unreachable_state("a packet for a connection that is gone"),
        }
    }

    /// As [`Self::send_explained`], for a packet with a promise to the client.
    pub(in crate::logic) fn send_explained_promise(
        &mut self,
        slot: ConnectionSlot,
        why: Option<&str>,
        write: impl Fn(&mut Vec<u8>, ProtocolVersion, Properties<'_>),
    ) {
        match self.clients.connections().get(slot) {
            Some(connection) => {
                let write = explained(connection, why, write);
                self.send_promise(slot, write);
            }
            None => unreachable_state("a packet for a connection that is gone"),
        }
    }

    /// Sends a PUBACK, PUBREC, PUBREL or PUBCOMP; an error with a Reason String.
    #[inline]
    pub(in crate::logic) fn send_ack(
        &mut self,
        slot: ConnectionSlot,
        packet_type: PacketType,
        packet_identifier: PacketIdentifier,
        reason: ReasonCode,
    ) {
        if !reason.is_error() {
            self.send_promise(slot, |out, version| {
                mqtt::encode::ack(packet_type, packet_identifier, reason, version, out);
            });
            return;
        }
        let why = reason_string::of(packet_type, reason);
        self.send_explained_promise(slot, why, |out, version, properties| {
            let ack = Ack {
                packet_identifier,
                reason,
                properties,
            };
            ack.encode(packet_type, version, out);
        });
    }

    /// Adds the connection to the shell's list.
    pub(in crate::logic) fn mark_dirty(&mut self, slot: ConnectionSlot) {
        if let Some(connection) = self.clients.connection(slot) {
            self.outputs.mark_dirty(slot, connection);
        }
    }
}

/// Writes a packet with a Reason String, or without it if there is no room.
fn explained<W>(
    connection: &Connection,
    why: Option<&str>,
    write: W,
) -> impl FnOnce(&mut Vec<u8>, ProtocolVersion) + use<W>
where
    W: Fn(&mut Vec<u8>, ProtocolVersion, Properties<'_>),
{
    let bytes_max = connection.packet_bytes_max() as usize;
    let explains = connection.version() == ProtocolVersion::V5 && !connection.is_without_reasons();
    let mut reason = PropertiesBuf::new();
    if let Some(why) = why.filter(|_| explains) {
        // Our strings are shorter than the limit of a string.
        let _ = reason.push(Property::ReasonString(why));
    }
    move |out: &mut Vec<u8>, version| {
        let start = out.len();
        write(out, version, reason.as_properties());
        if out.len() - start > bytes_max && !reason.is_empty() {
            out.truncate(start);
            write(out, version, Properties::EMPTY);
        }
    }
}
