//! Delivery at each QoS: downgrade, windows, order, exactly once.

use mqtt::frame::PacketType;
use mqtt::{ProtocolVersion, QoS, ReasonCode};

use crate::harness::{Broker, Client, Options, Setup};

const LEVELS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// [MQTT-3.8.4-8], [MQTT3-3.8.4-6]
#[test]
fn messages_come_at_the_lower_qos() {
    let broker = Setup::default().shards(2).start();
    for version in [
        ProtocolVersion::V3_1,
        ProtocolVersion::V3_1_1,
        ProtocolVersion::V5,
    ] {
        for granted in LEVELS {
            let subscriber = Options::new(&format!("subscriber-{granted:?}")).version(version);
            let mut subscriber = Client::connect(&broker, &subscriber);
            assert_eq!(subscriber.subscribe("a/b", granted), granted as u8);
            for published in LEVELS {
                let publisher = Options::new(&format!("publisher-{published:?}")).version(version);
                let mut publisher = Client::connect(&broker, &publisher);
                publisher.publish("a/b", b"payload", published);
                let message = subscriber.message();
                assert_eq!(
                    message.qos,
                    granted.min(published),
                    "{version:?} {published:?} to {granted:?}"
                );
                assert_eq!(
                    (message.payload.as_slice(), message.retain, message.dup),
                    (&b"payload"[..], false, false)
                );
            }
        }
    }
}

/// PUBREC or PUBCOMP for a message at QoS 1, PUBACK or PUBCOMP for one at QoS 2 that has not been received: without an
/// end the message would keep its place in the window for good.
///
/// [MQTT3-4.8.0-1], [MQTT-4.13.1-1]
#[test]
fn an_acknowledgement_of_another_kind_ends_the_connection() {
    use PacketType::{PubAck, PubComp, PubRec};
    let broker = Broker::start();
    for version in [ProtocolVersion::V3_1_1, ProtocolVersion::V5] {
        for (qos, wrong) in [
            (QoS::AtLeastOnce, [PubRec, PubComp]),
            (QoS::ExactlyOnce, [PubAck, PubComp]),
        ] {
            for packet_type in wrong {
                let mut client = Client::connect(&broker, &Options::new("client").version(version));
                client.subscribe("t", qos);
                Client::connect(&broker, &Options::new("publisher")).publish("t", b"x", qos);
                let message = client.message_unacknowledged();
                client.acknowledge(packet_type, message.packet_identifier.unwrap());
                let (reason, _) = client.expect_closed();
                let expected = (version == ProtocolVersion::V5).then_some(ReasonCode::ProtocolError);
                assert_eq!(reason, expected, "{version:?} {qos:?} {packet_type:?}");
            }
        }
    }
}

/// [MQTT3-4.6.0-6]; the publisher and the subscriber live on any shards.
#[test]
fn order_is_kept() {
    let broker = Setup::default().shards(2).global("max_queued_messages 0").start();
    for qos in LEVELS {
        for number in 0..4 {
            let mut subscriber = Client::connect(&broker, &Options::new(&format!("s{number}")));
            subscriber.subscribe("order", qos);
            let mut publisher = Client::connect(&broker, &Options::new(&format!("p{number}")));
            let sent: Vec<_> = (0..200).map(|number: u32| number.to_string()).collect();
            for payload in &sent {
                publisher.publish("order", payload.as_bytes(), qos);
            }
            assert_eq!(subscriber.payloads(sent.len()), sent, "{qos:?}");
        }
    }
}

