//! Received PUBLISH packets: QoS 0, 1 and 2, topic aliases, limits.

use mqtt::frame::PacketType;

use super::*;
use broker::settings::Settings;

fn aliased<'a>(
    topic: &'a str,
    alias: u16,
    payload: &'a str,
    properties: &'a mut PropertiesBuf,
) -> Publish<'a> {
    properties.clear();
    properties.push(Property::UserProperty("k", "v")).unwrap();
    properties.push(Property::TopicAlias(id(alias))).unwrap();
    Publish {
        properties: properties.as_properties(),
        ..publish(topic, QoS::AtMostOnce, payload)
    }
}

fn acknowledgement(cluster: &mut Cluster, client: Client) -> (PacketType, u16, ReasonCode) {
    let (packet_type, ack) = match cluster.expect(client).packet() {
        Some(Packet::PubAck(ack)) => (PacketType::PubAck, (ack.packet_identifier, ack.reason)),
        Some(Packet::PubRec(ack)) => (PacketType::PubRec, (ack.packet_identifier, ack.reason)),
        Some(Packet::PubRel(ack)) => (PacketType::PubRel, (ack.packet_identifier, ack.reason)),
        Some(Packet::PubComp(ack)) => (PacketType::PubComp, (ack.packet_identifier, ack.reason)),
        other => panic!("no acknowledgement but {other:?}"),
    };
    (packet_type, ack.0.get(), ack.1)
}

#[test]
fn qos0_goes_to_subscribers_of_every_version_on_any_shard() {
    // [MQTT-3.3.4-1], [MQTT3-3.3.4-1], [MQTT-4.3.1-1]
    for shards in 1..4 {
        for from in VERSIONS {
            for to in VERSIONS {
                let mut cluster = Cluster::new(shards);
                let (first, second) = apart(shards);
                let publisher = cluster.join(from, first);
                let subscriber = cluster.join(to, &second);
                cluster.subscribe(subscriber, "a/+", QoS::AtMostOnce);
                cluster.publish(publisher, "a/b", QoS::AtMostOnce, "x");
                cluster.publish(publisher, "a/b/c", QoS::AtMostOnce, "y");
                let got = cluster.got(subscriber).unwrap();
                assert_eq!(
                    (got.topic.as_str(), got.payload.as_str(), got.qos),
                    ("a/b", "x", QoS::AtMostOnce)
                );
                cluster.expect_nothing(subscriber);
                cluster.expect_nothing(publisher);
            }
        }
    }
}

#[test]
fn qos1_is_acknowledged_to_the_publisher_and_by_the_subscriber() {
    // [MQTT-4.3.2-1] to [MQTT-4.3.2-5]
    for shards in 1..4 {
        for version in VERSIONS {
            let mut cluster = Cluster::new(shards);
            let (first, second) = apart(shards);
            let publisher = cluster.join(version, first);
            let subscriber = cluster.join(version, &second);
            cluster.subscribe(subscriber, "t", QoS::AtLeastOnce);
            cluster.publish(publisher, "t", QoS::AtLeastOnce, "x");
            assert_eq!(
                acknowledgement(&mut cluster, publisher),
                (PacketType::PubAck, 9, ReasonCode::Success)
            );
            let got = cluster.got(subscriber).unwrap();
            assert_eq!(
                (got.qos, got.dup, got.identifier),
                (QoS::AtLeastOnce, false, Some(id(1)))
            );
            cluster.acknowledge(subscriber, PacketType::PubAck, 1);
            cluster.expect_nothing(subscriber);
        }
    }
}

#[test]
fn qos2_is_published_once_however_often_it_comes() {
    // [MQTT-4.3.3-8] to [MQTT-4.3.3-13]
    for version in VERSIONS {
        let mut cluster = Cluster::new(2);
        let (first, second) = apart(2);
        let publisher = cluster.join_with(&Connect {
            clean_start: false,
            ..connect(version, first)
        });
        let subscriber = cluster.join(version, &second);
        cluster.subscribe(subscriber, "t", QoS::AtMostOnce);
        let message = publish("t", QoS::ExactlyOnce, "x");
        cluster.publish_with(publisher, &message);
        cluster.publish_with(publisher, &Publish { dup: true, ..message });
        for _ in 0..2 {
            assert_eq!(
                acknowledgement(&mut cluster, publisher),
                (PacketType::PubRec, 9, ReasonCode::Success)
            );
        }
        assert_eq!(cluster.payloads(subscriber), ["x"]);
        cluster.acknowledge(publisher, PacketType::PubRel, 9);
        assert_eq!(
            acknowledgement(&mut cluster, publisher),
            (PacketType::PubComp, 9, ReasonCode::Success)
        );
        cluster.publish_with(publisher, &message);
        assert_eq!(
            cluster.payloads(subscriber),
            ["x"],
            "the identifier is free again"
        );
    }
}

