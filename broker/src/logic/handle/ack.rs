//! PUBACK, PUBREC, PUBREL and PUBCOMP.
//!
//! Invariant: an acknowledgement of an identifier that is not awaited changes nothing; in 5.0 PUBREC and PUBREL are
//! answered with 0x92.

use mqtt::ReasonCode;
use mqtt::frame::PacketType;
use mqtt::packet::Ack;

use crate::logic::Shard;
use crate::logic::connection::Connection;
use crate::logic::connection::ConnectionSlot;
use crate::logic::session::SessionSlot;
use crate::logic::session::inflight::Awaits;
use crate::logic::store::Record;
use crate::time::Timestamp;

impl Shard {
    /// A QoS 1 message of ours arrived, or was refused: then no other member of a group gets it either [MQTT-4.8.2-6].
    ///
    /// [MQTT3-4.3.2-1], [MQTT-4.3.2-3], [MQTT-4.4.0-2]
    #[inline]
    pub(in crate::logic) fn handle_puback(&mut self, now: Timestamp, slot: ConnectionSlot, ack: &Ack<'_>) {
        self.finish(now, slot, ack, Awaits::PubAck);
    }

    /// A QoS 2 message of ours arrived: releases it [MQTT-4.3.3-5], or ends it if it was refused [MQTT-4.3.3-4].
    ///
    /// [MQTT3-4.3.3-1], [MQTT-4.4.0-2]
    pub(in crate::logic) fn handle_pubrec(&mut self, now: Timestamp, slot: ConnectionSlot, ack: &Ack<'_>) {
        if ack.reason.is_error() {
            return self.finish(now, slot, ack, Awaits::PubRec);
        }
        let session = self.session_of(slot);
        let packet_identifier = ack.packet_identifier;
        let Some(session) = self.delivery.sessions.get_mut(session) else {
            return;
        };
        let known = session.inflight.release(packet_identifier);
        if known && session.outlives_connection() {
            let client_identifier = &*session.client_identifier;
            self.delivery.store.append(Record::Released {
                client_identifier,
                packet_identifier,
            });
        }
        let reason = if known {
            ReasonCode::Success
        } else {
            ReasonCode::PacketIdentifierNotFound
        };
        self.delivery
            .send_ack(slot, PacketType::PubRel, packet_identifier, reason);
    }

    /// A QoS 2 message of the client is complete: its identifier is free again [MQTT-4.3.3-11].
    ///
    /// [MQTT3-4.3.3-2], [MQTT-4.3.3-13]
    pub(in crate::logic) fn handle_pubrel(&mut self, slot: ConnectionSlot, ack: &Ack<'_>) {
        let session = self.session_of(slot);
        let packet_identifier = ack.packet_identifier;
        let Some(session) = self.delivery.sessions.get_mut(session) else {
            return;
        };
        let known = session.release(packet_identifier.get());
        if known && session.outlives_connection() {
            let client_identifier = &*session.client_identifier;
            self.delivery.store.append(Record::ReceivedReleased {
                client_identifier,
                packet_identifier,
            });
        }
        let reason = if known {
            ReasonCode::Success
        } else {
            ReasonCode::PacketIdentifierNotFound
        };
        self.delivery
            .send_ack(slot, PacketType::PubComp, packet_identifier, reason);
    }

    /// A QoS 2 message of ours is complete.
    pub(in crate::logic) fn handle_pubcomp(&mut self, now: Timestamp, slot: ConnectionSlot, ack: &Ack<'_>) {
        self.finish(now, slot, ack, Awaits::PubComp);
    }

    /// The slot of the connection's session.
    #[inline]
    pub(in crate::logic) fn session_of(&mut self, slot: ConnectionSlot) -> Option<SessionSlot> {
        self.delivery.connection(slot)?.session
    }

    #[inline]
    fn finish(&mut self, now: Timestamp, slot: ConnectionSlot, ack: &Ack<'_>, awaited: Awaits) {
        let Some(connection) = self.delivery.connection(slot) else {
            return;
        };
        let waits = connection.waits;
        let busy_in_group = connection.busy_in_group;
        let Some(session) = connection.session else {
            return;
        };
        if self.delivery.finish(session, ack.packet_identifier, awaited) && waits {
            self.delivery.pump(now, session);
            let presses = |connection: &mut Connection| connection.queue_presses;
            if self.delivery.connection(slot).is_some_and(presses) {
                self.relieve(slot);
            }
        }
        if busy_in_group {
            self.offer_again(now, slot);
        }
    }
}
