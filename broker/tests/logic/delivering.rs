//! What a subscriber receives: properties, expiry, its own limits.

use std::num::{NonZeroU16, NonZeroU32};

use mqtt::frame::PacketType;

use super::*;
use broker::settings::Settings;

#[test]
fn properties_go_on_in_their_order() {
    // [MQTT-3.3.2-4], [MQTT-3.3.2-15], [MQTT-3.3.2-16], [MQTT-3.3.2-17], [MQTT-3.3.2-18], [MQTT-3.3.2-20]
    let mut sent = PropertiesBuf::new();
    for property in [
        Property::UserProperty("b", "1"),
        Property::PayloadFormatIndicator(true),
        Property::UserProperty("a", "2"),
        Property::ContentType("text"),
        Property::ResponseTopic("re/ply"),
        Property::CorrelationData(&[0, 1, 255]),
        Property::UserProperty("b", "1"),
    ] {
        sent.push(property).unwrap();
    }
    for shards in [1, 2] {
        for retain in [false, true] {
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
                let mut cluster = Cluster::new(shards);
                let (first, second) = apart(shards);
                let publisher = cluster.join(V5, first);
                let subscriber = cluster.join(V5, &second);
                let old = cluster.join(V3, "old");
                cluster.subscribe(subscriber, "t", QoS::AtLeastOnce);
                cluster.subscribe(old, "t", QoS::AtLeastOnce);
                let message = Publish {
                    retain,
                    properties: sent.as_properties(),
                    ..publish("t", qos, "x")
                };
                cluster.publish_with(publisher, &message);
                assert_eq!(cluster.got(subscriber).unwrap().properties, sent);
                assert_eq!(cluster.payloads(old), ["x"]);
                if retain {
                    cluster.subscribe(subscriber, "t", QoS::AtLeastOnce);
                    assert_eq!(cluster.got(subscriber).unwrap().properties, sent);
                }
            }
        }
    }
}

#[test]
fn message_expiry_counts_down_and_ends_the_message() {
    // [MQTT-3.3.2-5], [MQTT-3.3.2-6]
    let mut expiry = PropertiesBuf::new();
    expiry.push(Property::MessageExpiryInterval(10)).unwrap();
    expiry.push(Property::UserProperty("k", "v")).unwrap();
    let mut kept = PropertiesBuf::new();
    kept.push(Property::SessionExpiryInterval(1000)).unwrap();
    for shards in [1, 2] {
        for (after_s, left_s) in [(0, Some(10)), (4, Some(6)), (9, Some(1)), (11, None)] {
            let mut cluster = Cluster::new(shards);
            let (first, second) = apart(shards);
            let publisher = cluster.join(V5, first);
            let connect = Connect {
                clean_start: false,
                properties: kept.as_properties(),
                ..connect(V5, &second)
            };
            let subscriber = cluster.join_with(&connect);
            cluster.subscribe(subscriber, "t", QoS::AtLeastOnce);
            cluster.cut(subscriber);
            let message = publish("t", QoS::AtLeastOnce, "x");
            cluster.publish_with(
                publisher,
                &Publish {
                    properties: expiry.as_properties(),
                    ..message
                },
            );
            cluster.publish(publisher, "t", QoS::AtLeastOnce, "forever");
            cluster.advance_s(after_s);
            let subscriber = cluster.join_with(&connect);
            if let Some(left_s) = left_s {
                let got = cluster.got(subscriber).unwrap();
                let properties: Vec<_> = got.properties.as_properties().iter().collect();
                assert_eq!(
                    properties,
                    [
                        Property::MessageExpiryInterval(left_s),
                        Property::UserProperty("k", "v")
                    ]
                );
            }
            assert_eq!(cluster.payloads(subscriber), ["forever"]);
        }
    }
}

