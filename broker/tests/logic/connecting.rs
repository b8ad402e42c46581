//! CONNECT, takeover, keep alive, and the end of connections.

use mqtt::packet::Will;

use super::*;
use broker::settings::{ListenerSettings, Settings};

fn with(change: impl FnOnce(&mut Settings)) -> Cluster {
    let mut settings = Settings {
        sys_interval_s: 0,
        ..Settings::default()
    };
    change(&mut settings);
    Cluster::with_settings(1, settings)
}

fn listener(change: impl FnOnce(&mut ListenerSettings)) -> Cluster {
    with(|settings| change(&mut settings.listeners[0]))
}

fn refused(cluster: &mut Cluster, connect: &Connect<'_>) -> ReasonCode {
    let client = cluster.connect(connect);
    let (session_present, reason, _) = cluster.connack(client);
    // [MQTT-3.2.2-6], [MQTT-3.2.2-7]
    assert!(!session_present && cluster.closed(client));
    cluster.expect_nothing(client);
    assert_eq!(cluster.count(|counters| counters.sessions.get()), 0);
    reason
}

#[test]
fn every_version_connects_pings_and_leaves() {
    // [MQTT-3.1.4-5], [MQTT-3.2.0-1], [MQTT-3.12.4-1], [MQTT-3.14.4-3]
    for version in VERSIONS {
        let mut cluster = Cluster::new(1);
        let client = cluster.join(version, "c");
        cluster.send(client, &[0xC0, 0]);
        assert_eq!(cluster.expect(client).bytes(), [0xD0, 0]);
        cluster.send(client, &[0xE0, 0]);
        assert!(cluster.closed(client));
        assert_eq!(cluster.count(|counters| counters.sessions.get()), 0);
    }
}

#[test]
fn a_packet_in_single_bytes_is_a_packet() {
    let mut cluster = Cluster::new(1);
    let client = cluster.open("c", V5);
    let mut bytes = Vec::new();
    connect(V5, "c").encode(&mut bytes).unwrap();
    publish("t", QoS::AtLeastOnce, "payload")
        .encode(V5, &mut bytes)
        .unwrap();
    mqtt::encode::pingreq(&mut bytes);
    for byte in bytes {
        cluster.send(client, &[byte]);
    }
    assert_eq!(cluster.connack(client).1, ReasonCode::Success);
    assert!(matches!(cluster.expect(client).packet(), Some(Packet::PubAck(_))));
    assert!(matches!(cluster.expect(client).packet(), Some(Packet::PingResp)));
}

#[test]
fn the_first_packet_is_connect_or_the_end() {
    // [MQTT-3.1.0-1]
    for bytes in [
        &[0xC0, 0][..],
        &[0x30, 3, 0, 1, b'a'],
        &[0xE0, 0],
        &[0x00],
        &[0x20, 2, 0, 0],
    ] {
        let mut cluster = Cluster::new(1);
        let client = cluster.open("c", V3);
        cluster.send(client, bytes);
        assert!(cluster.closed(client), "{bytes:?}");
        cluster.expect_nothing(client);
    }
}

#[test]
fn a_second_connect_ends_the_connection() {
    // [MQTT-3.1.0-2]
    for version in VERSIONS {
        let mut cluster = Cluster::new(1);
        let client = cluster.join(version, "c");
        let mut bytes = Vec::new();
        connect(version, "c").encode(&mut bytes).unwrap();
        cluster.send(client, &bytes);
        cluster.expect_disconnect(client, ReasonCode::ProtocolError);
    }
}

#[test]
fn an_unknown_protocol_level_is_answered_with_1() {
    // [MQTT-3.1.2-2]
    let mut cluster = Cluster::new(1);
    let client = cluster.open("c", V3);
    cluster.send(
        client,
        &[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 9, 2, 0, 0, 0, 1, b'c'],
    );
    assert_eq!(cluster.expect(client).bytes(), [0x20, 2, 0, 1]);
    assert!(cluster.closed(client));
}

