//! What one client sends may cost much: each turn does a limited amount of it, and the others do not wait.

use broker::limits;
use mqtt::packet::{Connect, Packet};
use mqtt::property::{Properties, PropertiesBuf, Property};
use mqtt::{ProtocolVersion, QoS, encode};
use test_support::{Client, Cluster, connect};

use crate::{Clients, V3, V5, id, options, publish, retained};

/// Largest amount of work in a turn: from its queues, from new input, from input that had to wait, and from continuing
/// work, each with a packet or a piece that exceeded the limit.
const TURN_MAX: u64 =
    limits::SHARD_QUEUES_WORK_MAX + 2 * limits::WORK.turn + 2 * limits::WORK.walk + 5 * PIECE_MAX;

/// The largest amount that cannot be divided: the branches of one client, or a packet of one read.
const PIECE_MAX: u64 = limits::BRANCHES_PER_SESSION_MAX as u64;

/// Number of turns within which a quiet client is answered: the current one, and the next.
const TURNS_MAX: usize = 2;

fn bounded(shards: u16) -> Cluster {
    let mut cluster = Cluster::new(shards);
    cluster.bound_work();
    cluster
}

fn subscribe(filters: &[String]) -> Vec<u8> {
    subscribe_as(V3, filters)
}

fn subscribe_as(version: ProtocolVersion, filters: &[String]) -> Vec<u8> {
    let filters: Vec<_> = filters
        .iter()
        .map(|filter| (filter.as_str(), options(QoS::AtMostOnce)))
        .collect();
    let mut out = Vec::new();
    encode::subscribe(id(1), Properties::EMPTY, &filters, version, &mut out).unwrap();
    out
}

fn unsubscribe(filters: &[String]) -> Vec<u8> {
    let filters: Vec<_> = filters.iter().map(String::as_str).collect();
    let mut out = Vec::new();
    encode::unsubscribe(id(1), Properties::EMPTY, &filters, V3, &mut out).unwrap();
    out
}

/// The reason codes of the next SUBACK or UNSUBACK.
fn reasons(cluster: &mut Cluster, client: Client) -> Vec<u8> {
    match cluster.expect(client).packet() {
        Some(Packet::SubAck(suback) | Packet::UnsubAck(suback)) => suback.reason_codes.to_vec(),
        other => panic!("no SUBACK but {other:?}"),
    }
}

/// Runs turns until everything that the busy clients sent is handled; a quiet client never waits.
fn quiet_client_waits_for_nobody(cluster: &mut Cluster, quiet: Client, busy: &[Client]) -> usize {
    let mut turns = 0;
    while busy.iter().any(|&client| cluster.is_waiting(client)) {
        cluster.queue(quiet, &[0xc0, 0]);
        for _ in 0..TURNS_MAX {
            cluster.take_turns();
            turns += 1;
        }
        let answer = cluster.next(quiet).expect("a PINGRESP within two turns");
        assert_eq!(answer.packet(), Some(Packet::PingResp));
        assert!(cluster.most_work() <= TURN_MAX, "{} units", cluster.most_work());
    }
    turns
}

fn filters(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("site/{number}/+/state"))
        .collect()
}

/// Filters `{+,x}/{+,x}/...`, each with wildcards at different levels.
fn branching(levels: u32) -> Vec<String> {
    let level = |number: u32, at: u32| if number >> at & 1 == 0 { "+" } else { "x" };
    let filter = |number| {
        let levels: Vec<_> = (0..levels).map(|at| level(number, at)).collect();
        levels.join("/") + "/zz"
    };
    (0..1 << levels).map(filter).collect()
}

#[test]
fn what_branches_too_much_is_refused_to_its_client_alone() {
    let mut cluster = bounded(2);
    let (attacker, other) = (cluster.join(V3, "attacker"), cluster.join(V3, "other"));
    let all = branching(14);
    let mut granted = 0;
    for filters in all.chunks(500) {
        cluster.send(attacker, &subscribe(filters));
        granted += reasons(&mut cluster, attacker)
            .iter()
            .filter(|&&code| code < 0x80)
            .count();
    }
    assert!((1000..8192).contains(&granted), "{granted}");
    cluster.subscribe(other, &all[all.len() - 1], QoS::AtMostOnce);
    cluster.subscribe(other, "x/x/#", QoS::AtMostOnce);
    // What is removed makes space.
    cluster.send(attacker, &unsubscribe(&all[..2000]));
    cluster.expect(attacker);
    cluster.subscribe(attacker, "+/b/+/c", QoS::AtMostOnce);
}

