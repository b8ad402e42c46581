//! What an operator sets: mount points, limits of memory and windows, settings that change.

use std::sync::Arc;

use super::*;
use broker::settings::{ListenerId, ListenerSettings, Settings};

const PLAIN: ListenerId = ListenerId(0);
const MOUNTED: ListenerId = ListenerId(1);

/// Two listeners, the second one with a mount point.
fn mounted(shards: u16) -> Cluster {
    let mounted = ListenerSettings {
        mount_point: Some("m/".to_owned()),
        ..ListenerSettings::default()
    };
    Cluster::with_settings(
        shards,
        Settings {
            listeners: vec![ListenerSettings::default(), mounted],
            sys_interval_s: 0,
            ..Settings::default()
        },
    )
}

fn join_by(cluster: &mut Cluster, listener: ListenerId, version: ProtocolVersion, name: &str) -> Client {
    cluster.set_listener(listener);
    cluster.join(version, name)
}

#[test]
fn clients_behind_a_mount_point_live_below_it() {
    for shards in [1, 2] {
        let (one, two) = apart(shards);
        for version in VERSIONS {
            let mut cluster = mounted(shards);
            let inside = join_by(&mut cluster, MOUNTED, version, one);
            let beside = join_by(&mut cluster, MOUNTED, V5, &two);
            let outside = join_by(&mut cluster, PLAIN, version, "outside");
            for client in [inside, beside, outside] {
                cluster.subscribe(client, "#", QoS::AtLeastOnce);
            }
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
                cluster.publish(inside, "t", qos, "x");
                assert_eq!(cluster.got(inside).unwrap().topic, "t", "{version:?}");
                if qos == QoS::AtLeastOnce {
                    // PUBACK
                    cluster.expect(inside);
                }
                assert_eq!(cluster.got(beside).unwrap().topic, "t");
                assert_eq!(cluster.got(outside).unwrap().topic, "m/t");
            }
            cluster.publish(outside, "t", QoS::AtMostOnce, "y");
            assert_eq!(cluster.got(outside).unwrap().topic, "t");
            cluster.publish(outside, "m/deep/t", QoS::AtMostOnce, "z");
            assert_eq!(cluster.got(outside).unwrap().topic, "m/deep/t");
            for client in [inside, beside] {
                assert_eq!(cluster.got(client).unwrap().topic, "deep/t");
                cluster.expect_nothing(client);
            }
        }
    }
}

#[test]
fn wills_retained_and_queued_messages_have_the_mount_point_too() {
    let mut cluster = mounted(1);
    cluster.set_listener(MOUNTED);
    let will = mqtt::packet::Will {
        qos: QoS::AtMostOnce,
        retain: true,
        properties: Properties::EMPTY,
        topic: "will",
        payload: b"gone",
    };
    let dying = cluster.join_with(&Connect {
        will: Some(will),
        ..connect(V3, "dying")
    });
    let kept = Connect {
        clean_start: false,
        ..connect(V3, "kept")
    };
    let away = cluster.join_with(&kept);
    cluster.subscribe(away, "q", QoS::AtLeastOnce);
    cluster.cut(away);
    let outside = join_by(&mut cluster, PLAIN, V3, "outside");
    cluster.publish(outside, "m/q", QoS::AtLeastOnce, "queued");
    cluster.expect(outside);
    cluster.cut(dying);
    cluster.subscribe(outside, "m/#", QoS::AtMostOnce);
    assert_eq!(cluster.got(outside).unwrap().topic, "m/will");
    cluster.set_listener(MOUNTED);
    let again = cluster.join_with(&kept);
    assert_eq!(cluster.got(again).unwrap().topic, "q");
    cluster.subscribe(again, "will", QoS::AtMostOnce);
    assert_eq!(cluster.got(again).unwrap().topic, "will");
    assert_eq!(cluster.unsubscribe(again, "will").len(), 0, "3.1.1 has no codes");
    cluster.publish(outside, "m/will", QoS::AtMostOnce, "after");
    cluster.expect_nothing(again);
}

/// A topic that becomes too long with the mount point ends only its client's connection.
#[test]
fn a_topic_that_gets_too_long_is_refused() {
    let mut cluster = mounted(1);
    let client = join_by(&mut cluster, MOUNTED, V5, "c");
    let long = "x".repeat(65_535);
    assert_eq!(
        cluster.subscribe_with(client, &long, options(QoS::AtMostOnce), None),
        ReasonCode::TopicFilterInvalid
    );
    cluster.publish(client, &long, QoS::AtMostOnce, "");
    cluster.expect_disconnect(client, ReasonCode::TopicNameInvalid);
}

