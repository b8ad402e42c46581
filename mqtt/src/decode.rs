//! The strict decoder: a frame becomes a borrowed packet, or an error with the statement that it breaks.
//!
//! Invariant: every byte of the body is accounted for (nothing is missing, nothing follows the last field), and
//! nothing is allocated. CONNECT is decoded by its own protocol level, everything else by the connection's.

mod connect;

use crate::error::{DecodeError, DecodeErrorKind};
use crate::frame::{FLAG_DUP, Frame, PacketType};
use crate::packet::{
    Ack, Auth, ConnAck, Disconnect, Packet, Publish, QoS, RetainHandling, SubAck, Subscribe,
    SubscribeFilters, SubscriptionOptions, Unsubscribe, UnsubscribeFilters,
};
use crate::property::{self, Properties, PropertySet};
use crate::reason::ReasonCode;
use crate::topic::{self, SHARE_PREFIX};
use crate::version::ProtocolVersion;
use crate::wire::Reader;

pub use connect::{connect, is_bridge, version_of_connect};

/// Decodes a frame to the packet that its type names.
pub fn packet<'a>(frame: &Frame<'a>, version: ProtocolVersion) -> Result<Packet<'a>, DecodeError> {
    check_flags(frame, version)?;
    let mut reader = Reader::new(frame.body);
    Ok(match frame.packet_type {
        PacketType::Connect => Packet::Connect(connect(frame)?),
        PacketType::ConnAck => Packet::ConnAck(connack(&mut reader, version)?),
        PacketType::Publish => Packet::Publish(publish(frame, version)?),
        PacketType::PubAck => Packet::PubAck(ack(frame, version)?),
        PacketType::PubRec => Packet::PubRec(ack(frame, version)?),
        PacketType::PubRel => Packet::PubRel(ack(frame, version)?),
        PacketType::PubComp => Packet::PubComp(ack(frame, version)?),
        PacketType::Subscribe => Packet::Subscribe(subscribe(&mut reader, version)?),
        PacketType::SubAck => Packet::SubAck(suback(&mut reader, version)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(unsubscribe(&mut reader, version)?),
        PacketType::UnsubAck => Packet::UnsubAck(unsuback(&mut reader, version)?),
        PacketType::PingReq => reader.finish().map(|()| Packet::PingReq)?,
        PacketType::PingResp => reader.finish().map(|()| Packet::PingResp)?,
        PacketType::Disconnect => Packet::Disconnect(disconnect(&mut reader, version)?),
        PacketType::Auth => Packet::Auth(auth(&mut reader, version)?),
    })
}

/// Decodes a SUBSCRIBE or an UNSUBSCRIBE that [`packet`] has decoded before: its filters are not checked again.
pub fn decoded_before<'a>(frame: &Frame<'a>, version: ProtocolVersion) -> Result<Packet<'a>, DecodeError> {
    let mut reader = Reader::new(frame.body);
    Ok(match frame.packet_type {
        PacketType::Subscribe => Packet::Subscribe(subscribe_of_any(&mut reader, version)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(unsubscribe_of_any(&mut reader, version)?),
        _ => return packet(frame, version),
    })
}

/// Decodes the frame of a PUBLISH: the hot path.
///
/// [MQTT3-2.3.1-5], [MQTT-2.2.1-2], [MQTT-3.3.2-19]
#[inline]
pub fn publish<'a>(frame: &Frame<'a>, version: ProtocolVersion) -> Result<Publish<'a>, DecodeError> {
    let mut reader = Reader::new(frame.body);
    let dup = frame.flags & FLAG_DUP != 0;
    let qos = QoS::from_bits(frame.flags >> 1).ok_or(DecodeErrorKind::QoS3)?;
    if dup && qos == QoS::AtMostOnce {
        return Err(DecodeErrorKind::DupWithQoS0.into());
    }
    let topic = reader.topic_name()?;
    let packet_identifier = match qos {
        QoS::AtMostOnce => None,
        _ => Some(reader.packet_identifier()?),
    };
    let (properties, seen) = match version {
        ProtocolVersion::V5 => Properties::read(&mut reader, PropertySet::PUBLISH)?,
        _ => (Properties::EMPTY, PropertySet::NONE),
    };
    if topic.is_empty() && !seen.contains(property::TOPIC_ALIAS) {
        return Err(DecodeErrorKind::TopicNameEmpty.into());
    }
    let retain = frame.flags & 1 != 0;
    Ok(Publish {
        dup,
        qos,
        retain,
        topic,
        packet_identifier,
        properties,
        payload: reader.rest(),
    })
}

