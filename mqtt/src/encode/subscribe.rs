//! SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK.
//!
//! Invariant: a SUBSCRIBE or UNSUBSCRIBE has at least one Topic Filter.

use super::{
    ANSWER_PROPERTIES_BYTES_MAX, begin, begin_checked, fitting, properties_bytes, whole, write_properties,
};
use crate::error::EncodeError;
use crate::frame::PacketType;
use crate::packet::{PacketIdentifier, SubAck, Subscribe, SubscriptionOptions, Unsubscribe};
use crate::property::Properties;
use crate::version::ProtocolVersion;
use crate::wire::write_string;

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

/// Appends a SUBSCRIBE; 3.x sends only the QoS of the options.
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
///
/// [MQTT3-2.3.1-7], [MQTT3-3.8.4-2], [MQTT3-3.8.4-5], [MQTT-2.2.1-6], [MQTT-3.8.4-2], [MQTT-3.8.4-7]
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
///
/// [MQTT3-2.3.1-7], [MQTT3-3.10.4-4], [MQTT-2.2.1-6], [MQTT-3.10.4-5]
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

impl SubscriptionOptions {
    /// The Subscription Options byte; 3.x has only the QoS.
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
    // No SUBSCRIBE has more filters than fit here.
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