#[test]
fn payload_bytes_in_flight_are_bounded() {
    let settings = Settings {
        inflight_bytes_max: 10,
        sys_interval_s: 0,
        ..Settings::default()
    };
    let mut cluster = Cluster::with_settings(1, settings);
    let (reader, writer) = (cluster.join(V3, "reader"), cluster.join(V3, "writer"));
    cluster.subscribe(reader, "t", QoS::AtLeastOnce);
    for payload in ["sixsix", "sevenxx", "third", "fourth"] {
        cluster.publish(writer, "t", QoS::AtLeastOnce, payload);
        cluster.expect(writer);
    }
    assert_eq!(cluster.payloads(reader), ["sixsix", "sevenxx"]);
    cluster.acknowledge(reader, mqtt::frame::PacketType::PubAck, 1);
    assert_eq!(cluster.payloads(reader), ["third"]);
    cluster.acknowledge(reader, mqtt::frame::PacketType::PubAck, 2);
    assert_eq!(cluster.payloads(reader), ["fourth"]);
}

/// V35, V36: a message that would need memory beyond the limit is neither queued nor retained.
#[test]
fn without_memory_nothing_is_queued_or_retained() {
    let mut cluster = Cluster::new(1);
    let away = cluster.join_with(&Connect {
        clean_start: false,
        ..connect(V3, "away")
    });
    cluster.subscribe(away, "t", QoS::AtLeastOnce);
    cluster.cut(away);
    let writer = cluster.join(V5, "writer");
    cluster.publish_with(writer, &retained("r", QoS::AtLeastOnce, "before"));
    cluster.expect(writer);
    cluster.set_memory_full(true);
    cluster.publish(writer, "t", QoS::AtLeastOnce, "x");
    cluster.expect(writer);
    cluster.publish_with(writer, &retained("r2", QoS::AtLeastOnce, "x"));
    match cluster.expect(writer).packet() {
        Some(Packet::PubAck(ack)) => assert_eq!(ack.reason, ReasonCode::QuotaExceeded),
        other => panic!("no PUBACK but {other:?}"),
    }
    cluster.publish_with(writer, &retained("r", QoS::AtLeastOnce, ""));
    cluster.expect(writer);
    let new = cluster.connect(&connect(V5, "new"));
    assert_eq!(cluster.connack(new).1, ReasonCode::QuotaExceeded);
    assert_eq!(cluster.count(|counters| counters.publishes_dropped.get()), 2);
    cluster.set_memory_full(false);
    let reader = cluster.join(V5, "new");
    cluster.subscribe(reader, "#", QoS::AtMostOnce);
    cluster.expect_nothing(reader);
}

#[test]
fn max_keepalive_refuses_older_clients_that_ask_for_more() {
    let settings = Settings {
        keep_alive_s_max: 60,
        ..Settings::default()
    };
    let mut cluster = Cluster::with_settings(1, settings);
    for version in [ProtocolVersion::V3_1, V3] {
        for (keep_alive_s, expected) in [
            (60, ReasonCode::Success),
            (61, ReasonCode::ClientIdentifierNotValid),
            (0, ReasonCode::ClientIdentifierNotValid),
        ] {
            let client = cluster.connect(&Connect {
                keep_alive_s,
                ..connect(version, "c")
            });
            assert_eq!(cluster.connack(client).1, expected, "{keep_alive_s}");
        }
    }
}

#[test]
fn the_user_name_may_be_the_client_identifier() {
    let mut settings = Settings::default();
    settings.listeners[0].user_name_is_client_identifier = true;
    let mut cluster = Cluster::with_settings(1, settings);
    let named = |client_identifier, user_name| Connect {
        user_name,
        ..connect(V3, client_identifier)
    };
    let first = cluster.join_with(&named("a", Some("user")));
    let other = cluster.join_with(&named("a", Some("other")));
    assert!(
        !cluster.closed(first),
        "the same client identifier of another user"
    );
    let again = cluster.join_with(&named("b", Some("user")));
    assert!(cluster.closed(first) && !cluster.closed(other) && !cluster.closed(again));
    for user_name in [None, Some("")] {
        let client = cluster.connect(&named("a", user_name));
        assert_eq!(
            cluster.connack(client).1,
            ReasonCode::NotAuthorized,
            "{user_name:?}"
        );
    }
}

