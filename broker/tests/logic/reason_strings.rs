//! What 5.0 clients receive as Reason Strings, and what they request to receive.

use std::num::NonZeroU32;

use mqtt::frame::PacketType;
use mqtt::packet::Will;

use super::*;
use broker::settings::Settings;

fn with(properties: &[Property<'_>]) -> PropertiesBuf {
    let mut all = PropertiesBuf::new();
    for property in properties {
        all.push(*property).unwrap();
    }
    all
}

fn join_with(cluster: &mut Cluster, identifier: &str, properties: &[Property<'_>]) -> Client {
    let properties = with(properties);
    cluster.join_with(&Connect {
        properties: properties.as_properties(),
        ..connect(V5, identifier)
    })
}

/// The next packet's type and Reason String.
fn reason_string(cluster: &mut Cluster, client: Client) -> (PacketType, Option<String>) {
    let received = cluster.expect(client);
    let packet = received.packet().unwrap();
    let (packet_type, properties) = match packet {
        Packet::ConnAck(packet) => (PacketType::ConnAck, packet.properties),
        Packet::PubAck(packet) => (PacketType::PubAck, packet.properties),
        Packet::PubRec(packet) => (PacketType::PubRec, packet.properties),
        Packet::PubRel(packet) => (PacketType::PubRel, packet.properties),
        Packet::PubComp(packet) => (PacketType::PubComp, packet.properties),
        Packet::SubAck(packet) => (PacketType::SubAck, packet.properties),
        Packet::UnsubAck(packet) => (PacketType::UnsubAck, packet.properties),
        Packet::Disconnect(packet) => (PacketType::Disconnect, packet.properties),
        other => panic!("{other:?}"),
    };
    let has_user_property = properties
        .iter()
        .any(|property| matches!(property, Property::UserProperty(..)));
    assert!(!has_user_property, "the broker has none to send");
    (packet_type, properties.reason_string().map(str::to_owned))
}

fn small_payloads() -> Cluster {
    Cluster::with_settings(
        1,
        Settings {
            sys_interval_s: 0,
            payload_bytes_max: 1,
            ..Settings::default()
        },
    )
}

/// Causes one error of each kind; returns what the client received.
fn errors(cluster: &mut Cluster, client: Client) -> Vec<(PacketType, Option<String>)> {
    let mut all = Vec::new();
    cluster.publish(client, "t", QoS::AtLeastOnce, "long");
    all.push(reason_string(cluster, client));
    cluster.publish(client, "t", QoS::ExactlyOnce, "long");
    all.push(reason_string(cluster, client));
    cluster.acknowledge(client, PacketType::PubRec, 5);
    all.push(reason_string(cluster, client));
    cluster.acknowledge(client, PacketType::PubRel, 6);
    all.push(reason_string(cluster, client));
    let deep = "a/".repeat(300);
    let mut bytes = Vec::new();
    let filters = [
        ("fine", options(QoS::AtMostOnce)),
        (deep.as_str(), options(QoS::AtMostOnce)),
    ];
    mqtt::encode::subscribe(id(3), Properties::EMPTY, &filters, V5, &mut bytes).unwrap();
    cluster.send(client, &bytes);
    all.push(reason_string(cluster, client));
    bytes.clear();
    mqtt::encode::unsubscribe(id(4), Properties::EMPTY, &["none"], V5, &mut bytes).unwrap();
    cluster.send(client, &bytes);
    let unsuback = reason_string(cluster, client);
    assert_eq!(
        unsuback,
        (PacketType::UnsubAck, None),
        "that there was none is no error"
    );
    cluster.publish(client, &deep, QoS::AtMostOnce, "x");
    all.push(reason_string(cluster, client));
    assert!(cluster.closed(client));
    all
}

const ERRORS: [PacketType; 6] = [
    PacketType::PubAck,
    PacketType::PubRec,
    PacketType::PubRel,
    PacketType::PubComp,
    PacketType::SubAck,
    PacketType::Disconnect,
];

#[test]
fn errors_come_with_a_reason_string() {
    let mut cluster = small_payloads();
    let client = join_with(&mut cluster, "c", &[]);
    let all = errors(&mut cluster, client);
    for ((packet_type, why), expected) in all.iter().zip(ERRORS) {
        assert_eq!(*packet_type, expected);
        assert!(why.as_ref().is_some_and(|why| why.len() > 10), "{expected:?}");
    }
    assert_eq!(all[5].1.as_deref(), Some("too many topic levels"));
    let client = join_with(&mut cluster, "c", &[]);
    cluster.publish(client, "t", QoS::AtLeastOnce, "x");
    assert_eq!(
        reason_string(&mut cluster, client).1,
        None,
        "what is right needs no words"
    );
}

/// [MQTT-3.1.2-29]
#[test]
fn who_wants_no_problem_information_gets_none() {
    let mut cluster = small_payloads();
    let client = join_with(&mut cluster, "c", &[Property::RequestProblemInformation(false)]);
    for (packet_type, why) in errors(&mut cluster, client) {
        assert_eq!(why, None, "{packet_type:?}");
    }
}

/// [MQTT-3.2.2-19], [MQTT-3.4.2-2], [MQTT-3.5.2-2], [MQTT-3.6.2-2], [MQTT-3.7.2-2], [MQTT-3.9.2-1], [MQTT-3.11.2-1],
/// [MQTT-3.14.2-3]; and there are no User Properties, so [MQTT-3.2.2-20], [MQTT-3.4.2-3], [MQTT-3.5.2-3],
/// [MQTT-3.6.2-3], [MQTT-3.7.2-3], [MQTT-3.9.2-2], [MQTT-3.11.2-2], [MQTT-3.14.2-4].
#[test]
fn a_reason_string_makes_no_packet_too_large() {
    let mut cluster = small_payloads();
    let maximum = Property::MaximumPacketSize(NonZeroU32::new(24).unwrap());
    let client = join_with(&mut cluster, "c", &[maximum]);
    for ((packet_type, why), expected) in errors(&mut cluster, client).into_iter().zip(ERRORS) {
        assert_eq!((packet_type, why), (expected, None));
    }
    let properties = with(&[maximum, Property::AuthenticationMethod("x")]);
    let refused = cluster.connect(&Connect {
        properties: properties.as_properties(),
        ..connect(V5, "d")
    });
    assert_eq!(reason_string(&mut cluster, refused), (PacketType::ConnAck, None));
}

#[test]
fn a_refused_connect_gets_the_reason() {
    let mut cluster = Cluster::new(1);
    let properties = with(&[Property::AuthenticationMethod("x")]);
    let asked = Connect {
        properties: properties.as_properties(),
        ..connect(V5, "c")
    };
    let refused = cluster.connect(&asked);
    let (_, why) = reason_string(&mut cluster, refused);
    assert_eq!(why.as_deref(), Some("the Authentication Method is not supported"));
    let malformed = cluster.open("c", V5);
    // A Will QoS without a Will.
    cluster.send(
        malformed,
        &[16, 14, 0, 4, b'M', b'Q', b'T', b'T', 5, 0x0A, 0, 0, 0, 0, 1, b'c'],
    );
    let (_, why) = reason_string(&mut cluster, malformed);
    assert!(why.unwrap().contains("[MQTT-3.1.2-11]"));
}

/// [MQTT-3.1.2-24]: without space for a CONNACK there is no connection.
#[test]
fn a_client_that_takes_no_connack_is_closed() {
    let mut cluster = Cluster::new(1);
    let properties = with(&[Property::MaximumPacketSize(NonZeroU32::MIN)]);
    let will = Will {
        qos: QoS::AtMostOnce,
        retain: false,
        properties: Properties::EMPTY,
        topic: "w",
        payload: b"gone",
    };
    let watcher = cluster.join(V5, "watcher");
    cluster.subscribe(watcher, "#", QoS::AtMostOnce);
    let client = cluster.connect(&Connect {
        properties: properties.as_properties(),
        will: Some(will),
        ..connect(V5, "c")
    });
    cluster.expect_nothing(client);
    assert!(cluster.closed(client));
    cluster.expect_nothing(watcher);
    assert_eq!(cluster.count(|counters| counters.clients_connected.get()), 1);
}

fn informing(pattern: &str) -> Cluster {
    Cluster::with_settings(
        1,
        Settings {
            sys_interval_s: 0,
            response_information: Some(pattern.to_owned()),
            ..Settings::default()
        },
    )
}

fn information(
    cluster: &mut Cluster,
    identifier: &str,
    asks: Option<bool>,
    user: Option<&str>,
) -> Option<String> {
    let properties = asks.map(|asks| with(&[Property::RequestResponseInformation(asks)]));
    let properties = properties.unwrap_or_default();
    let client = cluster.open_from(identifier, V5, user);
    let mut bytes = Vec::new();
    let connect = Connect {
        properties: properties.as_properties(),
        ..connect(V5, identifier)
    };
    connect.encode(&mut bytes).unwrap();
    cluster.send(client, &bytes);
    let (_, reason, properties) = cluster.connack(client);
    assert_eq!(reason, ReasonCode::Success);
    properties
        .as_properties()
        .response_information()
        .map(str::to_owned)
}

/// [MQTT-3.1.2-28]
#[test]
fn response_information_is_for_those_who_ask() {
    let mut cluster = informing("answers/%c/");
    let expected = Some("answers/c/".to_owned());
    assert_eq!(information(&mut cluster, "c", Some(true), None), expected);
    assert_eq!(information(&mut cluster, "c", Some(false), None), None);
    assert_eq!(information(&mut cluster, "c", None, None), None);
    assert_eq!(information(&mut Cluster::new(1), "c", Some(true), None), None);
}

#[test]
fn response_information_names_one_level_or_nothing() {
    let mut cluster = informing("%u/%c/");
    let ann = information(&mut cluster, "c", Some(true), Some("ann"));
    assert_eq!(ann.as_deref(), Some("ann/c/"));
    assert_eq!(information(&mut cluster, "d", Some(true), None), None);
    for identifier in ["#", "a+", "a/b"] {
        let received = information(&mut cluster, identifier, Some(true), Some("ann"));
        assert_eq!(received, None, "{identifier}");
    }
}

fn utf8<'a>(publish: Publish<'a>, properties: &'a PropertiesBuf) -> Publish<'a> {
    Publish {
        properties: properties.as_properties(),
        payload: b"\xFF",
        ..publish
    }
}

/// [MQTT-3.3.2-4], and section 3.3.2.3.2: checked if the operator enables it.
#[test]
fn the_payload_format_is_checked_when_asked() {
    for checked in [false, true] {
        let mut cluster = Cluster::with_settings(
            1,
            Settings {
                sys_interval_s: 0,
                check_payload_format: checked,
                ..Settings::default()
            },
        );
        let subscriber = cluster.join(V5, "s");
        cluster.subscribe(subscriber, "#", QoS::AtMostOnce);
        let publisher = cluster.join(V5, "p");
        let claims_utf8 = with(&[Property::PayloadFormatIndicator(true)]);
        let claims_nothing = with(&[Property::PayloadFormatIndicator(false)]);
        let expected = if checked {
            ReasonCode::PayloadFormatInvalid
        } else {
            ReasonCode::Success
        };
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
            cluster.publish_with(publisher, &utf8(publish("t", qos, ""), &claims_utf8));
            if qos == QoS::AtLeastOnce {
                match cluster.expect(publisher).packet() {
                    Some(Packet::PubAck(ack)) => assert_eq!(ack.reason, expected),
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(cluster.next(subscriber).is_none(), checked, "{qos:?}");
            cluster.publish_with(
                publisher,
                &utf8(publish("t", QoS::AtMostOnce, ""), &claims_nothing),
            );
            assert!(cluster.next(subscriber).is_some());
        }
        let will = Will {
            qos: QoS::AtMostOnce,
            retain: false,
            properties: claims_utf8.as_properties(),
            topic: "w",
            payload: b"\xFF",
        };
        let client = cluster.connect(&Connect {
            will: Some(will),
            ..connect(V5, "c")
        });
        assert_eq!(cluster.connack(client).1, expected);
    }
}
