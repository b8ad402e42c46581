//! Messages that access rules withhold from subscribers: each is counted, and whose it would have been is remembered.

use super::rules::{Ruled, as_user};
use super::*;
use broker::logic::{ClientEvent, Denied};
use broker::settings::Settings;

const RULES: &str = "user narrow\ntopic read open/#\nuser all\ntopic #\n";

fn counted(ruled: &Ruled) -> u64 {
    ruled.cluster.count(|counters| counters.denied.get(Denied::Read))
}

/// What is remembered of messages that were withheld from a client: how many, and the topic of the last one.
fn remembered(ruled: &Ruled, client: &str) -> Vec<(u64, String)> {
    let all = std::cell::RefCell::new(Vec::new());
    ruled.cluster.count(|counters| {
        all.borrow_mut().extend(counters.events.all());
        0
    });
    let is_of = |event: &ClientEvent| event.reason == "read" && &*event.client == client;
    let of_client = all.take().into_iter().filter(is_of);
    of_client
        .map(|event| (event.count, event.topic.unwrap_or_default().into()))
        .collect()
}

/// On any shard, at any QoS, one by one and in runs, with several subscriptions that match: each message once.
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
            // The first one at once, and the others when a second is over.
            assert_eq!(remembered(&ruled, first), [(1, "secret/door".to_owned())]);
            ruled.cluster.advance_ms(1100);
            assert_eq!(remembered(&ruled, first), [(7, "secret/window".to_owned())]);
            assert_eq!(ruled.cluster.payloads(narrow), ["2", "2"]);
            let dropped = ruled.cluster.count(|counters| counters.publishes_dropped.get());
            assert_eq!(dropped, 0, "nothing is a drop");
            ruled.cluster.publish(all, "secret/gate", QoS::AtMostOnce, "4");
            assert_eq!(remembered(&ruled, first), [(8, "secret/gate".to_owned())]);
        }
    }
}

/// What a client would not have got with the right to read is not withheld from it.
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

/// A retained message, and one for a group of which nobody may read it.
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
        assert_eq!(remembered(&ruled, first), [(2, "secret/gate".to_owned())]);
    }
}

/// A place that another session takes has nothing of the one before.
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
