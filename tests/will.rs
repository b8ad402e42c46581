//! Wills.

use mqtt::QoS;

use crate::harness::{Broker, Client, Options, Setup};

fn watcher(broker: &Broker) -> Client {
    let mut watcher = Client::connect(broker, &Options::new("watcher"));
    watcher.subscribe("will/#", QoS::AtLeastOnce);
    watcher
}

fn with_will(identifier: &str) -> Options {
    Options::new(identifier).will(&format!("will/{identifier}"), b"gone", QoS::AtLeastOnce, false)
}

/// [MQTT3-3.1.2-8], [MQTT-3.1.2-8]
#[test]
fn a_connection_that_is_cut_publishes_it() {
    let broker = Setup::default().shards(2).start();
    let mut watcher = watcher(&broker);
    for identifier in ["a", "b", "c", "d"] {
        for options in [with_will(identifier), with_will(identifier).v5()] {
            Client::connect(&broker, &options).cut();
            let message = watcher.message();
            assert_eq!(
                (message.topic, message.payload),
                (format!("will/{identifier}"), b"gone".to_vec())
            );
        }
    }
}

/// [MQTT3-3.1.2-10], [MQTT3-3.14.4-3], [MQTT-3.1.2-10], [MQTT-3.14.4-3]
#[test]
fn a_disconnect_removes_it() {
    let broker = Broker::start();
    let mut watcher = watcher(&broker);
    Client::connect(&broker, &with_will("a")).disconnect();
    Client::connect(&broker, &with_will("b").v5()).disconnect();
    watcher.expect_nothing();
}

#[test]
fn a_disconnect_with_will_message_publishes_it() {
    let broker = Broker::start();
    let mut watcher = watcher(&broker);
    let mut client = Client::connect(&broker, &with_will("a").v5());
    client.send(b"\xe0\x01\x04");
    assert_eq!(watcher.message().topic, "will/a");
}

#[test]
fn a_malformed_packet_publishes_it() {
    let broker = Broker::start();
    let mut watcher = watcher(&broker);
    let mut client = Client::connect(&broker, &with_will("a"));
    client.send(&[0, 0]);
    assert_eq!(watcher.message().topic, "will/a");
}

#[test]
fn a_client_that_falls_silent_publishes_it() {
    let broker = Broker::start();
    let mut watcher = watcher(&broker);
    let _silent = Client::connect(&broker, &with_will("a").keep_alive_s(1));
    assert_eq!(watcher.message().topic, "will/a");
}

/// [MQTT3-3.1.2-17]
#[test]
fn it_may_be_retained() {
    let broker = Broker::start();
    let options = Options::new("a").will("will/a", b"gone", QoS::AtLeastOnce, true);
    let mut watcher = watcher(&broker);
    Client::connect(&broker, &options).cut();
    assert!(!watcher.message().retain);
    let mut late = Client::connect(&broker, &Options::new("late"));
    late.subscribe("will/a", QoS::AtMostOnce);
    let message = late.message();
    assert_eq!((message.payload.as_slice(), message.retain), (&b"gone"[..], true));
}