#[test]
fn qos2_goes_out_in_four_steps() {
    // [MQTT-4.3.3-1] to [MQTT-4.3.3-7]
    for version in VERSIONS {
        let mut cluster = Cluster::new(1);
        let publisher = cluster.join(version, "p");
        let subscriber = cluster.join(version, "s");
        cluster.subscribe(subscriber, "t", QoS::ExactlyOnce);
        cluster.publish(publisher, "t", QoS::ExactlyOnce, "x");
        let got = cluster.got(subscriber).unwrap();
        assert_eq!((got.qos, got.identifier), (QoS::ExactlyOnce, Some(id(1))));
        cluster.acknowledge(subscriber, PacketType::PubRec, 1);
        assert_eq!(
            acknowledgement(&mut cluster, subscriber),
            (PacketType::PubRel, 1, ReasonCode::Success)
        );
        cluster.acknowledge(subscriber, PacketType::PubRec, 1);
        assert_eq!(
            acknowledgement(&mut cluster, subscriber),
            (PacketType::PubRel, 1, ReasonCode::Success)
        );
        cluster.acknowledge(subscriber, PacketType::PubComp, 1);
        cluster.expect_nothing(subscriber);
    }
}

#[test]
fn acknowledgements_of_nothing_change_nothing() {
    let mut cluster = Cluster::new(1);
    let client = cluster.join(V5, "c");
    cluster.acknowledge(client, PacketType::PubAck, 5);
    cluster.acknowledge(client, PacketType::PubComp, 5);
    cluster.expect_nothing(client);
    cluster.acknowledge(client, PacketType::PubRec, 5);
    let not_found = ReasonCode::PacketIdentifierNotFound;
    assert_eq!(
        acknowledgement(&mut cluster, client),
        (PacketType::PubRel, 5, not_found)
    );
    cluster.acknowledge(client, PacketType::PubRel, 5);
    assert_eq!(
        acknowledgement(&mut cluster, client),
        (PacketType::PubComp, 5, not_found)
    );
    assert!(!cluster.closed(client));
}

#[test]
fn nobody_there_is_said_in_5_0() {
    let mut cluster = Cluster::new(2);
    let client = cluster.join(V5, "c");
    for (qos, packet_type) in [
        (QoS::AtLeastOnce, PacketType::PubAck),
        (QoS::ExactlyOnce, PacketType::PubRec),
    ] {
        cluster.publish(client, "t", qos, "x");
        let expected = (packet_type, 9, ReasonCode::NoMatchingSubscribers);
        assert_eq!(acknowledgement(&mut cluster, client), expected);
    }
}

#[test]
fn receive_maximum_is_enforced() {
    // [MQTT-3.3.4-7], [MQTT-3.3.4-8], [MQTT-4.9.0-1]
    let mut cluster = Cluster::new(1);
    let client = cluster.join(V5, "c");
    for number in 1..=20 {
        let message = publish("t", QoS::ExactlyOnce, "x");
        cluster.publish_with(
            client,
            &Publish {
                packet_identifier: Some(id(number)),
                ..message
            },
        );
        assert_eq!(acknowledgement(&mut cluster, client).0, PacketType::PubRec);
    }
    cluster.acknowledge(client, PacketType::PubRel, 7);
    assert_eq!(acknowledgement(&mut cluster, client).0, PacketType::PubComp);
    for (number, closes) in [(21, false), (22, true)] {
        let message = publish("t", QoS::ExactlyOnce, "x");
        cluster.publish_with(
            client,
            &Publish {
                packet_identifier: Some(id(number)),
                ..message
            },
        );
        if closes {
            cluster.expect_disconnect(client, ReasonCode::ReceiveMaximumExceeded);
        } else {
            assert_eq!(acknowledgement(&mut cluster, client).0, PacketType::PubRec);
        }
    }
}

