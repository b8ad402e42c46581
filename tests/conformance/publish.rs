//! PUBLISH: topics, retained messages, properties: section 3.3.

use mqtt::ProtocolVersion::V5;

use super::*;
use crate::harness::Setup;

const RETAIN: u8 = 0x01;

/// Flags, payload, and the retained payload and QoS bits after it.
type Step = (u8, &'static str, Option<(&'static str, u8)>);

/// What a new subscriber to `filter` gets at once.
fn retained(broker: &Broker, version: ProtocolVersion, filter: &str, qos: u8, count: usize) -> Vec<Vec<u8>> {
    let mut client = accepted(broker, version, "late");
    subscribed(&mut client, version, filter, qos);
    let mut messages: Vec<_> = (0..count).map(|_| client.expect_bytes()).collect();
    client.expect_nothing();
    client.disconnect();
    messages.sort();
    messages
}

/// A retained message is the last with RETAIN on its topic, of any QoS; an empty one takes it away; one without RETAIN
/// changes nothing. Who subscribed before sees no RETAIN, who comes later does.
///
/// [MQTT3-3.3.1-5] to [MQTT3-3.3.1-12]; [MQTT-3.3.1-5] to [MQTT-3.3.1-9], [MQTT-3.3.1-12]
#[test]
fn retained_messages() {
    let broker = Setup::default().shards(2).start();
    for version in VERSIONS {
        let mut present = accepted(&broker, version, "present");
        subscribed(&mut present, version, "r/#", 0);
        let mut publisher = accepted(&broker, version, "publisher");
        let steps: &[Step] = &[
            (0x02, "not retained", None),
            (0x02 | RETAIN, "first", Some(("first", 0x02))),
            (0x02, "not retained", Some(("first", 0x02))),
            (0x02, "", Some(("first", 0x02))),
            (RETAIN, "qos 0", Some(("qos 0", 0))),
            (0x04 | RETAIN, "qos 2", Some(("qos 2", 0x04))),
            (0x02 | RETAIN, "", None),
            (0x02 | RETAIN, "", None),
        ];
        for (flags, payload, kept) in steps {
            let identifier = (flags & 0x06 != 0).then_some(3);
            publisher.send(&publish(version, *flags, "r/x", identifier, payload));
            if flags & 0x06 == 0x04 {
                publisher.expect_bytes();
                publisher.send(&ack(PUBREL, 3));
            }
            publisher.send(PINGREQ);
            while publisher.expect_bytes() != PINGRESP {}
            let delivered = publish(version, 0, "r/x", None, payload);
            assert_eq!(present.expect_bytes(), delivered, "RETAIN is not passed on");
            let late = retained(&broker, version, "r/+", 2, usize::from(kept.is_some()));
            let Some((payload, qos)) = kept else { continue };
            assert_eq!(
                (late[0][0], late[0].ends_with(payload.as_bytes())),
                (0x30 | qos | RETAIN, true)
            );
        }
        // Each matching topic, and no other.
        for topic in ["r/1", "r/2", "s/3"] {
            publisher.send(&publish(version, 0x02 | RETAIN, topic, Some(3), topic));
            publisher.expect_bytes();
        }
        let late = retained(&broker, version, "r/#", 0, 2);
        assert_eq!(
            late,
            ["r/1", "r/2"].map(|topic| publish(version, RETAIN, topic, None, topic))
        );
        for topic in ["r/1", "r/2", "s/3"] {
            published(&mut publisher, version, topic, "");
            publisher.send(&publish(version, 0x02 | RETAIN, topic, Some(3), ""));
            publisher.expect_bytes();
        }
        present.disconnect();
        publisher.disconnect();
    }
}

/// Retained messages are no part of a session.
///
/// [MQTT3-3.1.2-7], [MQTT-3.3.1-5]
#[test]
fn retained_messages_outlive_sessions() {
    let broker = Setup::default().shards(2).start();
    for version in VERSIONS {
        let mut publisher = accepted(&broker, version, "publisher");
        publisher.send(&publish(version, 0x02 | RETAIN, "kept", Some(3), "x"));
        publisher.expect_bytes();
        publisher.disconnect();
        accepted(&broker, version, "publisher").disconnect();
        let late = retained(&broker, version, "kept", 0, 1);
        assert_eq!(late, [publish(version, RETAIN, "kept", None, "x")]);
    }
}

