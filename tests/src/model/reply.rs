//! Answers that the broker owes on a connection, in order.
//!
//! Invariants: none.

use mqtt::{Packet, ProtocolVersion, ReasonCode};

use super::Model;

/// One packet that the broker owes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    ConnAck {
        session_present: bool,
    },
    SubAck(u16, Vec<u8>),
    UnsubAck(u16, Vec<u8>),
    PubAck(u16),
    PubRec(u16),
    /// Whether the identifier was known.
    PubRel(u16, bool),
    PubComp(u16, bool),
    PingResp,
    /// With that reason, or any.
    Disconnect(Option<ReasonCode>),
}

impl Model {
    /// An answer that passes those which wait for a store: of a PING, or the last one. None but the CONNACK keeps
    /// everything back.
    pub(super) fn observe_passing(&mut self, connection: usize, packet: &Packet<'_>) -> bool {
        let connected = &mut self.connections[connection];
        let version = connected.version;
        let Some(at) = connected
            .replies
            .iter()
            .position(|reply| reply.is(packet, version))
        else {
            return false;
        };
        let mut passed = connected.replies.iter().take(at);
        if passed.any(|reply| matches!(reply, Reply::ConnAck { .. })) {
            return false;
        }
        match connected.replies[at] {
            Reply::PingResp => {
                connected.replies.remove(at);
                true
            }
            Reply::Disconnect(_) => {
                // Nothing follows it.
                connected.replies.clear();
                true
            }
            _ => false,
        }
    }
}

impl Reply {
    /// Whether this packet is it.
    pub(super) fn is(&self, packet: &Packet<'_>, version: ProtocolVersion) -> bool {
        let v5 = version == ProtocolVersion::V5;
        let found = |reason: ReasonCode, known: bool| {
            !v5 || reason
                == if known {
                    ReasonCode::Success
                } else {
                    ReasonCode::PacketIdentifierNotFound
                }
        };
        let went = |reason: ReasonCode| {
            // Nobody subscribed may be said or not [MQTT 5.0, 3.4.2.1].
            matches!(reason, ReasonCode::Success | ReasonCode::NoMatchingSubscribers)
        };
        match (self, packet) {
            (Self::ConnAck { session_present }, Packet::ConnAck(connack)) => {
                connack.reason == ReasonCode::Success
                    && (version == ProtocolVersion::V3_1 || connack.session_present == *session_present)
            }
            (Self::SubAck(identifier, codes), Packet::SubAck(suback)) => {
                suback.packet_identifier.get() == *identifier && suback.reason_codes == codes
            }
            (Self::UnsubAck(identifier, codes), Packet::UnsubAck(unsuback)) => {
                unsuback.packet_identifier.get() == *identifier && (!v5 || unsuback.reason_codes == codes)
            }
            (Self::PubAck(identifier), Packet::PubAck(ack))
            | (Self::PubRec(identifier), Packet::PubRec(ack)) => {
                ack.packet_identifier.get() == *identifier && went(ack.reason)
            }
            (Self::PubRel(identifier, known), Packet::PubRel(ack))
            | (Self::PubComp(identifier, known), Packet::PubComp(ack)) => {
                ack.packet_identifier.get() == *identifier && found(ack.reason, *known)
            }
            (Self::PingResp, Packet::PingResp) => true,
            (Self::Disconnect(reason), Packet::Disconnect(disconnect)) => {
                reason.is_none_or(|reason| disconnect.reason == reason) && disconnect.reason.is_error()
            }
            _ => false,
        }
    }
}
