//! UTF-8 strings and lengths: sections 1.5 and 2.1.

use mqtt::ProtocolVersion::V5;

use super::*;

/// Ill-formed UTF-8: a lone continuation, overlong, a surrogate, above U+10FFFF, cut; and U+0000.
const WRONG: [&[u8]; 8] = [
    b"\x80",
    b"\xc0\x80",
    b"\xe0\x80\xaf",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xf4\x90\x80\x80",
    b"a\xc3",
    b"a\x00b",
];

/// Each string of CONNECT: Client Identifier, Will Topic, User Name.
///
/// [MQTT3-1.5.3-1], [MQTT3-1.5.3-2], [MQTT3-3.1.3-4], [MQTT3-3.1.3-10], [MQTT3-3.1.3-11], [MQTT3-4.7.3-2];
/// [MQTT-1.5.4-1], [MQTT-1.5.4-2], [MQTT-3.1.3-4], [MQTT-3.1.3-11], [MQTT-3.1.3-12], [MQTT-4.7.3-2], [MQTT-3.14.0-1]
#[test]
fn strings_of_connect_are_checked() {
    let broker = Broker::start();
    for version in VERSIONS {
        for wrong in WRONG {
            let (id, none) = (field("id"), no_properties(version));
            for (flags, payload) in [
                (0, vec![field(wrong)]),
                (
                    WILL,
                    vec![id.clone(), [none, &field(wrong), &field("x")].concat()],
                ),
                (USER_NAME, vec![id.clone(), field(wrong)]),
            ] {
                let fields: Vec<&[u8]> = payload.iter().map(Vec::as_slice).collect();
                let answer = open(&broker, version, &connect(version, CLEAN | flags, &fields)).read_to_end();
                let is_refused = match version {
                    V5 => answer.is_empty() || (answer[0] == CONNACK && answer[3] >= 0x80),
                    _ => answer.is_empty(),
                };
                assert!(is_refused, "{version:?} {flags:#x} {wrong:x?}: {answer:x?}");
            }
        }
    }
}

/// What is well-formed passes as it is: U+FEFF, every length of a character, what Unicode advises against.
///
/// [MQTT3-1.5.3-3], [MQTT-1.5.4-3]
#[test]
fn strings_pass_unaltered() {
    let broker = Broker::start();
    for version in VERSIONS {
        let mut client = accepted(&broker, version, "\u{feff}client");
        for topic in [
            "\u{feff}",
            "\u{feff}t",
            "t\u{feff}",
            "é/€/😀",
            "\u{d7ff}\u{e000}\u{10ffff}",
        ] {
            subscribed(&mut client, version, topic, 0);
            let publish = publish(version, 0, topic, None, topic);
            exchange(&mut client, &publish, &publish);
        }
        // Without the mark it is another topic.
        client.send(&publish(version, 0, "t", None, "x"));
        client.expect_nothing();
        client.disconnect();
    }
}

/// A password and a payload are bytes, not text.
///
/// [MQTT3-3.1.2-21], [MQTT-3.1.2-19]
#[test]
fn passwords_and_payloads_are_bytes() {
    let broker = Broker::start();
    for version in VERSIONS {
        for bytes in WRONG {
            let payload = [field("id"), field("user"), field(bytes)];
            let fields: Vec<&[u8]> = payload.iter().map(Vec::as_slice).collect();
            let connect = connect(version, CLEAN | USER_NAME | PASSWORD, &fields);
            let mut client = open(&broker, version, &connect);
            assert_eq!(client.expect_bytes()[2..4], [0, 0]);
            subscribed(&mut client, version, "t", 0);
            let publish = packet(0x30, &[&field("t"), no_properties(version), bytes]);
            exchange(&mut client, &publish, &publish);
            client.disconnect();
        }
    }
}

/// A length has no more bytes than it needs, and four at most.
///
/// [MQTT-1.5.5-1]
#[test]
fn lengths_are_minimal() {
    let broker = Broker::start();
    for bytes in [
        &b"\xc0\x80\x00"[..],
        b"\x30\x84\x00\x00\x01t\x00",
        b"\x30\x85\x80\x00\x00\x01t\x00",
        b"\x30\x05\x00\x01t\x80\x00",
        b"\x30\xff\xff\xff\xff",
    ] {
        let mut client = accepted(&broker, V5, "client");
        client.send(bytes);
        closed_with(V5, client, &[0x81], &format!("{bytes:x?}"));
    }
}
