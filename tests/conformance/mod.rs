//! Numbered statements of the specifications, checked over real sockets with packets written byte by byte.
//!
//! One file for each part of the protocol. A test has the tags of what it checks; `docs/CONFORMANCE.md` lists them.
//! Most run once as MQTT 3.1.1 and once as 5.0, because the statement is the same under two numbers.

mod connect;
mod delivery;
mod errors;
mod malformed;
mod problems;
mod properties;
mod publish;
mod session;
mod strings;
mod subscribe;
mod topics;

use mqtt::ProtocolVersion;

use crate::harness::{Broker, Client};

const VERSIONS: [ProtocolVersion; 2] = [ProtocolVersion::V3_1_1, ProtocolVersion::V5];

const CONNACK: u8 = 0x20;
const PUBACK: u8 = 0x40;
const PUBREC: u8 = 0x50;
const PUBREL: u8 = 0x62;
const PUBCOMP: u8 = 0x70;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;
const UNSUBSCRIBE: u8 = 0xa2;
const UNSUBACK: u8 = 0xb0;
const PINGREQ: &[u8] = b"\xc0\x00";
const PINGRESP: &[u8] = b"\xd0\x00";
const DISCONNECT: &[u8] = b"\xe0\x00";

const CLEAN: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_QOS_1: u8 = 0x08;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USER_NAME: u8 = 0x80;

/// A field of two bytes for the length and its bytes.
fn field(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let length = u16::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes(), bytes].concat()
}

/// A packet: first byte, Remaining Length, body.
fn packet(first: u8, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let mut packet = vec![first];
    let mut length = body.len();
    loop {
        let more = if length > 127 { 0x80 } else { 0 };
        packet.push(u8::try_from(length % 128).unwrap() | more);
        length /= 128;
        if length == 0 {
            break;
        }
    }
    [packet, body].concat()
}

/// A Property Length of 0 in 5.0, nothing in 3.1.1.
fn no_properties(version: ProtocolVersion) -> &'static [u8] {
    match version {
        ProtocolVersion::V5 => b"\x00",
        _ => b"",
    }
}

/// A CONNECT with these Connect Flags and fields of the payload, without Keep Alive and properties.
fn connect(version: ProtocolVersion, flags: u8, payload: &[&[u8]]) -> Vec<u8> {
    connect_with(version, flags, no_properties(version), payload)
}

/// As [`connect`], with the properties and their length.
fn connect_with(version: ProtocolVersion, flags: u8, properties: &[u8], payload: &[&[u8]]) -> Vec<u8> {
    let level = if version == ProtocolVersion::V5 { 5 } else { 4 };
    let head = [&field("MQTT"), &[level, flags, 0, 0][..], properties].concat();
    packet(0x10, &[&[head.as_slice()], payload].concat())
}

/// Will Topic and Will Payload, preceded by empty Will Properties in 5.0.
fn will_fields(version: ProtocolVersion, topic: &str, payload: &str) -> Vec<u8> {
    [no_properties(version), &field(topic), &field(payload)].concat()
}

/// A connection on which these bytes were sent.
fn open(broker: &Broker, version: ProtocolVersion, bytes: &[u8]) -> Client {
    let mut client = Client::open_as(broker, version);
    client.send(bytes);
    client
}

/// A client that was accepted, with a clean session.
fn accepted(broker: &Broker, version: ProtocolVersion, identifier: &str) -> Client {
    let mut client = open(broker, version, &connect(version, CLEAN, &[&field(identifier)]));
    let connack = client.expect_bytes();
    assert_eq!(
        (connack[0], connack[2], connack[3]),
        (CONNACK, 0, 0),
        "{identifier}"
    );
    client
}

/// The same for a client that requests no reason strings (Request Problem Information 0).
fn accepted_without_words(broker: &Broker, version: ProtocolVersion, identifier: &str) -> Client {
    let properties: &[u8] = if version == ProtocolVersion::V5 {
        b"\x02\x17\x00"
    } else {
        b""
    };
    let mut client = open(
        broker,
        version,
        &connect_with(version, CLEAN, properties, &[&field(identifier)]),
    );
    assert_eq!(client.expect_bytes()[2..4], [0, 0], "{identifier}");
    client
}

/// A PUBLISH with these flags; with an identifier if there is one.
fn publish(
    version: ProtocolVersion,
    flags: u8,
    topic: &str,
    identifier: Option<u16>,
    payload: &str,
) -> Vec<u8> {
    let identifier = identifier.map_or(Vec::new(), |identifier| identifier.to_be_bytes().to_vec());
    let topic = field(topic);
    packet(
        0x30 | flags,
        &[&topic, &identifier, no_properties(version), payload.as_bytes()],
    )
}

/// A PUBACK, PUBREC, PUBREL or PUBCOMP that reports success.
fn ack(first: u8, identifier: u16) -> Vec<u8> {
    packet(first, &[&identifier.to_be_bytes()])
}

/// SUBSCRIBE with pairs of filter and options.
fn subscribe(version: ProtocolVersion, identifier: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = [&identifier.to_be_bytes(), no_properties(version)].concat();
    for (filter, options) in filters {
        body.extend(field(filter));
        body.push(*options);
    }
    packet(SUBSCRIBE, &[&body])
}

/// UNSUBSCRIBE with these filters.
fn unsubscribe(version: ProtocolVersion, identifier: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = [&identifier.to_be_bytes(), no_properties(version)].concat();
    for filter in filters {
        body.extend(field(filter));
    }
    packet(UNSUBSCRIBE, &[&body])
}

/// SUBACK or UNSUBACK with these codes; UNSUBACK of 3.1.1 has none.
fn answer(version: ProtocolVersion, first: u8, identifier: u16, codes: &[u8]) -> Vec<u8> {
    packet(first, &[&identifier.to_be_bytes(), no_properties(version), codes])
}

/// Sends, and expects this answer next.
fn exchange(client: &mut Client, bytes: &[u8], expected: &[u8]) {
    client.send(bytes);
    assert_eq!(client.expect_bytes(), expected, "after {bytes:x?}");
}

/// Subscribes to one filter with these options, which are granted unchanged.
fn subscribed(client: &mut Client, version: ProtocolVersion, filter: &str, options: u8) {
    exchange(
        client,
        &subscribe(version, 999, &[(filter, options)]),
        &answer(version, SUBACK, 999, &[options & 3]),
    );
}

/// Publishes with QoS 1: when it returns, every earlier packet of this client has been handled.
fn published(client: &mut Client, version: ProtocolVersion, topic: &str, payload: &str) {
    client.send(&publish(version, 0x02, topic, Some(998), payload));
    assert_eq!(client.expect_bytes()[2..4], 998_u16.to_be_bytes());
}

/// The reason code of a packet with which the broker closed the connection: none before 5.0.
fn closed_with(version: ProtocolVersion, client: Client, reasons: &[u8], what: &str) {
    let bytes = client.read_to_end();
    match version {
        ProtocolVersion::V5 => {
            assert!(bytes.len() >= 3 && bytes[0] == 0xe0, "{what}: {bytes:x?}");
            assert!(reasons.contains(&bytes[2]), "{what}: {bytes:x?}");
        }
        _ => assert!(bytes.is_empty(), "{what}: {bytes:x?}"),
    }
}
