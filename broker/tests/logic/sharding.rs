//! Several shards: batches, interests, backpressure.

use std::sync::Arc;

use broker::limits;
use broker::logic::{Shard, Timestamp, shard_counters};
use broker::settings::Settings;

use super::*;

#[test]
fn only_shards_with_an_interest_get_a_message_and_only_once() {
    let mut cluster = Cluster::new(2);
    let (first, second) = apart(2);
    let publisher = cluster.join(V3, first);
    let subscriber = cluster.join(V3, &second);
    let records = |cluster: &Cluster| cluster.count(|counters| counters.batch_records_sent.get());
    cluster.publish(publisher, "a/b", QoS::AtMostOnce, "x");
    assert_eq!(records(&cluster), 0);
    for filter in ["a/b", "a/+", "#"] {
        cluster.subscribe(subscriber, filter, QoS::AtMostOnce);
    }
    cluster.publish(publisher, "a/b", QoS::AtMostOnce, "x");
    assert_eq!(records(&cluster), 1);
    assert_eq!(cluster.payloads(subscriber), ["x"]);
    for filter in ["a/b", "a/+", "#"] {
        cluster.unsubscribe(subscriber, filter);
    }
    cluster.publish(publisher, "a/b", QoS::AtMostOnce, "x");
    assert_eq!(records(&cluster), 1, "no interest any more");
}

#[test]
fn an_answered_subscribe_holds_for_publishers_of_all_shards() {
    // The SUBACK is seen only after the interest was handed over: see the module header of the logic.
    let mut cluster = Cluster::new(4);
    let publishers: Vec<_> = (0..16)
        .map(|number| cluster.join(V5, &format!("p{number}")))
        .collect();
    for number in 0..16 {
        let subscriber = cluster.join(V5, &format!("s{number}"));
        cluster.subscribe(subscriber, "t", QoS::AtMostOnce);
        for &publisher in &publishers {
            cluster.publish(publisher, "t", QoS::AtMostOnce, "x");
        }
        assert_eq!(cluster.payloads(subscriber).len(), 16);
        cluster.cut(subscriber);
    }
}

#[test]
fn a_publisher_to_a_shard_that_is_behind_is_not_read_from() {
    let mut cluster = Cluster::new(2);
    let (first, second) = apart(2);
    let publisher = cluster.join(V3, first);
    let bystander = cluster.join(V3, "first-too");
    let subscriber = cluster.join(V3, &second);
    cluster.subscribe(subscriber, "t", QoS::AtMostOnce);
    cluster.delay_batches(true);
    let payload = "x".repeat(100_000);
    let mut sent = 0;
    while !cluster.paused(publisher) {
        cluster.publish(publisher, "t", QoS::AtMostOnce, &payload);
        sent += 1;
        assert!(sent * payload.len() < 2 * limits::BATCH_BYTES_MAX * (limits::OUTBOX_BATCHES_MAX + 2));
    }
    cluster.publish(bystander, "other", QoS::AtMostOnce, "x");
    assert!(!cluster.paused(bystander));
    cluster.delay_batches(false);
    assert!(!cluster.paused(publisher));
    let dropped = usize::try_from(cluster.count(|counters| counters.publishes_dropped.get())).unwrap();
    assert_eq!(
        cluster.payloads(subscriber).len() + dropped,
        sent,
        "nothing is lost between the shards"
    );
}

#[test]
fn runs_are_one_record() {
    let mut cluster = Cluster::new(2);
    let (first, second) = apart(2);
    let publisher = cluster.join(V5, first);
    let subscribers = [
        cluster.join(V3, &second),
        cluster.join(V5, &format!("{second}-too")),
    ];
    for subscriber in subscribers {
        cluster.subscribe(subscriber, "t/#", QoS::AtLeastOnce);
    }
    let before = cluster.count(|counters| counters.batch_records_sent.get());
    let mut bytes = Vec::new();
    for number in 0..100 {
        let topic = if number < 60 { "t/1" } else { "t/2" };
        publish(topic, QoS::AtMostOnce, &number.to_string())
            .encode(V5, &mut bytes)
            .unwrap();
    }
    cluster.send(publisher, &bytes);
    let sent = cluster.count(|counters| counters.batch_records_sent.get()) - before;
    // It is unknown how many receive the first message of a topic, so it is sent alone.
    assert!(sent <= 2 * 3, "{sent} records");
    let expected: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    for subscriber in subscribers {
        assert_eq!(cluster.payloads(subscriber), expected);
    }
}

/// The queues of other shards are full, so batches wait: packets that do not depend on other shards are sent all the
/// same.
#[test]
fn what_depends_on_no_other_shard_is_sent_while_batches_wait() {
    let now = Timestamp(1_000_000_000);
    let settings = Settings {
        sys_interval_s: 0,
        ..Settings::default()
    };
    let mut shard = Shard::new(0, 2, Arc::new(settings), shard_counters(2));
    let join = |shard: &mut Shard, identifier: &str, clean_start: bool| {
        let mut bytes = Vec::new();
        let connect = Connect {
            clean_start,
            ..connect(V3, identifier)
        };
        connect.encode(&mut bytes).unwrap();
        test_support::open(shard, now, test_support::peer(), &bytes)
    };
    let independent = |shard: &mut Shard| {
        let mut taken = Vec::new();
        shard.swap_independent(&mut taken);
        let outs = taken
            .into_iter()
            .map(|id| (id, std::mem::take(shard.delivery().out(id))));
        outs.collect::<Vec<_>>()
    };
    let connack = vec![0x20, 2, 0, 0];
    let subscriber = join(&mut shard, "subscriber", false);
    let quiet = join(&mut shard, "quiet", true);
    assert_eq!(
        independent(&mut shard),
        [(subscriber, connack.clone()), (quiet, connack)]
    );
    let subscribe = b"\x82\x06\0\x01\0\x01a\0";
    shard.receive(now, subscriber, subscribe);
    assert!(shard.outboxes().has_batch(1));
    // After a SUBACK, of which the other shard must know first, a PINGRESP waits too.
    shard.receive(now, subscriber, &[0xc0, 0]);
    shard.receive(now, quiet, &[0xc0, 0]);
    assert_eq!(independent(&mut shard), [(quiet, vec![0xd0, 0])]);
    // So does a PINGRESP before it.
    shard.receive(now, quiet, &[0xc0, 0]);
    shard.receive(now, quiet, subscribe);
    assert_eq!(independent(&mut shard), []);
    // An existing session has subscriptions that other shards may not know of.
    let again = join(&mut shard, "subscriber", false);
    assert_eq!(independent(&mut shard), []);
    let dirty = shard.take_dirty();
    assert!(dirty.contains(&again) && dirty.contains(&quiet));
    assert_eq!(shard.delivery().out(quiet)[..], [0xd0, 0, 0x90, 3, 0, 1, 0]);
}
