//! The end of a connection: sections 2.1.3, 3.12, 3.14, 4.8 of 3.1.1 and 4.13 of 5.0; the transport, 4.2.

use std::sync::Arc;

use mqtt::ProtocolVersion::V5;
use mqtt::property::Property;

use super::*;
use crate::harness::{Certificates, Options, Setup};

/// PINGREQ is answered, however many arrive at once.
///
/// [MQTT3-3.12.4-1], [MQTT-3.12.4-1]
#[test]
fn pings_are_answered() {
    let broker = Broker::start();
    for version in VERSIONS {
        let mut client = accepted(&broker, version, "client");
        client.send(&PINGREQ.repeat(100));
        for _ in 0..100 {
            assert_eq!(client.expect_bytes(), PINGRESP);
        }
        client.disconnect();
    }
}

/// DISCONNECT is the last packet that is handled, and the last one that is answered.
///
/// [MQTT3-3.14.4-3], [MQTT-3.14.4-1], [MQTT-3.14.4-2], [MQTT-3.14.4-3], [MQTT-3.14.2-2]
#[test]
fn nothing_follows_a_disconnect() {
    let broker = Setup::default().shards(2).start();
    for version in VERSIONS {
        let mut watcher = accepted(&broker, version, "watcher");
        subscribed(&mut watcher, version, "t", 0);
        let will = will_fields(version, "t", "will");
        let connect = connect(version, CLEAN | WILL, &[&field("a"), &will]);
        let mut client = open(&broker, version, &connect);
        client.expect_bytes();
        client.send(&[DISCONNECT, &publish(version, 0, "t", None, "after"), PINGREQ].concat());
        assert_eq!(client.read_to_end(), b"");
        watcher.expect_nothing();
        // The broker's own DISCONNECT: complete, alone, last, without a Session Expiry Interval.
        let mut client = accepted(&broker, version, "b");
        client.send(
            &[
                &b"\x00\x00"[..],
                PINGREQ,
                &publish(version, 0, "t", None, "after"),
            ]
            .concat(),
        );
        let answer = client.read_to_end();
        if version == V5 {
            let frame = mqtt::frame::split(&answer, u32::MAX).unwrap().unwrap();
            assert_eq!((frame.wire_bytes, answer[0]), (answer.len(), 0xe0), "{answer:x?}");
            let Ok(mqtt::packet::Packet::Disconnect(disconnect)) = mqtt::decode::packet(&frame, V5) else {
                panic!("{answer:x?}");
            };
            let is_expiry = |property| matches!(property, Property::SessionExpiryInterval(_));
            assert!(!disconnect.properties.iter().any(is_expiry));
        } else {
            assert_eq!(answer, b"");
        }
        watcher.expect_nothing();
        watcher.disconnect();
    }
}

/// A reason of 0x80 or above in a client's DISCONNECT ends the connection like any other, and the Will is published.
///
/// [MQTT-4.13.2-1], [MQTT-3.14.2-1], [MQTT-3.1.2-8]
#[test]
fn a_disconnect_with_an_error() {
    let broker = Broker::start();
    let mut watcher = accepted(&broker, V5, "watcher");
    subscribed(&mut watcher, V5, "t", 0);
    for reason in [0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x95, 0x99] {
        let will = will_fields(V5, "t", "will");
        let mut client = open(&broker, V5, &connect(V5, CLEAN | WILL, &[&field("a"), &will]));
        client.expect_bytes();
        client.send(&[0xe0, 1, reason]);
        assert_eq!(client.read_to_end(), b"");
        assert_eq!(
            watcher.expect_bytes(),
            publish(V5, 0, "t", None, "will"),
            "{reason:#x}"
        );
    }
    for reason in [0x01, 0x05, 0x7f, 0xff] {
        let mut client = accepted(&broker, V5, "a");
        client.send(&[0xe0, 1, reason]);
        closed_with(V5, client, &[0x81, 0x82], &format!("{reason:#x} is no reason"));
    }
}

/// Reserved bits of every packet that a client may send.
///
/// [MQTT3-2.2.2-1], [MQTT3-2.2.2-2], [MQTT3-3.3.1-4], [MQTT3-3.3.1-2], [MQTT3-3.6.1-1], [MQTT3-3.14.1-1],
/// [MQTT3-4.8.0-1]; [MQTT-2.1.3-1], [MQTT-3.3.1-4], [MQTT-3.3.1-2], [MQTT-3.6.1-1], [MQTT-3.14.1-1], [MQTT-3.15.1-1],
/// [MQTT-4.13.1-1]
#[test]
fn reserved_bits_end_the_connection() {
    let broker = Broker::start();
    for version in VERSIONS {
        let publish_body = [&field("t"), &b"\x00\x01"[..], no_properties(version), b"x"].concat();
        let mut wrong = vec![packet(0x36, &[&publish_body]), packet(0x3e, &[&publish_body])];
        wrong.extend([0x38, 0x39].map(|first| packet(first, &[&field("t"), no_properties(version), b"x"])));
        for flags in 0..16 {
            for (packet_type, right, body) in [
                (0x40, 0, &b"\x00\x01"[..]),
                (0x50, 0, b"\x00\x01"),
                (0x60, 2, b"\x00\x01"),
                (0x70, 0, b"\x00\x01"),
                (0xc0, 0, b""),
                (0xe0, 0, b""),
                (0xf0, 0, b"\x18\x00"),
            ] {
                if flags != right {
                    wrong.push(packet(packet_type | flags, &[body]));
                }
            }
        }
        for bytes in wrong {
            let mut client = accepted(&broker, version, "client");
            client.send(&bytes);
            closed_with(version, client, &[0x81, 0x82], &format!("{version:?} {bytes:x?}"));
        }
    }
}

