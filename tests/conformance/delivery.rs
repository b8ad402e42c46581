//! QoS 0, 1 and 2 in both directions, packet identifiers, flow control: sections 2.2.1, 3.4 to 3.7, 4.3 to 4.6, 4.9.

use mqtt::ProtocolVersion::V5;

use super::*;
use crate::harness::Setup;

/// The Packet Identifier of a PUBLISH above QoS 0 with a topic of one character.
fn identifier_of(publish: &[u8]) -> u16 {
    u16::from_be_bytes([publish[5], publish[6]])
}

/// What a client sends at each QoS, and how the broker answers it.
///
/// [MQTT3-3.3.4-1], [MQTT3-2.3.1-6], [MQTT3-4.3.2-2], [MQTT3-4.3.3-2]; [MQTT-3.3.4-1], [MQTT-2.2.1-5], [MQTT-4.3.2-4],
/// [MQTT-4.3.3-8], [MQTT-4.3.3-10] to [MQTT-4.3.3-12], [MQTT-4.3.2-5], [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.7.2-1]
#[test]
fn each_publish_is_answered_as_its_qos_says() {
    let broker = Broker::start();
    for version in VERSIONS {
        let mut watcher = accepted(&broker, version, "watcher");
        subscribed(&mut watcher, version, "t", 0);
        let mut client = accepted(&broker, version, "client");
        for identifier in [1, 2, 0x0100, 0xffff] {
            client.send(&publish(version, 0, "t", None, "0"));
            exchange(&mut client, PINGREQ, PINGRESP);
            // After PUBACK the identifier is a new message, with DUP or without it.
            for flags in [0x02, 0x02, 0x0a] {
                exchange(
                    &mut client,
                    &publish(version, flags, "t", Some(identifier), "1"),
                    &ack(PUBACK, identifier),
                );
            }
            // Before PUBREL it is the same message, and after PUBCOMP a new one.
            for _ in 0..2 {
                for flags in [0x04, 0x0c, 0x0c] {
                    let publish = publish(version, flags, "t", Some(identifier), "2");
                    exchange(&mut client, &publish, &ack(PUBREC, identifier));
                }
                exchange(&mut client, &ack(PUBREL, identifier), &ack(PUBCOMP, identifier));
            }
            for payload in ["0", "1", "1", "1", "2", "2"] {
                assert_eq!(watcher.expect_bytes(), publish(version, 0, "t", None, payload));
            }
        }
        watcher.expect_nothing();
        client.disconnect();
        watcher.disconnect();
    }
}

/// A PUBREL for an unknown identifier is answered with PUBCOMP, in 5.0 with Packet Identifier not found; other
/// unexpected acknowledgements have no effect.
///
/// [MQTT3-4.3.3-2], [MQTT-4.3.3-11], [MQTT-3.7.2-1]
#[test]
fn acknowledgements_of_nothing() {
    let broker = Broker::start();
    for version in VERSIONS {
        let mut client = accepted(&broker, version, "client");
        client.send(&ack(PUBREL, 7));
        let pubcomp = client.expect_bytes();
        assert_eq!((pubcomp[0], &pubcomp[2..4]), (PUBCOMP, &[0, 7][..]));
        assert!(version != V5 || pubcomp.len() == 4 || [0, 0x92].contains(&pubcomp[4]));
        client.send(&ack(PUBACK, 7));
        client.send(&ack(PUBCOMP, 7));
        exchange(&mut client, PINGREQ, PINGRESP);
        client.disconnect();
    }
}