#[test]
fn a_foreign_protocol_name_is_closed() {
    // [MQTT-3.1.2-1]
    let mut cluster = Cluster::new(1);
    let client = cluster.open("c", V3);
    cluster.send(
        client,
        &[0x10, 13, 0, 4, b'H', b'T', b'T', b'P', 4, 2, 0, 0, 0, 1, b'c'],
    );
    cluster.expect_nothing(client);
    assert!(cluster.closed(client));
}

#[test]
fn versions_a_listener_does_not_take_are_refused() {
    let mut cluster = listener(|listener| {
        (listener.accept_v3_1, listener.accept_v3_1_1, listener.accept_v5) = (false, false, false);
    });
    for version in VERSIONS {
        assert_eq!(
            refused(&mut cluster, &connect(version, "c")),
            ReasonCode::UnsupportedProtocolVersion
        );
    }
}

#[test]
fn an_empty_client_identifier_gets_one_or_a_refusal() {
    // [MQTT-3.1.3-6], [MQTT-3.1.3-7], [MQTT-3.1.3-8], [MQTT-3.2.2-16]
    let mut cluster = Cluster::new(1);
    let client = cluster.connect(&connect(V5, ""));
    let (_, reason, properties) = cluster.connack(client);
    assert_eq!(reason, ReasonCode::Success);
    assert_eq!(
        properties.as_properties().assigned_client_identifier(),
        Some("auto-0")
    );
    let client = cluster.connect(&connect(V3, ""));
    assert_eq!(cluster.connack(client).1, ReasonCode::Success);
    let mut cluster = Cluster::new(1);
    let kept = Connect {
        clean_start: false,
        ..connect(V3, "")
    };
    let client = cluster.open("", V3);
    let mut bytes = Vec::new();
    kept.encode(&mut bytes).unwrap();
    cluster.send(client, &bytes);
    assert_eq!(cluster.connack(client).1, ReasonCode::ClientIdentifierNotValid);
    assert!(cluster.closed(client));
    let mut cluster = listener(|listener| listener.allow_zero_length_client_identifier = false);
    assert_eq!(
        refused(&mut cluster, &connect(V5, "")),
        ReasonCode::ClientIdentifierNotValid
    );
}

#[test]
fn who_is_not_allowed_is_refused() {
    // [MQTT-3.1.4-2]
    let mut cluster = listener(|listener| listener.allow_anonymous = false);
    for version in VERSIONS {
        assert_eq!(
            refused(&mut cluster, &connect(version, "c")),
            ReasonCode::NotAuthorized
        );
        let named = Connect {
            user_name: Some("u"),
            password: Some(b"p"),
            ..connect(version, "c")
        };
        assert_eq!(refused(&mut cluster, &named), ReasonCode::NotAuthorized);
    }
    let client = cluster.open_from("c", V5, Some("proved"));
    let mut bytes = Vec::new();
    connect(V5, "c").encode(&mut bytes).unwrap();
    cluster.send(client, &bytes);
    assert_eq!(cluster.connack(client).1, ReasonCode::Success);
}

#[test]
fn another_user_does_not_get_the_session() {
    let mut cluster = listener(|listener| listener.allow_anonymous = false);
    let mut bytes = Vec::new();
    connect(V5, "c").encode(&mut bytes).unwrap();
    let owner = cluster.open_from("c", V5, Some("owner"));
    cluster.send(owner, &bytes);
    assert_eq!(cluster.connack(owner).1, ReasonCode::Success);
    let other = cluster.open_from("c", V5, Some("other"));
    cluster.send(other, &bytes);
    assert_eq!(cluster.connack(other).1, ReasonCode::NotAuthorized);
    assert!(cluster.closed(other) && !cluster.closed(owner));
}

#[test]
fn a_method_that_went_through_no_exchange_is_refused() {
    // [MQTT-4.12.0-1]
    let mut properties = PropertiesBuf::new();
    properties
        .push(Property::AuthenticationMethod("SCRAM-SHA-256"))
        .unwrap();
    let mut cluster = Cluster::new(1);
    let asked = Connect {
        properties: properties.as_properties(),
        ..connect(V5, "c")
    };
    assert_eq!(refused(&mut cluster, &asked), ReasonCode::BadAuthenticationMethod);
    let client = cluster.join(V5, "c");
    cluster.send(client, &[0xF0, 0]);
    cluster.expect_disconnect(client, ReasonCode::ProtocolError);
}

