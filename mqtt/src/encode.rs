//! The encoder: everything is appended to an output buffer.
//!
//! Invariant: what is appended is a whole packet, or nothing (on an error `out` is unchanged). The lengths are
//! computed before anything is written. What is encoded must be valid (names are names, properties belong to the
//! packet): the encoder checks only lengths.

mod connect;
mod subscribe;

use crate::error::EncodeError;
use crate::frame::{FLAG_DUP, PacketType, REMAINING_LENGTH_MAX};
use crate::packet::{Ack, Auth, Disconnect, Packet, PacketIdentifier, Publish, QoS};
use crate::property::Properties;
use crate::reason::ReasonCode;
use crate::version::ProtocolVersion;
use crate::wire::{write_string, write_variable_byte_integer};

pub use subscribe::{suback, subscribe, unsuback, unsubscribe};

impl Packet<'_> {
    /// Appends the packet. CONNECT uses its own version.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Self::Connect(connect) => return connect.encode(out),
            Self::Publish(publish) => return publish.encode(version, out),
            Self::Subscribe(subscribe) => return subscribe.encode(version, out),
            Self::Unsubscribe(unsubscribe) => return unsubscribe.encode(version, out),
            Self::Auth(_) if version != ProtocolVersion::V5 => return Err(EncodeError::NotInVersion),
            Self::ConnAck(connack) => connack.encode(version, out),
            Self::PubAck(ack) => ack.encode(PacketType::PubAck, version, out),
            Self::PubRec(ack) => ack.encode(PacketType::PubRec, version, out),
            Self::PubRel(ack) => ack.encode(PacketType::PubRel, version, out),
            Self::PubComp(ack) => ack.encode(PacketType::PubComp, version, out),
            Self::SubAck(ack) => suback(
                ack.packet_identifier,
                ack.properties,
                ack.reason_codes,
                version,
                out,
            ),
            Self::UnsubAck(ack) => unsuback(
                ack.packet_identifier,
                ack.properties,
                ack.reason_codes,
                version,
                out,
            ),
            Self::PingReq => pingreq(out),
            Self::PingResp => pingresp(out),
            Self::Disconnect(disconnect) => disconnect.encode(version, out),
            Self::Auth(auth) => auth.encode(version, out),
        }
        Ok(())
    }
}

impl Publish<'_> {
    /// Appends the packet. Packet Identifier and DUP are written if and only if the QoS is not 0.
    ///
    /// Errors: a Topic Name of more than 65,535 bytes, a packet that is too large, a missing Packet Identifier
    /// although the QoS is not 0.
    #[inline]
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let identifier = match (self.qos, self.packet_identifier) {
            (QoS::AtMostOnce, _) => None,
            (_, None) => return Err(EncodeError::NoPacketIdentifier),
            (_, identifier) => identifier,
        };
        check_field(self.topic.as_bytes())?;
        let body_bytes = 2
            + self.topic.len()
            + identifier.map_or(0, |_| 2)
            + properties_bytes(self.properties, version)
            + self.payload.len();
        let dup = if self.dup && identifier.is_some() {
            FLAG_DUP
        } else {
            0
        };
        begin(
            publish_first_byte(self.qos as u8, self.retain) | dup,
            body_bytes,
            out,
        )?;
        write_string(self.topic, out)?;
        if let Some(identifier) = identifier {
            out.extend_from_slice(&identifier.get().to_be_bytes());
        }
        write_properties(self.properties, version, out);
        out.extend_from_slice(self.payload);
        Ok(())
    }
}

impl Ack<'_> {
    /// Appends the packet as a PUBACK, PUBREC, PUBREL or PUBCOMP.
    pub fn encode(&self, packet_type: PacketType, version: ProtocolVersion, out: &mut Vec<u8>) {
        if self.properties.is_empty() || version != ProtocolVersion::V5 {
            return ack(packet_type, self.packet_identifier, self.reason, version, out);
        }
        let properties = fitting(self.properties);
        begin_checked(packet_type.first_byte(), 3 + properties.wire_bytes(), out);
        out.extend_from_slice(&self.packet_identifier.get().to_be_bytes());
        out.push(self.reason as u8);
        write_properties(properties, version, out);
    }
}

impl Disconnect<'_> {
    /// Appends the packet; 3.x has no reason code.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        write_reason(PacketType::Disconnect, self.reason, self.properties, version, out);
    }
}

impl Auth<'_> {
    /// Appends the packet; nothing before 5.0, which does not have it.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        if version == ProtocolVersion::V5 {
            write_reason(PacketType::Auth, self.reason, self.properties, version, out);
        }
    }
}