/// Checks what [`crate::frame::split`] could not know: PUBREL, SUBSCRIBE and UNSUBSCRIBE have a DUP flag only in MQTT
/// 3.1.
///
/// [MQTT3-2.2.2-1]
fn check_flags(frame: &Frame<'_>, version: ProtocolVersion) -> Result<(), DecodeErrorKind> {
    let packet_type = frame.packet_type;
    let reserved = packet_type.reserved_flags();
    let dup_allowed = version == ProtocolVersion::V3_1 && reserved != 0;
    let flags = if dup_allowed {
        frame.flags & !FLAG_DUP
    } else {
        frame.flags
    };
    if packet_type == PacketType::Publish || flags == reserved {
        return Ok(());
    }
    Err(DecodeErrorKind::ReservedFlags(packet_type))
}

fn read_properties<'a>(
    reader: &mut Reader<'a>,
    allowed: PropertySet,
    version: ProtocolVersion,
) -> Result<Properties<'a>, DecodeErrorKind> {
    match version {
        ProtocolVersion::V5 => Ok(Properties::read(reader, allowed)?.0),
        _ => Ok(Properties::EMPTY),
    }
}

fn reason_code(code: u8, packet_type: PacketType) -> Result<ReasonCode, DecodeErrorKind> {
    ReasonCode::from_u8(code)
        .filter(|reason| reason.belongs_to(packet_type))
        .ok_or(DecodeErrorKind::ReasonCodeInvalid(packet_type))
}

fn connack<'a>(reader: &mut Reader<'a>, version: ProtocolVersion) -> Result<ConnAck<'a>, DecodeErrorKind> {
    let flags = reader.u8()?;
    let code = reader.u8()?;
    let reason = match version {
        ProtocolVersion::V5 => reason_code(code, PacketType::ConnAck)?,
        _ => ReasonCode::from_v3_return_code(code)
            .ok_or(DecodeErrorKind::ReasonCodeInvalid(PacketType::ConnAck))?,
    };
    let properties = read_properties(reader, PropertySet::CONNACK, version)?;
    reader.finish()?;
    // MQTT 3.1 leaves the first byte unused.
    let session_present = version != ProtocolVersion::V3_1 && flags & 1 != 0;
    if version != ProtocolVersion::V3_1 && flags > 1 {
        return Err(DecodeErrorKind::ConnectAcknowledgeFlags);
    }
    if session_present && reason.is_error() {
        return Err(DecodeErrorKind::SessionPresentWithError);
    }
    Ok(ConnAck {
        session_present,
        reason,
        properties,
    })
}

/// Decodes the frame of a PUBACK, PUBREC, PUBREL or PUBCOMP, as [`packet`] does, without the copy of a [`Packet`].
///
/// [MQTT3-2.2.2-1]
#[inline]
pub fn ack<'a>(frame: &Frame<'a>, version: ProtocolVersion) -> Result<Ack<'a>, DecodeError> {
    check_flags(frame, version)?;
    let mut reader = Reader::new(frame.body);
    let packet_identifier = reader.packet_identifier()?;
    if version != ProtocolVersion::V5 {
        reader.finish()?;
    }
    let (reason, properties) =
        reason_and_properties(&mut reader, frame.packet_type, PropertySet::ACKNOWLEDGEMENT)?;
    Ok(Ack {
        packet_identifier,
        reason,
        properties,
    })
}