/// V25: the quota belongs to the connection [MQTT 5.0, 4.9], what awaits PUBREL to the session.
#[test]
fn v25_a_new_connection_has_its_whole_receive_maximum() {
    let mut forever = PropertiesBuf::new();
    forever.push(Property::SessionExpiryInterval(u32::MAX)).unwrap();
    let kept = Connect {
        clean_start: false,
        properties: forever.as_properties(),
        ..connect(V5, "c")
    };
    let mut cluster = Cluster::new(1);
    let subscriber = cluster.join(V5, "s");
    cluster.subscribe(subscriber, "t", QoS::AtMostOnce);
    let publish_as = |cluster: &mut Cluster, client, number| {
        let message = publish("t", QoS::ExactlyOnce, "x");
        let packet_identifier = Some(id(number));
        cluster.publish_with(
            client,
            &Publish {
                packet_identifier,
                ..message
            },
        );
        assert_eq!(acknowledgement(cluster, client).0, PacketType::PubRec);
    };
    for connection in 0..3 {
        let client = cluster.join_with(&kept);
        for number in 1..=20 {
            publish_as(&mut cluster, client, connection * 20 + number);
        }
        assert_eq!(cluster.payloads(subscriber).len(), 20);
        cluster.cut(client);
    }
    let client = cluster.join_with(&kept);
    for number in 1..=20 {
        publish_as(&mut cluster, client, number);
    }
    cluster.expect_nothing(subscriber);
    for number in [5, 60, 33] {
        cluster.acknowledge(client, PacketType::PubRel, number);
        let answer = acknowledgement(&mut cluster, client);
        assert_eq!(answer, (PacketType::PubComp, number, ReasonCode::Success));
    }
    for number in 100..120 {
        publish_as(&mut cluster, client, number);
    }
    let message = publish("t", QoS::ExactlyOnce, "x");
    cluster.publish_with(
        client,
        &Publish {
            packet_identifier: Some(id(120)),
            ..message
        },
    );
    cluster.expect_disconnect(client, ReasonCode::ReceiveMaximumExceeded);
}

#[test]
fn topic_aliases_stand_for_topics_on_their_connection() {
    // [MQTT-3.3.2-7], [MQTT-3.3.2-9], [MQTT-3.3.2-12]
    for shards in [1, 2] {
        let mut cluster = Cluster::new(shards);
        let (first, second) = apart(shards);
        let publisher = cluster.join(V5, first);
        let subscriber = cluster.join(V5, &second);
        cluster.subscribe(subscriber, "#", QoS::AtMostOnce);
        let mut buffer = PropertiesBuf::new();
        for (topic, alias, payload) in [
            ("a", 1, "1"),
            ("b", 10, "2"),
            ("", 1, "3"),
            ("", 10, "4"),
            ("c", 1, "5"),
            ("", 1, "6"),
        ] {
            cluster.publish_with(publisher, &aliased(topic, alias, payload, &mut buffer));
        }
        for (topic, payload) in [
            ("a", "1"),
            ("b", "2"),
            ("a", "3"),
            ("b", "4"),
            ("c", "5"),
            ("c", "6"),
        ] {
            let got = cluster.got(subscriber).unwrap();
            assert_eq!((got.topic.as_str(), got.payload.as_str()), (topic, payload));
            let properties: Vec<_> = got.properties.as_properties().iter().collect();
            assert_eq!(
                properties,
                [Property::UserProperty("k", "v")],
                "the alias is for one hop"
            );
        }
        cluster.publish_with(publisher, &aliased("", 2, "unknown", &mut buffer));
        cluster.expect_disconnect(publisher, ReasonCode::ProtocolError);
        let publisher = cluster.join(V5, first);
        cluster.publish_with(
            publisher,
            &aliased("", 1, "of the connection before", &mut buffer),
        );
        cluster.expect_disconnect(publisher, ReasonCode::ProtocolError);
        let publisher = cluster.join(V5, first);
        cluster.publish_with(publisher, &aliased("t", 11, "too high", &mut buffer));
        cluster.expect_disconnect(publisher, ReasonCode::TopicAliasInvalid);
        cluster.expect_nothing(subscriber);
    }
}

#[test]
fn a_subscription_identifier_from_a_client_is_an_error() {
    // [MQTT-3.3.4-6]
    let mut properties = PropertiesBuf::new();
    properties.push(Property::SubscriptionIdentifier(1)).unwrap();
    let mut cluster = Cluster::new(1);
    let client = cluster.join(V5, "c");
    let message = publish("t", QoS::AtMostOnce, "x");
    cluster.publish_with(
        client,
        &Publish {
            properties: properties.as_properties(),
            ..message
        },
    );
    cluster.expect_disconnect(client, ReasonCode::ProtocolError);
}

#[test]
fn what_the_listener_does_not_take_ends_the_connection() {
    // [MQTT-3.2.2-11], [MQTT-3.2.2-14]
    let mut settings = Settings {
        sys_interval_s: 0,
        retain_available: false,
        ..Settings::default()
    };
    settings.listeners[0].qos_max = QoS::AtLeastOnce;
    let mut cluster = Cluster::with_settings(1, settings);
    let client = cluster.join(V5, "c");
    cluster.publish(client, "t", QoS::ExactlyOnce, "x");
    cluster.expect_disconnect(client, ReasonCode::QoSNotSupported);
    let client = cluster.join(V5, "c");
    cluster.publish_with(client, &retained("t", QoS::AtMostOnce, "x"));
    cluster.expect_disconnect(client, ReasonCode::RetainNotSupported);
}