#[test]
fn a_will_beyond_what_the_broker_takes_is_refused() {
    // [MQTT-3.2.2-12], [MQTT-3.2.2-13]
    let will = Will {
        qos: QoS::ExactlyOnce,
        retain: true,
        properties: Properties::EMPTY,
        topic: "w",
        payload: b"",
    };
    let asked = Connect {
        will: Some(will),
        ..connect(V5, "c")
    };
    let mut cluster = listener(|listener| listener.qos_max = QoS::AtLeastOnce);
    assert_eq!(refused(&mut cluster, &asked), ReasonCode::QoSNotSupported);
    let mut cluster = with(|settings| settings.retain_available = false);
    assert_eq!(refused(&mut cluster, &asked), ReasonCode::RetainNotSupported);
}

#[test]
fn a_full_broker_refuses_new_clients_and_keeps_known_ones() {
    let mut cluster = with(|settings| settings.clients_max = 1);
    let first = cluster.join(V5, "first");
    let second = cluster.connect(&connect(V5, "second"));
    assert_eq!(cluster.connack(second).1, ReasonCode::QuotaExceeded);
    cluster.join(V5, "first");
    assert!(cluster.closed(first));
    let prefixed = with(|settings| settings.client_identifier_prefix = Some("ok-".to_owned()));
    assert_eq!(
        refused(&mut { prefixed }, &connect(V3, "other")),
        ReasonCode::ClientIdentifierNotValid
    );
}

#[test]
fn capabilities_are_reported_to_5_0() {
    // [MQTT-3.2.2-9], [MQTT-3.1.2-21]
    let mut cluster = with(|settings| {
        settings.keep_alive_s_max = 60;
        settings.retain_available = false;
        settings.listeners[0].qos_max = QoS::AtLeastOnce;
    });
    let client = cluster.connect(&Connect {
        keep_alive_s: 100,
        ..connect(V5, "c")
    });
    let (_, _, properties) = cluster.connack(client);
    let properties = properties.as_properties();
    assert_eq!(properties.server_keep_alive_s(), Some(60));
    assert_eq!(properties.retain_available(), Some(false));
    assert_eq!(properties.maximum_qos(), Some(QoS::AtLeastOnce));
    assert_eq!(properties.receive_maximum().map(u16::from), Some(20));
    assert_eq!(properties.maximum_packet_size().map(u32::from), Some(2_000_000));
    assert_eq!(properties.topic_alias_maximum(), Some(10));
    assert_eq!(properties.shared_subscription_available(), None);
    assert_eq!(properties.assigned_client_identifier(), None);
}

#[test]
fn a_takeover_ends_the_older_connection() {
    // [MQTT3-3.1.4-2], [MQTT-3.1.4-3]
    for version in VERSIONS {
        let mut cluster = Cluster::new(2);
        let kept = Connect {
            clean_start: false,
            ..connect(version, "c")
        };
        let first = cluster.join_with(&kept);
        let second = cluster.join_with(&kept);
        cluster.expect_disconnect(first, ReasonCode::SessionTakenOver);
        assert!(!cluster.closed(second));
        assert_eq!(cluster.count(|counters| counters.clients_connected.get()), 1);
    }
}

#[test]
fn sessions_are_kept_as_long_as_asked() {
    // [MQTT-3.1.2-4], [MQTT-3.1.2-5], [MQTT-3.1.2-6], [MQTT-3.2.2-2], [MQTT-3.2.2-3]
    let mut expiry = PropertiesBuf::new();
    expiry.push(Property::SessionExpiryInterval(10)).unwrap();
    let kept = Connect {
        clean_start: false,
        ..connect(V3, "c")
    };
    let expiring = Connect {
        properties: expiry.as_properties(),
        clean_start: false,
        ..connect(V5, "c")
    };
    for (connect, kept_s) in [(kept, 1_000_000), (expiring, 9)] {
        let mut cluster = Cluster::new(1);
        let first = cluster.connect(&connect);
        assert!(!cluster.connack(first).0);
        cluster.cut(first);
        cluster.advance_s(kept_s);
        let second = cluster.connect(&connect);
        assert!(cluster.connack(second).0, "session present");
        cluster.cut(second);
        cluster.advance_s(kept_s);
        let third = cluster.connect(&Connect {
            clean_start: true,
            ..connect
        });
        assert!(!cluster.connack(third).0, "a clean start discards it");
        cluster.cut(third);
    }
}

