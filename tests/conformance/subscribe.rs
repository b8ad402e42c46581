//! SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK: sections 3.8 to 3.11.

use mqtt::ProtocolVersion::V5;

use super::*;
use crate::harness::Setup;

/// One SUBACK for each SUBSCRIBE, with its identifier and a code for each filter in their order.
///
/// [MQTT3-2.3.1-7], [MQTT3-3.8.4-1], [MQTT3-3.8.4-2], [MQTT3-3.8.4-4], [MQTT3-3.8.4-5], [MQTT3-3.9.3-1],
/// [MQTT3-3.9.3-2]; [MQTT-2.2.1-6], [MQTT-3.8.4-1], [MQTT-3.8.4-2], [MQTT-3.8.4-5] to [MQTT-3.8.4-7], [MQTT-3.9.3-1],
/// [MQTT-3.9.3-2]
#[test]
fn suback_has_a_code_for_each_filter() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("acl");
    std::fs::write(&file, "topic a/#\ntopic deny a/secret\n").unwrap();
    let broker = Setup::default()
        .global(&format!("acl_file {}", file.display()))
        .start();
    for version in VERSIONS {
        let mut client = accepted_without_words(&broker, version, "client");
        for identifier in [1, 0x0102, 0xffff] {
            let filters = [("a/1", 2), ("a/secret", 1), ("a/2", 0), ("a/3", 1), ("a/1", 1)];
            let denied = if version == V5 { 0x87 } else { 0x80 };
            exchange(
                &mut client,
                &subscribe(version, identifier, &filters),
                &answer(version, SUBACK, identifier, &[2, denied, 0, 1, 1]),
            );
        }
        // The second subscription to a/1 took the place of the first.
        let mut publisher = accepted(&broker, version, "publisher");
        publisher.send(&publish(version, 0x04, "a/1", Some(1), "x"));
        assert_eq!(client.expect_bytes()[0], 0x32);
        client.expect_nothing();
        publisher.disconnect();
        client.disconnect();
    }
}

/// One UNSUBACK for each UNSUBSCRIBE, whether anything was deleted or not. Filters are compared byte by byte.
///
/// [MQTT3-2.3.1-7], [MQTT3-3.10.4-1], [MQTT3-3.10.4-2], [MQTT3-3.10.4-4] to [MQTT3-3.10.4-6]; [MQTT-2.2.1-6],
/// [MQTT-3.10.4-1], [MQTT-3.10.4-2], [MQTT-3.10.4-4] to [MQTT-3.10.4-6], [MQTT-3.11.3-1], [MQTT-3.11.3-2]
#[test]
fn unsubscribe_deletes_what_is_equal() {
    let broker = Setup::default().shards(2).start();
    for version in VERSIONS {
        let mut client = accepted(&broker, version, "client");
        for filter in ["a/+", "b", "c/#", "é"] {
            subscribed(&mut client, version, filter, 0);
        }
        let codes = |codes: &'static [u8]| if version == V5 { codes } else { b"" };
        // None of these is equal to one of those.
        exchange(
            &mut client,
            &unsubscribe(version, 7, &["a/b", "#", "B", "b/", "c/+", "e\u{301}"]),
            &answer(version, UNSUBACK, 7, codes(&[0x11; 6])),
        );
        let mut publisher = accepted(&broker, version, "publisher");
        for topic in ["a/b", "b", "c", "é"] {
            publisher.send(&publish(version, 0, topic, None, "x"));
            assert_eq!(client.expect_bytes(), publish(version, 0, topic, None, "x"));
        }
        exchange(
            &mut client,
            &unsubscribe(version, 8, &["a/+", "nothing", "é", "a/+"]),
            &answer(version, UNSUBACK, 8, codes(&[0, 0x11, 0, 0x11])),
        );
        for topic in ["a/b", "é", "b"] {
            publisher.send(&publish(version, 0, topic, None, "y"));
        }
        assert_eq!(client.expect_bytes(), publish(version, 0, "b", None, "y"));
        client.expect_nothing();
        publisher.disconnect();
        client.disconnect();
    }
}

/// What was started before UNSUBSCRIBE is brought to its end after it.
///
/// [MQTT3-3.10.4-3], [MQTT-3.10.4-3]
#[test]
fn what_was_started_is_completed_after_unsubscribe() {
    let broker = Broker::start();
    for version in VERSIONS {
        let mut client = accepted(&broker, version, "client");
        subscribed(&mut client, version, "t", 2);
        let mut publisher = accepted(&broker, version, "publisher");
        publisher.send(&publish(version, 0x04, "t", Some(1), "x"));
        let message = client.message_unacknowledged();
        let identifier = message.packet_identifier.unwrap().get();
        client.send(&unsubscribe(version, 5, &["t"]));
        assert_eq!(client.expect_bytes()[..1], [UNSUBACK]);
        exchange(&mut client, &ack(PUBREC, identifier), &ack(PUBREL, identifier));
        client.send(&ack(PUBCOMP, identifier));
        exchange(&mut client, PINGREQ, PINGRESP);
        publisher.disconnect();
        client.disconnect();
    }
}

