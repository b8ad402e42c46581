//! Kept sessions: redelivery, offline queues, their limits, slow consumers.

use mqtt::frame::PacketType;

use super::*;
use broker::limits;
use broker::settings::Settings;

fn kept(version: ProtocolVersion, client_identifier: &str) -> Connect<'_> {
    static FOREVER: std::sync::LazyLock<PropertiesBuf> = std::sync::LazyLock::new(|| {
        let mut properties = PropertiesBuf::new();
        properties
            .push(Property::SessionExpiryInterval(u32::MAX))
            .unwrap();
        properties
    });
    let properties = if version == V5 {
        FOREVER.as_properties()
    } else {
        Properties::EMPTY
    };
    Connect {
        clean_start: false,
        properties,
        ..connect(version, client_identifier)
    }
}

fn resume(cluster: &mut Cluster, connect: &Connect<'_>) -> Client {
    let client = cluster.connect(connect);
    let (session_present, reason, _) = cluster.connack(client);
    assert_eq!(reason, ReasonCode::Success);
    assert_eq!(session_present, connect.version != ProtocolVersion::V3_1);
    client
}

fn numbers(from: u16, to: u16) -> Vec<String> {
    (from..=to).map(|number| number.to_string()).collect()
}

#[test]
fn unacknowledged_messages_come_again_with_dup_in_order() {
    // [MQTT-4.4.0-1], [MQTT-4.4.0-2], [MQTT-3.3.1-1], [MQTT-4.6.0-1]
    for version in VERSIONS {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut cluster = Cluster::new(2);
            let (first, second) = apart(2);
            let publisher = cluster.join(V5, first);
            let subscriber = cluster.join_with(&kept(version, &second));
            cluster.subscribe(subscriber, "t", qos);
            for number in 1..=30 {
                let payload = number.to_string();
                cluster.publish_with(
                    publisher,
                    &Publish {
                        packet_identifier: Some(id(number)),
                        ..publish("t", QoS::AtLeastOnce, &payload)
                    },
                );
            }
            // Published at QoS 1, so delivered at QoS 1 whatever was granted.
            let firsts = cluster.payloads(subscriber);
            assert_eq!(firsts, numbers(1, 20), "the window");
            for identifier in [3, 1] {
                cluster.acknowledge(subscriber, PacketType::PubAck, identifier);
            }
            assert_eq!(cluster.payloads(subscriber), numbers(21, 22));
            cluster.cut(subscriber);
            let subscriber = resume(&mut cluster, &kept(version, &second));
            let again: Vec<_> = std::iter::from_fn(|| cluster.got(subscriber)).collect();
            assert!(again.iter().all(|got| got.dup));
            let payloads: Vec<_> = again.iter().map(|got| got.payload.clone()).collect();
            let expected: Vec<_> = numbers(2, 22)
                .into_iter()
                .filter(|number| number != "3")
                .collect();
            assert_eq!(payloads, expected);
            assert!(
                again
                    .iter()
                    .all(|got| got.identifier.unwrap().get().to_string() == got.payload),
                "the same identifiers"
            );
            for got in again {
                cluster.acknowledge(subscriber, PacketType::PubAck, got.identifier.unwrap().get());
            }
            let rest: Vec<_> = std::iter::from_fn(|| cluster.got(subscriber)).collect();
            assert!(rest.iter().all(|got| !got.dup));
            assert_eq!(
                rest.into_iter().map(|got| got.payload).collect::<Vec<_>>(),
                numbers(23, 30)
            );
        }
    }
}

#[test]
fn a_smaller_receive_maximum_holds_the_redelivery_too() {
    let mut cluster = Cluster::new(1);
    let publisher = cluster.join(V3, "p");
    let subscriber = cluster.join_with(&kept(V5, "s"));
    cluster.subscribe(subscriber, "t", QoS::AtLeastOnce);
    for number in 1..=6 {
        cluster.publish(publisher, "t", QoS::AtLeastOnce, &number.to_string());
    }
    assert_eq!(cluster.payloads(subscriber), numbers(1, 6));
    cluster.cut(subscriber);
    let mut properties = PropertiesBuf::new();
    properties.push(Property::SessionExpiryInterval(100)).unwrap();
    properties.push(Property::ReceiveMaximum(id(2))).unwrap();
    let subscriber = resume(
        &mut cluster,
        &Connect {
            properties: properties.as_properties(),
            ..kept(V5, "s")
        },
    );
    cluster.publish(publisher, "t", QoS::AtLeastOnce, "7");
    assert_eq!(cluster.payloads(subscriber), numbers(1, 2));
    // A message that has not been sent again yet is acknowledged all the same.
    for (identifier, next) in [(2, "3"), (5, ""), (1, "4"), (3, "6"), (4, "7")] {
        cluster.acknowledge(subscriber, PacketType::PubAck, identifier);
        assert_eq!(cluster.payloads(subscriber).concat(), next, "after {identifier}");
    }
}