#[test]
fn settings_change_for_clients_that_are_connected() {
    let mut cluster = Cluster::new(2);
    let (one, two) = apart(2);
    let (reader, writer) = (cluster.join(V5, one), cluster.join(V5, &two));
    cluster.subscribe(reader, "t", QoS::AtLeastOnce);
    let other = Settings {
        payload_bytes_max: 4,
        upgrade_outgoing_qos: true,
        sys_interval_s: 0,
        ..Settings::default()
    };
    cluster.set_settings(&Arc::new(other));
    cluster.publish(writer, "t", QoS::AtMostOnce, "large");
    cluster.publish(writer, "t", QoS::AtMostOnce, "tiny");
    let got = cluster.got(reader).unwrap();
    assert_eq!((got.payload.as_str(), got.qos), ("tiny", QoS::AtLeastOnce));
    cluster.expect_nothing(reader);
}

#[test]
fn sys_topics_begin_and_end_with_their_interval() {
    let every = |sys_interval_s| {
        Arc::new(Settings {
            sys_interval_s,
            ..Settings::default()
        })
    };
    let mut cluster = Cluster::new(1);
    let reader = cluster.join(V3, "reader");
    cluster.subscribe(reader, "$SYS/broker/uptime", QoS::AtMostOnce);
    let rounds = |cluster: &mut Cluster, interval_s| {
        cluster.set_settings(&every(interval_s));
        for _ in 0..20 {
            cluster.advance_s(1);
        }
        cluster.payloads(reader).len()
    };
    assert_eq!(rounds(&mut cluster, 0), 0);
    let often = rounds(&mut cluster, 2);
    assert!((9..=12).contains(&often), "{often}");
    let seldom = rounds(&mut cluster, 10);
    assert!((1..=4).contains(&seldom), "{seldom}");
    assert_eq!(rounds(&mut cluster, 0), 0);
    assert!(rounds(&mut cluster, 1) >= 19);
}

/// The shell reports how long it worked for which client; the logic knows which one it is.
#[test]
fn the_busiest_clients_are_named() {
    use broker::logic::operator::{Answer, MeasuredSeconds, Question};
    let mut cluster = Cluster::new(1);
    let clients = ["a", "b", "c"].map(|name| cluster.join(V5, name));
    let ids = clients.map(|client| cluster.shard_with(client).unwrap().1);
    let (shard, _, since) = cluster.shard_with(clients[0]).unwrap();
    shard.worked_for(ids[0], 100);
    let later = since.plus_s(1);
    let ask = |cluster: &mut Cluster, count: usize| {
        let (shard, ..) = cluster.shard_with(clients[0]).unwrap();
        let asked = MeasuredSeconds::last(since, later, 5);
        let Answer::Busiest(busiest) = shard.operate(later, &Question::Busiest(count, asked)) else {
            panic!("another answer");
        };
        let names: Vec<_> = busiest
            .clients
            .iter()
            .map(|client| (client.client_identifier.to_string(), client.cpu_ns))
            .collect();
        (names, busiest.cpu_ns)
    };
    assert_eq!(ask(&mut cluster, 5), (vec![], 0), "nothing is measured");
    let (shard, ..) = cluster.shard_with(clients[0]).unwrap();
    shard.client_times().measure(since, Some(since));
    for (client, took_ns) in [(0, 10), (1, 30), (2, 20), (1, 5)] {
        shard.worked_for(ids[client], took_ns);
    }
    shard.client_times().measure(later, Some(since));
    shard.worked_for(ids[0], 1000);
    let (first, all) = ask(&mut cluster, 2);
    assert_eq!(first, [("b".to_owned(), 35), ("c".to_owned(), 20)]);
    assert_eq!(all, 65);
    cluster.cut(clients[1]);
    // A client that has left is named too, and is one client if it reconnects.
    let named = [("b".to_owned(), 35), ("c".to_owned(), 20), ("a".to_owned(), 10)];
    assert_eq!(ask(&mut cluster, 5), (named.to_vec(), 65));
    let again = cluster.join(V5, "b");
    assert_eq!(ask(&mut cluster, 5), (named.to_vec(), 65));
    let (shard, id, _) = cluster.shard_with(again).unwrap();
    shard.client_times().measure(since, Some(since));
    shard.worked_for(id, 5);
    shard.client_times().measure(later, Some(since));
    let (first, all) = ask(&mut cluster, 1);
    assert_eq!((first, all), (vec![("b".to_owned(), 40)], 70));
    let (shard, ..) = cluster.shard_with(clients[0]).unwrap();
    shard.client_times().measure(later, None);
    assert_eq!(ask(&mut cluster, 5), (vec![], 0));
}