/// [MQTT3-4.3.3-2]: a PUBLISH that comes again before its PUBREL is not delivered again.
#[test]
fn a_repeated_qos_2_publish_is_delivered_once() {
    let broker = Broker::start();
    let mut subscriber = Client::connect(&broker, &Options::new("s"));
    subscriber.subscribe("t", QoS::ExactlyOnce);
    let mut publisher = Client::connect(&broker, &Options::new("p"));
    let identifier = publisher
        .send_publish("t", b"once", QoS::ExactlyOnce, false)
        .unwrap();
    publisher.expect(PacketType::PubRec);
    publisher.send_again("t", b"once", QoS::ExactlyOnce, false, Some(identifier), true);
    publisher.expect(PacketType::PubRec);
    publisher.acknowledge(PacketType::PubRel, identifier);
    publisher.expect(PacketType::PubComp);
    // A PUBREL that comes again is answered again.
    publisher.acknowledge(PacketType::PubRel, identifier);
    publisher.expect(PacketType::PubComp);
    assert_eq!(subscriber.payloads(1), ["once"]);
    subscriber.expect_nothing();
}

#[test]
fn the_window_of_messages_in_flight_is_kept() {
    let broker = Setup::default().global("max_inflight_messages 5").start();
    let mut subscriber = Client::connect(&broker, &Options::new("s"));
    subscriber.subscribe("t", QoS::AtLeastOnce);
    let mut publisher = Client::connect(&broker, &Options::new("p"));
    for number in 0..12 {
        publisher.publish("t", format!("{number}").as_bytes(), QoS::AtLeastOnce);
    }
    let first: Vec<_> = (0..5).map(|_| subscriber.message_unacknowledged()).collect();
    subscriber.expect_nothing();
    for message in first {
        subscriber.acknowledge(PacketType::PubAck, message.packet_identifier.unwrap());
    }
    assert_eq!(subscriber.payloads(7), ["5", "6", "7", "8", "9", "10", "11"]);
}

/// [MQTT-3.3.4-9]
#[test]
fn the_receive_maximum_of_a_client_is_kept() {
    let broker = Broker::start();
    let mut subscriber = Client::connect(&broker, &Options::new("s").v5().receive_maximum(2));
    subscriber.subscribe("t", QoS::AtLeastOnce);
    let mut publisher = Client::connect(&broker, &Options::new("p"));
    for number in 0..4 {
        publisher.publish("t", format!("{number}").as_bytes(), QoS::AtLeastOnce);
    }
    let first = subscriber.message_unacknowledged();
    subscriber.message_unacknowledged();
    subscriber.expect_nothing();
    subscriber.acknowledge(PacketType::PubAck, first.packet_identifier.unwrap());
    assert_eq!(subscriber.message_unacknowledged().payload, b"2");
    subscriber.expect_nothing();
}

#[test]
fn large_payloads_arrive_whole() {
    let broker = Setup::default().shards(2).start();
    let payload: Vec<u8> = (0..1_500_000_u32)
        .map(|number| number.to_le_bytes()[0] ^ number.to_le_bytes()[1])
        .collect();
    let mut publisher = Client::connect(&broker, &Options::new("publisher"));
    for name in ["a", "b", "c"] {
        let mut subscriber = Client::connect(&broker, &Options::new(name));
        subscriber.subscribe("large", QoS::AtLeastOnce);
        publisher.publish("large", &payload, QoS::AtLeastOnce);
        assert!(
            subscriber.message().payload == payload,
            "another payload for {name}"
        );
    }
}

#[test]
fn messages_above_the_limits_are_refused() {
    let broker = Setup::default()
        .global("max_packet_size 1000")
        .global("message_size_limit 100")
        .start();
    let mut subscriber = Client::connect(&broker, &Options::new("s"));
    subscriber.subscribe("t", QoS::AtLeastOnce);
    let mut publisher = Client::connect(&broker, &Options::new("p").v5());
    publisher.send_publish("t", &[0; 101], QoS::AtLeastOnce, false);
    assert!(publisher.expect(PacketType::PubAck).reason().is_error());
    publisher.publish("t", &[0; 100], QoS::AtLeastOnce);
    assert_eq!(subscriber.message().payload.len(), 100);
    publisher.send_publish("t", &[0; 1000], QoS::AtLeastOnce, false);
    assert_eq!(
        publisher.expect_closed().0,
        Some(mqtt::ReasonCode::PacketTooLarge)
    );
    subscriber.expect_nothing();
}
