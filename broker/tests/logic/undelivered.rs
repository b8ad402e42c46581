//! Messages that clients do not receive, because access rules withhold them or their session ends: each is counted,
//! and its client is recorded.

use super::rules::{Ruled, as_user};
use super::*;
use broker::logic::{ClientEvent, Denied, DropReason};
use broker::settings::Settings;

const RULES: &str = "user narrow\ntopic read open/#\nuser all\ntopic #\n";

fn counted(ruled: &Ruled) -> u64 {
    ruled.cluster.count(|counters| counters.denied.get(Denied::Read))
}

/// The record of messages that were withheld from a client: how many, for each topic.
fn remembered(ruled: &Ruled, client: &str) -> Vec<(u64, String)> {
    remembered_by(&ruled.cluster, "read", client)
}

fn remembered_by(cluster: &Cluster, reason: &str, client: &str) -> Vec<(u64, String)> {
    let all = std::cell::RefCell::new(Vec::new());
    cluster.count(|counters| {
        all.borrow_mut().extend(counters.events.all());
        0
    });
    let is_of = |event: &ClientEvent| event.reason == reason && &*event.client == client;
    let of_client = all.take().into_iter().filter(is_of);
    let mut found: Vec<_> = of_client
        .map(|event| (event.count, event.topic.unwrap_or_default().into()))
        .collect();
    found.sort();
    found
}

/// On any shard, at any QoS, singly and in runs, with several subscriptions that match: each message counts once.
#[test]
fn each_message_is_counted_once_for_each_client() {
    for shards in [1, 2] {
        for version in VERSIONS {
            let mut ruled = Ruled::new(shards, RULES);
            let (first, second) = apart(shards);
            let narrow = ruled.join_as(version, first, "narrow");
            for filter in ["#", "secret/+", "+/door"] {
                let reason = ruled
                    .cluster
                    .subscribe_with(narrow, filter, options(QoS::AtLeastOnce), None);
                assert_eq!(reason.is_error(), filter == "secret/+", "{filter}");
            }
            let all = ruled.join_as(version, &second, "all");
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
                ruled.cluster.publish(all, "secret/door", qos, "1");
                ruled.cluster.publish(all, "open/door", qos, "2");
            }
            let mut run = Vec::new();
            for _ in 0..5 {
                let publish = publish("secret/window", QoS::AtMostOnce, "3");
                publish.encode(version, &mut run).unwrap();
            }
            ruled.cluster.send(all, &run);
            assert_eq!(counted(&ruled), 7, "{shards} shards, {version:?}");
            // The first ones of a topic at once, and the others when a second is over.
            let (door, window) = ("secret/door".to_owned(), "secret/window".to_owned());
            assert_eq!(remembered(&ruled, first)[0], (1, door.clone()));
            ruled.cluster.advance_ms(1100);
            assert_eq!(remembered(&ruled, first), [(2, door), (5, window)]);
            assert_eq!(ruled.cluster.payloads(narrow), ["2", "2"]);
            let dropped = ruled.cluster.count(|counters| counters.publishes_dropped.get());
            assert_eq!(dropped, 0, "nothing is a drop");
            ruled.cluster.publish(all, "secret/gate", QoS::AtMostOnce, "4");
            assert_eq!(remembered(&ruled, first)[0], (1, "secret/gate".to_owned()));
        }
    }
}

/// A message that a client would not have received anyway is not withheld from it.
#[test]
fn what_would_not_come_is_not_counted() {
    let mut ruled = Ruled::new(1, RULES);
    let mut expiry = PropertiesBuf::new();
    expiry.push(Property::SessionExpiryInterval(100)).unwrap();
    let away = ruled.cluster.join_with(&Connect {
        properties: expiry.as_properties(),
        ..as_user(V5, "away", "narrow")
    });
    ruled.cluster.subscribe(away, "#", QoS::AtLeastOnce);
    ruled.cluster.cut(away);
    let publisher = ruled.join_as(V5, "p", "all");
    let own = SubscriptionOptions {
        no_local: true,
        ..options(QoS::AtLeastOnce)
    };
    ruled.cluster.subscribe_with(publisher, "#", own, None);
    ruled.reload("user narrow\ntopic read open/#\nuser all\ntopic write #\ntopic read open/#\n");
    ruled
        .cluster
        .publish(publisher, "secret", QoS::AtMostOnce, "not queued");
    assert_eq!(counted(&ruled), 0);
    ruled
        .cluster
        .publish(publisher, "secret", QoS::AtLeastOnce, "queued");
    assert_eq!(counted(&ruled), 1);
    assert_eq!(remembered(&ruled, "away"), [(1, "secret".to_owned())]);
    assert!(remembered(&ruled, "p").is_empty());
}

/// A retained message, and one for a group whose members may not read it.
#[test]
fn retained_messages_and_those_of_groups_are_counted() {
    for shards in [1, 2] {
        let mut ruled = Ruled::new(shards, RULES);
        let (first, second) = apart(shards);
        let all = ruled.join_as(V5, &second, "all");
        for topic in ["secret/door", "open/door"] {
            ruled
                .cluster
                .publish_with(all, &retained(topic, QoS::AtMostOnce, topic));
        }
        let narrow = ruled.join_as(V5, first, "narrow");
        ruled.cluster.subscribe(narrow, "#", QoS::AtMostOnce);
        assert_eq!(ruled.cluster.payloads(narrow), ["open/door"]);
        assert_eq!(counted(&ruled), 1, "{shards} shards");
        let dropped = ruled.cluster.count(|counters| counters.publishes_dropped.get());
        assert_eq!(dropped, 0);
        ruled.cluster.unsubscribe(narrow, "#");
        ruled.cluster.subscribe(narrow, "$share/g/#", QoS::AtMostOnce);
        ruled.cluster.publish(all, "secret/gate", QoS::AtMostOnce, "1");
        ruled.cluster.publish(all, "open/gate", QoS::AtMostOnce, "2");
        assert_eq!(ruled.cluster.payloads(narrow), ["2"]);
        assert_eq!(counted(&ruled), 2, "{shards} shards");
        ruled.cluster.advance_ms(1100);
        assert_eq!(
            remembered(&ruled, first),
            [(1, "secret/door".to_owned()), (1, "secret/gate".to_owned())]
        );
    }
}