/// The Topic Name is there, first, UTF-8, without wildcards, and of at least one character.
///
/// [MQTT3-3.3.2-1], [MQTT3-3.3.2-2], [MQTT3-4.7.1-1], [MQTT3-4.7.3-1], [MQTT-3.3.2-1], [MQTT-3.3.2-2], [MQTT-4.7.0-1],
/// [MQTT-4.7.3-1]
#[test]
fn topic_names_are_checked() {
    let broker = Broker::start();
    for version in VERSIONS {
        let (properties, none) = (no_properties(version), &b""[..]);
        let topics: [(&[u8], &[u8]); 9] = [
            (b"\xc3\x28", &[0x81, 0x90]),
            (b"\xed\xa0\x80", &[0x81, 0x90]),
            (b"\xf4\x90\x80\x80", &[0x81, 0x90]),
            (b"a\x00b", &[0x81, 0x90]),
            (b"#", &[0x81, 0x82, 0x90]),
            (b"a/+", &[0x81, 0x82, 0x90]),
            (b"a#", &[0x81, 0x82, 0x90]),
            (b"+a", &[0x81, 0x82, 0x90]),
            (b"", &[0x81, 0x82, 0x90]),
        ];
        for (topic, reasons) in topics {
            for (flags, identifier) in [(0x30, none), (0x32, b"\x00\x05")] {
                let mut client = accepted(&broker, version, "client");
                client.send(&packet(flags, &[&field(topic), identifier, properties, b"x"]));
                closed_with(version, client, reasons, &format!("{version:?} topic {topic:x?}"));
            }
        }
        // No topic at all.
        let mut client = accepted(&broker, version, "client");
        client.send(&packet(0x30, &[]));
        closed_with(version, client, &[0x81], "an empty PUBLISH");
    }
}

/// A message comes with the name it was published under, which matches the filter.
///
/// [MQTT3-3.3.2-3], [MQTT-3.3.2-3]
#[test]
fn topics_are_delivered_as_they_are() {
    let broker = Setup::default().shards(2).start();
    for version in VERSIONS {
        let mut client = accepted(&broker, version, "client");
        for filter in ["a/+/c", "b/#", "/", "é/+"] {
            subscribed(&mut client, version, filter, 0);
        }
        let mut publisher = accepted(&broker, version, "publisher");
        for topic in [
            "a/b/c",
            "a//c",
            "b",
            "b/",
            "b/x/y",
            "/",
            "é/ü",
            "a/b",
            "c",
            "//",
            "e\u{301}/x",
            "A/b/c",
        ] {
            publisher.send(&publish(version, 0, topic, None, topic));
        }
        for topic in ["a/b/c", "a//c", "b", "b/", "b/x/y", "/", "é/ü"] {
            assert_eq!(client.expect_bytes(), publish(version, 0, topic, None, topic));
        }
        client.expect_nothing();
        publisher.disconnect();
        client.disconnect();
    }
}

/// A PUBLISH that the rules forbid is acknowledged before 5.0, and refused by its acknowledgement there.
///
/// [MQTT3-3.3.5-2], [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-4.3.3-9], [MQTT-3.1.2-29]
#[test]
fn a_forbidden_publish_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("acl");
    std::fs::write(&file, "topic read #\n").unwrap();
    let broker = Setup::default()
        .global(&format!("acl_file {}", file.display()))
        .start();
    for version in VERSIONS {
        let mut client = accepted_without_words(&broker, version, "client");
        subscribed(&mut client, version, "t", 0);
        let refused: &[u8] = if version == V5 { &[0x87] } else { &[] };
        let answer = |first| packet(first, &[&[0, 9], refused]);
        exchange(
            &mut client,
            &publish(version, 0x02, "t", Some(9), "x"),
            &answer(PUBACK),
        );
        // After a PUBREC that refuses, the identifier is a new message.
        for _ in 0..2 {
            exchange(
                &mut client,
                &publish(version, 0x04, "t", Some(9), "x"),
                &answer(PUBREC),
            );
        }
        client.send(&publish(version, 0, "t", None, "x"));
        client.expect_nothing();
        client.disconnect();
    }
}

