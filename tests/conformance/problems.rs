//! What the broker reports about errors, and what it never sends: properties of its answers in 5.0, and capabilities.

use mqtt::ProtocolVersion::V5;
use mqtt::property::{Properties, Property};

use super::*;
use crate::harness::Setup;

fn properties_of(bytes: &[u8]) -> Properties<'_> {
    use mqtt::packet::Packet;
    let frame = mqtt::frame::split(bytes, u32::MAX).unwrap().unwrap();
    match mqtt::decode::packet(&frame, V5) {
        Ok(Packet::ConnAck(packet)) => packet.properties,
        Ok(
            Packet::PubAck(packet)
            | Packet::PubRec(packet)
            | Packet::PubRel(packet)
            | Packet::PubComp(packet),
        ) => packet.properties,
        Ok(Packet::SubAck(packet) | Packet::UnsubAck(packet)) => packet.properties,
        Ok(Packet::Disconnect(packet)) => packet.properties,
        Ok(Packet::Auth(packet)) => packet.properties,
        other => panic!("{other:?}"),
    }
}

fn has_user_property(bytes: &[u8]) -> bool {
    let is_user = |property| matches!(property, Property::UserProperty(..));
    properties_of(bytes).iter().any(is_user)
}

/// A broker where `t` may be read and written, and nothing else.
fn broker_with_rules(folder: &tempfile::TempDir) -> Broker {
    let rules = folder.path().join("acl");
    std::fs::write(&rules, "topic t\n").unwrap();
    let passwords = folder.path().join("passwords").display().to_string();
    let arguments = [
        "passwd",
        "-c",
        "-b",
        "-H",
        "scram-sha-256",
        &passwords,
        "ann",
        "secret",
    ];
    assert_eq!(crate::harness::run(&arguments).code, Some(0));
    Setup::default()
        .listener(&format!("password_file {passwords}"))
        .global(&format!("acl_file {}", rules.display()))
        .start()
}

/// Each packet with a reason that the broker sends, good or bad: it has no User Properties of its own, and no packet
/// is larger than the client allows.
///
/// [MQTT-3.2.2-20], [MQTT-3.4.2-3], [MQTT-3.5.2-3], [MQTT-3.6.2-3], [MQTT-3.7.2-3], [MQTT-3.9.2-2], [MQTT-3.11.2-1],
/// [MQTT-3.11.2-2], [MQTT-3.14.2-4], [MQTT-3.15.2-2], [MQTT-3.15.2-3], [MQTT-3.1.2-24]
#[test]
fn answers_have_no_user_properties_and_fit() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker_with_rules(&folder);
    for size_max in [40, 0xffff_u32] {
        let maximum = [&[5, 0x27][..], &size_max.to_be_bytes()].concat();
        let mut answers = Vec::new();
        let mut client = open(&broker, V5, &connect_with(V5, CLEAN, &maximum, &[&field("a")]));
        answers.push(client.expect_bytes());
        let mut publisher = accepted(&broker, V5, "publisher");
        for bytes in [
            subscribe(V5, 1, &[("t", 2), ("forbidden", 0)]),
            unsubscribe(V5, 2, &["forbidden"]),
            publish(V5, 0x02, "forbidden", Some(3), "x"),
            publish(V5, 0x04, "forbidden", Some(4), "x"),
            ack(PUBREL, 5),
            ack(PUBREC, 6),
        ] {
            client.send(&bytes);
            answers.push(client.expect_bytes());
        }
        publisher.send(&publish(V5, 0x04, "t", Some(1), "x"));
        let identifier = client.message_unacknowledged().packet_identifier.unwrap().get();
        client.send(&ack(PUBREC, identifier));
        answers.push(client.expect_bytes());
        client.send(&publish(V5, 0, "", None, "x"));
        answers.push(client.read_to_end());
        publisher.disconnect();
        let firsts: Vec<_> = answers.iter().map(|bytes| bytes[0]).collect();
        assert_eq!(
            firsts,
            [
                CONNACK, SUBACK, UNSUBACK, PUBACK, PUBREC, PUBCOMP, PUBREL, PUBREL, 0xe0
            ]
        );
        for bytes in answers {
            assert!(!has_user_property(&bytes), "{bytes:x?}");
            assert!(bytes.len() <= size_max as usize, "{bytes:x?}");
        }
    }
}

