//! Retained messages: set, delete, delivery on SUBSCRIBE, agreement of the shards.

use super::*;

fn all_shards(cluster: &mut Cluster, filter: &str) -> Vec<Vec<(String, String)>> {
    let names: Vec<_> = (0..3)
        .map(|shard: u16| {
            (0..)
                .map(|n| format!("look-{n}"))
                .find(|name| broker::logic::owner_shard(name, 3) == shard)
                .unwrap()
        })
        .collect();
    names
        .iter()
        .map(|name| {
            let client = cluster.join(V3, name);
            cluster.subscribe(client, filter, QoS::AtMostOnce);
            let mut found: Vec<_> = std::iter::from_fn(|| cluster.got(client))
                .map(|got| {
                    assert!(got.retain);
                    (got.topic, got.payload)
                })
                .collect();
            found.sort();
            cluster.cut(client);
            found
        })
        .collect()
}

#[test]
fn the_last_one_is_given_to_new_subscriptions() {
    // [MQTT-3.3.1-5], [MQTT3-3.3.1-8], [MQTT-3.3.1-9]
    for version in VERSIONS {
        let mut cluster = Cluster::new(3);
        let publisher = cluster.join(version, "p");
        for (topic, payload) in [
            ("a/b", "1"),
            ("a/b", "2"),
            ("a/c", "3"),
            ("b", "4"),
            ("$x/y", "5"),
        ] {
            cluster.publish_with(publisher, &retained(topic, QoS::AtMostOnce, payload));
        }
        cluster.publish(publisher, "a/b", QoS::AtMostOnce, "not retained");
        let pair = |topic: &str, payload: &str| (topic.to_owned(), payload.to_owned());
        for found in all_shards(&mut cluster, "a/+") {
            assert_eq!(found, [pair("a/b", "2"), pair("a/c", "3")]);
        }
        for found in all_shards(&mut cluster, "#") {
            assert_eq!(found, [pair("a/b", "2"), pair("a/c", "3"), pair("b", "4")]);
        }
        for found in all_shards(&mut cluster, "$x/#") {
            assert_eq!(found, [pair("$x/y", "5")]);
        }
    }
}

#[test]
fn an_empty_payload_deletes_and_is_passed_on() {
    // [MQTT-3.3.1-6], [MQTT-3.3.1-7], [MQTT3-3.3.1-11]
    for shards in [1, 3] {
        let mut cluster = Cluster::new(shards);
        let publisher = cluster.join(V3, "p");
        let subscriber = cluster.join(V3, "s");
        cluster.subscribe(subscriber, "t", QoS::AtMostOnce);
        cluster.publish_with(publisher, &retained("t", QoS::AtMostOnce, "x"));
        cluster.publish_with(publisher, &retained("t", QoS::AtMostOnce, ""));
        cluster.publish_with(publisher, &retained("never/there", QoS::AtMostOnce, ""));
        let got: Vec<_> = std::iter::from_fn(|| cluster.got(subscriber))
            .map(|got| (got.payload, got.retain))
            .collect();
        assert_eq!(got, [("x".to_owned(), false), (String::new(), false)]);
        let late = cluster.join(V3, "late");
        cluster.subscribe(late, "#", QoS::AtMostOnce);
        cluster.expect_nothing(late);
        assert_eq!(cluster.count(|counters| counters.retained.get()), 0);
        for client in [publisher, subscriber, late] {
            cluster.cut(client);
        }
        for shard in 0..usize::from(shards) {
            let remains = cluster.shard(shard).unwrap().resource_counts();
            assert!(remains.is_bare(), "nothing is remembered");
        }
    }
}

#[test]
fn retain_handling_says_when() {
    // [MQTT-3.3.1-9], [MQTT-3.3.1-10], [MQTT-3.3.1-11]
    let mut cluster = Cluster::new(1);
    let client = cluster.join(V5, "c");
    cluster.publish_with(client, &retained("t", QoS::AtMostOnce, "x"));
    let mut asked = |retain_handling, expected: usize| {
        cluster.subscribe_with(
            client,
            "t",
            SubscriptionOptions {
                retain_handling,
                ..options(QoS::AtMostOnce)
            },
            None,
        );
        assert_eq!(cluster.payloads(client).len(), expected, "{retain_handling:?}");
    };
    asked(RetainHandling::DoNotSend, 0);
    asked(RetainHandling::SendIfNew, 0);
    asked(RetainHandling::SendAtSubscribe, 1);
    asked(RetainHandling::SendAtSubscribe, 1);
    cluster.unsubscribe(client, "t");
    let new = SubscriptionOptions {
        retain_handling: RetainHandling::SendIfNew,
        ..options(QoS::AtMostOnce)
    };
    cluster.subscribe_with(client, "t", new, None);
    assert_eq!(cluster.payloads(client), ["x"]);
}

