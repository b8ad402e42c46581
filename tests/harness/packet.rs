//! What a client received, owned.

use mqtt::frame::{self, PacketType};
use mqtt::packet::{Packet, PacketIdentifier, Publish};
use mqtt::property::Properties;
use mqtt::{ProtocolVersion, QoS, ReasonCode, decode};

/// One whole packet off the wire.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    bytes: Vec<u8>,
    version: ProtocolVersion,
}

/// A message, as its subscriber sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) packet_identifier: Option<PacketIdentifier>,
}

impl Received {
    /// Takes the first packet out of `bytes`, if it is whole.
    pub(crate) fn take(bytes: &mut Vec<u8>, version: ProtocolVersion) -> Option<Self> {
        let frame = frame::split(bytes, u32::MAX).expect("the broker sent a malformed packet")?;
        let rest = bytes.split_off(frame.wire_bytes);
        Some(Self {
            bytes: std::mem::replace(bytes, rest),
            version,
        })
    }

    /// The whole packet, its header included.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn packet_type(&self) -> PacketType {
        PacketType::from_first_byte(self.bytes[0]).unwrap()
    }

    /// The packet; the broker's packets must be well-formed.
    pub(crate) fn packet(&self) -> Packet<'_> {
        let frame = frame::split(&self.bytes, u32::MAX).unwrap().unwrap();
        decode::packet(&frame, self.version)
            .unwrap_or_else(|error| panic!("the broker sent a malformed {:?}: {error}", frame.packet_type))
    }

    /// The packet identifier of a PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK or UNSUBACK.
    pub(crate) fn acknowledged(&self) -> Option<PacketIdentifier> {
        match self.packet() {
            Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
                Some(ack.packet_identifier)
            }
            Packet::SubAck(ack) | Packet::UnsubAck(ack) => Some(ack.packet_identifier),
            _ => None,
        }
    }

    /// The reason of a PUBACK, PUBREC, PUBREL or PUBCOMP.
    pub(crate) fn reason(&self) -> ReasonCode {
        match self.packet() {
            Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
                ack.reason
            }
            packet => panic!("{packet:?} is no acknowledgement of a PUBLISH"),
        }
    }

    pub(crate) fn message(&self) -> Message {
        match self.packet() {
            Packet::Publish(publish) => Message::from(&publish),
            packet => panic!("a PUBLISH was expected, not {packet:?}"),
        }
    }

    /// The properties of a PUBLISH or CONNACK.
    pub(crate) fn properties(&self) -> Properties<'_> {
        match self.packet() {
            Packet::Publish(publish) => publish.properties,
            Packet::ConnAck(connack) => connack.properties,
            packet => panic!("no properties are looked for in {packet:?}"),
        }
    }
}

impl From<&Publish<'_>> for Message {
    fn from(publish: &Publish<'_>) -> Self {
        Self {
            topic: publish.topic.to_owned(),
            payload: publish.payload.to_vec(),
            qos: publish.qos,
            retain: publish.retain,
            dup: publish.dup,
            packet_identifier: publish.packet_identifier,
        }
    }
}