/// Appends a PUBACK, PUBREC, PUBREL or PUBCOMP without properties: 4 bytes, or 5 for a 5.0 reason other than success.
///
/// [MQTT3-2.3.1-6], [MQTT-2.2.1-5]
#[inline]
pub fn ack(
    packet_type: PacketType,
    packet_identifier: PacketIdentifier,
    reason: ReasonCode,
    version: ProtocolVersion,
    out: &mut Vec<u8>,
) {
    let [high, low] = packet_identifier.get().to_be_bytes();
    if reason == ReasonCode::Success || version != ProtocolVersion::V5 {
        out.extend_from_slice(&[packet_type.first_byte(), 2, high, low]);
    } else {
        out.extend_from_slice(&[packet_type.first_byte(), 3, high, low, reason as u8]);
    }
}

/// Appends a PINGREQ, which consists of a header only.
pub fn pingreq(out: &mut Vec<u8>) {
    out.extend_from_slice(&[PacketType::PingReq.first_byte(), 0]);
}

/// Appends a PINGRESP, which consists of a header only.
pub fn pingresp(out: &mut Vec<u8>) {
    out.extend_from_slice(&[PacketType::PingResp.first_byte(), 0]);
}

/// The first byte of a PUBLISH without DUP.
#[inline]
pub(crate) fn publish_first_byte(qos: u8, retain: bool) -> u8 {
    ((PacketType::Publish as u8) << 4) | (qos << 1) | u8::from(retain)
}

/// Writes the fixed header and reserves space for the body.
#[inline]
pub(crate) fn begin(first: u8, body_bytes: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if body_bytes > REMAINING_LENGTH_MAX as usize {
        return Err(EncodeError::PacketTooLarge);
    }
    begin_checked(first, body_bytes, out);
    Ok(())
}

/// Checks that a string or binary field fits its two bytes of length.
///
/// [MQTT3-4.7.3-3]
#[inline]
pub(crate) fn check_field(bytes: &[u8]) -> Result<(), EncodeError> {
    if bytes.len() > usize::from(u16::MAX) {
        Err(EncodeError::FieldTooLong)
    } else {
        Ok(())
    }
}

/// Writes properties with their length; nothing before 5.0.
///
/// [MQTT-2.2.2-1]
#[inline]
pub(crate) fn write_properties(properties: Properties<'_>, version: ProtocolVersion, out: &mut Vec<u8>) {
    if version == ProtocolVersion::V5 {
        let bytes = properties.as_bytes();
        write_variable_byte_integer(bytes.len() as u32, out);
        out.extend_from_slice(bytes);
    }
}

/// Bytes that [`write_properties`] writes.
#[inline]
pub(crate) fn properties_bytes(properties: Properties<'_>, version: ProtocolVersion) -> usize {
    if version == ProtocolVersion::V5 {
        properties.wire_bytes()
    } else {
        0
    }
}

/// Largest number of bytes of properties with which a packet can always be encoded: half of what a packet may have.
const ANSWER_PROPERTIES_BYTES_MAX: usize = REMAINING_LENGTH_MAX as usize / 2;

fn begin_checked(first: u8, body_bytes: usize, out: &mut Vec<u8>) {
    out.reserve(5 + body_bytes);
    out.push(first);
    write_variable_byte_integer(body_bytes as u32, out);
}

/// Undoes what `write` wrote when it fails.
fn whole(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let before = out.len();
    write(out).inspect_err(|_| out.truncate(before))
}

/// The properties of an answer are only information: they are omitted if the packet could not be sent with them.
fn fitting(properties: Properties<'_>) -> Properties<'_> {
    if properties.as_bytes().len() > ANSWER_PROPERTIES_BYTES_MAX {
        Properties::EMPTY
    } else {
        properties
    }
}

/// DISCONNECT and AUTH: reason and properties are omitted if the specification allows it.
fn write_reason(
    packet_type: PacketType,
    reason: ReasonCode,
    properties: Properties<'_>,
    version: ProtocolVersion,
    out: &mut Vec<u8>,
) {
    let first = packet_type.first_byte();
    let properties = fitting(properties);
    if version != ProtocolVersion::V5 || (reason == ReasonCode::Success && properties.is_empty()) {
        out.extend_from_slice(&[first, 0]);
    } else if properties.is_empty() {
        out.extend_from_slice(&[first, 1, reason as u8]);
    } else {
        begin_checked(first, 1 + properties.wire_bytes(), out);
        out.push(reason as u8);
        write_properties(properties, version, out);
    }
}
