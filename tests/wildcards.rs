//! Topic filters over the wire.

use mqtt::QoS;

use crate::harness::{Broker, Client, Options, Setup};

/// Filters, and which of [`TOPICS`] they match [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.7.2-1],
/// [MQTT-4.7.3-4]; [MQTT3-4.7.1-2], [MQTT3-4.7.1-3], [MQTT3-4.7.2-1], [MQTT3-4.7.3-4].
const FILTERS: &[(&str, &[&str])] = &[
    (
        "#",
        &[
            "sport",
            "sport/tennis",
            "sport/tennis/player1",
            "/finance",
            "/",
            "a//b",
        ],
    ),
    ("sport", &["sport"]),
    ("sport/#", &["sport", "sport/tennis", "sport/tennis/player1"]),
    ("sport/tennis/+", &["sport/tennis/player1"]),
    ("sport/+", &["sport/tennis"]),
    ("+", &["sport"]),
    ("+/+", &["sport/tennis", "/finance", "/"]),
    ("/+", &["/finance", "/"]),
    ("+/tennis/#", &["sport/tennis", "sport/tennis/player1"]),
    ("a/+/b", &["a//b"]),
    ("a//b", &["a//b"]),
    ("$own/#", &["$own/x"]),
    ("$own/+", &["$own/x"]),
    ("+/x", &[]),
];

const TOPICS: &[&str] = &[
    "sport",
    "sport/tennis",
    "sport/tennis/player1",
    "/finance",
    "/",
    "a//b",
    "$own/x",
];

#[test]
fn filters_match_as_the_specification_says() {
    let broker = Setup::default().shards(2).start();
    let mut publisher = Client::connect(&broker, &Options::new("p"));
    for (number, (filter, matching)) in FILTERS.iter().enumerate() {
        let mut subscriber = Client::connect(&broker, &Options::new(&format!("s{number}")));
        subscriber.subscribe(filter, QoS::AtMostOnce);
        for topic in TOPICS {
            publisher.publish(topic, b"x", QoS::AtLeastOnce);
        }
        let topics: Vec<_> = matching.iter().map(|_| subscriber.message().topic).collect();
        assert_eq!(topics, *matching, "{filter}");
        publisher.publish("sport", b"end", QoS::AtLeastOnce);
        subscriber.unsubscribe(filter);
        publisher.publish("sport", b"after", QoS::AtLeastOnce);
        let ends = usize::from(matching.contains(&"sport"));
        assert_eq!(subscriber.payloads(ends), vec!["end"; ends], "{filter}");
        subscriber.expect_nothing();
    }
}

/// [MQTT3-3.3.5-1]
#[test]
fn overlapping_subscriptions_bring_one_copy_at_the_highest_qos() {
    let broker = Broker::start();
    let mut subscriber = Client::connect(&broker, &Options::new("s"));
    subscriber.subscribe("a/#", QoS::AtMostOnce);
    subscriber.subscribe("a/+", QoS::AtLeastOnce);
    subscriber.subscribe("a/b", QoS::AtMostOnce);
    let mut publisher = Client::connect(&broker, &Options::new("p"));
    publisher.publish("a/b", b"x", QoS::ExactlyOnce);
    assert_eq!(subscriber.message().qos, QoS::AtLeastOnce);
    subscriber.expect_nothing();
}

/// [MQTT3-3.8.4-3]
#[test]
fn a_subscription_made_again_replaces_the_first() {
    let broker = Broker::start();
    let mut client = Client::connect(&broker, &Options::new("s"));
    client.subscribe("t", QoS::AtLeastOnce);
    client.subscribe("t", QoS::AtMostOnce);
    client.publish("t", b"x", QoS::AtLeastOnce);
    assert_eq!(client.message().qos, QoS::AtMostOnce);
    client.expect_nothing();
    client.unsubscribe("t");
    client.publish("t", b"x", QoS::AtLeastOnce);
    client.expect_nothing();
}

/// [MQTT-4.7.2-1]
#[test]
fn the_broker_reports_about_itself_under_sys() {
    let broker = Setup::default().shards(2).global("sys_interval 1").start();
    let mut client = Client::connect(&broker, &Options::new("s"));
    client.subscribe("$SYS/broker/version", QoS::AtMostOnce);
    let version = String::from_utf8(client.message().payload).unwrap();
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    client.subscribe("$SYS/broker/uptime", QoS::AtMostOnce);
    assert!(!client.message().payload.is_empty());
}
