//! SUBSCRIBE and UNSUBSCRIBE: filters, overlaps, options, identifiers.

use std::num::NonZeroU32;

use mqtt::encode;
use mqtt::frame::PacketType;

use super::*;

#[test]
fn wildcards_match_as_specified_on_any_shard() {
    // [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.7.2-1], [MQTT-4.7.3-4]
    let filters = [
        "#", "+", "+/+", "a/#", "a/+", "a/b", "/+", "+/b/#", "$SYS/#", "$x/+", "/", "a//b", "a/b/+",
    ];
    let names = ["a", "a/b", "a/b/c", "/", "/a", "$x/y", "a//b", "b/b", "A/b", "$x"];
    for shards in [1, 3] {
        let mut cluster = Cluster::new(shards);
        let publisher = cluster.join(V3, "p");
        let subscribers: Vec<_> = filters
            .iter()
            .map(|filter| {
                let subscriber = cluster.join(V3, &format!("s{filter}"));
                cluster.subscribe(subscriber, filter, QoS::AtMostOnce);
                subscriber
            })
            .collect();
        for name in names {
            cluster.publish(publisher, name, QoS::AtMostOnce, "x");
            for (filter, &subscriber) in filters.iter().zip(&subscribers) {
                let expected = mqtt::topic::matches(filter, name);
                assert_eq!(cluster.got(subscriber).is_some(), expected, "{filter} and {name}");
                cluster.expect_nothing(subscriber);
            }
        }
    }
}

#[test]
fn overlapping_subscriptions_give_one_copy_at_the_highest_qos() {
    // [MQTT-3.3.4-2], [MQTT-3.3.4-3], [MQTT-3.3.4-4], [MQTT-3.8.4-8]
    for shards in [1, 2] {
        let mut cluster = Cluster::new(shards);
        let (first, second) = apart(shards);
        let publisher = cluster.join(V5, first);
        let subscriber = cluster.join(V5, &second);
        for (filter, qos, identifier) in [
            ("a/#", QoS::AtMostOnce, Some(1)),
            ("a/b", QoS::AtLeastOnce, Some(2)),
            ("+/b", QoS::AtMostOnce, None),
        ] {
            cluster.subscribe_with(subscriber, filter, options(qos), identifier);
        }
        cluster.publish(publisher, "a/b", QoS::ExactlyOnce, "x");
        let got = cluster.got(subscriber).unwrap();
        assert_eq!(got.qos, QoS::AtLeastOnce);
        let mut identifiers: Vec<_> = got.properties.as_properties().iter().collect();
        identifiers.sort_by_key(|property| format!("{property:?}"));
        assert_eq!(
            identifiers,
            [
                Property::SubscriptionIdentifier(1),
                Property::SubscriptionIdentifier(2)
            ]
        );
        cluster.expect_nothing(subscriber);
        cluster.publish(publisher, "a/c", QoS::AtMostOnce, "x");
        let got = cluster.got(subscriber).unwrap();
        assert_eq!(got.properties.as_properties().subscription_identifier(), Some(1));
    }
}

#[test]
fn a_second_subscription_to_a_filter_replaces_the_first() {
    // [MQTT-3.8.4-3]
    let mut cluster = Cluster::new(2);
    let (first, second) = apart(2);
    let publisher = cluster.join(V5, first);
    let subscriber = cluster.join(V5, &second);
    cluster.subscribe_with(subscriber, "t", options(QoS::AtLeastOnce), Some(1));
    cluster.subscribe_with(subscriber, "t", options(QoS::AtMostOnce), None);
    cluster.publish(publisher, "t", QoS::AtLeastOnce, "x");
    let got = cluster.got(subscriber).unwrap();
    assert_eq!((got.qos, got.properties.is_empty()), (QoS::AtMostOnce, true));
    cluster.expect_nothing(subscriber);
    assert_eq!(cluster.count(|counters| counters.subscriptions.get()), 1);
}

#[test]
fn no_local_keeps_ones_own_messages_away() {
    // [MQTT-3.8.3-3]
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let mut cluster = Cluster::new(2);
        let (first, second) = apart(2);
        let client = cluster.join(V5, first);
        let other = cluster.join(V5, &second);
        let not_own = SubscriptionOptions {
            no_local: true,
            ..options(qos)
        };
        for subscriber in [client, other] {
            cluster.subscribe_with(subscriber, "t", not_own, None);
        }
        cluster.publish(client, "t", qos, "x");
        if qos != QoS::AtMostOnce {
            assert!(matches!(cluster.expect(client).packet(), Some(Packet::PubAck(_))));
        }
        cluster.expect_nothing(client);
        assert_eq!(cluster.payloads(other), ["x"]);
    }
}