#[test]
fn the_redelivery_goes_on_when_nothing_new_waits() {
    let mut cluster = Cluster::new(1);
    let publisher = cluster.join(V3, "p");
    let subscriber = cluster.join_with(&kept(V5, "s"));
    cluster.subscribe(subscriber, "t", QoS::AtLeastOnce);
    for number in 1..=4 {
        cluster.publish(publisher, "t", QoS::AtLeastOnce, &number.to_string());
    }
    assert_eq!(cluster.payloads(subscriber), numbers(1, 4));
    cluster.cut(subscriber);
    let mut properties = PropertiesBuf::new();
    properties.push(Property::SessionExpiryInterval(100)).unwrap();
    properties.push(Property::ReceiveMaximum(id(2))).unwrap();
    let subscriber = resume(
        &mut cluster,
        &Connect {
            properties: properties.as_properties(),
            ..kept(V5, "s")
        },
    );
    assert_eq!(cluster.payloads(subscriber), numbers(1, 2));
    for (identifier, next) in [(1, "3"), (2, "4"), (3, ""), (4, "")] {
        cluster.acknowledge(subscriber, PacketType::PubAck, identifier);
        assert_eq!(cluster.payloads(subscriber).concat(), next, "after {identifier}");
    }
}

#[test]
fn qos2_goes_on_where_it_stood() {
    // [MQTT-4.3.3-6], [MQTT-4.4.0-1]
    for version in VERSIONS {
        let mut cluster = Cluster::new(1);
        let publisher = cluster.join_with(&kept(version, "p"));
        let subscriber = cluster.join_with(&kept(version, "s"));
        cluster.subscribe(subscriber, "t", QoS::ExactlyOnce);
        for number in 1..=2 {
            cluster.publish_with(
                publisher,
                &Publish {
                    packet_identifier: Some(id(number)),
                    ..publish("t", QoS::ExactlyOnce, "x")
                },
            );
            cluster.expect(publisher);
        }
        assert_eq!(cluster.payloads(subscriber).len(), 2);
        cluster.acknowledge(subscriber, PacketType::PubRec, 1);
        assert!(matches!(
            cluster.expect(subscriber).packet(),
            Some(Packet::PubRel(_))
        ));
        cluster.cut(subscriber);
        let subscriber = resume(&mut cluster, &kept(version, "s"));
        match cluster.expect(subscriber).packet() {
            Some(Packet::PubRel(ack)) => assert_eq!(ack.packet_identifier, id(1)),
            other => panic!("{other:?}"),
        }
        let got = cluster.got(subscriber).unwrap();
        assert_eq!((got.dup, got.identifier), (true, Some(id(2))));
        cluster.acknowledge(subscriber, PacketType::PubComp, 1);
        cluster.expect_nothing(subscriber);
        // The publisher's side: an identifier that is not released is remembered over a reconnect.
        cluster.cut(publisher);
        let publisher = resume(&mut cluster, &kept(version, "p"));
        cluster.publish_with(
            publisher,
            &Publish {
                dup: true,
                packet_identifier: Some(id(2)),
                ..publish("t", QoS::ExactlyOnce, "x")
            },
        );
        assert!(matches!(
            cluster.expect(publisher).packet(),
            Some(Packet::PubRec(_))
        ));
        cluster.expect_nothing(subscriber);
    }
}

#[test]
fn messages_wait_for_a_client_that_is_away() {
    // [MQTT3-3.1.2-4], [MQTT-4.1.0-1]
    for version in VERSIONS {
        for shards in [1, 2] {
            let mut cluster = Cluster::new(shards);
            let (first, second) = apart(shards);
            let publisher = cluster.join(V3, first);
            let subscriber = cluster.join_with(&kept(version, &second));
            cluster.subscribe(subscriber, "a/+", QoS::ExactlyOnce);
            cluster.send(subscriber, &[0xE0, 0]);
            cluster.publish(publisher, "a/1", QoS::AtMostOnce, "at most once");
            cluster.publish(publisher, "a/1", QoS::AtLeastOnce, "one");
            cluster.publish(publisher, "a/2", QoS::ExactlyOnce, "two");
            assert_eq!(cluster.count(|counters| counters.queued_messages.get()), 2);
            let subscriber = resume(&mut cluster, &kept(version, &second));
            let got: Vec<_> = std::iter::from_fn(|| cluster.got(subscriber))
                .map(|got| (got.payload, got.qos, got.dup))
                .collect();
            let expected = [("one", QoS::AtLeastOnce, false), ("two", QoS::ExactlyOnce, false)];
            assert_eq!(
                got,
                expected.map(|(payload, qos, dup)| (payload.to_owned(), qos, dup))
            );
            assert_eq!(cluster.count(|counters| counters.queued_messages.get()), 0);
            assert_eq!(cluster.count(|counters| counters.queued_bytes.get()), 0);
        }
    }
}

