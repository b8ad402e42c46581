//! Topic Aliases that are sent to clients.

use std::collections::HashMap;

use super::*;
use broker::settings::Settings;

/// How a client resolves the PUBLISH packets of one connection.
#[derive(Default)]
struct Resolver {
    topics: HashMap<u16, String>,
    /// Number of packets with only an alias.
    saved: usize,
}

impl Resolver {
    fn topic(&mut self, got: &Got) -> String {
        let Some(alias) = got.properties.as_properties().topic_alias() else {
            assert!(!got.topic.is_empty());
            return got.topic.clone();
        };
        if got.topic.is_empty() {
            self.saved += 1;
            return self.topics[&alias.get()].clone();
        }
        self.topics.insert(alias.get(), got.topic.clone());
        got.topic.clone()
    }
}

fn taking(alias_max: u16) -> PropertiesBuf {
    let mut properties = PropertiesBuf::new();
    properties.push(Property::TopicAliasMaximum(alias_max)).unwrap();
    properties
}

fn alias_of(got: &Got) -> Option<u16> {
    got.properties
        .as_properties()
        .topic_alias()
        .map(|alias| alias.get())
}

/// [MQTT-3.1.2-26], [MQTT-3.3.2-8], [MQTT-3.3.2-11]
#[test]
fn topics_that_come_again_are_numbers() {
    for shards in 1..3 {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut cluster = Cluster::new(shards);
            let (first, second) = apart(shards);
            let properties = taking(2);
            let subscriber = cluster.join_with(&Connect {
                properties: properties.as_properties(),
                ..connect(V5, first)
            });
            cluster.subscribe_with(subscriber, "#", options(qos), Some(7));
            let publisher = cluster.join(V5, &second);
            let mut resolver = Resolver::default();
            for round in 0..4 {
                for topic in ["sensor/one", "sensor/two", "a/b"] {
                    cluster.publish(publisher, topic, QoS::ExactlyOnce, topic);
                    cluster.acknowledge(publisher, mqtt::frame::PacketType::PubRel, 9);
                    let got = cluster.got(subscriber).unwrap();
                    assert_eq!(resolver.topic(&got), topic);
                    assert_eq!(got.payload, topic);
                    let identifier = got.properties.as_properties().subscription_identifier();
                    assert_eq!(identifier, Some(7), "other properties stay");
                    assert!(alias_of(&got).is_none_or(|alias| alias <= 2));
                    assert_eq!(
                        got.topic.is_empty(),
                        round > 0 && topic != "a/b",
                        "{qos:?} {topic}"
                    );
                }
            }
        }
    }
}

/// [MQTT-3.1.2-27]
#[test]
fn who_does_not_ask_gets_none() {
    for (announced, own) in [(None, 10), (Some(0), 10), (Some(10), 0)] {
        let mut cluster = Cluster::with_settings(
            1,
            Settings {
                sys_interval_s: 0,
                topic_alias_outbound_max: own,
                ..Settings::default()
            },
        );
        let properties = announced.map(taking).unwrap_or_default();
        let subscriber = cluster.join_with(&Connect {
            properties: properties.as_properties(),
            ..connect(V5, "c")
        });
        cluster.subscribe(subscriber, "#", QoS::AtMostOnce);
        let publisher = cluster.join(V3, "p");
        for _ in 0..3 {
            cluster.publish(publisher, "sensor/one", QoS::AtMostOnce, "x");
            let got = cluster.got(subscriber).unwrap();
            assert_eq!((alias_of(&got), &*got.topic), (None, "sensor/one"));
        }
    }
}

/// [MQTT-3.3.2-7]: a mapping belongs to one connection, so a message that is sent again has its topic.
#[test]
fn aliases_end_with_their_connection() {
    let mut cluster = Cluster::new(1);
    let mut properties = taking(5);
    properties.push(Property::SessionExpiryInterval(100)).unwrap();
    let again = Connect {
        clean_start: false,
        properties: properties.as_properties(),
        ..connect(V5, "c")
    };
    let subscriber = cluster.join_with(&again);
    cluster.subscribe(subscriber, "#", QoS::AtLeastOnce);
    let publisher = cluster.join(V5, "p");
    for payload in ["1", "2"] {
        cluster.publish(publisher, "sensor/one", QoS::AtLeastOnce, payload);
    }
    let (first, second) = (cluster.got(subscriber).unwrap(), cluster.got(subscriber).unwrap());
    assert_eq!((&*first.topic, &*second.topic), ("sensor/one", ""));
    cluster.cut(subscriber);
    let subscriber = cluster.join_with(&again);
    let mut resolver = Resolver::default();
    for _ in 0..2 {
        let got = cluster.got(subscriber).unwrap();
        assert!(got.dup);
        assert_eq!(resolver.topic(&got), "sensor/one");
    }
    cluster.cut(subscriber);
    let subscriber = cluster.join_with(&Connect {
        properties: Properties::EMPTY,
        ..again
    });
    assert_eq!(cluster.got(subscriber).unwrap().topic, "sensor/one");
}

/// [MQTT-3.1.2-24]: a packet without space for the alias is sent without it.
#[test]
fn an_alias_makes_no_packet_too_large() {
    let mut cluster = Cluster::new(1);
    let mut properties = taking(5);
    // A PUBLISH of the topic and one byte has 26 bytes; the CONNACK has less.
    let maximum = 27.try_into().unwrap();
    properties.push(Property::MaximumPacketSize(maximum)).unwrap();
    let subscriber = cluster.join_with(&Connect {
        properties: properties.as_properties(),
        ..connect(V5, "c")
    });
    cluster.subscribe(subscriber, "#", QoS::AtMostOnce);
    let publisher = cluster.join(V3, "p");
    for _ in 0..3 {
        cluster.publish(publisher, "sensor/of/some/house", QoS::AtMostOnce, "x");
        let got = cluster.got(subscriber).unwrap();
        assert_eq!((alias_of(&got), &*got.topic), (None, "sensor/of/some/house"));
    }
}

/// In whatever order topics arrive, queued or not, the client can resolve them.
#[test]
fn any_order_of_topics_can_be_resolved() {
    let mut cluster = Cluster::with_settings(
        2,
        Settings {
            sys_interval_s: 0,
            inflight_messages_max: 3,
            ..Settings::default()
        },
    );
    let (first, second) = apart(2);
    let properties = taking(4);
    let subscriber = cluster.join_with(&Connect {
        properties: properties.as_properties(),
        ..connect(V5, first)
    });
    cluster.subscribe(subscriber, "#", QoS::AtLeastOnce);
    let publisher = cluster.join(V5, &second);
    let mut resolver = Resolver::default();
    let (mut seed, mut came) = (1_u32, 0);
    for _ in 0..500 {
        seed = seed.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        let number = (seed >> 16) % 12;
        // The first topics occur more often.
        let topic = format!("some/topic/{}", number * number / 12);
        let qos = if seed & 0x8000 == 0 {
            QoS::AtMostOnce
        } else {
            QoS::AtLeastOnce
        };
        cluster.publish(publisher, &topic, qos, &topic);
        if seed >> 28 == 0 {
            continue;
        }
        while let Some(got) = cluster.got(subscriber) {
            came += 1;
            assert_eq!(resolver.topic(&got), got.payload);
            if let Some(identifier) = got.identifier {
                cluster.acknowledge(subscriber, mqtt::frame::PacketType::PubAck, identifier.get());
            }
        }
    }
    assert!(
        came > 400 && resolver.saved > came / 4,
        "{} of {came}",
        resolver.saved
    );
}