#[test]
fn unsubscribe_ends_it_and_says_whether_there_was_one() {
    // [MQTT-3.10.4-1], [MQTT-3.10.4-2], [MQTT-3.10.4-4], [MQTT-3.10.4-5], [MQTT-3.11.3-1]
    for shards in [1, 3] {
        let mut cluster = Cluster::new(shards);
        let (first, second) = apart(shards);
        let publisher = cluster.join(V5, first);
        let subscriber = cluster.join(V5, &second);
        for filter in ["a", "+/b"] {
            cluster.subscribe(subscriber, filter, QoS::AtMostOnce);
        }
        assert_eq!(cluster.unsubscribe(subscriber, "A"), [0x11]);
        assert_eq!(cluster.unsubscribe(subscriber, "a"), [0]);
        assert_eq!(cluster.unsubscribe(subscriber, "a"), [0x11]);
        cluster.publish(publisher, "a", QoS::AtMostOnce, "gone");
        cluster.publish(publisher, "a/b", QoS::AtMostOnce, "stays");
        assert_eq!(cluster.payloads(subscriber), ["stays"]);
        assert_eq!(cluster.unsubscribe(subscriber, "+/b"), [0]);
        cluster.publish(publisher, "a/b", QoS::AtMostOnce, "gone");
        cluster.expect_nothing(subscriber);
    }
}