/// A subscription made again: the new QoS, the retained messages once more, and nothing lost while messages flow. What
/// is sent at one QoS is in its order. Across them only a message at QoS 0 overtakes: what waits in the session's queue
/// does not hold it up.
///
/// [MQTT3-3.8.4-3], [MQTT3-3.8.4-6], [MQTT3-4.6.0-5], [MQTT3-4.6.0-6], [MQTT-3.8.4-3], [MQTT-3.8.4-4],
/// [MQTT-3.8.4-8], [MQTT-4.6.0-5]
#[test]
fn a_subscription_made_again_loses_nothing() {
    let broker = Setup::default().shards(2).start();
    for version in VERSIONS {
        let mut publisher = accepted(&broker, version, "publisher");
        publisher.send(&publish(version, 0x03, "t/kept", Some(1), "kept"));
        publisher.expect_bytes();
        let mut client = accepted(&broker, version, "client");
        for round in 0..ROUNDS {
            let qos = u8::try_from(round % 3).unwrap();
            client.send(&subscribe(version, 100 + round, &[("t/#", qos)]));
            publisher.send(&publish(version, 0x04, "t/x", Some(2), &round.to_string()));
            publisher.expect_bytes();
            publisher.send(&ack(PUBREL, 2));
            publisher.expect_bytes();
        }
        client.send(PINGREQ);
        let sent = take_rounds(&mut client);
        // The first ones may have been published before the first SUBSCRIBE; from then on none is missing.
        let mut numbers: Vec<u16> = sent.iter().map(|&(number, _)| number).collect();
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(numbers[0]..ROUNDS), "{sent:?}");
        for (at, &(number, qos)) in sent.iter().enumerate() {
            for &(later, later_qos) in &sent[at + 1..] {
                let overtakes = qos == 0 && later_qos > 0;
                assert!(number < later || overtakes, "{number} before {later}: {sent:?}");
            }
        }
        publisher.send(&publish(version, 0x03, "t/kept", Some(1), ""));
        publisher.expect_bytes();
        publisher.disconnect();
        client.disconnect();
    }
}

/// How often it subscribes and one is published.
const ROUNDS: u16 = 20;

/// Takes all SUBACKs, the retained message for each SUBSCRIBE, and what was published: numbers and QoS in the order in
/// which they came. Each is acknowledged as its QoS asks for.
fn take_rounds(client: &mut Client) -> Vec<(u16, u8)> {
    let (mut sent, mut kept, mut subacks) = (Vec::new(), 0, 0);
    let is_last = |sent: &[(u16, u8)]| sent.iter().filter(|(number, _)| number + 3 >= ROUNDS).count() == 3;
    while kept < ROUNDS || subacks < ROUNDS || !is_last(&sent) {
        let bytes = client.expect_bytes();
        let identifier_at = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        match bytes[0] {
            SUBACK => subacks += 1,
            PUBREL => client.send(&ack(PUBCOMP, identifier_at(2))),
            first if first & 0xf0 == 0x30 => {
                let qos = first >> 1 & 3;
                let identifier = 4 + usize::from(bytes[3]);
                match qos {
                    0 => {}
                    1 => client.send(&ack(PUBACK, identifier_at(identifier))),
                    _ => client.send(&ack(PUBREC, identifier_at(identifier))),
                }
                if first & 1 == 1 {
                    kept += 1;
                    continue;
                }
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let digits: String = text.chars().rev().take_while(char::is_ascii_digit).collect();
                sent.push((digits.chars().rev().collect::<String>().parse().unwrap(), qos));
            }
            _ => assert_eq!(bytes, PINGRESP),
        }
    }
    sent
}

/// Retain Handling 0, 1 and 2; Retain As Published; No Local.
///
/// [MQTT-3.3.1-9] to [MQTT-3.3.1-13], [MQTT-3.8.3-3]
#[test]
fn subscription_options() {
    let broker = Setup::default().shards(2).start();
    let mut publisher = accepted(&broker, V5, "publisher");
    publisher.send(&publish(V5, 0x01, "t", None, "kept"));
    exchange(&mut publisher, PINGREQ, PINGRESP);
    let kept = publish(V5, 0x01, "t", None, "kept");
    let (as_published, no_local) = (0x08, 0x04);
    for (first_options, then_options, counts) in [
        (0x00, 0x00, [1, 1]),
        (0x10, 0x10, [1, 0]),
        (0x20, 0x20, [0, 0]),
        (0x20, 0x10, [0, 0]),
    ] {
        let mut client = accepted(&broker, V5, "client");
        for (options, count) in [first_options, then_options].into_iter().zip(counts) {
            subscribed(&mut client, V5, "t", options);
            for _ in 0..count {
                assert_eq!(client.expect_bytes(), kept);
            }
            client.expect_nothing();
        }
        client.disconnect();
    }
    let mut client = accepted(&broker, V5, "client");
    subscribed(&mut client, V5, "u", as_published | no_local);
    publisher.send(&publish(V5, 0x01, "u", None, "a"));
    assert_eq!(client.expect_bytes(), publish(V5, 0x01, "u", None, "a"));
    publisher.send(&publish(V5, 0, "u", None, "b"));
    assert_eq!(client.expect_bytes(), publish(V5, 0, "u", None, "b"));
    client.send(&publish(V5, 0, "u", None, "own"));
    client.expect_nothing();
}

