//! Wills: when they are published and when they are not.

use mqtt::packet::{Disconnect, Will};

use super::*;

fn will<'a>(topic: &'a str, properties: Properties<'a>) -> Will<'a> {
    Will {
        qos: QoS::AtLeastOnce,
        retain: false,
        properties,
        topic,
        payload: b"gone",
    }
}

fn watcher(cluster: &mut Cluster) -> Client {
    let watcher = cluster.join(V5, "watcher");
    cluster.subscribe(watcher, "will/#", QoS::ExactlyOnce);
    watcher
}

fn delayed(delay_s: u32, session_s: u32) -> (PropertiesBuf, PropertiesBuf) {
    let (mut of_will, mut of_session) = (PropertiesBuf::new(), PropertiesBuf::new());
    of_will.push(Property::WillDelayInterval(delay_s)).unwrap();
    of_session
        .push(Property::SessionExpiryInterval(session_s))
        .unwrap();
    (of_will, of_session)
}

#[test]
fn a_broken_connection_publishes_it() {
    // [MQTT-3.1.2-7], [MQTT-3.1.2-8]
    for shards in [1, 3] {
        for version in VERSIONS {
            let mut cluster = Cluster::new(shards);
            let watcher = watcher(&mut cluster);
            let connect = Connect {
                will: Some(will("will/c", Properties::EMPTY)),
                keep_alive_s: 10,
                ..connect(version, "c")
            };
            let end: [fn(&mut Cluster, Client); 4] = [
                |cluster, client| cluster.cut(client),
                |cluster, _| cluster.advance_s(16),
                |cluster, client| cluster.send(client, &[0x00]),
                |cluster, client| {
                    let version = cluster.version(client);
                    cluster.join(version, "c");
                },
            ];
            for end in end {
                let client = cluster.join_with(&connect);
                cluster.expect_nothing(watcher);
                end(&mut cluster, client);
                let got = cluster.got(watcher).unwrap();
                assert_eq!(
                    (got.topic.as_str(), got.payload.as_str(), got.qos),
                    ("will/c", "gone", QoS::AtLeastOnce)
                );
                cluster.acknowledge(
                    watcher,
                    mqtt::frame::PacketType::PubAck,
                    got.identifier.unwrap().get(),
                );
                cluster.expect_nothing(watcher);
            }
        }
    }
}

#[test]
fn a_normal_disconnect_discards_it() {
    // [MQTT-3.1.2-10], [MQTT-3.14.4-3]
    for version in VERSIONS {
        let mut cluster = Cluster::new(1);
        let watcher = watcher(&mut cluster);
        let connect = Connect {
            will: Some(will("will/c", Properties::EMPTY)),
            ..connect(version, "c")
        };
        let client = cluster.join_with(&connect);
        cluster.send(client, &[0xE0, 0]);
        assert!(cluster.closed(client));
        cluster.expect_nothing(watcher);
        if version == V5 {
            let client = cluster.join_with(&connect);
            let mut bytes = Vec::new();
            let (reason, properties) = (ReasonCode::DisconnectWithWill, Properties::EMPTY);
            Disconnect { reason, properties }.encode(V5, &mut bytes);
            cluster.send(client, &bytes);
            assert_eq!(cluster.payloads(watcher), ["gone"]);
        }
    }
}

#[test]
fn it_is_retained_if_asked() {
    // [MQTT-3.1.2-14], [MQTT-3.1.2-15]
    let mut cluster = Cluster::new(2);
    let kept = Will {
        retain: true,
        ..will("will/c", Properties::EMPTY)
    };
    let client = cluster.join_with(&Connect {
        will: Some(kept),
        ..connect(V3, "c")
    });
    cluster.cut(client);
    let watcher = watcher(&mut cluster);
    assert!(cluster.got(watcher).unwrap().retain);
}