/// A slot that another session reuses has nothing of the previous one.
#[test]
fn a_session_that_ends_takes_its_count_along() {
    let mut ruled = Ruled::with_settings(
        1,
        RULES,
        Settings {
            sys_interval_s: 0,
            ..Settings::default()
        },
    );
    let all = ruled.join_as(V5, "all", "all");
    let first = ruled.join_as(V5, "first", "narrow");
    ruled.cluster.subscribe(first, "#", QoS::AtMostOnce);
    for _ in 0..3 {
        ruled.cluster.publish(all, "secret", QoS::AtMostOnce, "1");
    }
    ruled.cluster.cut(first);
    assert_eq!(remembered(&ruled, "first"), [(3, "secret".to_owned())]);
    let second = ruled.join_as(V5, "second", "narrow");
    ruled.cluster.subscribe(second, "#", QoS::AtMostOnce);
    ruled.cluster.publish(all, "secret", QoS::AtMostOnce, "1");
    ruled.cluster.advance_ms(1100);
    assert_eq!(remembered(&ruled, "second"), [(1, "secret".to_owned())]);
}

fn ended_with_session(cluster: &Cluster) -> u64 {
    cluster.count(|counters| counters.dropped.get(DropReason::SessionEnded))
}

fn join_for(cluster: &mut Cluster, name: &str, clean_start: bool, expiry_s: u32) -> Client {
    let mut expiry = PropertiesBuf::new();
    expiry.push(Property::SessionExpiryInterval(expiry_s)).unwrap();
    cluster.join_with(&Connect {
        clean_start,
        properties: expiry.as_properties(),
        ..connect(V5, name)
    })
}

/// Whatever ends a session: what waited in it, or was to be sent again, is a drop. Few messages are dropped at once,
/// and many over several turns.
/// and many over several turns.
#[test]
fn messages_of_a_session_that_ends_are_dropped() {
    for (shards, queued) in [(1, 3), (2, 3), (2, 5000)] {
        let settings = Settings {
            sys_interval_s: 0,
            queued_messages_max: 10_000,
            ..Settings::default()
        };
        let mut cluster = Cluster::with_settings(shards, settings);
        let (name, other) = apart(shards);
        let publisher = cluster.join(V5, &other);
        let mut all = 0;
        for clean_start in [false, true] {
            let client = join_for(&mut cluster, name, true, 10);
            cluster.subscribe(client, "t/#", QoS::AtLeastOnce);
            // Two are sent and not acknowledged; an acknowledged one is not a drop.
            for topic in ["t/done", "t/1", "t/2"] {
                cluster.publish(publisher, topic, QoS::AtMostOnce, "0");
                cluster.publish(publisher, topic, QoS::AtLeastOnce, "1");
            }
            assert_eq!(cluster.payloads(client).len(), 6);
            cluster.acknowledge(client, mqtt::frame::PacketType::PubAck, 1);
            cluster.cut(client);
            for _ in 0..queued {
                cluster.publish(publisher, "t/queued", QoS::AtLeastOnce, "2");
            }
            assert_eq!(ended_with_session(&cluster), all);
            if clean_start {
                let again = join_for(&mut cluster, name, true, 0);
                cluster.advance_ms(1000);
                cluster.cut(again);
            } else {
                cluster.advance_ms(10_100);
            }
            cluster.advance_ms(1000);
            all += 2 + queued;
            assert_eq!(
                ended_with_session(&cluster),
                all,
                "{shards} shards, {queued} queued"
            );
            let ends = u64::from(clean_start) + 1;
            let topics = [(ends, "t/1"), (ends, "t/2"), (ends * queued, "t/queued")];
            let remembered = remembered_by(&cluster, "session_ended", name);
            let topics = topics.map(|(number, topic)| (number, topic.to_owned()));
            assert_eq!(remembered, topics);
            assert_eq!(cluster.count(|counters| counters.queued_messages.get()), 0);
        }
    }
}

/// What waited for the last member of a group is dropped with the group.
#[test]
fn messages_of_a_group_that_ends_are_dropped() {
    for shards in [1, 2] {
        let mut cluster = Cluster::new(shards);
        let (name, other) = apart(shards);
        let publisher = cluster.join(V5, &other);
        let member = join_for(&mut cluster, name, true, 10);
        cluster.subscribe(member, "$share/g/t", QoS::AtLeastOnce);
        cluster.cut(member);
        for _ in 0..3 {
            cluster.publish(publisher, "t", QoS::AtLeastOnce, "1");
        }
        cluster.advance_ms(10_100);
        cluster.advance_ms(1000);
        let dropped = cluster.count(|counters| counters.dropped.get(DropReason::NoMember));
        assert_eq!(dropped, 3, "{shards} shards");
        assert_eq!(ended_with_session(&cluster), 0);
        cluster.advance_ms(1000);
        assert_eq!(remembered_by(&cluster, "no_member", ""), [(3, "t".to_owned())]);
    }
}