/// Subscription Identifiers: of the matching subscription, of several in one copy, none where none was given.
///
/// [MQTT-3.3.4-2] to [MQTT-3.3.4-4]
#[test]
fn subscription_identifiers_come_with_messages() {
    let broker = Setup::default().shards(2).start();
    let mut client = accepted(&broker, V5, "client");
    for (identifier, filter) in [(1, "a/+"), (2, "a/#"), (3, "a/b")] {
        let body = [&[0, identifier, 2, 0x0b, identifier][..], &field(filter), &[0]].concat();
        exchange(
            &mut client,
            &packet(SUBSCRIBE, &[&body]),
            &answer(V5, SUBACK, identifier.into(), &[0]),
        );
    }
    subscribed(&mut client, V5, "+/b", 0);
    let mut publisher = accepted(&broker, V5, "publisher");
    for (topic, expected) in [
        ("a/b", &[1, 2, 3][..]),
        ("a/c", &[1, 2]),
        ("a", &[2]),
        ("x/b", &[]),
    ] {
        publisher.send(&publish(V5, 0, topic, None, "x"));
        let bytes = client.expect_bytes();
        let at = 4 + topic.len();
        let properties = &bytes[at + 1..at + 1 + usize::from(bytes[at])];
        let mut identifiers: Vec<_> = properties.chunks(2).map(|property| property[1]).collect();
        identifiers.sort_unstable();
        assert_eq!(identifiers, expected, "{topic}: {bytes:x?}");
        exchange(&mut client, PINGREQ, PINGRESP);
    }
}

/// SUBSCRIBE and UNSUBSCRIBE that are not as they must be end the connection.
///
/// [MQTT3-3.8.1-1], [MQTT3-3.8.3-1], [MQTT3-3.8.3-3], [MQTT3-3.8.3-4], [MQTT3-3.10.1-1], [MQTT3-3.10.3-1],
/// [MQTT3-3.10.3-2], [MQTT3-2.3.1-1], [MQTT-3.8.1-1], [MQTT-3.8.3-1], [MQTT-3.8.3-2], [MQTT-3.8.3-5], [MQTT-3.10.1-1],
/// [MQTT-3.10.3-1], [MQTT-3.10.3-2]
#[test]
fn malformed_subscriptions_end_the_connection() {
    let broker = Broker::start();
    for version in VERSIONS {
        let (id, none, good) = (&b"\x00\x05"[..], no_properties(version), field("t"));
        let mut wrong = vec![
            packet(SUBSCRIBE, &[id, none]),
            packet(UNSUBSCRIBE, &[id, none]),
            packet(SUBSCRIBE, &[b"\x00\x00", none, &good, &[0]]),
            packet(UNSUBSCRIBE, &[b"\x00\x00", none, &good]),
            packet(SUBSCRIBE, &[id, none, &good]),
            packet(SUBSCRIBE, &[id, none, &field(b"\xff\xfe"), &[0]]),
            packet(SUBSCRIBE, &[id, none, &good, &[0], &field(b"\xff\xfe"), &[0]]),
            packet(SUBSCRIBE, &[id, none, &field(b"a\x00"), &[0]]),
            packet(UNSUBSCRIBE, &[id, none, &field(b"\xff\xfe")]),
            packet(UNSUBSCRIBE, &[id, none, &field(b"a\x00")]),
        ];
        for flags in (0..16).filter(|flags| *flags != 2) {
            wrong.push(packet(0x80 | flags, &[id, none, &good, &[0]]));
            wrong.push(packet(0xa0 | flags, &[id, none, &good]));
        }
        let reserved: &[u8] = if version == V5 {
            &[0x40, 0x80, 0xc0]
        } else {
            &[0x04, 0x08, 0x10, 0x20, 0x40, 0x80]
        };
        for options in [&[0x03], reserved].concat() {
            wrong.push(packet(SUBSCRIBE, &[id, none, &good, &[options]]));
        }
        for bytes in wrong {
            let mut client = accepted(&broker, version, "client");
            client.send(&bytes);
            closed_with(
                version,
                client,
                &[0x81, 0x82, 0x8f],
                &format!("{version:?} {bytes:x?}"),
            );
        }
    }
}