/// What the broker sends at each QoS, byte by byte: identifiers, DUP, reserved flags, and no properties if there are
/// none.
///
/// [MQTT3-2.2.2-1], [MQTT3-2.3.1-1], [MQTT3-2.3.1-4], [MQTT3-2.3.1-5], [MQTT3-3.3.1-2], [MQTT3-4.3.1-1],
/// [MQTT3-4.3.2-1], [MQTT3-4.3.3-1], [MQTT3-3.6.1-1], [MQTT-2.1.3-1], [MQTT-2.2.1-2], [MQTT-2.2.1-4], [MQTT-2.2.2-1],
/// [MQTT-4.3.1-1], [MQTT-4.3.2-1] to [MQTT-4.3.2-3], [MQTT-4.3.3-1] to [MQTT-4.3.3-6],
/// [MQTT-3.6.2-1], [MQTT-3.3.1-2]
#[test]
fn each_message_is_delivered_as_its_qos_says() {
    let broker = Broker::start();
    for version in VERSIONS {
        let mut client = accepted(&broker, version, "client");
        subscribed(&mut client, version, "t", 2);
        let mut publisher = accepted(&broker, version, "publisher");
        publisher.send(&publish(version, 0, "t", None, "0"));
        assert_eq!(client.expect_bytes(), publish(version, 0, "t", None, "0"));
        let mut seen = Vec::new();
        for number in 0..5 {
            publisher.send(&publish(version, 0x02, "t", Some(10 + number), "1"));
            let bytes = client.expect_bytes();
            let identifier = identifier_of(&bytes);
            assert_eq!(bytes, publish(version, 0x02, "t", Some(identifier), "1"));
            assert!(
                identifier != 0 && !seen.contains(&identifier),
                "{identifier} is in use"
            );
            seen.push(identifier);
        }
        // Acknowledged only by its own PUBACK.
        client.expect_nothing();
        for identifier in &seen {
            client.send(&ack(PUBACK, *identifier));
        }
        publisher.send(&publish(version, 0x04, "t", Some(77), "2"));
        let bytes = client.expect_bytes();
        let identifier = identifier_of(&bytes);
        assert_eq!(bytes, publish(version, 0x04, "t", Some(identifier), "2"));
        exchange(&mut client, &ack(PUBREC, identifier), &ack(PUBREL, identifier));
        exchange(&mut client, &ack(PUBREC, identifier), &ack(PUBREL, identifier));
        client.send(&ack(PUBCOMP, identifier));
        exchange(&mut client, PINGREQ, PINGRESP);
        publisher.disconnect();
        client.disconnect();
    }
}

/// DUP of the publisher's PUBLISH is not passed on.
///
/// [MQTT3-3.3.1-3], [MQTT-3.3.1-3]
#[test]
fn dup_is_not_passed_on() {
    let broker = Broker::start();
    for version in VERSIONS {
        let mut client = accepted(&broker, version, "client");
        subscribed(&mut client, version, "t", 2);
        let mut publisher = accepted(&broker, version, "publisher");
        publisher.send(&publish(version, 0x0a, "t", Some(1), "dup"));
        publisher.send(&publish(version, 0x0c, "t", Some(2), "dup"));
        let flags: Vec<u8> = (0..2).map(|_| client.expect_bytes()[0]).collect();
        assert_eq!(flags, [0x32, 0x34]);
        publisher.disconnect();
        client.disconnect();
    }
}

/// A CONNECT that continues the session of this identifier, and keeps it for later.
fn resume(version: ProtocolVersion, identifier: &str) -> Vec<u8> {
    let expiry: &[u8] = b"\x05\x11\x00\x00\x00\x64";
    let properties = if version == V5 { expiry } else { b"" };
    connect_with(version, 0, properties, &[&field(identifier)])
}

