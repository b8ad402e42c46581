//! A stream of packets: each is refused with a reason, or is valid and unchanged after encoding and decoding.

use mqtt::packet::{Packet, Publish};
use mqtt::{ProtocolVersion, decode, frame, topic};

/// Checks all packets at the start of `bytes`.
pub fn check(mut bytes: &[u8], version: ProtocolVersion) {
    while let Ok(Some(frame)) = frame::split(bytes, 1 << 16) {
        bytes = &bytes[frame.wire_bytes..];
        match decode::packet(&frame, version) {
            Ok(packet) => check_packet(packet, version),
            Err(error) => {
                assert!(error.reason().is_error(), "{error}");
                assert!(error.statement().starts_with("[MQTT-"), "{error}");
                assert!(error.statement_v3().starts_with("[MQTT3-"), "{error}");
            }
        }
    }
}

fn check_packet(packet: Packet<'_>, version: ProtocolVersion) {
    let version = if let Packet::Connect(connect) = packet {
        connect.version
    } else {
        version
    };
    check_fields(&packet, version);
    let mut encoded = Vec::new();
    packet
        .encode(version, &mut encoded)
        .expect("what came in goes out");
    let frame = frame::split(&encoded, u32::MAX)
        .expect("a frame")
        .expect("a whole frame");
    assert_eq!(frame.wire_bytes, encoded.len());
    assert_eq!(decode::packet(&frame, version), Ok(packet));
    let mut again = Vec::new();
    decode::packet(&frame, version)
        .expect("decoded before")
        .encode(version, &mut again)
        .expect("encoded before");
    assert_eq!(again, encoded);
}

fn check_fields(packet: &Packet<'_>, version: ProtocolVersion) {
    match packet {
        Packet::Publish(publish) => check_publish(publish, version),
        Packet::Subscribe(subscribe) => {
            assert!(subscribe.filters.iter().count() > 0);
            for (filter, _) in subscribe.filters.iter() {
                topic::check_filter(filter).expect("a Topic Filter");
            }
        }
        Packet::Unsubscribe(unsubscribe) => {
            assert!(unsubscribe.filters.iter().count() > 0);
            for filter in unsubscribe.filters.iter() {
                topic::check_filter(filter).expect("a Topic Filter");
            }
        }
        Packet::Connect(connect) => {
            if let Some(will) = connect.will {
                topic::check_name(will.topic).expect("a Topic Name");
            }
        }
        _ => {}
    }
}

fn check_publish(publish: &Publish<'_>, version: ProtocolVersion) {
    assert_eq!(publish.packet_identifier.is_some(), publish.qos as u8 > 0);
    assert!(version == ProtocolVersion::V5 || publish.properties.is_empty());
    if publish.topic.is_empty() {
        assert!(publish.properties.topic_alias().is_some());
    } else {
        topic::check_name(publish.topic).expect("a Topic Name");
    }
}