#[test]
fn qos0_waits_too_where_it_is_set() {
    let settings = Settings {
        sys_interval_s: 0,
        queue_qos0_messages: true,
        ..Settings::default()
    };
    let mut cluster = Cluster::with_settings(1, settings);
    let publisher = cluster.join(V5, "p");
    let subscriber = cluster.join_with(&kept(V3, "s"));
    cluster.subscribe(subscriber, "t", QoS::AtLeastOnce);
    cluster.cut(subscriber);
    for (qos, payload) in [
        (QoS::AtMostOnce, "1"),
        (QoS::AtLeastOnce, "2"),
        (QoS::AtMostOnce, "3"),
    ] {
        cluster.publish(publisher, "t", qos, payload);
    }
    let subscriber = resume(&mut cluster, &kept(V3, "s"));
    assert_eq!(cluster.payloads(subscriber), numbers(1, 3));
}

#[test]
fn queues_are_bounded_in_messages_and_bytes() {
    let by_messages = Settings {
        queued_messages_max: 5,
        ..Settings::default()
    };
    let by_bytes = Settings {
        queued_bytes_max: 5 * 2 + 4,
        ..Settings::default()
    };
    for settings in [by_messages, by_bytes] {
        let mut cluster = Cluster::with_settings(
            1,
            Settings {
                sys_interval_s: 0,
                ..settings
            },
        );
        let publisher = cluster.join(V3, "p");
        let subscriber = cluster.join_with(&kept(V3, "s"));
        cluster.subscribe(subscriber, "t", QoS::AtLeastOnce);
        cluster.cut(subscriber);
        for number in 1..=9 {
            cluster.publish(publisher, "t", QoS::AtLeastOnce, &number.to_string());
            assert!(matches!(
                cluster.expect(publisher).packet(),
                Some(Packet::PubAck(_))
            ));
        }
        assert!(cluster.count(|counters| counters.publishes_dropped.get()) >= 2);
        let subscriber = resume(&mut cluster, &kept(V3, "s"));
        let payloads = cluster.payloads(subscriber);
        assert_eq!(
            payloads,
            numbers(1, u16::try_from(payloads.len()).unwrap()),
            "the newest are dropped"
        );
        assert!((5..=7).contains(&payloads.len()));
    }
}

#[test]
fn a_slow_consumer_is_bounded_and_disturbs_nobody() {
    let mut cluster = Cluster::new(1);
    let publisher = cluster.join(V3, "p");
    let slow = cluster.join_with(&kept(V3, "slow"));
    let quick = cluster.join(V3, "quick");
    for subscriber in [slow, quick] {
        cluster.subscribe(subscriber, "q0", QoS::AtMostOnce);
        cluster.subscribe(subscriber, "q1", QoS::AtLeastOnce);
    }
    cluster.set_reading(slow, false);
    let payload = "x".repeat(60_000);
    for number in 0..100 {
        cluster.publish(publisher, "q0", QoS::AtMostOnce, &payload);
        if number == 20 {
            // From here on nobody waits for it.
            cluster.advance_ms(limits::GRACE_NS / 1_000_000 + 200);
        }
    }
    assert_eq!(cluster.payloads(quick).len(), 100);
    let dropped = cluster.count(|counters| counters.publishes_dropped.get());
    let taken = limits::CLIENT_OUTPUT.cap as u64 / 60_006;
    assert_eq!(dropped, 100 - taken, "the buffer holds what its bound allows");
    cluster.publish(publisher, "q1", QoS::AtLeastOnce, &payload);
    assert_eq!(cluster.payloads(quick).len(), 1);
    cluster.set_reading(slow, true);
    let got: Vec<_> = std::iter::from_fn(|| cluster.got(slow)).collect();
    assert_eq!(got.len() as u64, taken + 1, "QoS 1 waited in the queue");
    assert_eq!(got.last().unwrap().qos, QoS::AtLeastOnce);
}

#[test]
fn a_run_larger_than_the_room_left_fills_it() {
    let mut cluster = Cluster::new(1);
    let publisher = cluster.join(V3, "p");
    let slow = cluster.join(V3, "slow");
    cluster.subscribe(slow, "t", QoS::AtMostOnce);
    cluster.set_reading(slow, false);
    let payload = "x".repeat(1000);
    let mut run = Vec::new();
    for _ in 0..50 {
        publish("t", QoS::AtMostOnce, &payload)
            .encode(V3, &mut run)
            .unwrap();
    }
    for number in 0..100 {
        cluster.send(publisher, &run);
        if number == 25 {
            cluster.advance_ms(limits::GRACE_NS / 1_000_000 + 200);
        }
    }
    cluster.set_reading(slow, true);
    let got = cluster.payloads(slow).len();
    assert_eq!(got, limits::CLIENT_OUTPUT.cap / 1006);
    assert_eq!(
        cluster.count(|counters| counters.publishes_dropped.get()),
        5000 - got as u64
    );
}