/// Packets that only a server sends, a second CONNECT, AUTH without a method, and type 0.
///
/// [MQTT3-4.8.0-1], [MQTT3-3.1.0-2], [MQTT-4.13.1-1], [MQTT-3.1.0-2]
#[test]
fn packets_of_servers_end_the_connection() {
    let broker = Broker::start();
    for version in VERSIONS {
        for bytes in [
            packet(CONNACK, &[&[0, 0], no_properties(version)]),
            answer(version, SUBACK, 1, &[0]),
            answer(version, UNSUBACK, 1, if version == V5 { &[0] } else { &[] }),
            PINGRESP.to_vec(),
            packet(0xf0, &[&[0x18, 0]]),
            packet(0xf0, &[]),
            packet(0x00, &[]),
            connect(version, CLEAN, &[&field("client")]),
        ] {
            let mut client = accepted(&broker, version, "client");
            client.send(&bytes);
            closed_with(version, client, &[0x81, 0x82], &format!("{version:?} {bytes:x?}"));
        }
    }
}

/// A packet that is too large ends its connection, and no other.
///
/// [MQTT3-4.8.0-2], [MQTT-3.2.2-15], [MQTT-4.13.1-1]
#[test]
fn a_packet_that_is_too_large_ends_the_connection() {
    let broker = Setup::default().global("max_packet_size 1000").start();
    for version in VERSIONS {
        let mut bystander = accepted(&broker, version, "bystander");
        let mut client = accepted(&broker, version, "client");
        published(&mut client, version, "t", &"x".repeat(900));
        // The announced length is sufficient.
        client.send(b"\x30\xff\xff\xff\x7f");
        closed_with(version, client, &[0x95], "too large");
        exchange(&mut bystander, PINGREQ, PINGRESP);
        bystander.disconnect();
    }
}

/// No packet that is larger than the client allows is sent to it; the message counts as sent.
///
/// [MQTT-3.1.2-24], [MQTT-3.1.2-25]
#[test]
fn the_maximum_packet_size_of_a_client() {
    let broker = Setup::default().shards(2).start();
    let properties = b"\x05\x27\x00\x00\x00\x28";
    let mut client = open(
        &broker,
        V5,
        &connect_with(V5, CLEAN, properties, &[&field("small")]),
    );
    assert!(client.expect_bytes().len() <= 40);
    subscribed(&mut client, V5, "t", 1);
    let mut publisher = accepted(&broker, V5, "publisher");
    for length in [10, 33, 34, 200, 5] {
        published(&mut publisher, V5, "t", &"x".repeat(length));
    }
    // Header 2, topic 3, identifier 2, Property Length 1: 32 bytes are left for the payload.
    let lengths: Vec<_> = (0..2).map(|_| client.message().payload.len()).collect();
    assert_eq!(lengths, [10, 5]);
    client.expect_nothing();
}

/// TCP and TLS; a packet may arrive in pieces of a byte, and many in one piece.
///
/// [MQTT3-7.1.1-1], [MQTT3-7.0.0-2], [MQTT-4.2.0-1]
#[test]
fn the_transport_is_a_stream_of_bytes() {
    let broker = Broker::start();
    for version in VERSIONS {
        let mut client = Client::open_as(&broker, version);
        let all = [
            connect(version, CLEAN, &[&field("client")]),
            subscribe(version, 1, &[("t", 0)]),
            publish(version, 0, "t", None, "x"),
            PINGREQ.to_vec(),
        ]
        .concat();
        for byte in &all {
            client.send(&[*byte]);
        }
        let mut expected = vec![SUBACK, 0x30, PINGRESP[0]];
        assert_eq!(client.expect_bytes()[0], CONNACK);
        expected.retain(|first| client.expect_bytes()[0] != *first);
        assert!(expected.is_empty(), "{expected:?}");
        client.disconnect();
        let mut client = open(&broker, version, &all);
        let firsts: Vec<_> = (0..4).map(|_| client.expect_bytes()[0]).collect();
        assert_eq!(firsts, [CONNACK, SUBACK, 0x30, PINGRESP[0]]);
        client.disconnect();
    }
    let certificates = Certificates::new();
    let broker = Setup::default().tls(&certificates).start();
    let tls = certificates.client_config(&[&rustls::version::TLS13], false);
    for version in VERSIONS {
        let options = Options::new("client").version(version).tls(Arc::clone(&tls));
        let mut client = Client::connect(&broker, &options);
        subscribed(&mut client, version, "t", 0);
        let publish = publish(version, 0, "t", None, &"x".repeat(100_000));
        client.send(&publish);
        assert!(client.expect_bytes() == publish);
    }
}