/// The end of PUBACK to PUBCOMP, DISCONNECT and AUTH: a reason code and properties, each left out if nothing follows.
fn reason_and_properties<'a>(
    reader: &mut Reader<'a>,
    packet_type: PacketType,
    allowed: PropertySet,
) -> Result<(ReasonCode, Properties<'a>), DecodeErrorKind> {
    if reader.is_empty() {
        return Ok((ReasonCode::Success, Properties::EMPTY));
    }
    let reason = reason_code(reader.u8()?, packet_type)?;
    if reader.is_empty() {
        return Ok((reason, Properties::EMPTY));
    }
    let (properties, _) = Properties::read(reader, allowed)?;
    reader.finish()?;
    Ok((reason, properties))
}

fn subscribe<'a>(
    reader: &mut Reader<'a>,
    version: ProtocolVersion,
) -> Result<Subscribe<'a>, DecodeErrorKind> {
    let subscribe = subscribe_of_any(reader, version)?;
    if reader.is_empty() {
        return Err(DecodeErrorKind::SubscribeEmpty);
    }
    while !reader.is_empty() {
        let filter = topic_filter(reader)?;
        let options = subscription_options(reader.u8()?, version)?;
        if options.no_local && filter.starts_with(SHARE_PREFIX) {
            return Err(DecodeErrorKind::NoLocalOnShared);
        }
    }
    Ok(subscribe)
}

/// Decodes everything except the filters, which are left to be read.
fn subscribe_of_any<'a>(
    reader: &mut Reader<'a>,
    version: ProtocolVersion,
) -> Result<Subscribe<'a>, DecodeErrorKind> {
    let packet_identifier = reader.packet_identifier()?;
    let properties = read_properties(reader, PropertySet::SUBSCRIBE, version)?;
    Ok(Subscribe {
        packet_identifier,
        properties,
        filters: SubscribeFilters(reader.rest()),
    })
}

// [MQTT3-3.8.3-1], [MQTT3-3.10.3-1], [MQTT-3.8.3-1], [MQTT-3.10.3-1]
fn topic_filter<'a>(reader: &mut Reader<'a>) -> Result<&'a str, DecodeErrorKind> {
    let filter = reader.string()?;
    topic::check_filter(filter).map_err(DecodeErrorKind::of_filter)?;
    Ok(filter)
}

impl SubscriptionOptions {
    /// The options of a Subscription Options byte of 5.0, if it is one.
    pub fn from_byte(byte: u8) -> Option<Self> {
        subscription_options(byte, ProtocolVersion::V5).ok()
    }
}

fn subscription_options(byte: u8, version: ProtocolVersion) -> Result<SubscriptionOptions, DecodeErrorKind> {
    let reserved = if version == ProtocolVersion::V5 {
        0b1100_0000
    } else {
        0b1111_1100
    };
    if byte & reserved != 0 {
        return Err(DecodeErrorKind::SubscriptionOptionsReserved);
    }
    Ok(SubscriptionOptions {
        qos: QoS::from_bits(byte).ok_or(DecodeErrorKind::SubscriptionQoS3)?,
        no_local: byte & 0b100 != 0,
        retain_as_published: byte & 0b1000 != 0,
        retain_handling: RetainHandling::from_bits(byte >> 4).ok_or(DecodeErrorKind::RetainHandling3)?,
    })
}

fn suback<'a>(reader: &mut Reader<'a>, version: ProtocolVersion) -> Result<SubAck<'a>, DecodeErrorKind> {
    let packet_identifier = reader.packet_identifier()?;
    let properties = read_properties(reader, PropertySet::ACKNOWLEDGEMENT, version)?;
    let reason_codes = reader.rest();
    if reason_codes.is_empty() {
        return Err(DecodeErrorKind::Truncated);
    }
    for &code in reason_codes {
        if version == ProtocolVersion::V5 {
            reason_code(code, PacketType::SubAck)?;
        } else if !matches!(code, 0..=2 | 0x80) {
            return Err(DecodeErrorKind::ReasonCodeInvalid(PacketType::SubAck));
        }
    }
    Ok(SubAck {
        packet_identifier,
        properties,
        reason_codes,
    })
}