#[test]
fn a_session_may_change_its_version() {
    let mut cluster = Cluster::new(1);
    let publisher = cluster.join(V3, "p");
    let client = cluster.join_with(&kept(V5, "s"));
    cluster.subscribe_with(client, "t", options(QoS::AtLeastOnce), Some(5));
    cluster.publish(publisher, "t", QoS::AtLeastOnce, "1");
    cluster.cut(client);
    let client = resume(&mut cluster, &kept(V3, "s"));
    cluster.publish(publisher, "t", QoS::AtLeastOnce, "2");
    assert_eq!(cluster.payloads(client), numbers(1, 2));
    cluster.cut(client);
    let client = resume(&mut cluster, &kept(V5, "s"));
    let got = cluster.got(client).unwrap();
    assert_eq!(got.properties.as_properties().subscription_identifier(), Some(5));
}

/// Publishes at QoS 2 with that Message Expiry Interval.
fn publish_for(cluster: &mut Cluster, publisher: Client, payload: &str, expiry_s: u32) {
    let mut properties = PropertiesBuf::new();
    properties
        .push(Property::MessageExpiryInterval(expiry_s))
        .unwrap();
    let message = Publish {
        properties: properties.as_properties(),
        ..publish("t", QoS::ExactlyOnce, payload)
    };
    cluster.publish_with(publisher, &message);
    cluster.acknowledge(publisher, PacketType::PubRel, 9);
}

/// [MQTT-4.3.3-7]: nothing remains of its interval then. At QoS 1 a client loses nothing by it.
#[test]
fn what_was_sent_at_qos_2_does_not_expire() {
    for version in VERSIONS {
        let mut cluster = Cluster::new(1);
        let publisher = cluster.join(V5, "p");
        let subscriber = cluster.join_with(&kept(version, "s"));
        cluster.subscribe(subscriber, "t", QoS::ExactlyOnce);
        publish_for(&mut cluster, publisher, "sent", 2);
        assert_eq!(cluster.payloads(subscriber), ["sent"]);
        cluster.cut(subscriber);
        publish_for(&mut cluster, publisher, "waits", 2);
        cluster.advance_s(3);
        let subscriber = resume(&mut cluster, &kept(version, "s"));
        let got = cluster.got(subscriber).unwrap();
        assert_eq!(
            (got.payload.as_str(), got.dup, got.identifier),
            ("sent", true, Some(id(1)))
        );
        if version == V5 {
            assert_eq!(
                got.properties.as_properties().message_expiry_interval_s(),
                Some(0)
            );
        }
        cluster.expect_nothing(subscriber);
    }
}

/// A client that has a message at QoS 2 takes the next one with its identifier for the same message. So if it cannot
/// be sent again, the identifier is free only after PUBREL and PUBCOMP.
#[test]
fn what_was_sent_at_qos_2_and_is_too_large_now_is_released() {
    let mut cluster = Cluster::new(1);
    let publisher = cluster.join(V5, "p");
    let subscriber = cluster.join_with(&kept(V5, "s"));
    cluster.subscribe(subscriber, "t", QoS::ExactlyOnce);
    for payload in [&"x".repeat(100), "y"] {
        publish_for(&mut cluster, publisher, payload, 100);
    }
    assert_eq!(cluster.payloads(subscriber).len(), 2);
    cluster.cut(subscriber);
    let mut properties = PropertiesBuf::new();
    for property in [
        Property::SessionExpiryInterval(u32::MAX),
        Property::MaximumPacketSize(60.try_into().unwrap()),
    ] {
        properties.push(property).unwrap();
    }
    let small = Connect {
        properties: properties.as_properties(),
        ..kept(V5, "s")
    };
    let subscriber = resume(&mut cluster, &small);
    let released = cluster.expect(subscriber);
    assert!(
        matches!(released.packet(), Some(Packet::PubRel(ack)) if ack.packet_identifier == id(1)),
        "{:?}",
        released.packet()
    );
    assert_eq!(cluster.got(subscriber).unwrap().identifier, Some(id(2)));
    cluster.acknowledge(subscriber, PacketType::PubComp, 1);
    publish_for(&mut cluster, publisher, "z", 100);
    assert_eq!(cluster.got(subscriber).unwrap().payload, "z");
    cluster.expect_nothing(subscriber);
}