/// After a reconnect: what was not acknowledged, in its original order, with its identifiers and DUP; PUBREL if PUBREC
/// had arrived; nothing that was acknowledged; and at no other time.
///
/// [MQTT3-3.3.1-1], [MQTT3-4.4.0-1], [MQTT3-4.6.0-1], [MQTT3-2.3.1-4], [MQTT3-4.3.3-1], [MQTT3-4.1.0-1],
/// [MQTT3-4.1.0-2], [MQTT-3.3.1-1], [MQTT-4.4.0-1], [MQTT-4.3.3-5], [MQTT-4.3.3-6], [MQTT-4.1.0-1]
#[test]
fn what_is_not_acknowledged_comes_again_in_its_order() {
    let broker = Setup::default().shards(2).start();
    for version in VERSIONS {
        for name in ["a", "b", "c"] {
            let mut client = open(&broker, version, &resume(version, name));
            client.expect_bytes();
            subscribed(&mut client, version, "t", 2);
            let mut publisher = accepted(&broker, version, "publisher");
            let mut sent = Vec::new();
            for (identifier, flags) in [(1, 0x02), (2, 0x04), (3, 0x02), (4, 0x04), (5, 0x02)] {
                publisher.send(&publish(
                    version,
                    flags,
                    "t",
                    Some(identifier),
                    &identifier.to_string(),
                ));
                let bytes = client.expect_bytes();
                assert_eq!(bytes[0], 0x30 | flags);
                sent.push((identifier_of(&bytes), flags, identifier.to_string()));
            }
            // The first is complete, the fourth half complete.
            client.send(&ack(PUBACK, sent[0].0));
            exchange(&mut client, &ack(PUBREC, sent[3].0), &ack(PUBREL, sent[3].0));
            client.expect_nothing();
            client.cut();
            let mut client = open(&broker, version, &resume(version, name));
            assert_eq!(client.expect_bytes()[2], 1, "Session Present");
            let mut again: Vec<_> = (0..4).map(|_| client.expect_bytes()).collect();
            let pubrel = again.iter().position(|bytes| *bytes == ack(PUBREL, sent[3].0));
            again.remove(pubrel.expect("the PUBREL comes again"));
            let expected: Vec<_> = [&sent[1], &sent[2], &sent[4]]
                .into_iter()
                .map(|(identifier, flags, payload)| {
                    publish(version, flags | 0x08, "t", Some(*identifier), payload)
                })
                .collect();
            assert_eq!(again, expected, "{version:?}");
            client.expect_nothing();
            client.disconnect();
            accepted(&broker, version, name).disconnect();
            publisher.disconnect();
        }
    }
}

/// An identifier that waits for its acknowledgement is not used for another message, however many there are.
///
/// [MQTT3-2.3.1-4], [MQTT3-4.3.2-1], [MQTT-2.2.1-4], [MQTT-4.3.2-1]
#[test]
fn an_identifier_in_use_is_not_given_again() {
    let broker = Setup::default()
        .global("max_inflight_messages 3")
        .global("max_queued_messages 0")
        .start();
    for version in VERSIONS {
        let mut client = accepted(&broker, version, "client");
        subscribed(&mut client, version, "t", 1);
        let mut publisher = accepted(&broker, version, "publisher");
        publisher.send(&publish(version, 0x02, "t", Some(1), "kept"));
        publisher.expect_bytes();
        let kept = identifier_of(&client.expect_bytes());
        for _ in 0..3 {
            let batch: Vec<_> = (0..1000_u32)
                .flat_map(|_| publish(version, 0x02, "t", Some(2), "x"))
                .collect();
            publisher.send(&batch);
            for _ in 0..1000 {
                let identifier = identifier_of(&client.expect_bytes());
                assert_ne!(identifier, kept, "the identifier is in use");
                assert_ne!(identifier, 0);
                client.send(&ack(PUBACK, identifier));
            }
            for _ in 0..1000 {
                publisher.expect_bytes();
            }
        }
        publisher.disconnect();
        client.disconnect();
    }
}