#[test]
fn the_clients_receive_maximum_is_kept() {
    // [MQTT-3.3.4-9], [MQTT-4.9.0-2], [MQTT-4.9.0-3]
    let mut properties = PropertiesBuf::new();
    properties
        .push(Property::ReceiveMaximum(NonZeroU16::new(3).unwrap()))
        .unwrap();
    let mut cluster = Cluster::new(1);
    let publisher = cluster.join(V3, "p");
    let subscriber = cluster.join_with(&Connect {
        properties: properties.as_properties(),
        ..connect(V5, "s")
    });
    cluster.subscribe(subscriber, "t", QoS::ExactlyOnce);
    for number in 1..=7 {
        let payload = number.to_string();
        let message = publish("t", QoS::ExactlyOnce, &payload);
        cluster.publish_with(
            publisher,
            &Publish {
                packet_identifier: Some(id(number)),
                ..message
            },
        );
    }
    cluster.publish(publisher, "t", QoS::AtMostOnce, "qos 0 is not counted");
    assert_eq!(
        cluster.payloads(subscriber),
        ["1", "2", "3", "qos 0 is not counted"]
    );
    cluster.acknowledge(subscriber, PacketType::PubRec, 2);
    assert!(matches!(
        cluster.expect(subscriber).packet(),
        Some(Packet::PubRel(_))
    ));
    cluster.expect_nothing(subscriber);
    cluster.acknowledge(subscriber, PacketType::PubComp, 2);
    let got = cluster.got(subscriber).unwrap();
    assert_eq!((got.payload.as_str(), got.identifier), ("4", Some(id(4))));
    let mut refused = Vec::new();
    mqtt::encode::ack(
        PacketType::PubRec,
        id(1),
        ReasonCode::UnspecifiedError,
        V5,
        &mut refused,
    );
    cluster.send(subscriber, &refused);
    assert_eq!(
        cluster.payloads(subscriber),
        ["5"],
        "a refused message is done [MQTT-4.3.3-4]"
    );
}

#[test]
fn a_message_too_large_for_one_subscriber_is_dropped_for_it_alone() {
    // [MQTT-3.1.2-24], [MQTT-3.1.2-25]
    let mut properties = PropertiesBuf::new();
    properties
        .push(Property::MaximumPacketSize(NonZeroU32::new(60).unwrap()))
        .unwrap();
    for shards in [1, 2] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
            let mut cluster = Cluster::new(shards);
            let (first, second) = apart(shards);
            let publisher = cluster.join(V5, first);
            let small = cluster.join_with(&Connect {
                properties: properties.as_properties(),
                ..connect(V5, &second)
            });
            let large = cluster.join(V5, "large");
            for subscriber in [small, large] {
                cluster.subscribe(subscriber, "t", QoS::AtLeastOnce);
            }
            let (short, long) = ("x".repeat(10), "y".repeat(100));
            let mut bytes = Vec::new();
            for payload in [&short, &long, &short] {
                publish("t", qos, payload).encode(V5, &mut bytes).unwrap();
            }
            cluster.send(publisher, &bytes);
            assert_eq!(cluster.payloads(small), [short.clone(), short.clone()]);
            assert_eq!(cluster.payloads(large), [short.clone(), long, short]);
            assert_eq!(cluster.count(|counters| counters.publishes_dropped.get()), 1);
        }
    }
}

#[test]
fn retain_as_published_is_kept_per_subscription() {
    // [MQTT-3.3.1-12], [MQTT-3.3.1-13]
    for shards in [1, 2] {
        let mut cluster = Cluster::new(shards);
        let (first, second) = apart(shards);
        let publisher = cluster.join(V3, first);
        let subscriber = cluster.join(V5, &second);
        cluster.subscribe_with(
            subscriber,
            "kept",
            SubscriptionOptions {
                retain_as_published: true,
                ..options(QoS::AtMostOnce)
            },
            None,
        );
        cluster.subscribe(subscriber, "cleared", QoS::AtMostOnce);
        for (topic, retain, expected) in [
            ("kept", true, true),
            ("kept", false, false),
            ("cleared", true, false),
            ("cleared", false, false),
        ] {
            cluster.publish_with(
                publisher,
                &Publish {
                    retain,
                    ..publish(topic, QoS::AtMostOnce, "x")
                },
            );
            assert_eq!(
                cluster.got(subscriber).unwrap().retain,
                expected,
                "{topic} {retain}"
            );
        }
    }
}

