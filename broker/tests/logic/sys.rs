//! `$SYS`.

use std::collections::BTreeMap;

use super::*;
use broker::settings::Settings;

fn read(cluster: &mut Cluster, client: Client) -> BTreeMap<String, String> {
    std::iter::from_fn(|| cluster.got(client))
        .map(|got| (got.topic, got.payload))
        .collect()
}

#[test]
fn sums_over_all_shards_under_mosquittos_names() {
    for shards in [1, 3] {
        let mut cluster = Cluster::with_settings(shards, Settings::default());
        let clients: Vec<_> = (0..8)
            .map(|number| cluster.join(V3, &format!("c{number}")))
            .collect();
        for &client in &clients {
            cluster.subscribe(client, "t", QoS::AtMostOnce);
        }
        cluster.publish(clients[0], "t", QoS::AtMostOnce, "12345");
        cluster.publish_with(clients[0], &retained("kept", QoS::AtMostOnce, "x"));
        let away = cluster.join_with(&Connect {
            clean_start: false,
            ..connect(V3, "away")
        });
        cluster.cut(away);
        cluster.advance_s(30);
        let watcher = cluster.join(V5, "watcher");
        cluster.subscribe(watcher, "$SYS/#", QoS::AtMostOnce);
        let values = read(&mut cluster, watcher);
        let expect = |name: &str, value: &str| {
            assert_eq!(
                values.get(&format!("$SYS/broker/{name}")).map(String::as_str),
                Some(value),
                "{name}"
            );
        };
        expect("version", concat!("midge version ", env!("CARGO_PKG_VERSION")));
        expect("clients/connected", "8");
        expect("clients/total", "9");
        expect("clients/disconnected", "1");
        expect("clients/maximum", "8");
        expect("subscriptions/count", "8");
        expect("publish/messages/received", "2");
        expect("publish/bytes/received", "6");
        assert!(values.contains_key("$SYS/broker/load/messages/received/15min"));
        assert!(values["$SYS/broker/uptime"].ends_with(" seconds"));
        let number = |name: &str| values[&format!("$SYS/broker/{name}")].parse::<u64>().unwrap();
        assert!(number("retained messages/count") > 40);
        // The topics of `$SYS` are among them, and nothing else waits.
        assert!(number("store/messages/bytes") > 40 * "$SYS/broker/".len() as u64);
        cluster.advance_s(10);
        let changed = read(&mut cluster, watcher);
        assert!(changed.contains_key("$SYS/broker/uptime"));
        assert!(!changed.contains_key("$SYS/broker/version"), "only what changed");
    }
}

#[test]
fn an_interval_of_zero_turns_it_off() {
    let mut cluster = Cluster::new(1);
    let watcher = cluster.join(V3, "w");
    cluster.subscribe(watcher, "$SYS/#", QoS::AtMostOnce);
    cluster.advance_s(100);
    cluster.expect_nothing(watcher);
}

#[test]
fn loads_are_rates_a_minute() {
    let mut cluster = Cluster::with_settings(1, Settings::default());
    cluster.advance_s(1);
    let client = cluster.join(V3, "c");
    for _ in 0..60 {
        for _ in 0..100 {
            cluster.publish(client, "t", QoS::AtMostOnce, "x");
        }
        cluster.advance_s(10);
    }
    cluster.subscribe(client, "$SYS/broker/load/publish/received/+", QoS::AtMostOnce);
    let values = read(&mut cluster, client);
    let a_minute: f64 = values["$SYS/broker/load/publish/received/1min"].parse().unwrap();
    assert!((595.0..605.0).contains(&a_minute), "{a_minute}");
    let quarter: f64 = values["$SYS/broker/load/publish/received/15min"].parse().unwrap();
    assert!((250.0..350.0).contains(&quarter), "{quarter}");
}
