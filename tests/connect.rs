//! CONNECT and its answer.

use mqtt::frame::PacketType;
use mqtt::packet::Packet;
use mqtt::{ProtocolVersion, ReasonCode};

use crate::harness::{Broker, Client, Options, Setup};

const VERSIONS: [ProtocolVersion; 3] = [
    ProtocolVersion::V3_1,
    ProtocolVersion::V3_1_1,
    ProtocolVersion::V5,
];

#[test]
fn every_version_is_accepted() {
    let broker = Broker::start();
    for version in VERSIONS {
        let (mut client, session_present) =
            Client::connect_session(&broker, &Options::new("a").version(version));
        assert!(!session_present, "{version:?}");
        client.ping();
        client.disconnect();
    }
}

/// [MQTT-3.1.3-7], [MQTT-3.2.2-16]
#[test]
fn an_empty_client_identifier_gets_one() {
    let broker = Setup::default().global("auto_id_prefix made-").shards(2).start();
    let mut old = Client::connect(&broker, &Options::new(""));
    old.ping();
    let mut assigned = Vec::new();
    for _ in 0..4 {
        let (_client, answer) = Client::try_connect(&broker, &Options::new("").v5());
        let answer = answer.unwrap();
        let identifier = answer
            .properties()
            .assigned_client_identifier()
            .unwrap()
            .to_owned();
        assert!(identifier.starts_with("made-"), "{identifier}");
        assert!(!assigned.contains(&identifier), "{identifier} was given twice");
        assigned.push(identifier);
    }
}

/// [MQTT3-3.1.3-8]
#[test]
fn an_empty_client_identifier_with_a_kept_session_is_refused() {
    let broker = Broker::start();
    let (mut client, answer) = Client::try_connect(&broker, &Options::new("").persistent());
    match answer.as_ref().map(|answer| answer.packet()) {
        Some(Packet::ConnAck(connack)) => assert_eq!(connack.reason, ReasonCode::ClientIdentifierNotValid),
        other => panic!("{other:?}"),
    }
    client.expect_closed();
}

#[test]
fn an_empty_client_identifier_may_be_forbidden() {
    let broker = Setup::default()
        .global("allow_zero_length_clientid false")
        .start();
    for version in [ProtocolVersion::V3_1_1, ProtocolVersion::V5] {
        let (_client, answer) = Client::try_connect(&broker, &Options::new("").version(version));
        match answer.as_ref().map(|answer| answer.packet()) {
            Some(Packet::ConnAck(connack)) => {
                assert_eq!(connack.reason, ReasonCode::ClientIdentifierNotValid)
            }
            other => panic!("{version:?}: {other:?}"),
        }
    }
}

/// [MQTT3-3.1.2-2], [MQTT-3.1.2-2]
#[test]
fn an_unknown_protocol_level_is_refused() {
    let broker = Broker::start();
    let mut client = Client::open(&broker);
    client.send(b"\x10\x0d\x00\x04MQTT\x06\x02\x00\x00\x00\x01a");
    client.expect_closed();
}

/// [MQTT-3.1.0-2]
#[test]
fn a_second_connect_ends_the_connection() {
    let broker = Broker::start();
    let mut client = Client::connect(&broker, &Options::new("a").v5());
    client.send(b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01a");
    assert_eq!(client.expect_closed().0, Some(ReasonCode::ProtocolError));
}

#[test]
fn what_follows_the_connect_in_one_segment_is_read() {
    let broker = Setup::default().shards(2).start();
    for identifier in ["a", "b", "c", "d", "e", "f"] {
        let mut client = Client::open(&broker);
        let mut bytes = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01".to_vec();
        bytes.extend_from_slice(identifier.as_bytes());
        bytes.extend_from_slice(b"\xc0\x00");
        client.send(&bytes);
        client.expect(PacketType::ConnAck);
        client.expect(PacketType::PingResp);
    }
}

#[test]
fn max_connections_is_kept() {
    let broker = Setup::default().listener("max_connections 2").start();
    let _first = Client::connect(&broker, &Options::new("a"));
    let second = Client::connect(&broker, &Options::new("b"));
    let (_third, answer) = Client::try_connect(&broker, &Options::new("c"));
    if let Some(answer) = answer {
        assert!(
            !format!("{:?}", answer.packet()).contains("Success"),
            "{:?}",
            answer.packet()
        );
    }
    second.disconnect();
    crate::harness::eventually("there is room again", || {
        let (_client, answer) = Client::try_connect(&broker, &Options::new("d"));
        answer.is_some_and(|answer| format!("{:?}", answer.packet()).contains("Success"))
    });
}