#[test]
fn sizes_are_limited() {
    let settings = Settings {
        sys_interval_s: 0,
        packet_bytes_max: 100,
        payload_bytes_max: 50,
        ..Settings::default()
    };
    for version in [V3, V5] {
        let mut cluster = Cluster::with_settings(1, settings.clone());
        let subscriber = cluster.join(V3, "s");
        cluster.subscribe(subscriber, "t", QoS::AtMostOnce);
        let client = cluster.join(version, "c");
        let payload = "x".repeat(50);
        cluster.publish(client, "t", QoS::AtLeastOnce, &payload);
        assert_eq!(acknowledgement(&mut cluster, client).0, PacketType::PubAck);
        assert_eq!(cluster.payloads(subscriber), [payload]);
        let payload = "x".repeat(51);
        cluster.publish(client, "t", QoS::AtLeastOnce, &payload);
        let reason = if version == V5 {
            ReasonCode::ImplementationSpecificError
        } else {
            ReasonCode::Success
        };
        let (packet_type, _, answered) = acknowledgement(&mut cluster, client);
        assert_eq!((packet_type, answered), (PacketType::PubAck, reason));
        cluster.expect_nothing(subscriber);
        let client = cluster.join(version, "c");
        // [MQTT-3.2.2-15]
        cluster.publish(client, "t", QoS::AtMostOnce, &"x".repeat(100));
        cluster.expect_disconnect(client, ReasonCode::PacketTooLarge);
    }
}

#[test]
fn sys_is_the_brokers_alone() {
    for version in [V3, V5] {
        let mut cluster = Cluster::new(1);
        let client = cluster.join(version, "c");
        cluster.subscribe(client, "$SYS/#", QoS::AtMostOnce);
        cluster.publish(client, "$SYS/x", QoS::AtMostOnce, "x");
        cluster.expect_nothing(client);
        cluster.publish_with(client, &retained("$SYS/x", QoS::AtLeastOnce, "x"));
        let reason = if version == V5 {
            ReasonCode::NotAuthorized
        } else {
            ReasonCode::Success
        };
        assert_eq!(
            acknowledgement(&mut cluster, client),
            (PacketType::PubAck, 9, reason)
        );
        cluster.expect_nothing(client);
        cluster.publish(client, "$other/x", QoS::AtMostOnce, "x");
        assert!(!cluster.closed(client));
    }
}

#[test]
fn topics_and_filters_have_so_many_levels_at_most() {
    let mut cluster = Cluster::new(1);
    let client = cluster.join(V5, "c");
    let (allowed, too_deep) = ("/".repeat(200), "/".repeat(201));
    cluster.subscribe(client, &allowed, QoS::AtMostOnce);
    cluster.publish(client, &allowed, QoS::AtMostOnce, "x");
    assert_eq!(cluster.payloads(client), ["x"]);
    let refused = cluster.subscribe_with(client, &too_deep, options(QoS::AtMostOnce), None);
    assert_eq!(refused, ReasonCode::TopicFilterInvalid);
    cluster.publish(client, &too_deep, QoS::AtMostOnce, "x");
    cluster.expect_disconnect(client, ReasonCode::TopicNameInvalid);
}

#[test]
fn order_is_kept_at_each_qos() {
    // [MQTT-4.6.0-5], [MQTT-4.6.0-6]
    for shards in 1..4 {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut cluster = Cluster::new(shards);
            let (first, second) = apart(shards);
            let publisher = cluster.join(V5, first);
            let subscriber = cluster.join(V3, &second);
            cluster.subscribe(subscriber, "t/#", QoS::AtLeastOnce);
            let mut bytes = Vec::new();
            for number in 1..=200_u16 {
                let (topic, payload) = (format!("t/{}", number % 3), number.to_string());
                let identifier = (qos != QoS::AtMostOnce).then(|| id(number));
                let retain = number % 7 == 0;
                let message = publish(&topic, qos, &payload);
                Publish {
                    packet_identifier: identifier,
                    retain,
                    ..message
                }
                .encode(V5, &mut bytes)
                .unwrap();
                if qos == QoS::ExactlyOnce {
                    let released = (PacketType::PubRel, id(number), ReasonCode::Success);
                    mqtt::encode::ack(released.0, released.1, released.2, V5, &mut bytes);
                }
            }
            for chunk in bytes.chunks(777) {
                cluster.send(publisher, chunk);
            }
            let mut payloads = Vec::new();
            while let Some(got) = cluster.got(subscriber) {
                payloads.push(got.payload);
                if let Some(identifier) = got.identifier {
                    cluster.acknowledge(subscriber, PacketType::PubAck, identifier.get());
                }
            }
            let expected: Vec<_> = (1..=200).map(|number: u16| number.to_string()).collect();
            assert_eq!(payloads, expected, "{shards} shards, {qos:?}");
        }
    }
}
