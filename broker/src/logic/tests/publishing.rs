//! PUBLISH to subscribers, at each QoS.

use super::*;

#[test]
fn qos0_goes_to_subscribers_of_every_version_on_any_shard() {
    // [MQTT-3.3.5-1], [MQTT-3.3.1-9 of 3.1.1]
    for shards in 1..4 {
        for from in VERSIONS {
            for to in VERSIONS {
                let mut cluster = Cluster::new(shards);
                let (first, second) = apart(shards);
                let publisher = cluster.join(from, first);
                let subscriber = cluster.join(to, &second);
                cluster.subscribe(subscriber, "a/+", QoS::AtMostOnce);
                cluster.publish(publisher, "a/b", QoS::AtMostOnce, "x");
                cluster.publish(publisher, "a/b/c", QoS::AtMostOnce, "y");
                let got = cluster.got(subscriber).unwrap();
                assert_eq!(
                    (got.topic.as_str(), got.payload.as_str(), got.qos),
                    ("a/b", "x", QoS::AtMostOnce)
                );
                cluster.expect_nothing(subscriber);
                cluster.expect_nothing(publisher);
            }
        }
    }
}

#[test]
fn qos1_is_acknowledged_to_the_publisher_and_by_the_subscriber() {
    // [MQTT-4.3.2-1], [MQTT-4.3.2-4]
    for shards in 1..4 {
        for version in VERSIONS {
            let mut cluster = Cluster::new(shards);
            let (first, second) = apart(shards);
            let publisher = cluster.join(version, first);
            let subscriber = cluster.join(version, &second);
            cluster.subscribe(subscriber, "t", QoS::AtLeastOnce);
            cluster.publish(publisher, "t", QoS::AtLeastOnce, "x");
            match cluster.expect(publisher).packet() {
                Some(Packet::PubAck(ack)) => {
                    assert_eq!((ack.packet_identifier, ack.reason), (id(9), ReasonCode::Success))
                }
                other => panic!("{other:?}"),
            }
            let got = cluster.got(subscriber).unwrap();
            assert_eq!(
                (got.qos, got.dup, got.identifier),
                (QoS::AtLeastOnce, false, Some(id(1)))
            );
            cluster.acknowledge(subscriber, mqtt::frame::PacketType::PubAck, 1);
            cluster.expect_nothing(subscriber);
        }
    }
}
