//! A second, independent implementation of the protocol (mqttbytes), on packets that both should accept.
//!
//! Our bytes are read by mqttbytes, written by mqttbytes, and must decode to the original packet. Excluded is what
//! mqttbytes is known to do wrong: AUTH and MQTT 3.1 (it has neither), and in 5.0 the CONNACK without properties,
//! UNSUBSCRIBE and DISCONNECT.

use bytes::BytesMut;
use mqttbytes::{v4, v5};
use proptest::prelude::*;

use super::decode;
use super::fields::Fields;
use crate::packet::Packet;
use crate::property::{Properties, Property};
use crate::version::ProtocolVersion;

const BYTES_MAX: usize = 1 << 20;

fn encoded(packet: &Packet<'_>, version: ProtocolVersion) -> BytesMut {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes).unwrap();
    BytesMut::from(&bytes[..])
}

fn through_v4(packet: &Packet<'_>) -> BytesMut {
    let mut bytes = encoded(packet, ProtocolVersion::V3_1_1);
    let read = v4::read(&mut bytes, BYTES_MAX).unwrap_or_else(|error| panic!("{packet:?}: {error}"));
    let mut out = BytesMut::new();
    let written = match read {
        v4::Packet::Connect(packet) => packet.write(&mut out),
        v4::Packet::ConnAck(packet) => packet.write(&mut out),
        v4::Packet::Publish(packet) => packet.write(&mut out),
        v4::Packet::PubAck(packet) => packet.write(&mut out),
        v4::Packet::PubRec(packet) => packet.write(&mut out),
        v4::Packet::PubRel(packet) => packet.write(&mut out),
        v4::Packet::PubComp(packet) => packet.write(&mut out),
        v4::Packet::Subscribe(packet) => packet.write(&mut out),
        v4::Packet::SubAck(packet) => packet.write(&mut out),
        v4::Packet::Unsubscribe(packet) => packet.write(&mut out),
        v4::Packet::UnsubAck(packet) => packet.write(&mut out),
        v4::Packet::PingReq => v4::PingReq.write(&mut out),
        v4::Packet::PingResp => v4::PingResp.write(&mut out),
        v4::Packet::Disconnect => v4::Disconnect.write(&mut out),
    };
    written.unwrap();
    out
}

fn through_v5(packet: &Packet<'_>) -> BytesMut {
    let mut bytes = encoded(packet, ProtocolVersion::V5);
    let read = v5::read(&mut bytes, BYTES_MAX).unwrap_or_else(|error| panic!("{packet:?}: {error}"));
    let mut out = BytesMut::new();
    let written = match read {
        v5::Packet::Connect(packet) => packet.write(&mut out),
        v5::Packet::ConnAck(packet) => packet.write(&mut out),
        v5::Packet::Publish(packet) => packet.write(&mut out),
        v5::Packet::PubAck(packet) => packet.write(&mut out),
        v5::Packet::PubRec(packet) => packet.write(&mut out),
        v5::Packet::PubRel(packet) => packet.write(&mut out),
        v5::Packet::PubComp(packet) => packet.write(&mut out),
        v5::Packet::Subscribe(packet) => packet.write(&mut out),
        v5::Packet::SubAck(packet) => packet.write(&mut out),
        v5::Packet::UnsubAck(packet) => packet.write(&mut out),
        v5::Packet::PingReq => v5::PingReq.write(&mut out),
        v5::Packet::PingResp => v5::PingResp.write(&mut out),
        other => panic!("left out: {other:?}"),
    };
    written.unwrap();
    out
}

/// mqttbytes keeps a Password as text, and treats an empty User Name or Password as absent.
fn with_text_as_password<'a>(packet: Packet<'a>) -> Packet<'a> {
    let Packet::Connect(mut connect) = packet else {
        return packet;
    };
    connect.user_name = connect.user_name.filter(|user_name| !user_name.is_empty());
    connect.password = connect
        .user_name
        .filter(|_| connect.password.is_some())
        .map(str::as_bytes);
    Packet::Connect(connect)
}

fn left_out_of_v5(packet: &Packet<'_>) -> bool {
    match packet {
        Packet::ConnAck(connack) => connack.properties.is_empty(),
        Packet::Unsubscribe(_) | Packet::Disconnect(_) | Packet::Auth(_) => true,
        _ => false,
    }
}

/// mqttbytes writes properties in a different order: compares them as sets, and the rest of the packet without them.
fn same_but_for_the_order(left: Packet<'_>, right: Packet<'_>) -> bool {
    let (left, left_properties) = without_properties(left);
    let (right, right_properties) = without_properties(right);
    let sorted = |properties: Vec<Property<'_>>| {
        let mut texts: Vec<String> = properties
            .iter()
            .map(|property| format!("{property:?}"))
            .collect();
        texts.sort();
        texts
    };
    left == right && sorted(left_properties) == sorted(right_properties)
}

fn without_properties<'a>(mut packet: Packet<'a>) -> (Packet<'a>, Vec<Property<'a>>) {
    let mut taken = Vec::new();
    let mut take = |properties: &mut Properties<'a>| taken.extend(std::mem::take(properties).iter());
    match &mut packet {
        Packet::Connect(connect) => {
            take(&mut connect.properties);
            if let Some(will) = &mut connect.will {
                take(&mut will.properties);
            }
        }
        Packet::ConnAck(connack) => take(&mut connack.properties),
        Packet::Publish(publish) => take(&mut publish.properties),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            take(&mut ack.properties);
        }
        Packet::Subscribe(subscribe) => take(&mut subscribe.properties),
        Packet::SubAck(suback) | Packet::UnsubAck(suback) => take(&mut suback.properties),
        _ => {}
    }
    (packet, taken)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn v3_1_1_packets_go_through_the_other_implementation(mut fields in Fields::any()) {
        fields.version = ProtocolVersion::V3_1_1;
        let buffers = fields.buffers();
        for packet in fields.packets(&buffers).into_iter().map(with_text_as_password) {
            let back = through_v4(&packet);
            prop_assert_eq!(decode(&back, fields.version), Ok(packet));
        }
    }

    #[test]
    fn v5_packets_go_through_the_other_implementation(mut fields in Fields::any()) {
        fields.version = ProtocolVersion::V5;
        let buffers = fields.buffers();
        let packets = fields.packets(&buffers).into_iter().map(with_text_as_password);
        for packet in packets.filter(|packet| !left_out_of_v5(packet)) {
            let back = through_v5(&packet);
            let decoded = decode(&back, fields.version).unwrap();
            prop_assert!(same_but_for_the_order(decoded, packet), "{:?} became {:?}", packet, decoded);
        }
    }

    /// How the other implementation reads a PUBLISH, field by field.
    #[test]
    fn both_see_the_same_publish(mut fields in Fields::any()) {
        fields.version = ProtocolVersion::V3_1_1;
        let buffers = fields.buffers();
        let publish = fields.publish(&buffers);
        let mut bytes = encoded(&Packet::Publish(publish), fields.version);
        let v4::Packet::Publish(seen) = v4::read(&mut bytes, BYTES_MAX).unwrap() else { panic!("a PUBLISH") };
        prop_assert_eq!((seen.dup, seen.qos as u8, seen.retain), (publish.dup, publish.qos as u8, publish.retain));
        prop_assert_eq!(seen.pkid, publish.packet_identifier.map_or(0, std::num::NonZeroU16::get));
        prop_assert_eq!((seen.topic.as_str(), &seen.payload[..]), (publish.topic, publish.payload));
    }
}