/// Properties of a message arrive as they were, in their order.
///
/// [MQTT-3.3.2-4], [MQTT-3.3.2-15] to [MQTT-3.3.2-18], [MQTT-3.3.2-20]
#[test]
fn properties_of_a_message_arrive_unaltered() {
    let broker = Setup::default().shards(2).start();
    let properties = [
        &b"\x01\x01"[..],
        &[&b"\x03"[..], &field("text/plain; \u{feff}")].concat(),
        &[&b"\x08"[..], &field("answer/here")].concat(),
        &[&b"\x09"[..], &field(b"\x00\xff\x00")].concat(),
        &[&b"\x26"[..], &field("b"), &field("2")].concat(),
        &[&b"\x26"[..], &field("a"), &field("")].concat(),
        &[&b"\x26"[..], &field("b"), &field("1")].concat(),
    ]
    .concat();
    for (number, flags) in [0_u8, 0x02, 0x04].into_iter().enumerate() {
        let mut client = accepted(&broker, V5, &format!("client-{number}"));
        subscribed(&mut client, V5, "t", 0);
        let mut publisher = accepted(&broker, V5, "publisher");
        let length = [u8::try_from(properties.len()).unwrap()];
        let identifier: &[u8] = if flags == 0 { b"" } else { b"\x00\x01" };
        publisher.send(&packet(
            0x30 | flags,
            &[&field("t"), identifier, &length, &properties, b"x"],
        ));
        assert_eq!(
            client.expect_bytes(),
            packet(0x30, &[&field("t"), &length, &properties, b"x"])
        );
    }
}

/// Each Topic Alias up to the maximum of CONNACK is taken, on its own connection alone.
///
/// [MQTT-3.3.2-7], [MQTT-3.3.2-8], [MQTT-3.3.2-12]
#[test]
fn topic_aliases_of_clients() {
    let broker = Setup::default().listener("max_topic_alias 5").start();
    let mut client = accepted(&broker, V5, "client");
    subscribed(&mut client, V5, "#", 0);
    let with_alias = |topic: &str, alias: u8| packet(0x30, &[&field(topic), &[3, 0x23, 0, alias], b"x"]);
    let mut publisher = accepted(&broker, V5, "publisher");
    for alias in 1..=5 {
        publisher.send(&with_alias(&format!("t/{alias}"), alias));
    }
    publisher.send(&with_alias("other", 5));
    for alias in [5, 1, 2] {
        publisher.send(&with_alias("", alias));
    }
    for topic in ["t/1", "t/2", "t/3", "t/4", "t/5", "other", "other", "t/1", "t/2"] {
        assert_eq!(client.expect_bytes(), publish(V5, 0, topic, None, "x"));
    }
    publisher.disconnect();
    for (topic, alias, reasons) in [("", 1, &[0x82][..]), ("t", 0, &[0x94]), ("t", 6, &[0x94])] {
        let mut publisher = accepted(&broker, V5, "publisher");
        publisher.send(&with_alias(topic, alias));
        closed_with(V5, publisher, reasons, &format!("{topic:?} with alias {alias}"));
    }
    client.expect_nothing();
}

/// Texts of properties are UTF-8, and a Response Topic has no wildcard.
///
/// [MQTT-1.5.7-1], [MQTT-3.3.2-13], [MQTT-3.3.2-14], [MQTT-3.3.2-19]
#[test]
fn texts_of_properties_are_checked() {
    let broker = Broker::start();
    let (good, bad, nul) = (field("x"), field(b"\xff"), field(b"\x00"));
    let response_topic = |topic: &[u8]| [&b"\x08"[..], &field(topic)].concat();
    for properties in [
        [&b"\x03"[..], &bad].concat(),
        [&b"\x03"[..], &nul].concat(),
        response_topic(b"\xc0\x80"),
        response_topic(b"a\x00"),
        response_topic(b"a/#"),
        response_topic(b"+"),
        [&b"\x26"[..], &bad, &good].concat(),
        [&b"\x26"[..], &good, &bad].concat(),
        [&b"\x26"[..], &nul, &good].concat(),
        [&b"\x26"[..], &good, &nul].concat(),
    ] {
        let mut client = accepted(&broker, V5, "client");
        let length = [u8::try_from(properties.len()).unwrap()];
        client.send(&packet(0x30, &[&field("t"), &length, &properties, b"x"]));
        closed_with(V5, client, &[0x81, 0x82], &format!("{properties:x?}"));
    }
}