#[test]
fn a_walk_goes_on_in_the_next_turn_and_finds_all() {
    for shards in [1, 2] {
        let mut cluster = bounded(shards);
        let quiet = cluster.join(V3, "quiet");
        let attackers: Vec<_> = (0..8)
            .map(|number| cluster.join(V3, &format!("attacker-{number}")))
            .collect();
        for (&attacker, filters) in attackers.iter().zip(branching(13).chunks(1024)) {
            cluster.send(attacker, &subscribe(filters));
            assert!(reasons(&mut cluster, attacker).iter().all(|&code| code < 0x80));
        }
        let deep = vec!["x"; 13].join("/");
        cluster.subscribe(quiet, &format!("{deep}/found"), QoS::AtMostOnce);
        let mut bytes = Vec::new();
        for number in 0..20 {
            for topic in [format!("{deep}/{number}"), format!("{deep}/found")] {
                publish(&topic, QoS::AtMostOnce, &number.to_string())
                    .encode(V3, &mut bytes)
                    .unwrap();
            }
        }
        let publisher = attackers[0];
        cluster.queue(publisher, &bytes);
        while cluster.is_waiting(publisher) {
            cluster.take_turns();
            assert!(cluster.most_work() <= TURN_MAX, "{} units", cluster.most_work());
        }
        cluster.run_until_idle();
        let expected: Vec<_> = (0..20).map(|number: u32| number.to_string()).collect();
        assert_eq!(cluster.payloads(quiet), expected, "each once, in their order");
    }
}

#[test]
fn floods_of_packets_leave_the_others_their_turn() {
    let many = filters(200);
    let flood = [subscribe(&many), unsubscribe(&many)].concat().repeat(20);
    for bytes in [[0xc0, 0].repeat(50_000), flood] {
        for shards in [1, 2] {
            let mut cluster = bounded(shards);
            let quiet = cluster.join(V3, "quiet");
            let busy: Vec<_> = (0..10)
                .map(|number| cluster.join(V3, &format!("busy-{number}")))
                .collect();
            busy.iter().for_each(|&client| cluster.queue(client, &bytes));
            assert!(quiet_client_waits_for_nobody(&mut cluster, quiet, &busy) > 10);
        }
    }
}

/// [MQTT-3.8.4-6], [MQTT-3.10.4-6]
#[test]
fn a_packet_with_many_filters_is_answered_once_and_in_its_order() {
    for shards in [1, 2] {
        let mut cluster = bounded(shards);
        let (client, quiet) = (cluster.join(V3, "client"), cluster.join(V3, "quiet"));
        cluster.publish_with(quiet, &retained("site/4999/a/state", QoS::AtMostOnce, "kept"));
        let mut many = filters(5000);
        many[7] = "$share/g".to_owned();
        cluster.queue(client, &[subscribe(&many), vec![0xc0, 0]].concat());
        assert!(quiet_client_waits_for_nobody(&mut cluster, quiet, &[client]) > 10);
        cluster.run_until_idle();
        let answer = reasons(&mut cluster, client);
        assert_eq!(
            (answer.len(), answer[6], answer[7], answer[8]),
            (5000, 0, 0x80, 0)
        );
        let mut rest: Vec<_> = std::iter::from_fn(|| cluster.next(client)).collect();
        rest.retain(|packet| packet.packet() != Some(Packet::PingResp));
        assert!(matches!(rest[0].packet(), Some(Packet::Publish(publish)) if publish.payload == b"kept"));
        cluster.queue(client, &unsubscribe(&many));
        assert!(quiet_client_waits_for_nobody(&mut cluster, quiet, &[client]) > 10);
        cluster.run_until_idle();
        assert!(matches!(
            cluster.expect(client).packet(),
            Some(Packet::UnsubAck(_))
        ));
        assert_eq!(cluster.count(|counters| counters.subscriptions.get()), 0);
    }
}

