//! The encoder: everything appends to an output buffer.
//!
//! Invariant: what is appended is a whole packet, or nothing (on an error `out` is as it was). The lengths are computed
//! before anything is written. What is encoded must be valid (names are names, properties belong to the packet): the
//! encoder checks lengths alone.

use crate::error::EncodeError;
use crate::frame::{FLAG_DUP, PacketType, REMAINING_LENGTH_MAX};
use crate::packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, PacketIdentifier, Publish, SubAck, Subscribe,
    SubscriptionOptions, Unsubscribe, Will,
};
use crate::property::Properties;
use crate::reason::ReasonCode;
use crate::version::ProtocolVersion;
use crate::wire::{write_binary, write_string, write_variable_byte_integer};

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

impl Connect<'_> {
    /// Appends the packet in its own version.
    ///
    /// Errors: a field of more than 65,535 bytes, a packet that is too large, and in 3.x a Password without a User Name.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if self.password.is_some() && self.user_name.is_none() && self.version != ProtocolVersion::V5 {
            return Err(EncodeError::PasswordWithoutUserName);
        }
        let body_bytes = self.body_bytes();
        whole(out, |out| {
            begin(PacketType::Connect.first_byte(), body_bytes, out)?;
            write_string(protocol_name(self.version), out)?;
            out.extend_from_slice(&[self.version as u8, self.flags()]);
            out.extend_from_slice(&self.keep_alive_s.to_be_bytes());
            write_properties(self.properties, self.version, out);
            write_string(self.client_identifier, out)?;
            self.will
                .map_or(Ok(()), |will| write_will(will, self.version, out))?;
            self.user_name
                .map_or(Ok(()), |user_name| write_string(user_name, out))?;
            self.password
                .map_or(Ok(()), |password| write_binary(password, out))
        })
    }

    fn flags(&self) -> u8 {
        let will = self.will.map_or(0, |will| {
            0x04 | ((will.qos as u8) << 3) | (u8::from(will.retain) << 5)
        });
        (u8::from(self.user_name.is_some()) << 7)
            | (u8::from(self.password.is_some()) << 6)
            | (u8::from(self.clean_start) << 1)
            | will
    }

    fn body_bytes(&self) -> usize {
        let will = self.will.map_or(0, |will| {
            properties_bytes(will.properties, self.version) + 4 + will.topic.len() + will.payload.len()
        });
        let variable_header =
            2 + protocol_name(self.version).len() + 4 + properties_bytes(self.properties, self.version);
        variable_header
            + 2
            + self.client_identifier.len()
            + will
            + self.user_name.map_or(0, |user_name| 2 + user_name.len())
            + self.password.map_or(0, |password| 2 + password.len())
    }
}

impl ConnAck<'_> {
    /// Appends the packet; in 3.x with the return code that comes nearest to the reason.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        // [MQTT-3.2.2-6]; MQTT 3.1 does not have Session Present.
        let session_present = self.session_present && !self.reason.is_error();
        let flags = u8::from(session_present && version != ProtocolVersion::V3_1);
        let first = PacketType::ConnAck.first_byte();
        if version != ProtocolVersion::V5 {
            out.extend_from_slice(&[first, 2, flags, self.reason.to_v3_return_code()]);
            return;
        }
        let properties = fitting(self.properties);
        begin_checked(first, 2 + properties.wire_bytes(), out);
        out.extend_from_slice(&[flags, self.reason as u8]);
        write_properties(properties, version, out);
    }
}

impl Publish<'_> {
    /// Appends the packet. The Packet Identifier is written if and only if the QoS is not 0; without one nothing can be
    /// delivered, so 1 stands in for it.
    ///
    /// Errors: a Topic Name of more than 65,535 bytes, a packet that is too large.
    #[inline]
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let identifier_bytes = if self.qos as u8 > 0 { 2 } else { 0 };
        let body_bytes = 2
            + self.topic.len()
            + identifier_bytes
            + properties_bytes(self.properties, version)
            + self.payload.len();
        check_field(self.topic.as_bytes())?;
        let dup = if self.dup && self.qos as u8 > 0 {
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
        if self.qos as u8 > 0 {
            let identifier = self.packet_identifier.unwrap_or(PacketIdentifier::MIN);
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

impl Subscribe<'_> {
    /// Appends the packet. Errors as [`subscribe`].
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        subscribe_filters(
            self.packet_identifier,
            self.properties,
            self.filters.iter(),
            version,
            out,
        )
    }
}