#[test]
fn they_come_at_the_lower_qos_with_the_identifier_inside_the_window() {
    let mut cluster = Cluster::new(1);
    let publisher = cluster.join(V5, "p");
    for number in 0..50 {
        cluster.publish_with(
            publisher,
            &retained(&format!("t/{number}"), QoS::ExactlyOnce, "x"),
        );
        cluster.acknowledge(publisher, mqtt::frame::PacketType::PubRel, 9);
    }
    let client = cluster.join(V5, "c");
    cluster.subscribe_with(client, "t/#", options(QoS::AtLeastOnce), Some(7));
    let mut count = 0;
    loop {
        let window: Vec<_> = std::iter::from_fn(|| cluster.got(client)).collect();
        if window.is_empty() {
            break;
        }
        assert!(window.len() <= 20);
        for got in window {
            assert_eq!((got.qos, got.retain), (QoS::AtLeastOnce, true));
            assert_eq!(got.properties.as_properties().subscription_identifier(), Some(7));
            count += 1;
            let identifier = got.identifier.unwrap().get();
            cluster.acknowledge(client, mqtt::frame::PacketType::PubAck, identifier);
        }
    }
    assert_eq!(count, 50);
}

#[test]
fn a_hundred_thousand_all_arrive_and_newer_ones_do_not_overtake() {
    let mut cluster = Cluster::new(1);
    let publisher = cluster.join(V3, "p");
    let mut bytes = Vec::new();
    for number in 0..100_000 {
        retained(&format!("r/{number}"), QoS::AtMostOnce, "old")
            .encode(V3, &mut bytes)
            .unwrap();
    }
    cluster.send(publisher, &bytes);
    let client = cluster.join(V3, "c");
    cluster.set_reading(client, false);
    bytes.clear();
    mqtt::encode::subscribe(
        id(1),
        Properties::EMPTY,
        &[("r/#", options(QoS::AtMostOnce))],
        V3,
        &mut bytes,
    )
    .unwrap();
    cluster.send(client, &bytes);
    cluster.publish(publisher, "r/5", QoS::AtMostOnce, "new");
    cluster.set_reading(client, true);
    assert!(matches!(cluster.expect(client).packet(), Some(Packet::SubAck(_))));
    let got: Vec<_> = std::iter::from_fn(|| cluster.got(client)).collect();
    assert_eq!(got.len(), 100_001);
    assert_eq!(got.last().unwrap().payload, "new");
    assert_eq!(got.iter().filter(|got| got.retain).count(), 100_000);
}

#[test]
fn no_local_holds_for_retained_messages() {
    // [MQTT-3.8.3-3]
    let mut cluster = Cluster::new(2);
    let (first, second) = apart(2);
    let own = cluster.join(V5, first);
    cluster.publish_with(own, &retained("t", QoS::AtMostOnce, "x"));
    let not_own = SubscriptionOptions {
        no_local: true,
        ..options(QoS::AtMostOnce)
    };
    cluster.subscribe_with(own, "t", not_own, None);
    cluster.expect_nothing(own);
    let other = cluster.join(V5, &second);
    cluster.subscribe_with(other, "t", not_own, None);
    assert_eq!(cluster.payloads(other), ["x"]);
}

#[test]
fn they_expire() {
    // [MQTT-3.3.2-5]
    let mut expiry = PropertiesBuf::new();
    expiry.push(Property::MessageExpiryInterval(10)).unwrap();
    let mut cluster = Cluster::new(3);
    let publisher = cluster.join(V5, "p");
    let message = Publish {
        properties: expiry.as_properties(),
        ..retained("t", QoS::AtMostOnce, "x")
    };
    for _ in 0..50 {
        cluster.publish_with(publisher, &message);
    }
    cluster.advance_s(4);
    let client = cluster.join(V5, "c");
    cluster.subscribe(client, "t", QoS::AtMostOnce);
    assert_eq!(
        cluster
            .got(client)
            .unwrap()
            .properties
            .as_properties()
            .message_expiry_interval_s(),
        Some(6)
    );
    cluster.advance_s(7);
    cluster.subscribe(client, "t", QoS::AtMostOnce);
    cluster.expect_nothing(client);
    assert_eq!(cluster.count(|counters| counters.retained.get()), 0);
    for client in [client, publisher] {
        cluster.cut(client);
    }
    assert!(cluster.shard(0).unwrap().resource_counts().is_bare());
}

