//! A start with files that are damaged, and with retained messages that are not to be stored any more.

use std::fs;

use mqtt::QoS;

use super::Restarted;
use crate::harness::{Client, Options, Setup, free_port, run};

/// What is no file does not keep the broker down, and whatever a start reports of damage, `--test-config` does.
#[test]
fn damage_is_reported_before_and_at_the_start() {
    let restarted = Restarted::new(1);
    let broker = restarted.start();
    let away = Options::new("away").persistent();
    Client::connect(&broker, &away).subscribe("t", QoS::AtLeastOnce);
    Client::connect(&broker, &Options::new("p")).publish("t", b"kept", QoS::AtLeastOnce);
    broker.kill();
    let store = restarted.folder.path().join("mosquitto.db.midge");
    fs::create_dir(store.join("00000050.segment")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", store.join("00000051.segment")).unwrap();
    let location = restarted.folder.path().display();
    let configuration = restarted.folder.path().join("tested.conf");
    let port = free_port();
    let text =
        format!("user root\npersistence true\npersistence_location {location}\nlistener {port} 127.0.0.1\n");
    fs::write(&configuration, text).unwrap();
    let tested = run(&["-c", configuration.to_str().unwrap(), "--test-config"]);
    for found in [
        "00000050.segment cannot be opened",
        "00000051.segment cannot be opened",
    ] {
        assert!(tested.stderr.contains(found), "{}", tested.stderr);
    }
    let broker = restarted.start();
    assert!(broker.log().contains("damaged: 2 files"), "{}", broker.log());
    let mut client = Client::connect(&broker, &away);
    assert_eq!(client.message().payload, b"kept");
}

/// What changes while retained messages are not stored does not come back with what it was before.
#[test]
fn retained_messages_that_changed_meanwhile_do_not_come_back() {
    let setup = |stored: &str| Setup::default().global(&format!("retained_persistence {stored}"));
    let first = Restarted::with(setup("true"));
    let publish = |restarted: &Restarted, messages: &[(&str, &str)]| {
        let broker = restarted.start();
        let mut client = Client::connect(&broker, &Options::new("p"));
        for (topic, payload) in messages {
            client.publish_retained(topic, payload.as_bytes(), QoS::AtLeastOnce);
        }
        broker.kill();
    };
    publish(&first, &[("r/cleared", "1"), ("r/changed", "1"), ("r/left", "1")]);
    let location = first.folder.path();
    publish(
        &Restarted::at(setup("false"), location),
        &[("r/cleared", ""), ("r/changed", "2")],
    );
    let broker = Restarted::at(setup("true"), location).start();
    let mut client = Client::connect(&broker, &Options::new("c"));
    client.subscribe("r/#", QoS::AtMostOnce);
    assert_eq!(client.message().topic, "r/left");
    client.ping();
}
