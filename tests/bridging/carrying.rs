//! What goes over a bridge, and under which name.
//!
//! Invariants: none.

use mqtt::frame::PacketType;
use mqtt::packet::{Packet, PacketIdentifier, Publish};
use mqtt::property::{PropertiesBuf, Property};
use mqtt::{ProtocolVersion, QoS};
use rustix::process::Signal;

use super::peer::Mosquitto;
use super::{await_connected, bridge_to};
use crate::harness::{Broker, Client, Options, Setup};

const TOPICS: [&str; 4] = [
    "topic out/# out 1",
    "topic in/# in 1 near/ far/",
    "topic # both 2 here/ there/",
    "topic \"\" out 0 one/topic another/topic",
];

/// Messages of each QoS in both directions, with their names on either side.
fn carries_both_ways(near: &Broker, far_port: u16) {
    let mut here = Client::connect(near, &Options::new("here"));
    let mut there = Client::connect_at(far_port, &Options::new("there"));
    for filter in ["near/#", "here/#"] {
        here.subscribe(filter, QoS::ExactlyOnce);
    }
    for filter in ["out/#", "there/#", "another/#"] {
        there.subscribe(filter, QoS::ExactlyOnce);
    }
    let (mut came_here, mut came_there) = (Vec::new(), Vec::new());
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut sender = Client::connect(near, &Options::new("sender"));
        for (topic, name, qos_max) in [
            ("out/a/b", "out/a/b", QoS::AtLeastOnce),
            ("here/x", "there/x", QoS::ExactlyOnce),
            ("one/topic", "another/topic", QoS::AtMostOnce),
        ] {
            sender.publish(topic, topic.as_bytes(), qos);
            await_message(&mut there, &mut came_there, name, topic, qos.min(qos_max));
        }
        let mut sender = Client::connect_at(far_port, &Options::new("sender"));
        for (topic, name, qos_max) in [
            ("far/in/a", "near/in/a", QoS::AtLeastOnce),
            ("there/y", "here/y", QoS::ExactlyOnce),
        ] {
            sender.publish(topic, topic.as_bytes(), qos);
            await_message(&mut here, &mut came_here, name, topic, qos.min(qos_max));
        }
    }
    // What goes both ways does not come back: so many are what the bridge carried and what was published there.
    while came_here.len() < 9 {
        came_here.push(here.message().topic);
    }
    while came_there.len() < 12 {
        came_there.push(there.message().topic);
    }
    here.expect_nothing();
    there.expect_nothing();
    here.publish("neither/this", b"x", QoS::AtLeastOnce);
    there.expect_nothing();
}

/// Receives until the message comes; what came before it are those that were published where it comes to.
fn await_message(client: &mut Client, came: &mut Vec<String>, name: &str, payload: &str, qos: QoS) {
    loop {
        let message = client.message();
        came.push(message.topic.clone());
        if message.topic == name {
            assert_eq!(
                (message.payload.as_slice(), message.qos),
                (payload.as_bytes(), qos),
                "{name}"
            );
            return;
        }
    }
}

#[test]
fn mosquitto_and_midge_carry_both_ways() {
    let Some(far) = Mosquitto::start(&[]) else {
        return;
    };
    for version in ["mqttv31", "mqttv311", "mqttv50"] {
        let version = format!("bridge_protocol_version {version}");
        let lines: Vec<_> = TOPICS.into_iter().chain([version.as_str()]).collect();
        let near = bridge_to(far.port(), &lines).shards(2).start();
        await_connected(&near);
        carries_both_ways(&near, far.port());
    }
}

#[test]
fn midge_and_midge_carry_both_ways() {
    let far = Setup::default().shards(2).start();
    for version in ["mqttv31", "mqttv311", "mqttv50"] {
        let version = format!("bridge_protocol_version {version}");
        let lines: Vec<_> = TOPICS.into_iter().chain([version.as_str()]).collect();
        let near = bridge_to(far.port(), &lines).start();
        await_connected(&near);
        carries_both_ways(&near, far.port());
    }
}

/// The bridge comes with a reload.
#[test]
fn retained_messages_are_carried_and_stay_so() {
    let Some(far) = Mosquitto::start(&[]) else {
        return;
    };
    let mut there = Client::connect_at(far.port(), &Options::new("there"));
    there.publish_retained("far/kept", b"1", QoS::AtLeastOnce);
    let near = Setup::default().start();
    let mut here = Client::connect(&near, &Options::new("here"));
    here.publish_retained("near/kept", b"2", QoS::AtLeastOnce);
    near.configure(&bridge_to(
        far.port(),
        &["topic far/# in 1", "topic near/# out 1"],
    ));
    near.signal(Signal::HUP);
    await_connected(&near);
    here.subscribe("far/#", QoS::AtLeastOnce);
    there.subscribe("near/#", QoS::AtLeastOnce);
    let message = here.message();
    assert_eq!(
        (message.topic.as_str(), message.payload.as_slice()),
        ("far/kept", &b"1"[..])
    );
    let message = there.message();
    assert_eq!(
        (message.topic.as_str(), message.payload.as_slice()),
        ("near/kept", &b"2"[..])
    );
    // They are retained where they have come to.
    let mut late = Client::connect(&near, &Options::new("late"));
    late.subscribe("far/kept", QoS::AtLeastOnce);
    assert!(late.message().retain);
}

#[test]
fn properties_of_messages_are_carried_by_5_0() {
    let far = Broker::start();
    let near = bridge_to(
        far.port(),
        &["topic # out 1 a/ b/", "bridge_protocol_version mqttv50"],
    )
    .start();
    await_connected(&near);
    let mut there = Client::connect(&far, &Options::new("there").v5());
    there.subscribe("b/#", QoS::AtLeastOnce);
    let mut here = Client::connect(&near, &Options::new("here").v5());
    let mut properties = PropertiesBuf::new();
    for property in [
        Property::ContentType("text"),
        Property::ResponseTopic("answer/here"),
        Property::CorrelationData(b"7"),
        Property::UserProperty("name", "value"),
    ] {
        properties.push(property).unwrap();
    }
    let publish = Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: "a/x",
        packet_identifier: Some(PacketIdentifier::MIN),
        properties: properties.as_properties(),
        payload: b"p",
    };
    let mut bytes = Vec::new();
    publish.encode(ProtocolVersion::V5, &mut bytes).unwrap();
    here.send(&bytes);
    let received = there.expect(PacketType::Publish);
    let Packet::Publish(message) = received.packet() else {
        panic!("a PUBLISH");
    };
    assert_eq!(message.topic, "b/x");
    let carried: Vec<_> = message.properties.iter().collect();
    let sent: Vec<_> = properties.as_properties().iter().collect();
    assert_eq!(carried, sent);
}