#[test]
fn one_subscribe_with_many_filters_is_answered_in_order() {
    // [MQTT-3.8.4-1], [MQTT-3.8.4-2], [MQTT-3.8.4-5], [MQTT-3.8.4-6], [MQTT-3.9.3-1]
    for (version, refusals) in [(V3, [0, 0x80]), (V5, [0, 0x8F])] {
        let mut cluster = Cluster::new(1);
        let client = cluster.join(version, "c");
        let mut bytes = Vec::new();
        let filters = [
            ("a", options(QoS::AtLeastOnce)),
            ("$share/g/a", options(QoS::AtMostOnce)),
            ("b", options(QoS::ExactlyOnce)),
            ("$share//a", options(QoS::AtMostOnce)),
            ("c", options(QoS::AtMostOnce)),
        ];
        mqtt::encode::subscribe(id(3), Properties::EMPTY, &filters, version, &mut bytes).unwrap();
        cluster.send(client, &bytes);
        match cluster.expect(client).packet() {
            Some(Packet::SubAck(suback)) => {
                assert_eq!(suback.packet_identifier, id(3));
                assert_eq!(suback.reason_codes, [1, refusals[0], 2, refusals[1], 0]);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(cluster.count(|counters| counters.subscriptions.get()), 3);
    }
}

#[test]
fn subscribers_who_come_and_go_leave_the_others_in_place() {
    let mut cluster = Cluster::new(1);
    let publisher = cluster.join(V3, "p");
    let filters = ["t", "t/#", "+"];
    let mut subscribers: Vec<_> = (0..30)
        .map(|number| {
            let client = cluster.join(V3, &format!("s{number}"));
            for filter in &filters[..=number % 3] {
                cluster.subscribe(client, filter, QoS::AtMostOnce);
            }
            client
        })
        .collect();
    let mut turn = 7;
    while !subscribers.is_empty() {
        turn = (turn * 31 + 17) % subscribers.len().max(1);
        let gone = subscribers.remove(turn);
        if turn % 2 == 0 {
            cluster.cut(gone);
        } else {
            for filter in filters {
                cluster.unsubscribe(gone, filter);
            }
        }
        cluster.publish(publisher, "t", QoS::AtMostOnce, "x");
        for &subscriber in &subscribers {
            assert_eq!(cluster.payloads(subscriber), ["x"]);
        }
        cluster.expect_nothing(gone);
    }
    assert_eq!(cluster.count(|counters| counters.subscriptions.get()), 0);
}

#[test]
fn a_session_with_many_filters_of_others_leaves_by_one_step_for_each() {
    // Each filter is found and removed by positions that both lists know: a search in the other sessions' lists would
    // take 3 * 40,000 * 40,000 / 2 steps here.
    const FILTERS: usize = 40_000;
    let mut cluster = Cluster::new(1);
    let publisher = cluster.join(V3, "p");
    let members: Vec<_> = ["first", "second", "third", "last"]
        .into_iter()
        .map(|name| {
            let member = cluster.join(V3, name);
            for group in ["", "$share/g/"] {
                let names: Vec<_> = (0..FILTERS).map(|number| format!("{group}t/{number}")).collect();
                for names in names.chunks(1000) {
                    let filters: Vec<_> = names
                        .iter()
                        .map(|name| (&**name, options(QoS::AtMostOnce)))
                        .collect();
                    let mut bytes = Vec::new();
                    mqtt::encode::subscribe(id(3), Properties::EMPTY, &filters, V3, &mut bytes).unwrap();
                    cluster.send(member, &bytes);
                    assert!(matches!(cluster.expect(member).packet(), Some(Packet::SubAck(_))));
                }
            }
            member
        })
        .collect();
    for left in (1..=4).rev() {
        let gone = members[4 - left];
        for topic in ["t/0", "t/1", "t/20000", "t/39999"] {
            cluster.publish(publisher, topic, QoS::AtMostOnce, "x");
            let got: usize = members.iter().map(|&member| cluster.payloads(member).len()).sum();
            assert_eq!(got, left + 1, "{topic}: each, and one of the group");
        }
        // In an order that neither list has.
        for number in [20_000, 1, 39_998] {
            cluster.unsubscribe(gone, &format!("t/{number}"));
            cluster.unsubscribe(gone, &format!("$share/g/t/{number}"));
        }
        cluster.cut(gone);
    }
    let counts = cluster.count(|c| c.subscriptions.get() + c.shared_subscriptions.get());
    assert_eq!(counts, 0);
}

#[test]
fn in_flight_messages_are_finished_after_unsubscribe() {
    // [MQTT-3.10.4-3]
    let mut cluster = Cluster::new(1);
    let client = cluster.join(V3, "c");
    cluster.subscribe(client, "t", QoS::ExactlyOnce);
    cluster.publish(client, "t", QoS::ExactlyOnce, "x");
    assert!(matches!(
        cluster.expect(client).packet(),
        Some(Packet::PubRec(_) | Packet::Publish(_))
    ));
    assert!(matches!(
        cluster.expect(client).packet(),
        Some(Packet::PubRec(_) | Packet::Publish(_))
    ));
    cluster.unsubscribe(client, "t");
    cluster.acknowledge(client, PacketType::PubRec, 1);
    assert!(matches!(cluster.expect(client).packet(), Some(Packet::PubRel(_))));
}

/// A packet whose answer is too large for the client is not executed partly.
#[test]
fn an_answer_larger_than_the_client_takes_ends_the_connection() {
    // [MQTT-3.1.2-24]
    let mut properties = PropertiesBuf::new();
    properties
        .push(Property::MaximumPacketSize(NonZeroU32::new(24).unwrap()))
        .unwrap();
    let texts: Vec<_> = (0..20).map(|number| format!("t/{number}")).collect();
    for (count, fits) in [(19, true), (20, false)] {
        for unsubscribes in [false, true] {
            let mut cluster = Cluster::new(1);
            let client = cluster.join_with(&Connect {
                properties: properties.as_properties(),
                ..connect(V5, "c")
            });
            let mut out = Vec::new();
            if unsubscribes {
                let filters: Vec<_> = texts.iter().take(count).map(String::as_str).collect();
                encode::unsubscribe(id(1), Properties::EMPTY, &filters, V5, &mut out).unwrap();
            } else {
                let filters: Vec<_> = texts
                    .iter()
                    .take(count)
                    .map(|text| (text.as_str(), options(QoS::AtMostOnce)))
                    .collect();
                encode::subscribe(id(1), Properties::EMPTY, &filters, V5, &mut out).unwrap();
            }
            cluster.send(client, &out);
            if fits {
                assert!(cluster.expect(client).packet().is_some());
                assert!(!cluster.closed(client));
            } else {
                cluster.expect_disconnect(client, ReasonCode::PacketTooLarge);
                assert_eq!(cluster.count(|counters| counters.subscriptions.get()), 0);
            }
        }
    }
}
