//! Properties of 5.0: which belong to which packet, each once, with the values they may have (section 2.2.2 and table
//! 2-4).
//!
//! The table is written down here once more, so that an error in the codec's own does not prove itself.

use mqtt::ProtocolVersion::V5;

use super::*;

/// Where a property may stand.
#[derive(Clone, Copy, Debug, PartialEq)]
enum In {
    Connect,
    Will,
    Publish,
    /// PUBACK, PUBREC, PUBREL, PUBCOMP.
    Ack(u8),
    Subscribe,
    Unsubscribe,
    Disconnect,
}

const PLACES: [In; 10] = [
    In::Connect,
    In::Will,
    In::Publish,
    In::Ack(PUBACK),
    In::Ack(PUBREC),
    In::Ack(PUBREL),
    In::Ack(PUBCOMP),
    In::Subscribe,
    In::Unsubscribe,
    In::Disconnect,
];

/// Identifier, a value, and where it may stand in what a client sends.
const PROPERTIES: [(u8, &[u8], &str); 27] = [
    (0x01, b"\x01", "will publish"),
    (0x02, b"\x00\x00\x00\x09", "will publish"),
    (0x03, b"\x00\x01x", "will publish"),
    (0x08, b"\x00\x01x", "will publish"),
    (0x09, b"\x00\x01x", "will publish"),
    (0x0b, b"\x01", "subscribe"),
    (0x11, b"\x00\x00\x00\x09", "connect disconnect"),
    (0x12, b"\x00\x01x", ""),
    (0x13, b"\x00\x09", ""),
    (0x15, b"\x00\x01x", "connect"),
    (0x16, b"\x00\x01x", "connect"),
    (0x17, b"\x01", "connect"),
    (0x18, b"\x00\x00\x00\x00", "will"),
    (0x19, b"\x01", "connect"),
    (0x1a, b"\x00\x01x", ""),
    (0x1c, b"\x00\x01x", "disconnect"),
    (0x1f, b"\x00\x01x", "ack disconnect"),
    (0x21, b"\x00\x09", "connect"),
    (0x22, b"\x00\x09", "connect"),
    (0x23, b"\x00\x01", "publish"),
    (0x24, b"\x01", ""),
    (0x25, b"\x01", ""),
    (
        0x26,
        b"\x00\x01x\x00\x01y",
        "connect will publish ack subscribe unsubscribe disconnect",
    ),
    (0x27, b"\x00\x00\xff\xff", "connect"),
    (0x28, b"\x01", ""),
    (0x29, b"\x01", ""),
    (0x2a, b"\x01", ""),
];

fn may_stand(places: &str, place: In) -> bool {
    let name = match place {
        In::Connect => "connect",
        In::Will => "will",
        In::Publish => "publish",
        In::Ack(_) => "ack",
        In::Subscribe => "subscribe",
        In::Unsubscribe => "unsubscribe",
        In::Disconnect => "disconnect",
    };
    places.split(' ').any(|word| word == name)
}

/// A packet with these properties and their length.
fn packet_with(place: In, properties: &[u8]) -> Vec<u8> {
    let length = u8::try_from(properties.len()).unwrap();
    let with_length = [&[length][..], properties].concat();
    raw_packet_with(place, &with_length)
}

/// The same, with a length of the caller's.
fn raw_packet_with(place: In, properties: &[u8]) -> Vec<u8> {
    let (id, none) = (field("a"), &b"\x00"[..]);
    match place {
        In::Connect => connect_with(V5, CLEAN, properties, &[&id]),
        In::Will => connect_with(
            V5,
            CLEAN | WILL,
            none,
            &[&id, properties, &field("w"), &field("gone")],
        ),
        In::Publish => packet(0x30, &[&field("t"), properties, b"x"]),
        In::Ack(first) => packet(first, &[b"\x00\x07\x00", properties]),
        In::Subscribe => packet(SUBSCRIBE, &[b"\x00\x07", properties, &field("t"), b"\x00"]),
        In::Unsubscribe => packet(UNSUBSCRIBE, &[b"\x00\x07", properties, &field("t")]),
        In::Disconnect => packet(0xe0, &[b"\x00", properties]),
    }
}

/// Sends the packet as the first one, or behind a CONNECT of its own that allows every Session Expiry Interval; what
/// the broker sent to it before it closed, or to the PINGREQ behind it.
fn answer_to(broker: &Broker, place: In, bytes: &[u8]) -> Vec<u8> {
    let mut client = Client::open_as(broker, V5);
    if !matches!(place, In::Connect | In::Will) {
        client.send(&connect_with(
            V5,
            CLEAN,
            b"\x05\x11\x00\x00\x00\x01",
            &[&field("a")],
        ));
        client.expect_bytes();
    }
    client.send(bytes);
    client.send(PINGREQ);
    if place == In::Disconnect {
        return client.read_to_end();
    }
    // An answer to the packet itself, PINGRESP, CONNACK or DISCONNECT: the last one counts.
    let mut answer = client.expect_bytes();
    let is_last =
        |answer: &[u8]| [PINGRESP[0], 0xe0].contains(&answer[0]) || (answer[0] == CONNACK && answer[3] != 0);
    while !is_last(&answer) {
        answer = client.expect_bytes();
    }
    if answer == PINGRESP {
        client.cut();
    } else {
        assert_eq!(client.read_to_end(), b"");
    }
    answer
}

