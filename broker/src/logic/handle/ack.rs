//! Handles PUBACK, PUBREC, PUBREL and PUBCOMP.
//!
//! Invariants: an acknowledgement of an identifier that is not in use changes nothing; in MQTT 5.0 such a PUBREC or
//! PUBREL is answered with reason 0x92. An acknowledgement of another type than the one that the identifier awaits is a
//! protocol error and closes the connection.

use mqtt::ReasonCode;
use mqtt::frame::PacketType;
use mqtt::packet::Ack;

use crate::logic::connection::Connection;
use crate::logic::consumer_state::Cause;
use crate::logic::handle::Handler;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::session::inflight::{Acknowledged, Awaits};

impl Handler<'_> {
    /// Handles an acknowledgement of any type; other packets are not acknowledgements.
    #[inline]
    pub(in crate::logic) fn handle_ack(&mut self, packet_type: PacketType, ack: &Ack<'_>) {
        match packet_type {
            PacketType::PubAck => self.handle_puback(ack),
            PacketType::PubRec => self.handle_pubrec(ack),
            PacketType::PubRel => self.handle_pubrel(ack),
            PacketType::PubComp => self.handle_pubcomp(ack),
            _ => unreachable_state("an acknowledgement that is none"),
        }
    }

    /// A QoS 1 message from the broker arrived, or was refused: then no other member of a group gets it either
    /// [MQTT-4.8.2-6].
    ///
    /// [MQTT3-4.3.2-1], [MQTT-4.3.2-3], [MQTT-4.4.0-2]
    #[inline]
    fn handle_puback(&mut self, ack: &Ack<'_>) {
        self.complete(ack, Awaits::PubAck);
    }

    /// A QoS 2 message from the broker arrived: releases it [MQTT-4.3.3-5], or ends it if it was refused
    /// [MQTT-4.3.3-4].
    ///
    /// [MQTT3-4.3.3-1], [MQTT-4.4.0-2]
    fn handle_pubrec(&mut self, ack: &Ack<'_>) {
        if ack.reason.is_error() {
            return self.complete(ack, Awaits::PubRec);
        }
        let delivery = &mut self.shard.delivery;
        match delivery.release(self.session, ack.packet_identifier) {
            Acknowledged::Mismatched => self.refuse_mismatched(),
            acknowledged => self.answer(PacketType::PubRel, ack, acknowledged == Acknowledged::Awaited),
        }
    }

    /// A QoS 2 message of the client is complete: its identifier is free again [MQTT-4.3.3-11].
    ///
    /// [MQTT3-4.3.3-2], [MQTT-4.3.3-13]
    fn handle_pubrel(&mut self, ack: &Ack<'_>) {
        let delivery = &mut self.shard.delivery;
        let known = delivery.release_received(self.session, ack.packet_identifier);
        self.answer(PacketType::PubComp, ack, known);
    }

    /// A QoS 2 message from the broker is complete.
    fn handle_pubcomp(&mut self, ack: &Ack<'_>) {
        self.complete(ack, Awaits::PubComp);
    }

    fn answer(&mut self, packet_type: PacketType, ack: &Ack<'_>, known: bool) {
        let reason = if known {
            ReasonCode::Success
        } else {
            ReasonCode::PacketIdentifierNotFound
        };
        let delivery = &mut self.shard.delivery;
        delivery.send_ack(self.slot, packet_type, ack.packet_identifier, reason);
    }

    /// PUBACK for a message at QoS 2, PUBREC or PUBCOMP for one at QoS 1, PUBCOMP before PUBREC: if the connection
    /// were kept, the message would keep its place in the window for ever.
    ///
    /// [MQTT3-4.8.0-1], [MQTT-4.13.1-1]
    fn refuse_mismatched(&mut self) {
        self.protocol_error(
            ReasonCode::ProtocolError,
            "an acknowledgement of another kind than the message awaits",
        );
    }

    /// Completes a message that was sent to the client, and sends the next ones from the queue.
    #[inline]
    fn complete(&mut self, ack: &Ack<'_>, awaited: Awaits) {
        let Some(connection) = self.shard.delivery.clients.connection(self.slot) else {
            return unreachable_state("a client whose connection is gone");
        };
        let (waits, busy_in_group) = (connection.waits(), connection.is_busy_in_group());
        let now = self.shard.now;
        let delivery = &mut self.shard.delivery;
        let acknowledged = delivery.finish(self.session, ack.packet_identifier, awaited);
        if acknowledged == Acknowledged::Mismatched {
            return self.refuse_mismatched();
        }
        if acknowledged == Acknowledged::Awaited && waits {
            delivery.send_waiting(self.session);
            let queue_is_backlogged = |connection: &mut Connection| {
                connection.note_progress(now);
                connection.is_backlogged_by(Cause::Queue)
            };
            if delivery
                .clients
                .connection(self.slot)
                .is_some_and(queue_is_backlogged)
            {
                self.shard.flow_events().client_drained(self.slot);
            }
        }
        if busy_in_group {
            let shard = &mut *self.shard;
            shard
                .routing
                .offer_again(&mut shard.delivery, &mut shard.outboxes, self.slot);
        }
    }
}