impl SubAck<'_> {
    /// Appends the packet as a SUBACK or, by its type, as an UNSUBACK.
    pub fn encode(&self, packet_type: PacketType, version: ProtocolVersion, out: &mut Vec<u8>) {
        match packet_type {
            PacketType::UnsubAck => {
                unsuback(
                    self.packet_identifier,
                    self.properties,
                    self.reason_codes,
                    version,
                    out,
                );
            }
            _ => suback(
                self.packet_identifier,
                self.properties,
                self.reason_codes,
                version,
                out,
            ),
        }
    }
}

impl Unsubscribe<'_> {
    /// Appends the packet. Errors as [`unsubscribe`].
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        unsubscribe_filters(
            self.packet_identifier,
            self.properties,
            self.filters.iter(),
            version,
            out,
        )
    }
}

impl Disconnect<'_> {
    /// Appends the packet; 3.x does not say a reason.
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

/// Appends a SUBSCRIBE; 3.x sends the QoS of the options alone.
///
/// Errors: no Topic Filter, one of more than 65,535 bytes, a packet that is too large.
pub fn subscribe(
    packet_identifier: PacketIdentifier,
    properties: Properties<'_>,
    filters: &[(&str, SubscriptionOptions)],
    version: ProtocolVersion,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    subscribe_filters(
        packet_identifier,
        properties,
        filters.iter().copied(),
        version,
        out,
    )
}

/// Appends an UNSUBSCRIBE.
///
/// Errors: no Topic Filter, one of more than 65,535 bytes, a packet that is too large.
pub fn unsubscribe(
    packet_identifier: PacketIdentifier,
    properties: Properties<'_>,
    filters: &[&str],
    version: ProtocolVersion,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    unsubscribe_filters(
        packet_identifier,
        properties,
        filters.iter().copied(),
        version,
        out,
    )
}

/// Appends a SUBACK; in 3.x every failure becomes 0x80 [MQTT-3.9.3-2].
pub fn suback(
    packet_identifier: PacketIdentifier,
    properties: Properties<'_>,
    reason_codes: &[u8],
    version: ProtocolVersion,
    out: &mut Vec<u8>,
) {
    let first = PacketType::SubAck.first_byte();
    write_reason_codes(first, packet_identifier, properties, reason_codes, version, out);
}

/// Appends an UNSUBACK; 3.x has no reason codes there.
pub fn unsuback(
    packet_identifier: PacketIdentifier,
    properties: Properties<'_>,
    reason_codes: &[u8],
    version: ProtocolVersion,
    out: &mut Vec<u8>,
) {
    let first = PacketType::UnsubAck.first_byte();
    let reason_codes = if version == ProtocolVersion::V5 {
        reason_codes
    } else {
        &[]
    };
    write_reason_codes(first, packet_identifier, properties, reason_codes, version, out);
}

/// Appends a PINGREQ.
pub fn pingreq(out: &mut Vec<u8>) {
    out.extend_from_slice(&[PacketType::PingReq.first_byte(), 0]);
}

/// Appends a PINGRESP.
pub fn pingresp(out: &mut Vec<u8>) {
    out.extend_from_slice(&[PacketType::PingResp.first_byte(), 0]);
}

impl SubscriptionOptions {
    /// The Subscription Options byte; 3.x has the QoS alone.
    pub fn to_byte(self, version: ProtocolVersion) -> u8 {
        let qos = self.qos as u8;
        if version != ProtocolVersion::V5 {
            return qos;
        }
        qos | (u8::from(self.no_local) << 2)
            | (u8::from(self.retain_as_published) << 3)
            | ((self.retain_handling as u8) << 4)
    }
}

/// The first byte of a PUBLISH without DUP.
#[inline]
pub(crate) fn publish_first_byte(qos: u8, retain: bool) -> u8 {
    ((PacketType::Publish as u8) << 4) | (qos << 1) | u8::from(retain)
}

