//! A PUBLISH that is encoded once and appended for each of its subscribers.
//!
//! Invariant: `bytes` is one whole packet (or empty before the first [`PublishTemplate::encode`] and after one that
//! failed), and `packet_identifier_at` is within it.

use crate::encode::{begin, check_field, properties_bytes, publish_first_byte};
use crate::error::EncodeError;
use crate::frame::FLAG_DUP;
use crate::packet::{PacketIdentifier, QoS};
use crate::property::Properties;
use crate::version::ProtocolVersion;
use crate::wire::{variable_byte_integer_bytes, write_string, write_variable_byte_integer};

/// An encoded PUBLISH; its memory is reused by the next [`PublishTemplate::encode`].
#[derive(Clone, Debug, Default)]
pub struct PublishTemplate {
    bytes: Vec<u8>,
    packet_identifier_at: Option<usize>,
}

impl PublishTemplate {
    /// A template that has encoded nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Encodes a PUBLISH, replacing the previous one. In 5.0 the properties are sent, followed by `extra` (such as
    /// Subscription Identifiers).
    ///
    /// Errors: a Topic Name of more than 65,535 bytes, a packet that is too large. Then there is nothing to append.
    ///
    /// [MQTT3-3.3.2-3], [MQTT3-4.3.1-1], [MQTT-3.3.2-3], [MQTT-4.3.1-1]
    #[allow(clippy::too_many_arguments, reason = "they are the fields of the packet")]
    pub fn encode(
        &mut self,
        version: ProtocolVersion,
        qos: QoS,
        retain: bool,
        topic: &str,
        properties: Properties<'_>,
        extra: Properties<'_>,
        payload: &[u8],
    ) -> Result<(), EncodeError> {
        self.bytes.clear();
        self.packet_identifier_at = None;
        check_field(topic.as_bytes())?;
        let has_identifier = qos != QoS::AtMostOnce;
        let identifier_bytes = if has_identifier { 2 } else { 0 };
        let properties_bytes = both_bytes(properties, extra, version);
        let body_bytes = 2 + topic.len() + identifier_bytes + properties_bytes + payload.len();
        begin(publish_first_byte(qos as u8, retain), body_bytes, &mut self.bytes)?;
        write_string(topic, &mut self.bytes)?;
        if has_identifier {
            self.packet_identifier_at = Some(self.bytes.len());
            self.bytes.extend_from_slice(&[0, 1]);
        }
        if version == ProtocolVersion::V5 {
            let length = properties.as_bytes().len() + extra.as_bytes().len();
            write_variable_byte_integer(length as u32, &mut self.bytes);
            self.bytes.extend_from_slice(properties.as_bytes());
            self.bytes.extend_from_slice(extra.as_bytes());
        }
        self.bytes.extend_from_slice(payload);
        Ok(())
    }

    /// Bytes of the packet: what Maximum Packet Size counts.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the packet for a subscriber at QoS 0.
    #[inline]
    pub fn append(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
    }

    /// Appends the packet with its Packet Identifier and DUP flag: QoS 1 and 2. At QoS 0 it is [`Self::append`].
    ///
    /// [MQTT3-3.3.1-1], [MQTT3-3.3.1-3], [MQTT-3.3.1-1], [MQTT-3.3.1-3]
    #[inline]
    pub fn append_with_identifier(&self, packet_identifier: PacketIdentifier, dup: bool, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let Some(at) = self.packet_identifier_at else {
            return;
        };
        let Some(packet) = out.get_mut(start..) else {
            return;
        };
        if let Some(identifier) = packet.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<2>()) {
            *identifier = packet_identifier.get().to_be_bytes();
        }
        if let (true, Some(first)) = (dup, packet.first_mut()) {
            *first |= FLAG_DUP;
        }
    }
}

fn both_bytes(properties: Properties<'_>, extra: Properties<'_>, version: ProtocolVersion) -> usize {
    if extra.is_empty() || version != ProtocolVersion::V5 {
        return properties_bytes(properties, version);
    }
    let length = properties.as_bytes().len() + extra.as_bytes().len();
    variable_byte_integer_bytes(u32::try_from(length).unwrap_or(u32::MAX)) + length
}