#[test]
fn sessions_expire() {
    // [MQTT-3.1.2-23], [MQTT-4.1.0-2]
    let mut expiry = PropertiesBuf::new();
    expiry.push(Property::SessionExpiryInterval(10)).unwrap();
    let mut cluster = Cluster::new(2);
    let connect = Connect {
        properties: expiry.as_properties(),
        clean_start: false,
        ..connect(V5, "c")
    };
    let client = cluster.join_with(&connect);
    cluster.subscribe(client, "a/#", QoS::AtLeastOnce);
    cluster.advance_s(100);
    assert!(!cluster.closed(client), "not while it is connected");
    cluster.cut(client);
    cluster.advance_ms(9_900);
    assert_eq!(cluster.count(|counters| counters.sessions.get()), 1);
    cluster.advance_ms(200);
    assert_eq!(cluster.count(|counters| counters.sessions.get()), 0);
    assert_eq!(cluster.count(|counters| counters.sessions_expired.get()), 1);
    assert_eq!(cluster.count(|counters| counters.subscriptions.get()), 0);
}

#[test]
fn disconnect_changes_the_expiry_but_not_from_zero() {
    // [MQTT-3.14.2-2]
    let disconnect = |expiry_s: u32| {
        let mut properties = PropertiesBuf::new();
        properties
            .push(Property::SessionExpiryInterval(expiry_s))
            .unwrap();
        let mut bytes = Vec::new();
        let (reason, properties) = (ReasonCode::Success, properties.as_properties());
        mqtt::packet::Disconnect { reason, properties }.encode(V5, &mut bytes);
        bytes
    };
    let mut cluster = Cluster::new(1);
    let client = cluster.join(V5, "c");
    cluster.send(client, &disconnect(5));
    cluster.expect_disconnect(client, ReasonCode::ProtocolError);
    let mut expiry = PropertiesBuf::new();
    expiry.push(Property::SessionExpiryInterval(10)).unwrap();
    let client = cluster.join_with(&Connect {
        properties: expiry.as_properties(),
        ..connect(V5, "c")
    });
    cluster.send(client, &disconnect(0));
    assert!(cluster.closed(client));
    assert_eq!(cluster.count(|counters| counters.sessions.get()), 0);
}

#[test]
fn persistent_client_expiration_bounds_what_never_ends() {
    let mut cluster = with(|settings| settings.persistent_client_expiration_s = Some(30));
    let client = cluster.join_with(&Connect {
        clean_start: false,
        ..connect(V3, "c")
    });
    cluster.cut(client);
    cluster.advance_s(31);
    assert_eq!(cluster.count(|counters| counters.sessions.get()), 0);
}

#[test]
fn keep_alive_ends_silent_connections_at_one_and_a_half_times() {
    // [MQTT-3.1.2-22], [MQTT3-3.1.2-24]
    for version in VERSIONS {
        let mut cluster = Cluster::new(1);
        let client = cluster.join_with(&Connect {
            keep_alive_s: 10,
            ..connect(version, "c")
        });
        let forever = cluster.join(version, "forever");
        cluster.advance_ms(14_900);
        cluster.send(client, &[0xC0, 0]);
        cluster.expect(client);
        cluster.advance_ms(14_900);
        assert!(!cluster.closed(client));
        cluster.advance_ms(300);
        cluster.expect_disconnect(client, ReasonCode::KeepAliveTimeout);
        assert!(!cluster.closed(forever));
    }
}