#[test]
fn qos_is_the_lower_of_both_unless_upgraded() {
    // [MQTT-3.8.4-8]
    let all = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
    for upgrade in [false, true] {
        for published in all {
            for granted in all {
                let mut cluster = Cluster::with_settings(
                    1,
                    broker::settings::Settings {
                        sys_interval_s: 0,
                        upgrade_outgoing_qos: upgrade,
                        ..Default::default()
                    },
                );
                let publisher = cluster.join(V3, "p");
                let subscriber = cluster.join(V3, "s");
                cluster.subscribe(subscriber, "t", granted);
                cluster.publish(publisher, "t", published, "x");
                let expected = if upgrade { granted } else { published.min(granted) };
                assert_eq!(cluster.got(subscriber).unwrap().qos, expected);
            }
        }
    }
}

fn with_queue(messages_max: u64) -> Cluster {
    let settings = Settings {
        sys_interval_s: 0,
        queued_messages_max: messages_max,
        ..Settings::default()
    };
    Cluster::with_settings(1, settings)
}

#[test]
fn what_has_expired_makes_room_for_what_has_not() {
    // [MQTT-3.3.2-5]
    let mut kept = PropertiesBuf::new();
    kept.push(Property::SessionExpiryInterval(1000)).unwrap();
    let expiring = |after_s| {
        let mut properties = PropertiesBuf::new();
        properties.push(Property::MessageExpiryInterval(after_s)).unwrap();
        properties
    };
    let mut cluster = with_queue(4);
    let publisher = cluster.join(V5, "p");
    let connect = Connect {
        clean_start: false,
        properties: kept.as_properties(),
        ..connect(V5, "s")
    };
    let subscriber = cluster.join_with(&connect);
    cluster.subscribe(subscriber, "t", QoS::AtLeastOnce);
    cluster.cut(subscriber);
    let send = |cluster: &mut Cluster, payload: &str, after_s: Option<u32>| {
        let properties = after_s.map(expiring).unwrap_or_default();
        let message = Publish {
            properties: properties.as_properties(),
            ..publish("t", QoS::AtLeastOnce, payload)
        };
        cluster.publish_with(publisher, &message);
    };
    // What does not expire stands before and between what does.
    send(&mut cluster, "first", None);
    send(&mut cluster, "gone", Some(3));
    send(&mut cluster, "kept", Some(1_000));
    send(&mut cluster, "gone later", Some(9));
    send(&mut cluster, "too many", None);
    assert_eq!(cluster.count(|counters| counters.publishes_dropped.get()), 1);
    cluster.advance_s(5);
    assert_eq!(cluster.count(|counters| counters.publishes_dropped.get()), 2);
    assert_eq!(cluster.count(|counters| counters.queued_messages.get()), 3);
    send(&mut cluster, "second", None);
    cluster.advance_s(6);
    send(&mut cluster, "third", None);
    assert_eq!(cluster.count(|counters| counters.publishes_dropped.get()), 3);
    let subscriber = cluster.join_with(&connect);
    assert_eq!(cluster.payloads(subscriber), ["first", "kept", "second", "third"]);
}

#[test]
fn what_has_expired_is_deleted_though_the_client_stays_away() {
    // [MQTT-3.3.2-5]; more than is looked through at once.
    let mut kept = PropertiesBuf::new();
    kept.push(Property::SessionExpiryInterval(1000)).unwrap();
    let mut expiry = PropertiesBuf::new();
    expiry.push(Property::MessageExpiryInterval(1)).unwrap();
    let mut cluster = with_queue(10_000);
    let publisher = cluster.join(V5, "p");
    let connect = Connect {
        clean_start: false,
        properties: kept.as_properties(),
        ..connect(V5, "s")
    };
    let subscriber = cluster.join_with(&connect);
    cluster.subscribe(subscriber, "t", QoS::AtLeastOnce);
    cluster.cut(subscriber);
    for number in 0..3_000 {
        let message = Publish {
            properties: if number % 3 == 0 {
                Default::default()
            } else {
                expiry.as_properties()
            },
            ..publish("t", QoS::AtLeastOnce, "x")
        };
        cluster.publish_with(publisher, &message);
    }
    assert_eq!(cluster.count(|counters| counters.queued_messages.get()), 3_000);
    cluster.advance_s(3);
    assert_eq!(cluster.count(|counters| counters.queued_messages.get()), 1_000);
    assert_eq!(cluster.count(|counters| counters.queued_bytes.get()), 2_000);
    assert_eq!(cluster.count(|counters| counters.publishes_dropped.get()), 2_000);
}