fn unsubscribe<'a>(
    reader: &mut Reader<'a>,
    version: ProtocolVersion,
) -> Result<Unsubscribe<'a>, DecodeErrorKind> {
    let unsubscribe = unsubscribe_of_any(reader, version)?;
    if reader.is_empty() {
        return Err(DecodeErrorKind::UnsubscribeEmpty);
    }
    while !reader.is_empty() {
        topic_filter(reader)?;
    }
    Ok(unsubscribe)
}

/// Decodes everything except the filters, which are left to be read.
fn unsubscribe_of_any<'a>(
    reader: &mut Reader<'a>,
    version: ProtocolVersion,
) -> Result<Unsubscribe<'a>, DecodeErrorKind> {
    let packet_identifier = reader.packet_identifier()?;
    let properties = read_properties(reader, PropertySet::UNSUBSCRIBE, version)?;
    Ok(Unsubscribe {
        packet_identifier,
        properties,
        filters: UnsubscribeFilters(reader.rest()),
    })
}

fn unsuback<'a>(reader: &mut Reader<'a>, version: ProtocolVersion) -> Result<SubAck<'a>, DecodeErrorKind> {
    let packet_identifier = reader.packet_identifier()?;
    if version != ProtocolVersion::V5 {
        reader.finish()?;
        return Ok(SubAck {
            packet_identifier,
            properties: Properties::EMPTY,
            reason_codes: &[],
        });
    }
    let (properties, _) = Properties::read(reader, PropertySet::ACKNOWLEDGEMENT)?;
    let reason_codes = reader.rest();
    if reason_codes.is_empty() {
        return Err(DecodeErrorKind::Truncated);
    }
    for &code in reason_codes {
        reason_code(code, PacketType::UnsubAck)?;
    }
    Ok(SubAck {
        packet_identifier,
        properties,
        reason_codes,
    })
}

fn disconnect<'a>(
    reader: &mut Reader<'a>,
    version: ProtocolVersion,
) -> Result<Disconnect<'a>, DecodeErrorKind> {
    if version != ProtocolVersion::V5 {
        reader.finish()?;
    }
    let (reason, properties) =
        reason_and_properties(reader, PacketType::Disconnect, PropertySet::DISCONNECT)?;
    Ok(Disconnect { reason, properties })
}

fn auth<'a>(reader: &mut Reader<'a>, version: ProtocolVersion) -> Result<Auth<'a>, DecodeErrorKind> {
    if version != ProtocolVersion::V5 {
        return Err(DecodeErrorKind::PacketTypeReserved);
    }
    let (reason, properties) = reason_and_properties(reader, PacketType::Auth, PropertySet::AUTH)?;
    Ok(Auth { reason, properties })
}

impl<'a> SubscribeFilters<'a> {
    /// The Topic Filters with their options, in the packet's order; at least one.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, SubscriptionOptions)> + Clone + use<'a> {
        let mut reader = Reader::new(self.0);
        std::iter::from_fn(move || {
            let filter = reader.string().ok()?;
            // The bits that are reserved in 3.x are zero there: the decoder checked it.
            let options = subscription_options(reader.u8().ok()?, ProtocolVersion::V5).ok()?;
            Some((filter, options))
        })
    }
}

impl<'a> UnsubscribeFilters<'a> {
    /// The Topic Filters, in the packet's order; at least one.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        let mut reader = Reader::new(self.0);
        std::iter::from_fn(move || reader.string().ok())
    }
}

impl QoS {
    /// The QoS in the low two bits; `None` for 3.
    #[inline]
    pub fn from_bits(bits: u8) -> Option<Self> {
        match bits & 0b11 {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

impl RetainHandling {
    /// The Retain Handling in the low two bits; `None` for 3.
    pub fn from_bits(bits: u8) -> Option<Self> {
        match bits & 0b11 {
            0 => Some(Self::SendAtSubscribe),
            1 => Some(Self::SendIfNew),
            2 => Some(Self::DoNotSend),
            _ => None,
        }
    }
}