/// Writes the fixed header and makes room for the body.
#[inline]
pub(crate) fn begin(first: u8, body_bytes: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if body_bytes > REMAINING_LENGTH_MAX as usize {
        return Err(EncodeError::PacketTooLarge);
    }
    begin_checked(first, body_bytes, out);
    Ok(())
}

/// That a string or binary field fits its two bytes of length.
#[inline]
pub(crate) fn check_field(bytes: &[u8]) -> Result<(), EncodeError> {
    if bytes.len() > usize::from(u16::MAX) {
        Err(EncodeError::FieldTooLong)
    } else {
        Ok(())
    }
}

/// Writes properties with their length; nothing before 5.0.
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

/// The most bytes of properties in a packet that cannot fail to be encoded: half of what a packet may have.
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

/// Properties of an answer are there for information: they are left out rather than make it impossible.
fn fitting(properties: Properties<'_>) -> Properties<'_> {
    if properties.as_bytes().len() > ANSWER_PROPERTIES_BYTES_MAX {
        Properties::EMPTY
    } else {
        properties
    }
}

fn protocol_name(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::V3_1 => "MQIsdp",
        _ => "MQTT",
    }
}

fn write_will(will: Will<'_>, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    write_properties(will.properties, version, out);
    write_string(will.topic, out)?;
    write_binary(will.payload, out)
}

fn subscribe_filters<'a>(
    packet_identifier: PacketIdentifier,
    properties: Properties<'_>,
    filters: impl Iterator<Item = (&'a str, SubscriptionOptions)> + Clone,
    version: ProtocolVersion,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let filters_bytes: usize = filters.clone().map(|(filter, _)| 3 + filter.len()).sum();
    if filters_bytes == 0 {
        return Err(EncodeError::NoTopicFilter);
    }
    let body_bytes = 2 + properties_bytes(properties, version) + filters_bytes;
    whole(out, |out| {
        begin(PacketType::Subscribe.first_byte(), body_bytes, out)?;
        out.extend_from_slice(&packet_identifier.get().to_be_bytes());
        write_properties(properties, version, out);
        for (filter, options) in filters {
            write_string(filter, out)?;
            out.push(options.to_byte(version));
        }
        Ok(())
    })
}

fn unsubscribe_filters<'a>(
    packet_identifier: PacketIdentifier,
    properties: Properties<'_>,
    filters: impl Iterator<Item = &'a str> + Clone,
    version: ProtocolVersion,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let filters_bytes: usize = filters.clone().map(|filter| 2 + filter.len()).sum();
    if filters_bytes == 0 {
        return Err(EncodeError::NoTopicFilter);
    }
    let body_bytes = 2 + properties_bytes(properties, version) + filters_bytes;
    whole(out, |out| {
        begin(PacketType::Unsubscribe.first_byte(), body_bytes, out)?;
        out.extend_from_slice(&packet_identifier.get().to_be_bytes());
        write_properties(properties, version, out);
        for filter in filters {
            write_string(filter, out)?;
        }
        Ok(())
    })
}

fn write_reason_codes(
    first: u8,
    packet_identifier: PacketIdentifier,
    properties: Properties<'_>,
    reason_codes: &[u8],
    version: ProtocolVersion,
    out: &mut Vec<u8>,
) {
    let properties = fitting(properties);
    // No SUBSCRIBE has as many filters as would not fit here.
    let reason_codes = reason_codes
        .get(..ANSWER_PROPERTIES_BYTES_MAX - 16)
        .unwrap_or(reason_codes);
    begin_checked(
        first,
        2 + properties_bytes(properties, version) + reason_codes.len(),
        out,
    );
    out.extend_from_slice(&packet_identifier.get().to_be_bytes());
    write_properties(properties, version, out);
    match version {
        ProtocolVersion::V5 => out.extend_from_slice(reason_codes),
        _ => out.extend(reason_codes.iter().map(|&code| code.min(0x80))),
    }
}

/// DISCONNECT and AUTH: reason and properties are left out where the specification lets them.
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