/// Through its DISCONNECT, through a connection that takes over the session with Clean Start, and through its expiry.
#[test]
fn a_session_with_many_subscriptions_ends_in_pieces() {
    for (shards, how) in [(1, "gone"), (2, "gone"), (2, "again"), (2, "expired")] {
        let mut cluster = bounded(shards);
        let (other, quiet) = (cluster.join(V3, "other"), cluster.join(V3, "quiet"));
        let mut expiry = PropertiesBuf::new();
        expiry.push(Property::SessionExpiryInterval(1)).unwrap();
        let kept = Connect {
            properties: expiry.as_properties(),
            ..connect(V5, "many")
        };
        let plain = connect(V3, "many");
        let client = cluster.join_with(if how == "expired" { &kept } else { &plain });
        let mut many = filters(10_000);
        many.extend((0..3000).map(|number| format!("$share/g{number}/group/{number}")));
        for filters in many.chunks(500) {
            cluster.send(client, &subscribe_as(cluster.version(client), filters));
            cluster.expect(client);
        }
        cluster.subscribe(other, "site/77/#", QoS::AtMostOnce);
        cluster.subscribe(other, "$share/g3/group/3", QoS::AtLeastOnce);
        match how {
            "gone" => cluster.queue(client, &[0xe0, 0]),
            "again" => drop(cluster.join(V5, "many")),
            _ => {
                cluster.cut(client);
                cluster.advance_s(3);
            }
        }
        for _ in 0..3 {
            cluster.take_turns();
        }
        cluster.publish_with(quiet, &publish("site/77/x/state", QoS::AtMostOnce, "one"));
        cluster.publish_with(quiet, &publish("group/3", QoS::AtLeastOnce, "two"));
        cluster.run_until_idle();
        assert!(cluster.most_work() <= TURN_MAX, "{} units", cluster.most_work());
        assert_eq!(cluster.payloads(other), ["one", "two"], "{how}");
        assert!(matches!(cluster.expect(quiet).packet(), Some(Packet::PubAck(_))));
        assert_eq!(cluster.count(|counters| counters.subscriptions.get()), 1, "{how}");
        assert_eq!(
            cluster.count(|counters| counters.shared_subscriptions.get()),
            1,
            "{how}"
        );
        assert_eq!(
            cluster.count(|counters| counters.inconsistencies.get()),
            0,
            "{how}"
        );
    }
}

#[test]
fn who_subscribes_while_a_walk_stands_still_gets_what_follows() {
    let mut cluster = bounded(1);
    let attackers: Vec<_> = (0..8)
        .map(|number| cluster.join(V3, &format!("attacker-{number}")))
        .collect();
    for (&attacker, filters) in attackers.iter().zip(branching(13).chunks(1024)) {
        cluster.send(attacker, &subscribe(filters));
        assert!(reasons(&mut cluster, attacker).iter().all(|&code| code < 0x80));
    }
    let publisher = cluster.join(V3, "publisher");
    let new = cluster.join(V3, "new");
    let topic = format!("{}/found", vec!["x"; 13].join("/"));
    let send = |cluster: &mut Cluster, payload: &str| {
        let mut bytes = Vec::new();
        publish(&topic, QoS::AtMostOnce, payload)
            .encode(V3, &mut bytes)
            .unwrap();
        cluster.queue(publisher, &bytes);
    };
    for _ in 0..3 {
        send(&mut cluster, "before");
        while cluster.is_waiting(publisher) {
            cluster.take_turns();
        }
    }
    cluster.queue(attackers[7], &subscribe(&["other/+".to_owned()]));
    cluster.take_turns();
    send(&mut cluster, "meanwhile");
    cluster.queue(new, &subscribe(&["#".to_owned()]));
    cluster.take_turns();
    assert!(cluster.is_waiting(publisher), "its walk stands still");
    while cluster.is_waiting(publisher) {
        cluster.take_turns();
    }
    cluster.run_until_idle();
    assert!(reasons(&mut cluster, new).iter().all(|&code| code < 0x80));
    send(&mut cluster, "later");
    while cluster.is_waiting(publisher) {
        cluster.take_turns();
    }
    cluster.run_until_idle();
    let got = cluster.payloads(new);
    assert!(got.contains(&"later".to_owned()), "{got:?}");
}

#[test]
fn nothing_is_handled_behind_what_ends_the_connection() {
    let mut cluster = Cluster::new(1);
    let publisher = cluster.join(V5, "publisher");
    let other = cluster.join(V3, "other");
    cluster.subscribe(other, "#", QoS::AtMostOnce);
    let mut bytes = Vec::new();
    publish(&vec!["x"; 5000].join("/"), QoS::AtMostOnce, "deep")
        .encode(V5, &mut bytes)
        .unwrap();
    publish("behind", QoS::AtMostOnce, "behind")
        .encode(V5, &mut bytes)
        .unwrap();
    cluster.send(publisher, &bytes);
    cluster.run_until_idle();
    assert_eq!(cluster.payloads(other), Vec::<String>::new());
}
