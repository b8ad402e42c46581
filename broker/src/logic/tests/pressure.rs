//! Publishers wait for clients that are behind, and not for ever.

use super::*;
use crate::limits;

const PAYLOAD_BYTES: usize = 60_000;

/// Publishes until the publisher is paused, or the time is over that this may take.
fn fill(cluster: &mut Cluster, publisher: Client) -> usize {
    let payload = "x".repeat(PAYLOAD_BYTES);
    let mut sent = 0;
    while !cluster.paused(publisher) && sent * PAYLOAD_BYTES < limits::OUT_BYTES_MAX {
        cluster.publish(publisher, "t", QoS::AtMostOnce, &payload);
        sent += 1;
    }
    sent
}

fn patience_ms() -> u64 {
    (limits::PATIENCE_NS + 2 * limits::TIMER_STEP_NS) / 1_000_000
}

fn dropped(cluster: &Cluster) -> u64 {
    cluster.count(|counters| counters.publishes_dropped.get())
}

#[test]
fn publishers_wait_for_a_client_that_is_behind_and_nothing_is_lost() {
    for shards in [1, 2] {
        let mut cluster = Cluster::new(shards);
        let (first, second) = if shards == 1 {
            ("p", "s".to_owned())
        } else {
            apart(2)
        };
        let publisher = cluster.join(V3, first);
        let bystander = cluster.join(V3, "bystander");
        let subscriber = cluster.join(V3, &second);
        cluster.subscribe(subscriber, "t", QoS::AtMostOnce);
        cluster.set_reading(subscriber, false);
        let mut sent = 0;
        for _ in 0..3 {
            sent += fill(&mut cluster, publisher);
            assert!(cluster.paused(publisher), "{shards} shards");
            cluster.publish(bystander, "other", QoS::AtMostOnce, "x");
            assert!(!cluster.paused(bystander));
            cluster.set_reading(subscriber, true);
            cluster.settle();
            assert!(!cluster.paused(publisher), "{shards} shards");
            cluster.set_reading(subscriber, false);
        }
        cluster.set_reading(subscriber, true);
        assert_eq!(cluster.payloads(subscriber).len(), sent);
        assert_eq!(dropped(&cluster), 0);
    }
}

#[test]
fn nobody_waits_for_a_client_that_is_slow() {
    let mut cluster = Cluster::new(1);
    let publisher = cluster.join(V3, "p");
    let slow = cluster.join(V3, "slow");
    cluster.subscribe(slow, "t", QoS::AtMostOnce);
    cluster.set_reading(slow, false);
    let mut sent = fill(&mut cluster, publisher);
    assert!(cluster.paused(publisher));
    cluster.advance_ms(patience_ms());
    assert!(!cluster.paused(publisher));
    sent += fill(&mut cluster, publisher);
    assert!(!cluster.paused(publisher), "it is not waited for again");
    cluster.set_reading(slow, true);
    let got = cluster.payloads(slow).len();
    assert_eq!(got, limits::OUT_SLOW_BYTES_MAX / (PAYLOAD_BYTES + 6));
    assert_eq!(dropped(&cluster), (sent - got) as u64);
    cluster.advance_ms(limits::SLOW_NS / 1_000_000 + 200);
    cluster.set_reading(slow, false);
    fill(&mut cluster, publisher);
    assert!(cluster.paused(publisher), "a minute later it has another chance");
}

#[test]
fn a_client_that_goes_holds_nobody_up() {
    let mut cluster = Cluster::new(1);
    let publisher = cluster.join(V3, "p");
    let subscriber = cluster.join(V3, "s");
    cluster.subscribe(subscriber, "t", QoS::AtMostOnce);
    cluster.set_reading(subscriber, false);
    fill(&mut cluster, publisher);
    assert!(cluster.paused(publisher));
    cluster.cut(subscriber);
    assert!(!cluster.paused(publisher));
}

#[test]
fn a_client_that_does_not_take_its_answers_is_not_read_from() {
    let mut cluster = Cluster::new(1);
    let client = cluster.join(V3, "c");
    let other = cluster.join(V3, "other");
    cluster.set_reading(client, false);
    let pings = [0xC0, 0].repeat(100_000);
    for _ in 0..10 {
        cluster.send(client, &pings);
    }
    assert!(cluster.paused(client));
    cluster.cut(other);
    assert!(cluster.paused(client), "whatever resumes others");
    cluster.set_reading(client, true);
    cluster.settle();
    assert!(!cluster.paused(client));
}
