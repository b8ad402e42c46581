//! The first packets of a bridge, as either broker sees them.

use mqtt::frame::{self, PacketType};
use mqtt::packet::Packet;
use mqtt::{decode, frame::Frame};

use super::*;
use crate::config::bridges_of;

fn settings(lines: &str) -> BridgeSettings {
    bridges_of(&format!("connection b\naddress h\nremote_clientid r\n{lines}\n")).remove(0)
}

fn frame(bytes: &[u8]) -> Frame<'_> {
    frame::split(bytes, u32::MAX).unwrap().unwrap()
}

const TERMS: BrokerTerms = BrokerTerms {
    session_present: false,
    qos_max: QoS::ExactlyOnce,
    retain_available: true,
    packet_bytes_max: None,
    receive_max: None,
    keep_alive_s: None,
};

#[test]
fn a_bridge_names_itself_by_a_bit_of_the_level() {
    for (version, level) in [("mqttv31", 0x83), ("mqttv311", 0x84)] {
        let settings = settings(&format!("bridge_protocol_version {version}"));
        let packet = connect_remote(&settings, true, 20, 1000);
        assert!(decode::is_bridge(frame(&packet).body));
        let plain = connect_remote(&settings, false, 20, 1000);
        assert!(!decode::is_bridge(frame(&plain).body));
        let differing: Vec<_> = packet.iter().zip(&plain).filter(|(a, b)| a != b).collect();
        assert_eq!(differing, [(&level, &(level & 0x7F))]);
    }
    // Of a CONNECT whose length has two bytes.
    let long = settings(&format!("remote_username {}", "u".repeat(300)));
    assert!(decode::is_bridge(
        frame(&connect_remote(&long, true, 20, 1000)).body
    ));
}

#[test]
fn what_the_other_broker_is_asked_for() {
    let lines =
        "bridge_protocol_version mqttv50\nremote_username u\nremote_password p w\nkeepalive_interval 7";
    let bytes = connect_remote(&settings(lines), false, 20, 1000);
    let Packet::Connect(connect) = decode::packet(&frame(&bytes), ProtocolVersion::V5).unwrap() else {
        panic!("a CONNECT");
    };
    assert_eq!((connect.client_identifier, connect.clean_start), ("r", false));
    assert_eq!(
        (connect.user_name, connect.password),
        (Some("u"), Some(&b"p w"[..]))
    );
    assert_eq!(connect.keep_alive_s, 7);
    let asked: Vec<_> = connect.properties.iter().collect();
    let expected = [
        Property::SessionExpiryInterval(u32::MAX),
        Property::ReceiveMaximum(NonZeroU16::new(20).unwrap()),
        Property::TopicAliasMaximum(10),
        Property::MaximumPacketSize(std::num::NonZeroU32::new(1000).unwrap()),
    ];
    assert_eq!(asked, expected);
    let will = connect.will.unwrap();
    assert_eq!(
        (will.topic, will.payload, will.retain),
        ("$SYS/broker/connection/r/state", &b"0"[..], true)
    );
}

#[test]
fn subscriptions_of_both_sides() {
    let settings = settings("topic in/# in 1\ntopic out/# out 2\ntopic x both 0\ntopic in/# out");
    let mut out = Vec::new();
    begin_remote(&settings, &TERMS, &mut out);
    let mut packets = Vec::new();
    let mut rest = out.as_slice();
    while let Some(frame) = frame::split(rest, u32::MAX).unwrap() {
        packets.push(frame.packet_type);
        match decode::packet(&frame, ProtocolVersion::V3_1_1).unwrap() {
            Packet::Subscribe(subscribe) => {
                let filters: Vec<_> = subscribe
                    .filters
                    .iter()
                    .map(|(filter, options)| (filter, options.qos))
                    .collect();
                assert_eq!(filters, [("in/#", QoS::AtLeastOnce), ("x", QoS::AtMostOnce)]);
            }
            Packet::Unsubscribe(unsubscribe) => {
                let filters: Vec<_> = unsubscribe.filters.iter().collect();
                assert_eq!(filters, ["out/#"], "not what comes in by another line");
            }
            Packet::Publish(publish) => assert_eq!((publish.payload, publish.retain), (&b"1"[..], true)),
            other => panic!("{other:?}"),
        }
        rest = &rest[frame.wire_bytes..];
    }
    assert_eq!(
        packets,
        [
            PacketType::Subscribe,
            PacketType::Unsubscribe,
            PacketType::Publish
        ]
    );
    let mut out = Vec::new();
    begin_local(&settings, &mut out);
    let Packet::Subscribe(subscribe) = decode::packet(&frame(&out), ProtocolVersion::V5).unwrap() else {
        panic!("a SUBSCRIBE");
    };
    let filters: Vec<_> = subscribe.filters.iter().collect();
    assert_eq!(filters.len(), 3);
    assert!(
        filters
            .iter()
            .all(|(_, options)| options.no_local && options.retain_as_published)
    );
}
