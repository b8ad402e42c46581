//! The text of one packet in the log, in mosquitto's words if it has some.
//!
//! Invariants: a text has a bounded length except for its topic, and contains no payload and no secret.

use std::fmt::Write as _;

use mqtt::frame::{Frame, PacketType, variable_byte_integer};
use mqtt::packet::{Ack, Packet};
use mqtt::{ProtocolVersion, ReasonCode};

use crate::limits;
use crate::logic::ConnectRequest;

/// A packet, or the beginning of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown<'a> {
    /// The first bytes of the packet, up to a bound.
    pub(super) head: &'a [u8],
    /// The length of the whole packet, with its fixed header.
    pub(super) packet_bytes: usize,
}

/// The direction of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Received,
    Sent,
}

impl Shown<'_> {
    /// The type of packet.
    pub(super) fn kind(&self) -> &'static str {
        match self.packet_type() {
            None => "a reserved packet",
            Some(PacketType::Connect) => "CONNECT",
            Some(PacketType::ConnAck) => "CONNACK",
            Some(PacketType::Publish) => "PUBLISH",
            Some(PacketType::PubAck) => "PUBACK",
            Some(PacketType::PubRec) => "PUBREC",
            Some(PacketType::PubRel) => "PUBREL",
            Some(PacketType::PubComp) => "PUBCOMP",
            Some(PacketType::Subscribe) => "SUBSCRIBE",
            Some(PacketType::SubAck) => "SUBACK",
            Some(PacketType::Unsubscribe) => "UNSUBSCRIBE",
            Some(PacketType::UnsubAck) => "UNSUBACK",
            Some(PacketType::PingReq) => "PINGREQ",
            Some(PacketType::PingResp) => "PINGRESP",
            Some(PacketType::Disconnect) => "DISCONNECT",
            Some(PacketType::Auth) => "AUTH",
        }
    }

    /// The text after the client's name: empty, or with a leading space.
    pub(super) fn text(&self, version: ProtocolVersion, direction: Direction) -> String {
        let text = match self.packet_type() {
            Some(PacketType::Publish) => self.publish(version),
            Some(packet_type) if self.head.len() == self.packet_bytes => {
                self.other(packet_type, version, direction)
            }
            _ => None,
        };
        text.unwrap_or_else(|| format!(" ({} bytes)", self.packet_bytes))
    }

    fn packet_type(&self) -> Option<PacketType> {
        PacketType::from_first_byte(*self.head.first()?)
    }

    /// Variable header and payload, as far as they are available.
    fn body(&self) -> Option<&[u8]> {
        let (_, length_bytes) = variable_byte_integer(self.head.get(1..)?).ok()??;
        self.head.get(1 + length_bytes..)
    }

    /// A PUBLISH from its beginning only: it may be long.
    fn publish(&self, version: ProtocolVersion) -> Option<String> {
        let first = *self.head.first()?;
        let body = self.body()?;
        let mut at = 2 + u16::from_be_bytes([*body.first()?, *body.get(1)?]) as usize;
        let topic = std::str::from_utf8(body.get(2..at)?).ok()?;
        let qos = first >> 1 & 3;
        let mut identifier = 0;
        if qos > 0 {
            identifier = u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]);
            at += 2;
        }
        if version == ProtocolVersion::V5 {
            let (properties_bytes, length_bytes) = variable_byte_integer(body.get(at..)?).ok()??;
            at += length_bytes + properties_bytes as usize;
        }
        let header_bytes = self.head.len() - body.len();
        let payload_bytes = self.packet_bytes.checked_sub(header_bytes + at)?;
        let (dup, retain) = (first >> 3 & 1, first & 1);
        Some(format!(
            " (d{dup}, q{qos}, r{retain}, m{identifier}, '{topic}', ... ({payload_bytes} bytes))"
        ))
    }

    /// A complete packet of another type.
    fn other(
        &self,
        packet_type: PacketType,
        version: ProtocolVersion,
        direction: Direction,
    ) -> Option<String> {
        let frame = Frame {
            packet_type,
            flags: self.head.first()? & 0x0F,
            body: self.body()?,
            wire_bytes: self.packet_bytes,
        };
        Some(match mqtt::decode::packet(&frame, version).ok()? {
            Packet::ConnAck(connack) => {
                let code = match version {
                    ProtocolVersion::V5 => connack.reason as u8,
                    _ => connack.reason.to_v3_return_code(),
                };
                format!(" ({}, {code})", u8::from(connack.session_present))
            }
            Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
                acknowledgement(&ack, direction)
            }
            Packet::Subscribe(subscribe) => {
                let filters = subscribe.filters.iter();
                let filters = filters.map(|(filter, options)| format!("q{} '{filter}'", options.qos as u8));
                with_filters(subscribe.packet_identifier.get(), filters)
            }
            Packet::Unsubscribe(unsubscribe) => {
                let filters = unsubscribe.filters.iter();
                with_filters(
                    unsubscribe.packet_identifier.get(),
                    filters.map(|filter| format!("'{filter}'")),
                )
            }
            Packet::SubAck(ack) | Packet::UnsubAck(ack) => {
                let codes = ack.reason_codes.iter().map(|code| format!("rc{code}"));
                with_filters(ack.packet_identifier.get(), codes)
            }
            Packet::Disconnect(disconnect) => reason(disconnect.reason),
            Packet::Auth(auth) => exchange(
                auth.reason,
                auth.properties.authentication_method().unwrap_or_default(),
            ),
            Packet::PingReq | Packet::PingResp => String::new(),
            Packet::Connect(_) | Packet::Publish(_) => return None,
        })
    }
}

fn acknowledgement(ack: &Ack<'_>, direction: Direction) -> String {
    let (identifier, code) = (ack.packet_identifier.get(), ack.reason as u8);
    match direction {
        Direction::Received => format!(" (Mid: {identifier}, RC:{code})"),
        Direction::Sent => format!(" (m{identifier}, rc{code})"),
    }
}

/// The text of an AUTH packet with this Authentication Method.
pub(super) fn exchange(reason: ReasonCode, method: &str) -> String {
    match method {
        "" => self::reason(reason),
        method => format!(" (rc{}, {method})", reason as u8),
    }
}

fn reason(reason: ReasonCode) -> String {
    format!(" (rc{})", reason as u8)
}

/// A packet identifier, and a bounded number of entries.
fn with_filters(identifier: u16, entries: impl Iterator<Item = String>) -> String {
    let mut text = format!(" (m{identifier}");
    let mut more = 0;
    for (at, entry) in entries.enumerate() {
        if at < limits::FILTERS_SHOWN_MAX {
            // Writing to a string does not fail.
            let _written = write!(text, ", {entry}");
        } else {
            more += 1;
        }
    }
    if more > 0 {
        let _written = write!(text, ", and {more} more");
    }
    text.push(')');
    text
}

/// The properties of a CONNECT, as in mosquitto's log: protocol, clean session, keep alive, user.
pub(in crate::shard) fn described(connect: &ConnectRequest, user: Option<&str>) -> String {
    let protocol = match connect.version {
        ProtocolVersion::V3_1 => 1,
        ProtocolVersion::V3_1_1 => 2,
        ProtocolVersion::V5 => 5,
    };
    let (clean, keep_alive) = (u8::from(connect.clean_start), connect.keep_alive_s);
    let user = user.map(|user| format!(", u'{user}'")).unwrap_or_default();
    format!("p{protocol}, c{clean}, k{keep_alive}{user}")
}