#[test]
fn shards_agree_after_changes_at_the_same_time() {
    let names: Vec<_> = (0..3)
        .map(|shard: u16| {
            (0..)
                .map(|n| format!("p-{n}"))
                .find(|name| broker::logic::owner_shard(name, 3) == shard)
                .unwrap()
        })
        .collect();
    for variant in 0..32_u32 {
        let mut cluster = Cluster::new(3);
        let publishers: Vec<_> = names.iter().map(|name| cluster.join(V3, name)).collect();
        let mut seed = variant;
        for _ in 0..20 {
            seed = seed.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            let at = seed >> 8;
            cluster.delay_batches(at & 64 != 0);
            let payload = if at & 128 != 0 {
                String::new()
            } else {
                seed.to_string()
            };
            let message = retained(["a", "b"][(at >> 9) as usize % 2], QoS::AtMostOnce, &payload).to_owned();
            cluster.publish_with(publishers[at as usize % 3], &message);
        }
        cluster.delay_batches(false);
        let found = all_shards(&mut cluster, "#");
        assert!(found.iter().all(|shard| *shard == found[0]), "{found:?}");
    }
}

#[test]
fn an_older_change_that_comes_after_the_expiry_stays_older() {
    let names: Vec<_> = (0..3)
        .map(|shard: u16| {
            (0..)
                .map(|n| format!("p-{n}"))
                .find(|name| broker::logic::owner_shard(name, 3) == shard)
                .unwrap()
        })
        .collect();
    let mut cluster = Cluster::new(3);
    let publishers: Vec<_> = names.iter().map(|name| cluster.join(V5, name)).collect();
    let mut expiry = PropertiesBuf::new();
    expiry.push(Property::MessageExpiryInterval(1)).unwrap();
    cluster.delay_batches(true);
    cluster.publish_with(publishers[0], &retained("a", QoS::AtMostOnce, "older"));
    let newer = Publish {
        properties: expiry.as_properties(),
        ..retained("a", QoS::AtMostOnce, "newer")
    };
    cluster.publish_with(publishers[1], &newer);
    cluster.advance_s(2);
    cluster.delay_batches(false);
    cluster.advance_s(1);
    let found = all_shards(&mut cluster, "#");
    assert!(found.iter().all(Vec::is_empty), "{found:?}");
}

#[test]
fn a_subscriber_gets_a_concurrent_one_live_or_as_retained() {
    for subscribed_first in [true, false] {
        let mut cluster = Cluster::new(2);
        let (first, second) = apart(2);
        let publisher = cluster.join(V3, first);
        let subscriber = cluster.join(V3, &second);
        cluster.delay_batches(true);
        if subscribed_first {
            cluster.subscribe(subscriber, "t", QoS::AtMostOnce);
            cluster.publish_with(publisher, &retained("t", QoS::AtMostOnce, "x"));
        } else {
            cluster.publish_with(publisher, &retained("t", QoS::AtMostOnce, "x"));
            cluster.subscribe(subscriber, "t", QoS::AtMostOnce);
        }
        cluster.expect_nothing(subscriber);
        cluster.delay_batches(false);
        assert_eq!(cluster.payloads(subscriber), ["x"], "neither lost nor doubled");
    }
}

/// Each message is kept only by the shard that owns its topic; a level that topics share is kept once in each shard
/// that has one of them. If every shard kept every message, eight would need eight times the memory.
#[test]
fn eight_shards_need_at_most_a_tenth_more_memory_than_one() {
    const TOPICS: usize = 4000;
    let bytes_of = |shards: u16| {
        let mut cluster = Cluster::new(shards);
        let publishers: Vec<_> = (0..shards)
            .map(|shard| {
                let is_there = |name: &String| broker::logic::owner_shard(name, shards) == shard;
                let mut names = (0..).map(|number| format!("publisher-{number}"));
                cluster.join(V5, &names.find(is_there).unwrap())
            })
            .collect();
        // A client on each shard that has subscribed and received them: that is no reason to keep them there.
        for &publisher in &publishers {
            cluster.subscribe(publisher, "site/#", QoS::AtMostOnce);
        }
        for number in 0..TOPICS {
            let topic = format!("site/{}/device/{number}/state", number % 10);
            let payload = "x".repeat(200);
            let publisher = publishers[number % publishers.len()];
            cluster.publish_with(publisher, &retained(&topic, QoS::AtMostOnce, &payload));
        }
        for &publisher in &publishers {
            while cluster.got(publisher).is_some() {}
        }
        let counts: Vec<_> = (0..usize::from(shards))
            .map(|shard| cluster.shard(shard).unwrap().resource_counts())
            .collect();
        let messages: u64 = counts.iter().map(|counts| counts.retained).sum();
        assert_eq!(messages, TOPICS as u64, "each is kept once");
        assert!(
            counts.iter().all(|counts| counts.retained_passing == 0),
            "{counts:?}"
        );
        counts.iter().map(|counts| counts.retained_bytes).sum::<u64>()
    };
    let (one, eight) = (bytes_of(1), bytes_of(8));
    assert!(
        eight * 10 <= one * 11,
        "{eight} bytes in eight shards, {one} in one"
    );
}
