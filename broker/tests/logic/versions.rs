//! One session, used by clients of different protocol versions in turn.

use mqtt::frame::PacketType;

use super::*;

/// A CONNECT that continues the session and keeps it.
fn resume<'a>(version: ProtocolVersion, properties: &'a PropertiesBuf) -> Connect<'a> {
    let properties = if version == V5 {
        properties.as_properties()
    } else {
        Properties::EMPTY
    };
    Connect {
        clean_start: false,
        properties,
        ..connect(version, "c")
    }
}

fn kept() -> PropertiesBuf {
    let mut properties = PropertiesBuf::new();
    properties.push(Property::SessionExpiryInterval(1000)).unwrap();
    properties
}

fn described<'a>(properties: &'a PropertiesBuf, payload: &'a str) -> Publish<'a> {
    Publish {
        retain: true,
        properties: properties.as_properties(),
        ..publish("t/x", QoS::AtLeastOnce, payload)
    }
}

#[test]
fn properties_and_options_outlast_an_older_client() {
    for older in [ProtocolVersion::V3_1, V3] {
        let mut cluster = Cluster::new(1);
        let kept = kept();
        let first = cluster.join_with(&resume(V5, &kept));
        let asked = SubscriptionOptions {
            retain_as_published: true,
            ..options(QoS::AtLeastOnce)
        };
        cluster.subscribe_with(first, "t/#", asked, Some(5));
        cluster.cut(first);
        let publisher = cluster.join(V5, "p");
        let mut properties = PropertiesBuf::new();
        properties.push(Property::ContentType("text")).unwrap();
        properties.push(Property::UserProperty("k", "v")).unwrap();
        cluster.publish_with(publisher, &described(&properties, "queued"));

        let second = cluster.join_with(&resume(older, &kept));
        let got = cluster.got(second).unwrap();
        assert_eq!((&*got.payload, got.dup, got.retain), ("queued", false, true));
        assert!(got.properties.is_empty());
        cluster.cut(second);
        cluster.publish_with(publisher, &described(&properties, "later"));

        let third = cluster.join_with(&resume(V5, &kept));
        for (payload, dup) in [("queued", true), ("later", false)] {
            let got = cluster.got(third).unwrap();
            assert_eq!((&*got.payload, got.dup, got.retain), (payload, dup, true));
            let properties = got.properties.as_properties();
            assert_eq!(properties.content_type(), Some("text"));
            assert_eq!(properties.subscription_identifier(), Some(5));
            assert!(properties.iter().any(|p| p == Property::UserProperty("k", "v")));
            cluster.acknowledge(third, PacketType::PubAck, got.identifier.unwrap().get());
        }
        cluster.expect_nothing(third);
    }
}

#[test]
fn an_older_client_subscribes_anew_without_options() {
    let mut cluster = Cluster::new(1);
    let kept = kept();
    let first = cluster.join_with(&resume(V5, &kept));
    let asked = SubscriptionOptions {
        no_local: true,
        retain_as_published: true,
        ..options(QoS::AtMostOnce)
    };
    cluster.subscribe_with(first, "t", asked, Some(5));
    cluster.cut(first);
    let second = cluster.join_with(&resume(V3, &kept));
    cluster.subscribe(second, "t", QoS::AtMostOnce);
    cluster.publish(second, "t", QoS::AtMostOnce, "own");
    assert_eq!(cluster.payloads(second), ["own"]);
    cluster.cut(second);
    let third = cluster.join_with(&resume(V5, &kept));
    cluster.publish(third, "t", QoS::AtMostOnce, "own");
    let got = cluster.got(third).unwrap();
    assert_eq!(got.properties.as_properties().subscription_identifier(), None);
}

/// What each version states about the session's end applies from then on [MQTT-3.1.2-23].
#[test]
fn the_last_client_says_how_long_the_session_stays() {
    let mut cluster = Cluster::new(1);
    let kept = kept();
    let first = cluster.join_with(&resume(V5, &kept));
    cluster.cut(first);
    let second = cluster.join_with(&resume(V3, &kept));
    cluster.cut(second);
    cluster.advance_s(2000);
    let third = cluster.connect(&resume(V5, &kept));
    assert!(cluster.connack(third).0, "3.1.1 keeps it for good");
    cluster.cut(third);
    cluster.advance_s(2000);
    let fourth = cluster.connect(&resume(V3, &kept));
    assert!(!cluster.connack(fourth).0, "5.0 keeps it as long as it said");
}

/// A QoS 2 exchange that one version started is completed by another one [MQTT-4.3.3-4].
#[test]
fn a_qos_2_exchange_goes_on_in_another_version() {
    let mut cluster = Cluster::new(1);
    let kept = kept();
    let first = cluster.join_with(&resume(V5, &kept));
    cluster.subscribe(first, "t", QoS::ExactlyOnce);
    cluster.publish(first, "t", QoS::ExactlyOnce, "x");
    cluster.acknowledge(first, PacketType::PubRel, 9);
    let mut identifier = None;
    while let Some(received) = cluster.next(first) {
        if let Some(Packet::Publish(publish)) = received.packet() {
            identifier = publish.packet_identifier;
        }
    }
    let identifier = identifier.unwrap().get();
    cluster.acknowledge(first, PacketType::PubRec, identifier);
    cluster.cut(first);
    let second = cluster.join_with(&resume(V3, &kept));
    match cluster.expect(second).packet() {
        Some(Packet::PubRel(ack)) => assert_eq!(ack.packet_identifier.get(), identifier),
        other => panic!("{other:?}"),
    }
    cluster.acknowledge(second, PacketType::PubComp, identifier);
    cluster.cut(second);
    let third = cluster.join_with(&resume(V5, &kept));
    cluster.expect_nothing(third);
}