#[test]
fn properties_and_expiry_go_with_it() {
    let mut properties = PropertiesBuf::new();
    properties.push(Property::MessageExpiryInterval(30)).unwrap();
    properties.push(Property::ContentType("text")).unwrap();
    properties.push(Property::UserProperty("a", "b")).unwrap();
    let mut cluster = Cluster::new(2);
    let watcher = watcher(&mut cluster);
    let will = will("will/c", properties.as_properties());
    let client = cluster.join_with(&Connect {
        will: Some(will),
        ..connect(V5, "c")
    });
    cluster.advance_s(100);
    cluster.cut(client);
    assert_eq!(
        cluster.got(watcher).unwrap().properties,
        properties,
        "the expiry counts from the publication"
    );
}

#[test]
fn a_delay_holds_it_back() {
    // [MQTT-3.1.3-9]
    let (of_will, of_session) = delayed(10, 100);
    let connect = Connect {
        clean_start: false,
        will: Some(will("will/c", of_will.as_properties())),
        properties: of_session.as_properties(),
        ..connect(V5, "c")
    };
    let mut cluster = Cluster::new(2);
    let watcher = watcher(&mut cluster);
    let client = cluster.join_with(&connect);
    cluster.cut(client);
    cluster.advance_s(9);
    cluster.expect_nothing(watcher);
    cluster.advance_s(2);
    assert_eq!(cluster.payloads(watcher), ["gone"]);
    let client = cluster.join_with(&connect);
    cluster.cut(client);
    cluster.advance_s(5);
    cluster.join_with(&connect);
    cluster.advance_s(50);
    cluster.expect_nothing(watcher);
}

#[test]
fn the_end_of_the_session_ends_the_delay() {
    // [MQTT-3.1.2-8]
    let (of_will, of_session) = delayed(100, 10);
    let connect = Connect {
        clean_start: false,
        will: Some(will("will/c", of_will.as_properties())),
        properties: of_session.as_properties(),
        ..connect(V5, "c")
    };
    let mut cluster = Cluster::new(2);
    let watcher = watcher(&mut cluster);
    let client = cluster.join_with(&connect);
    cluster.cut(client);
    cluster.advance_s(9);
    cluster.expect_nothing(watcher);
    cluster.advance_s(2);
    assert_eq!(cluster.payloads(watcher), ["gone"], "expired");
    let client = cluster.join_with(&connect);
    cluster.cut(client);
    cluster.join_with(&Connect {
        clean_start: true,
        will: None,
        ..connect
    });
    assert_eq!(cluster.payloads(watcher), ["gone"], "discarded by a clean start");
    cluster.advance_s(1000);
    cluster.expect_nothing(watcher);
}

#[test]
fn a_will_to_sys_is_nobodys() {
    let mut cluster = Cluster::new(1);
    let watcher = cluster.join(V3, "w");
    cluster.subscribe(watcher, "$SYS/#", QoS::AtMostOnce);
    let client = cluster.join_with(&Connect {
        will: Some(will("$SYS/x", Properties::EMPTY)),
        ..connect(V3, "c")
    });
    cluster.cut(client);
    cluster.expect_nothing(watcher);
}

/// Without a store all sessions end with the broker, and so do the delays of their Wills [MQTT-3.1.3-9].
#[test]
fn a_shut_down_publishes_delayed_wills_too() {
    let mut cluster = Cluster::new(1);
    let watcher = watcher(&mut cluster);
    for client in ["connected", "away"] {
        let (of_will, of_session) = delayed(60, 100);
        let connect = Connect {
            will: Some(will("will/c", of_will.as_properties())),
            properties: of_session.as_properties(),
            ..connect(V5, client)
        };
        let joined = cluster.join_with(&connect);
        if client == "away" {
            cluster.cut(joined);
        }
    }
    cluster.expect_nothing(watcher);
    cluster.shut_down();
    for _ in 0..2 {
        assert_eq!(cluster.got(watcher).unwrap().payload, "gone");
    }
}