/// AUTH too, and the CONNACK that refuses.
///
/// [MQTT-3.15.2-2], [MQTT-3.15.2-3], [MQTT-3.2.2-20], [MQTT-4.12.0-2], [MQTT-4.12.0-4], [MQTT-4.12.0-5]
#[test]
fn auth_has_no_user_properties() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker_with_rules(&folder);
    let method = |name: &str| [&b"\x15"[..], &field(name)].concat();
    let data = |text: &str| [&b"\x16"[..], &field(text)].concat();
    let with_length =
        |properties: Vec<u8>| [&[u8::try_from(properties.len()).unwrap()][..], &properties].concat();
    let connect = |name, first: &str| {
        let properties = with_length([method(name), data(first)].concat());
        connect_with(V5, CLEAN, &properties, &[&field("a")])
    };
    let mut client = open(
        &broker,
        V5,
        &connect("SCRAM-SHA-256", "n,,n=ann,r=0123456789abcdef"),
    );
    let auth = client.expect_bytes();
    assert_eq!((auth[0], auth[2]), (0xf0, 0x18));
    assert!(!has_user_property(&auth));
    assert_eq!(properties_of(&auth).reason_string(), None);
    assert_eq!(
        properties_of(&auth).authentication_method(),
        Some("SCRAM-SHA-256")
    );
    // A proof that is none.
    let wrong = with_length([method("SCRAM-SHA-256"), data("c=biws,r=0123456789abcdef,p=AAAA")].concat());
    client.send(&packet(0xf0, &[&[0x18], &wrong]));
    let refusals = [client, open(&broker, V5, &connect("UNKNOWN", "x"))].map(Client::read_to_end);
    for (bytes, reasons) in refusals.iter().zip([[0x87, 0x86], [0x8c, 0x87]]) {
        assert_eq!((bytes[0], bytes[2]), (CONNACK, 0), "{bytes:x?}");
        assert!(reasons.contains(&bytes[3]), "{bytes:x?}");
        assert!(!has_user_property(bytes));
    }
}

/// What the operator took away is announced, and subscriptions with any QoS are taken all the same.
///
/// [MQTT-3.2.2-9], [MQTT-3.2.2-10], [MQTT-3.2.2-12], [MQTT-3.2.2-13], [MQTT-3.2.2-11], [MQTT-3.2.2-14]
#[test]
fn capabilities_are_announced_and_kept() {
    let broker = Setup::default()
        .global("retain_available false")
        .listener("max_qos 0")
        .start();
    let mut client = open(&broker, V5, &connect(V5, CLEAN, &[&field("a")]));
    let connack = client.expect_bytes();
    let announced: Vec<_> = properties_of(&connack).iter().collect();
    assert!(
        announced
            .iter()
            .any(|property| format!("{property:?}").starts_with("MaximumQoS")),
        "{announced:?}"
    );
    assert_eq!(properties_of(&connack).retain_available(), Some(false));
    client.send(&subscribe(V5, 1, &[("t", 0), ("u", 1), ("v", 2)]));
    let suback = client.expect_bytes();
    assert!(suback[5..].iter().all(|code| *code <= 2), "{suback:x?}");
    exchange(
        &mut client,
        &publish(V5, 0, "v", None, "x"),
        &publish(V5, 0, "v", None, "x"),
    );
    for (flags, reason) in [(0x02, 0x9b), (0x01, 0x9a)] {
        let mut client = accepted(&broker, V5, "b");
        client.send(&publish(V5, flags, "t", (flags == 2).then_some(1), "x"));
        closed_with(V5, client, &[reason], "above what is offered");
    }
    let will = will_fields(V5, "w", "x");
    for (flags, reason) in [(WILL_QOS_1, 0x9b), (WILL_RETAIN, 0x9a)] {
        let bytes = connect(V5, CLEAN | WILL | flags, &[&field("c"), &will]);
        let answer = open(&broker, V5, &bytes).read_to_end();
        assert_eq!(answer[..1], [CONNACK]);
        assert_eq!(answer[2..4], [0, reason]);
    }
}
