//! Sessions that outlive their connections.

use mqtt::QoS;
use mqtt::frame::PacketType;

use crate::harness::{Broker, Client, Options, Setup};

/// A client with a session of its own that subscribed to `t`.
fn subscribed(broker: &Broker, options: &Options, qos: QoS) -> Client {
    let mut client = Client::connect(broker, options);
    client.subscribe("t", qos);
    client
}

/// [MQTT3-3.1.2-4], [MQTT3-3.1.2-5], [MQTT3-3.2.2-2], [MQTT-3.1.2-5], [MQTT-3.2.2-3]
#[test]
fn messages_wait_for_a_client_that_is_away() {
    let broker = Setup::default().shards(2).start();
    for (number, qos) in [QoS::AtLeastOnce, QoS::ExactlyOnce].into_iter().enumerate() {
        for options in [
            Options::new(&format!("a{number}")),
            Options::new(&format!("b{number}")).v5(),
        ] {
            let options = options.persistent();
            subscribed(&broker, &options, qos).disconnect();
            let mut publisher = Client::connect(&broker, &Options::new("p"));
            for payload in ["1", "2", "3"] {
                publisher.publish("t", payload.as_bytes(), qos);
            }
            publisher.publish("t", b"not kept", QoS::AtMostOnce);
            publisher.ping();
            let (mut client, session_present) = Client::connect_session(&broker, &options);
            assert!(session_present);
            assert_eq!(client.payloads(3), ["1", "2", "3"]);
            client.expect_nothing();
            client.unsubscribe("t");
            client.disconnect();
        }
    }
}

#[test]
fn qos_0_messages_wait_if_asked_for() {
    let broker = Setup::default().global("queue_qos0_messages true").start();
    let options = Options::new("a").persistent();
    subscribed(&broker, &options, QoS::AtMostOnce).disconnect();
    let mut publisher = Client::connect(&broker, &Options::new("p"));
    publisher.publish("t", b"kept", QoS::AtMostOnce);
    publisher.ping();
    assert_eq!(Client::connect(&broker, &options).payloads(1), ["kept"]);
}

/// [MQTT3-4.4.0-1], [MQTT3-3.3.1-1]
#[test]
fn what_was_not_acknowledged_comes_again_with_dup() {
    let broker = Broker::start();
    let options = Options::new("a").persistent();
    let mut client = subscribed(&broker, &options, QoS::AtLeastOnce);
    let mut publisher = Client::connect(&broker, &Options::new("p"));
    for payload in ["1", "2"] {
        publisher.publish("t", payload.as_bytes(), QoS::AtLeastOnce);
    }
    let first = client.message_unacknowledged();
    let second = client.message_unacknowledged();
    client.acknowledge(PacketType::PubAck, first.packet_identifier.unwrap());
    client.ping();
    client.cut();
    let mut client = Client::connect(&broker, &options);
    let again = client.message();
    assert_eq!((again.payload.as_slice(), again.dup), (&b"2"[..], true));
    assert_eq!(again.packet_identifier, second.packet_identifier);
    client.expect_nothing();
}

/// [MQTT3-4.4.0-1], [MQTT3-4.3.3-1]: a QoS 2 message goes on where it was.
#[test]
fn qos_2_goes_on_after_a_reconnect() {
    let broker = Broker::start();
    let options = Options::new("a").persistent();
    let mut client = subscribed(&broker, &options, QoS::ExactlyOnce);
    let mut publisher = Client::connect(&broker, &Options::new("p"));
    publisher.publish("t", b"x", QoS::ExactlyOnce);
    let identifier = client.message_unacknowledged().packet_identifier.unwrap();
    client.acknowledge(PacketType::PubRec, identifier);
    client.expect(PacketType::PubRel);
    client.cut();
    let mut client = Client::connect(&broker, &options);
    assert_eq!(client.expect(PacketType::PubRel).acknowledged(), Some(identifier));
    client.acknowledge(PacketType::PubComp, identifier);
    client.expect_nothing();
}

/// [MQTT3-4.3.3-2], over two connections of the publisher.
#[test]
fn a_qos_2_publish_that_comes_again_after_a_reconnect_is_delivered_once() {
    let broker = Broker::start();
    let mut subscriber = Client::connect(&broker, &Options::new("s"));
    subscriber.subscribe("t", QoS::ExactlyOnce);
    let options = Options::new("p").persistent();
    let mut publisher = Client::connect(&broker, &options);
    let identifier = publisher.send_publish("t", b"x", QoS::ExactlyOnce, false);
    publisher.expect(PacketType::PubRec);
    publisher.cut();
    let mut publisher = Client::connect(&broker, &options);
    publisher.send_again("t", b"x", QoS::ExactlyOnce, false, identifier, true);
    publisher.expect(PacketType::PubRec);
    publisher.acknowledge(PacketType::PubRel, identifier.unwrap());
    publisher.expect(PacketType::PubComp);
    assert_eq!(subscriber.payloads(1), ["x"]);
    subscriber.expect_nothing();
}

/// [MQTT3-3.1.2-6]
#[test]
fn a_clean_start_forgets() {
    let broker = Broker::start();
    let options = Options::new("a").persistent();
    subscribed(&broker, &options, QoS::AtLeastOnce).disconnect();
    let (client, session_present) = Client::connect_session(&broker, &Options::new("a"));
    assert!(!session_present);
    client.disconnect();
    let mut publisher = Client::connect(&broker, &Options::new("p"));
    publisher.publish("t", b"x", QoS::AtLeastOnce);
    let (mut client, session_present) = Client::connect_session(&broker, &options);
    assert!(!session_present, "the clean session ended with its connection");
    client.expect_nothing();
}

#[test]
fn the_queue_of_a_client_that_is_away_is_bounded() {
    let broker = Setup::default()
        .global("max_queued_messages 5")
        .global("max_inflight_messages 1")
        .start();
    let options = Options::new("a").persistent();
    subscribed(&broker, &options, QoS::AtLeastOnce).disconnect();
    let mut publisher = Client::connect(&broker, &Options::new("p"));
    for number in 0..50 {
        publisher.publish("t", format!("{number}").as_bytes(), QoS::AtLeastOnce);
    }
    let mut client = Client::connect(&broker, &options);
    assert_eq!(client.payloads(5), ["0", "1", "2", "3", "4"]);
    // A message in flight may stand beside the queue.
    publisher.publish("t", b"end", QoS::AtLeastOnce);
    let next = client.payloads(1);
    assert!(
        next == ["end"] || (next == ["5"] && client.payloads(1) == ["end"]),
        "{next:?}"
    );
}