/// A part of a packet is not a sign of life; a large packet that makes progress is, as with mosquitto.
#[test]
fn unfinished_packets_keep_no_silent_client() {
    // [MQTT-3.1.2-22]
    let mut cluster = Cluster::new(1);
    let join = |cluster: &mut Cluster, name| {
        cluster.join_with(&Connect {
            keep_alive_s: 10,
            ..connect(V5, name)
        })
    };
    let (drips, moves) = (join(&mut cluster, "drips"), join(&mut cluster, "moves"));
    // A PUBLISH of 20,000 bytes.
    for client in [drips, moves] {
        cluster.send(client, &[0x30, 0xA0, 0x9C, 0x01]);
    }
    for _ in 0..15 {
        cluster.send(drips, &[0]);
        cluster.send(moves, &[b'x'; 600]);
        cluster.send(moves, &[b'x'; 400]);
        cluster.advance_ms(1_100);
    }
    cluster.expect_disconnect(drips, ReasonCode::KeepAliveTimeout);
    assert!(!cluster.closed(moves));
    cluster.advance_ms(15_200);
    cluster.expect_disconnect(moves, ReasonCode::KeepAliveTimeout);
}

#[test]
fn a_shut_down_sends_disconnect() {
    let mut cluster = Cluster::new(2);
    let clients: Vec<_> = VERSIONS
        .iter()
        .map(|&version| cluster.join(version, &format!("c{version:?}")))
        .collect();
    cluster.shut_down();
    for client in clients {
        cluster.expect_disconnect(client, ReasonCode::ServerShuttingDown);
    }
}

#[test]
fn malformed_packets_end_only_their_connection() {
    // [MQTT-4.13.1-1], [MQTT3-4.8.0-1]
    let cases: [(&[u8], ReasonCode); 8] = [
        (&[0x36, 3, 0, 1, b'a'], ReasonCode::MalformedPacket),
        (&[0x32, 5, 0, 1, b'a', 0, 0], ReasonCode::ProtocolError),
        (&[0x82, 1, 0], ReasonCode::MalformedPacket),
        (&[0x80, 1, 0], ReasonCode::MalformedPacket),
        (&[0xC0, 0x80, 0x80, 0x80, 0x80], ReasonCode::MalformedPacket),
        (&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], ReasonCode::PacketTooLarge),
        (&[0xD0, 0], ReasonCode::ProtocolError),
        (&[0x30, 4, 0, 1, b'#', 0], ReasonCode::TopicNameInvalid),
    ];
    for (bytes, reason) in cases {
        for version in [V3, V5] {
            let mut cluster = Cluster::new(1);
            let bystander = cluster.join(version, "bystander");
            let client = cluster.join(version, "c");
            cluster.send(client, bytes);
            cluster.expect_disconnect(client, reason);
            assert!(!cluster.closed(bystander), "{bytes:?}");
            assert_eq!(cluster.count(|counters| counters.sessions.get()), 1);
        }
    }
}

#[test]
fn a_connect_above_its_bound_is_refused_before_it_has_come() {
    // Remaining Lengths of 100,000 and of one more; the version says how it is refused.
    for (length, is_refused) in [([0xa0, 0x8d, 0x06], false), ([0xa1, 0x8d, 0x06], true)] {
        for (version, level) in [(V3, 4), (V5, 5)] {
            let mut cluster = Cluster::new(1);
            let client = cluster.open("c", version);
            cluster.send(client, &[&[0x10][..], &length, b"\0\x04MQTT", &[level]].concat());
            assert_eq!(cluster.closed(client), is_refused, "{length:x?}, {version:?}");
        }
    }
}

#[test]
fn many_connections_leave_nothing_behind() {
    let mut cluster = Cluster::new(2);
    for round in 0..200 {
        let kept = Connect {
            clean_start: round % 2 == 0,
            keep_alive_s: 7,
            ..connect(V3, "c")
        };
        let client = cluster.join_with(&kept);
        cluster.subscribe(client, "a/+/c", QoS::AtLeastOnce);
        cluster.subscribe(client, &format!("a/{round}"), QoS::AtLeastOnce);
        cluster.cut(client);
    }
    let last = cluster.join(V3, "c");
    cluster.cut(last);
    for shard in 0..2 {
        assert!(
            cluster.shard(shard).unwrap().resource_counts().is_bare(),
            "shard {shard}"
        );
    }
}