/// Messages of one publisher arrive in order at each subscriber, at each QoS.
///
/// [MQTT3-4.5.0-1], [MQTT3-4.6.0-5], [MQTT3-4.6.0-6], [MQTT-4.5.0-1], [MQTT-4.6.0-5], [MQTT-4.6.0-6]
#[test]
fn messages_keep_their_order() {
    let broker = Setup::default().shards(2).global("max_queued_messages 0").start();
    for version in VERSIONS {
        let mut subscribers: Vec<_> = (0..4)
            .map(|n| accepted(&broker, version, &format!("s{n}")))
            .collect();
        for (subscriber, qos) in subscribers.iter_mut().zip([0, 1, 1, 0]) {
            subscribed(subscriber, version, "+", qos);
        }
        let mut publisher = accepted(&broker, version, "publisher");
        for number in 0..300 {
            let topic = if number % 2 == 0 { "a" } else { "b" };
            publisher.send(&publish(version, 0x02, topic, Some(1), &format!("{number:03}")));
            publisher.expect_bytes();
        }
        for subscriber in &mut subscribers {
            let mut last = std::collections::BTreeMap::new();
            for _ in 0..300 {
                let message = subscriber.message();
                let before = last.insert(message.topic.clone(), message.payload.clone());
                assert!(before < Some(message.payload), "{version:?} {}", message.topic);
            }
        }
        subscribers.into_iter().for_each(Client::disconnect);
        publisher.disconnect();
    }
}

/// A client that acknowledges nothing receives as many messages as its Receive Maximum, and every other packet all the
/// same.
///
/// [MQTT-3.3.4-9], [MQTT-3.3.4-10], [MQTT-4.9.0-1] to [MQTT-4.9.0-3]
#[test]
fn only_publish_waits_for_the_receive_maximum() {
    let broker = Broker::start();
    let properties = b"\x03\x21\x00\x02";
    let mut client = open(
        &broker,
        V5,
        &connect_with(V5, CLEAN, properties, &[&field("client")]),
    );
    client.expect_bytes();
    subscribed(&mut client, V5, "t", 2);
    let mut publisher = accepted(&broker, V5, "publisher");
    for number in 0..4 {
        published(&mut publisher, V5, "t", &number.to_string());
    }
    let first = identifier_of(&client.expect_bytes());
    client.expect_bytes();
    client.expect_nothing();
    exchange(&mut client, PINGREQ, PINGRESP);
    subscribed(&mut client, V5, "u", 0);
    exchange(
        &mut client,
        &unsubscribe(V5, 5, &["v"]),
        &answer(V5, UNSUBACK, 5, &[0x11]),
    );
    exchange(
        &mut client,
        &publish(V5, 0x04, "x", Some(1), ""),
        &packet(PUBREC, &[&[0, 1, 0x10]]),
    );
    exchange(&mut client, &ack(PUBREL, 1), &ack(PUBCOMP, 1));
    // QoS 0 has no quota.
    publisher.send(&publish(V5, 0, "u", None, "0"));
    assert_eq!(client.expect_bytes(), publish(V5, 0, "u", None, "0"));
    client.send(&ack(PUBACK, first));
    assert_eq!(client.expect_bytes().last(), Some(&b'2'));
    client.expect_nothing();
}

/// A PUBACK or PUBREC with an error ends the message: it is not sent again, not even after a reconnect.
///
/// [MQTT-4.4.0-2], [MQTT-4.3.3-4]
#[test]
fn a_message_that_is_refused_is_done() {
    let broker = Broker::start();
    let mut client = open(&broker, V5, &resume(V5, "client"));
    client.expect_bytes();
    subscribed(&mut client, V5, "t", 2);
    let mut publisher = accepted(&broker, V5, "publisher");
    for (flags, first) in [(0x02, PUBACK), (0x04, PUBREC)] {
        publisher.send(&publish(V5, flags, "t", Some(1), "x"));
        let identifier = identifier_of(&client.expect_bytes());
        client.send(&packet(first, &[&identifier.to_be_bytes(), &[0x83]]));
    }
    exchange(&mut client, PINGREQ, PINGRESP);
    client.cut();
    let mut client = open(&broker, V5, &resume(V5, "client"));
    assert_eq!(client.expect_bytes()[2], 1);
    client.expect_nothing();
}