fn assert_refused(place: In, answer: &[u8], what: &str) {
    let reason = match answer.first() {
        Some(&CONNACK) => answer[3],
        Some(0xe0) => answer[2],
        _ => panic!("{place:?}, {what}: {answer:x?}"),
    };
    assert!(
        [0x81, 0x82, 0x94].contains(&reason),
        "{place:?}, {what}: {answer:x?}"
    );
}

fn assert_accepted(place: In, answer: &[u8], what: &str) {
    let expected = if place == In::Disconnect {
        &b""[..]
    } else {
        PINGRESP
    };
    assert_eq!(answer, expected, "{place:?}, {what}");
}

/// Each property in each packet: accepted where it belongs, refused where it does not.
///
/// [MQTT-4.13.1-1], [MQTT-3.3.4-6]
#[test]
fn each_property_in_each_packet() {
    let broker = Broker::start();
    for place in PLACES {
        for (identifier, value, places) in PROPERTIES {
            // Authentication is refused for other reasons; its data without a method is a Protocol Error.
            if [0x15, 0x16].contains(&identifier) && place == In::Connect {
                continue;
            }
            let property = [&[identifier][..], value].concat();
            let answer = answer_to(&broker, place, &packet_with(place, &property));
            let what = format!("property {identifier:#x}");
            if may_stand(places, place) {
                assert_accepted(place, &answer, &what);
            } else {
                assert_refused(place, &answer, &what);
            }
        }
    }
}

/// A property stands once, but for User Property.
///
/// [MQTT-4.13.1-1]
#[test]
fn properties_stand_once() {
    let broker = Broker::start();
    for place in PLACES {
        for (identifier, value, places) in PROPERTIES {
            if !may_stand(places, place) {
                continue;
            }
            let property = [&[identifier][..], value].concat();
            let answer = answer_to(&broker, place, &packet_with(place, &property.repeat(2)));
            let what = format!("property {identifier:#x} twice");
            if identifier == 0x26 {
                assert_accepted(place, &answer, &what);
            } else {
                assert_refused(place, &answer, &what);
            }
        }
    }
}

/// Identifiers that are none, of one byte and of more, and lengths that end inside of a property or behind the packet.
///
/// [MQTT-4.13.1-1], [MQTT-1.5.5-1]
#[test]
fn broken_properties() {
    let broker = Broker::start();
    for place in PLACES {
        for unknown in [
            &b"\x00\x01"[..],
            b"\x04\x01",
            b"\x2b\x01",
            b"\x7f\x01",
            b"\x81\x01\x01",
            b"\xff\xff\xff\x7f\x01",
        ] {
            let answer = answer_to(&broker, place, &packet_with(place, unknown));
            assert_refused(place, &answer, &format!("identifier {unknown:x?}"));
        }
        for (identifier, value, places) in PROPERTIES {
            if !may_stand(places, place) || [0x15, 0x16].contains(&identifier) {
                continue;
            }
            for cut in 0..value.len() {
                let property = [&[identifier][..], &value[..cut]].concat();
                let answer = answer_to(&broker, place, &packet_with(place, &property));
                assert_refused(place, &answer, &format!("property {identifier:#x} cut at {cut}"));
            }
        }
        for length in [
            &b"\x7f"[..],
            b"\xff\xff\xff\x7f",
            b"\xff\xff\xff\xff\x01",
            b"\x80\x00",
        ] {
            let answer = answer_to(&broker, place, &raw_packet_with(place, length));
            assert_refused(place, &answer, &format!("Property Length {length:x?}"));
        }
    }
}

/// Values that a property cannot have.
///
/// [MQTT-4.13.1-1], [MQTT-3.3.2-8]
#[test]
fn values_of_properties() {
    let broker = Broker::start();
    for (place, property) in [
        (In::Connect, &b"\x17\x02"[..]),
        (In::Connect, b"\x19\x02"),
        (In::Connect, b"\x21\x00\x00"),
        (In::Connect, b"\x27\x00\x00\x00\x00"),
        (In::Connect, b"\x16\x00\x01x"),
        (In::Publish, b"\x01\x02"),
        (In::Publish, b"\x23\x00\x00"),
        (In::Will, b"\x01\x02"),
        (In::Subscribe, b"\x0b\x00"),
        (In::Subscribe, b"\x0b\x80\x80\x80\x80\x01"),
    ] {
        let answer = answer_to(&broker, place, &packet_with(place, property));
        assert_refused(place, &answer, &format!("{property:x?}"));
    }
    // What they can have at their most.
    for (place, property) in [
        (In::Connect, &b"\x21\xff\xff\x22\xff\xff\x27\xff\xff\xff\xff"[..]),
        (In::Connect, b"\x17\x00\x19\x00"),
        (In::Publish, b"\x02\xff\xff\xff\xff"),
        (In::Publish, b"\x02\x00\x00\x00\x00"),
        (In::Subscribe, b"\x0b\xff\xff\xff\x7f"),
    ] {
        let answer = answer_to(&broker, place, &packet_with(place, property));
        assert_accepted(place, &answer, &format!("{property:x?}"));
    }
}
