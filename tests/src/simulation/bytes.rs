//! The packets of clients as bytes.
//!
//! Invariants: none.

use std::num::{NonZeroU16, NonZeroU32};

use mqtt::frame::PacketType;
use mqtt::packet::{Connect, Disconnect, Publish, Will};
use mqtt::property::{Properties, PropertiesBuf, Property};
use mqtt::{PacketIdentifier, ProtocolVersion, ReasonCode};

use crate::model::{Checked, ConnectRequest, Message, Packet, WillRequest};

/// Encodes a packet as a client of that version sends it.
pub(super) fn encode(packet: &Packet, dup: bool, version: ProtocolVersion) -> Checked<Vec<u8>> {
    let mut out = Vec::new();
    let ack = |packet_type, identifier: u16, out: &mut Vec<u8>| {
        mqtt::encode::ack(packet_type, id(identifier), ReasonCode::Success, version, out);
    };
    match packet {
        Packet::Connect(request) => encode_connect(request, &mut out)?,
        Packet::Publish {
            message,
            packet_identifier,
        } => encode_publish(message, *packet_identifier, dup, version, &mut out)?,
        Packet::Subscribe {
            packet_identifier,
            identifier,
            filters,
        } => {
            let mut properties = PropertiesBuf::new();
            if let Some(identifier) = identifier {
                push(&mut properties, Property::SubscriptionIdentifier(*identifier))?;
            }
            let properties = properties.as_properties();
            mqtt::encode::subscribe(id(*packet_identifier), properties, filters, version, &mut out)
                .map_err(|error| error.to_string())?;
        }
        Packet::Unsubscribe {
            packet_identifier,
            filters,
        } => mqtt::encode::unsubscribe(
            id(*packet_identifier),
            Properties::EMPTY,
            filters,
            version,
            &mut out,
        )
        .map_err(|error| error.to_string())?,
        Packet::PubAck(identifier) => ack(PacketType::PubAck, *identifier, &mut out),
        Packet::PubRec(identifier) => ack(PacketType::PubRec, *identifier, &mut out),
        Packet::PubRel(identifier) => ack(PacketType::PubRel, *identifier, &mut out),
        Packet::PubComp(identifier) => ack(PacketType::PubComp, *identifier, &mut out),
        Packet::Ping => mqtt::encode::pingreq(&mut out),
        Packet::Disconnect {
            with_will,
            session_expiry_s,
        } => encode_disconnect(*with_will, *session_expiry_s, version, &mut out)?,
        // A packet type that is reserved.
        Packet::Garbage => out.push(0),
    }
    Ok(out)
}

fn encode_connect(request: &ConnectRequest, out: &mut Vec<u8>) -> Checked {
    let v5 = request.version == ProtocolVersion::V5;
    let mut properties = PropertiesBuf::new();
    if v5 && request.session_expiry_s > 0 {
        push(
            &mut properties,
            Property::SessionExpiryInterval(request.session_expiry_s),
        )?;
    }
    if let Some(receive_max) = request.receive_max.filter(|_| v5).and_then(NonZeroU16::new) {
        push(&mut properties, Property::ReceiveMaximum(receive_max))?;
    }
    if let Some(bytes) = request.packet_bytes_max.filter(|_| v5).and_then(NonZeroU32::new) {
        push(&mut properties, Property::MaximumPacketSize(bytes))?;
    }
    if let Some(alias_max) = request.topic_alias_max.filter(|_| v5) {
        push(&mut properties, Property::TopicAliasMaximum(alias_max))?;
    }
    let mut will_properties = PropertiesBuf::new();
    if let Some(will) = request.will.as_ref().filter(|_| v5) {
        fill_will(will, &mut will_properties)?;
    }
    let will = request.will.as_ref().map(|will| Will {
        qos: will.message.qos,
        retain: will.message.retain,
        properties: will_properties.as_properties(),
        topic: &will.message.topic,
        payload: will.message.payload.as_bytes(),
    });
    let connect = Connect {
        version: request.version,
        clean_start: request.clean_start,
        keep_alive_s: request.keep_alive_s,
        properties: properties.as_properties(),
        client_identifier: &request.client,
        will,
        user_name: None,
        password: None,
    };
    connect.encode(out).map_err(|error| error.to_string())
}

fn fill_will(will: &WillRequest, properties: &mut PropertiesBuf) -> Checked {
    if will.delay_s > 0 {
        push(properties, Property::WillDelayInterval(will.delay_s))?;
    }
    fill(&will.message, properties)
}

fn fill(message: &Message, properties: &mut PropertiesBuf) -> Checked {
    if let Some(seconds) = message.expiry_s {
        push(properties, Property::MessageExpiryInterval(seconds))?;
    }
    properties
        .extend_raw(message.properties.as_properties())
        .map_err(|error| error.to_string())
}

fn encode_publish(
    message: &Message,
    packet_identifier: u16,
    dup: bool,
    version: ProtocolVersion,
    out: &mut Vec<u8>,
) -> Checked {
    let mut properties = PropertiesBuf::new();
    if version == ProtocolVersion::V5 {
        fill(message, &mut properties)?;
    }
    let publish = Publish {
        dup,
        qos: message.qos,
        retain: message.retain,
        topic: &message.topic,
        packet_identifier: PacketIdentifier::new(packet_identifier),
        properties: properties.as_properties(),
        payload: message.payload.as_bytes(),
    };
    publish.encode(version, out).map_err(|error| error.to_string())
}

fn encode_disconnect(
    with_will: bool,
    session_expiry_s: Option<u32>,
    version: ProtocolVersion,
    out: &mut Vec<u8>,
) -> Checked {
    let mut properties = PropertiesBuf::new();
    if let Some(expiry_s) = session_expiry_s {
        push(&mut properties, Property::SessionExpiryInterval(expiry_s))?;
    }
    let reason = if with_will {
        ReasonCode::DisconnectWithWill
    } else {
        ReasonCode::NormalDisconnection
    };
    Disconnect {
        reason,
        properties: properties.as_properties(),
    }
    .encode(version, out);
    Ok(())
}

fn push(properties: &mut PropertiesBuf, property: Property<'_>) -> Checked {
    properties.push(property).map_err(|error| error.to_string())
}

fn id(identifier: u16) -> PacketIdentifier {
    PacketIdentifier::new(identifier).unwrap_or(PacketIdentifier::MIN)
}
