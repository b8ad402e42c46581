//! Clients that send more than `max_messages_per_second` or `max_bytes_per_second` wait, and are disconnected if they
//! send far more.

use std::sync::Arc;

use broker::settings::{ListenerSettings, RateLimits, Settings};

use super::*;

fn settings(messages_per_second: Option<u64>, bytes_per_second: Option<u64>) -> Settings {
    Settings {
        sys_interval_s: 0,
        listeners: vec![ListenerSettings {
            rates: RateLimits {
                messages_per_second,
                bytes_per_second,
            },
            ..ListenerSettings::default()
        }],
        ..Settings::default()
    }
}

fn exceeded(cluster: &Cluster) -> u64 {
    cluster.count(|counters| counters.rates_exceeded.get())
}

#[test]
fn a_client_above_its_rate_waits_and_nothing_is_lost() {
    let mut cluster = Cluster::with_settings(1, settings(Some(10), None));
    let publisher = cluster.join(V3, "p");
    let other = cluster.join(V3, "other");
    let subscriber = cluster.join(V3, "s");
    cluster.subscribe(subscriber, "#", QoS::AtLeastOnce);
    for number in 0..10 {
        cluster.publish(publisher, "t", QoS::AtMostOnce, &number.to_string());
    }
    assert!(!cluster.paused(publisher), "a second's worth may come at once");
    cluster.publish(publisher, "t", QoS::AtMostOnce, "10");
    assert!(cluster.paused(publisher));
    cluster.publish(other, "o", QoS::AtMostOnce, "x");
    assert!(!cluster.paused(other), "others go on");
    cluster.advance_ms(300);
    assert!(!cluster.paused(publisher), "it is within its rate again");
    cluster.publish(publisher, "t", QoS::AtMostOnce, "11");
    assert_eq!(cluster.payloads(subscriber).len(), 13);
    assert_eq!(exceeded(&cluster), 1);
}

#[test]
fn a_client_far_above_its_rate_is_disconnected() {
    for (limits, reason) in [
        (settings(Some(1), None), ReasonCode::MessageRateTooHigh),
        (settings(None, Some(10)), ReasonCode::QuotaExceeded),
    ] {
        let mut cluster = Cluster::with_settings(1, limits);
        let publisher = cluster.join(V5, "p");
        let mut bytes = Vec::new();
        for _ in 0..100 {
            publish("t", QoS::AtMostOnce, "payload")
                .encode(V5, &mut bytes)
                .unwrap();
        }
        cluster.send(publisher, &bytes);
        cluster.run_until_idle();
        cluster.expect_disconnect(publisher, reason);
        let old = cluster.join(V3, "old");
        let mut bytes = Vec::new();
        for _ in 0..100 {
            publish("t", QoS::AtMostOnce, "payload")
                .encode(V3, &mut bytes)
                .unwrap();
        }
        cluster.send(old, &bytes);
        cluster.run_until_idle();
        assert!(cluster.closed(old));
    }
}

#[test]
fn rates_begin_and_end_with_a_reload() {
    let mut cluster = Cluster::new(1);
    let publisher = cluster.join(V3, "p");
    let publish = |cluster: &mut Cluster| cluster.publish(publisher, "t", QoS::AtMostOnce, "x");
    (0..30).for_each(|_| publish(&mut cluster));
    cluster.set_settings(&Arc::new(settings(Some(5), None)));
    (0..6).for_each(|_| publish(&mut cluster));
    assert!(cluster.paused(publisher));
    cluster.set_settings(&Arc::new(settings(None, None)));
    cluster.advance_ms(1000);
    (0..30).for_each(|_| publish(&mut cluster));
    assert!(!cluster.paused(publisher));
}

#[test]
fn a_client_that_goes_while_it_waits_leaves_nothing() {
    let mut cluster = Cluster::with_settings(1, settings(Some(1), None));
    for _ in 0..3 {
        let publisher = cluster.join(V3, "p");
        cluster.publish(publisher, "t", QoS::AtMostOnce, "1");
        cluster.publish(publisher, "t", QoS::AtMostOnce, "2");
        assert!(cluster.paused(publisher));
        cluster.cut(publisher);
    }
    cluster.advance_s(100);
}
