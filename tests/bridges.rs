//! Bridges of other brokers, which are clients here: those of mosquitto set a bit of the protocol level.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mqtt::frame::PacketType;
use mqtt::{ProtocolVersion, QoS};

use crate::harness::{Broker, Client, Options, free_port};
use crate::real_clients::skip;

/// A client whose 3.1.1 CONNECT has the level 0x84, which mosquitto's bridges send first (`try_private`).
fn bridge(broker: &Broker) -> Client {
    let mut client = Client::open_as(broker, ProtocolVersion::V3_1_1);
    client.send(b"\x10\x12\x00\x04MQTT\x84\x02\x00\x00\x00\x06bridge");
    client.expect(PacketType::ConnAck);
    client
}

#[test]
fn a_bridge_does_not_receive_its_own_and_keeps_retain() {
    let broker = Broker::start();
    let mut bridge = bridge(&broker);
    bridge.subscribe("#", QoS::AtMostOnce);
    bridge.publish("own", b"x", QoS::AtMostOnce);
    let mut other = Client::connect(&broker, &Options::new("other"));
    other.publish_retained("kept", b"y", QoS::AtMostOnce);
    let message = bridge.message();
    assert_eq!((message.topic.as_str(), message.retain), ("kept", true));
    bridge.expect_nothing();
}

#[test]
fn a_bridge_publishes_its_state() {
    let broker = Broker::start();
    let mut watcher = Client::connect(&broker, &Options::new("watcher"));
    watcher.subscribe("$SYS/broker/connection/+/state", QoS::AtMostOnce);
    let mut bridge = bridge(&broker);
    bridge.publish("$SYS/broker/connection/a/b/state", b"0", QoS::AtLeastOnce);
    bridge.publish_retained("$SYS/broker/connection/b/state", b"1", QoS::AtLeastOnce);
    let message = watcher.message();
    assert_eq!(
        (message.topic.as_str(), message.payload.as_slice()),
        ("$SYS/broker/connection/b/state", &b"1"[..])
    );
    watcher.expect_nothing();
}

/// A real mosquitto with the default settings of its bridges connects at its first try.
#[test]
fn mosquitto_bridges_with_its_defaults() {
    let installed = ["mosquitto", "/usr/sbin/mosquitto"]
        .into_iter()
        .find(|program| Command::new(program).arg("-h").output().is_ok());
    let Some(program) = installed else {
        return skip("mosquitto");
    };
    let broker = Broker::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mosquitto.conf");
    let port = free_port();
    let text = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\nconnection midge\naddress {}\ntopic # both 1\nuser root\n",
        broker.address()
    );
    std::fs::write(&file, text).unwrap();
    let mut watcher = Client::connect(&broker, &Options::new("watcher"));
    watcher.subscribe("$SYS/broker/connection/#", QoS::AtMostOnce);
    let begin = Instant::now();
    let child = Command::new(program)
        .arg("-c")
        .arg(&file)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _ended = Ended(child);
    let message = watcher.message();
    assert!(message.topic.ends_with("/state"), "{}", message.topic);
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    let mut near = Client::connect_at(port, &Options::new("near"));
    near.subscribe("over/#", QoS::AtLeastOnce);
    let mut far = Client::connect(&broker, &Options::new("far"));
    far.publish_retained("over/there", b"2", QoS::AtLeastOnce);
    let message = near.message();
    assert_eq!(
        (message.topic.as_str(), message.payload.as_slice()),
        ("over/there", &b"2"[..])
    );
    near.publish("over/here", b"3", QoS::AtLeastOnce);
    far.subscribe("over/here", QoS::AtLeastOnce);
    near.publish("over/here", b"4", QoS::AtLeastOnce);
    assert!(["3", "4"].contains(&far.payloads(1)[0].as_str()));
}

/// A process that ends with the test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
