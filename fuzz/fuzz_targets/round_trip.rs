//! Encoder first: packets with any fields are refused, or decode to the original if the fields are valid.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mqtt::packet::{Connect, Packet, PacketIdentifier, Publish, QoS, Will};
use mqtt::property::{Properties, PropertiesBuf, Property};
use mqtt::publish_template::PublishTemplate;
use mqtt::{ProtocolVersion, decode, frame, topic};

#[derive(Arbitrary, Debug)]
struct Fields<'a> {
    version: u8,
    qos: u8,
    dup: bool,
    retain: bool,
    identifier: PacketIdentifier,
    topic: &'a str,
    text: &'a str,
    other_text: Option<&'a str>,
    data: &'a [u8],
    other_data: Option<&'a [u8]>,
    number: u32,
}

fuzz_target!(|fields: Fields<'_>| {
    let version = [
        ProtocolVersion::V3_1,
        ProtocolVersion::V3_1_1,
        ProtocolVersion::V5,
    ][usize::from(fields.version % 3)];
    let qos = QoS::from_bits(fields.qos % 3).expect("below 3");
    let mut buffer = PropertiesBuf::new();
    if version == ProtocolVersion::V5 {
        buffer
            .push(Property::MessageExpiryInterval(fields.number))
            .expect("a number");
        let _ = buffer.push(Property::CorrelationData(fields.data));
        let _ = buffer.push(Property::UserProperty(
            fields.text,
            fields.other_text.unwrap_or_default(),
        ));
    }
    let properties = buffer.as_properties();
    let texts_are_valid = ![Some(fields.text), fields.other_text]
        .into_iter()
        .flatten()
        .any(|text| text.contains('\0'));
    let valid = texts_are_valid && topic::check_name(fields.topic).is_ok();
    publish(&fields, version, qos, properties, valid);
    connect(&fields, version, qos, properties, valid);
});

fn publish(fields: &Fields<'_>, version: ProtocolVersion, qos: QoS, properties: Properties<'_>, valid: bool) {
    let acknowledged = qos != QoS::AtMostOnce;
    let publish = Publish {
        dup: fields.dup && acknowledged,
        qos,
        retain: fields.retain,
        topic: fields.topic,
        packet_identifier: acknowledged.then_some(fields.identifier),
        properties,
        payload: fields.data,
    };
    let Some(bytes) = check(Packet::Publish(publish), version, valid) else {
        return;
    };
    let mut template = PublishTemplate::new();
    let none = Properties::EMPTY;
    template
        .encode(
            version,
            qos,
            fields.retain,
            fields.topic,
            properties,
            none,
            fields.data,
        )
        .expect("encoded before");
    let mut out = Vec::new();
    template.append_with_identifier(fields.identifier, publish.dup, &mut out);
    assert_eq!(out, bytes);
}

fn connect(fields: &Fields<'_>, version: ProtocolVersion, qos: QoS, properties: Properties<'_>, valid: bool) {
    let will = Will {
        qos,
        retain: fields.retain,
        properties,
        topic: fields.topic,
        payload: fields.data,
    };
    let connect = Connect {
        version,
        clean_start: fields.dup,
        keep_alive_s: fields.number as u16,
        properties: Properties::EMPTY,
        client_identifier: fields.text,
        will: fields.retain.then_some(will),
        user_name: fields.other_text,
        password: fields.other_data,
    };
    let has_identifier = version != ProtocolVersion::V3_1 || !fields.text.is_empty();
    check(Packet::Connect(connect), version, valid && has_identifier);
}

/// The encoded packet, unless the encoder refuses it; a valid one must decode to itself.
fn check(packet: Packet<'_>, version: ProtocolVersion, valid: bool) -> Option<Vec<u8>> {
    let mut bytes = b"before".to_vec();
    if packet.encode(version, &mut bytes).is_err() {
        assert_eq!(bytes, b"before");
        return None;
    }
    let bytes = bytes.split_off(6);
    let frame = frame::split(&bytes, u32::MAX)
        .expect("a frame")
        .expect("a whole frame");
    assert_eq!(frame.wire_bytes, bytes.len());
    let decoded = decode::packet(&frame, version);
    if valid {
        assert_eq!(decoded, Ok(packet));
    }
    Some(bytes)
}
