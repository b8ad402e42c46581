//! Arbitrary input, and every number at its limits: nothing panics.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use mqtt::packet::{Connect, Publish, RetainHandling, SubscriptionOptions};
use mqtt::property::Properties;
use mqtt::{PacketIdentifier, ProtocolVersion, QoS};
use proptest::prelude::*;

use super::*;
use crate::auth::Verdict;
use crate::logic::{FirstPacket, Peer, Shard, owner_shard, shard_counters};
use crate::settings::{ListenerId, Settings};
use crate::time::Timestamp;

fn any_line() -> impl Strategy<Value = String> {
    let names: Vec<_> = keys::all()
        .map(|key| key.name)
        .filter(|&name| name != "include_dir")
        .collect();
    let number = prop_oneof![
        Just("0".to_owned()),
        Just(u64::MAX.to_string()),
        any::<i64>().prop_map(|n| n.to_string())
    ];
    let value = prop_oneof![number, Just("true".to_owned()), "[0-9a-z. %/]{0,12}", "\\PC{0,8}"];
    (proptest::sample::select(names), value).prop_map(|(name, value)| format!("{name} {value}"))
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        Draft::default().read(Path::new("t.conf"), &bytes, false);
    }

    #[test]
    fn any_values_are_read_without_panic(lines in proptest::collection::vec(any_line(), 0..12)) {
        let mut draft = Draft::default();
        draft.read(Path::new("t.conf"), lines.join("\n").as_bytes(), false);
        for problem in &draft.problems {
            prop_assert!((1..=12).contains(&problem.place.line));
            prop_assert!(!problem.text.is_empty());
        }
    }
}

/// The numeric keys with the limits of their ranges.
fn edges() -> Vec<(&'static str, i64)> {
    let mut edges = Vec::new();
    for key in keys::all() {
        if let keys::Status::Effective(keys::Value::Integer { ranges, .. }, _) = &key.status {
            let ends = ranges.iter().flat_map(|&(minimum, maximum)| [minimum, maximum]);
            let around = ends.flat_map(|end| [end.saturating_sub(1), end, end.saturating_add(1)]);
            edges.extend(around.chain([0, 1, i64::MAX]).map(|number| (key.name, number)));
        }
    }
    edges
}

/// A client of each version connects, subscribes and publishes at each QoS, retained too; some time passes.
///
/// The test cluster links the broker as a library and not these tests, so the two shards are driven here.
fn exercise(settings: Settings) {
    let settings = Arc::new(settings);
    let counters = shard_counters(2);
    let mut shards = [0, 1].map(|index| Shard::new(index, 2, Arc::clone(&settings), Arc::clone(&counters)));
    let mut now = Timestamp(1_000_000_000);
    for version in [ProtocolVersion::V3_1_1, ProtocolVersion::V5] {
        let FirstPacket::Connect(request) = FirstPacket::parse(&connect_bytes(version)) else {
            panic!("a CONNECT");
        };
        let peer = Peer {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000)).into(),
            listener: ListenerId(0),
            assigned_client_identifier: None,
            certificate_identity: None,
            verdict: Verdict::Unproved,
            authenticated: None,
        };
        let owner = usize::from(owner_shard("c", 2));
        let client = shards[owner].open(now, peer, Ok(&request));
        shards[owner].receive(now, client, &subscribe_and_publish(version));
        exchange_until_quiet(&mut shards, now);
        pass_time(&mut shards, &mut now, 30);
        shards[owner].lost(now, client);
    }
    pass_time(&mut shards, &mut now, 100);
    shards.iter_mut().for_each(|shard| shard.shut_down(now));
    exchange_until_quiet(&mut shards, now);
}

fn connect_bytes(version: ProtocolVersion) -> Vec<u8> {
    let connect = Connect {
        version,
        clean_start: true,
        keep_alive_s: 0,
        properties: Properties::EMPTY,
        client_identifier: "c",
        will: None,
        user_name: None,
        password: None,
    };
    let mut bytes = Vec::new();
    connect.encode(&mut bytes).unwrap();
    bytes
}

fn subscribe_and_publish(version: ProtocolVersion) -> Vec<u8> {
    let mut bytes = Vec::new();
    let options = SubscriptionOptions {
        qos: QoS::ExactlyOnce,
        no_local: false,
        retain_as_published: true,
        retain_handling: RetainHandling::SendAtSubscribe,
    };
    let identifier = PacketIdentifier::MIN;
    let none = Properties::EMPTY;
    mqtt::encode::subscribe(identifier, none, &[("#", options)], version, &mut bytes).unwrap();
    for (number, qos) in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]
        .into_iter()
        .enumerate()
    {
        let publish = Publish {
            dup: false,
            qos,
            retain: number % 2 == 0,
            topic: "a/b",
            packet_identifier: (qos != QoS::AtMostOnce).then_some(identifier),
            properties: none,
            payload: b"payload",
        };
        publish.encode(version, &mut bytes).unwrap();
    }
    bytes
}

/// Lets seconds pass, with a tick at each deadline.
fn pass_time(shards: &mut [Shard; 2], now: &mut Timestamp, seconds: u64) {
    let until = now.plus_s(seconds);
    loop {
        let deadlines = shards.iter().filter_map(Shard::next_deadline);
        let next = deadlines.min().filter(|&next| next <= until);
        *now = next.map_or(until, |next| next.max(*now));
        shards.iter_mut().for_each(|shard| shard.tick(*now));
        exchange_until_quiet(shards, *now);
        if next.is_none() {
            return;
        }
    }
}

/// Moves batches to the other shard, and lets clients read what they are sent, until nothing moves.
fn exchange_until_quiet(shards: &mut [Shard; 2], now: Timestamp) {
    let mut moved = true;
    while std::mem::take(&mut moved) {
        for from in [0, 1] {
            let to = 1 - from;
            for batch in shards[from].take_batches(to as u16).collect::<Vec<_>>() {
                shards[to].receive_batch(now, from as u16, &batch);
                moved = true;
            }
        }
        for shard in &mut *shards {
            for id in shard.take_dirty() {
                moved = true;
                shard.delivery().out(id).clear();
                if shard.clients().closing(id) {
                    shard.lost(now, id);
                } else {
                    shard.flushed(now, id, 0);
                }
            }
        }
    }
}

/// V24: every number that a key accepts is safe by itself.
#[test]
fn v24_numbers_at_their_edges() {
    for (key, number) in edges() {
        // A number outside of the range is refused, which is as safe.
        if let Ok(configuration) =
            read_with(&format!("allow_anonymous true\n{key} {number}"), &Args::default())
        {
            exercise(configuration.settings);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// V24: it is also safe together with any others.
    #[test]
    fn v24_numbers_at_their_edges_together(
        chosen in proptest::collection::vec(proptest::sample::select(edges()), 1..12)
    ) {
        let lines: Vec<_> = chosen.iter().map(|(key, number)| format!("{key} {number}")).collect();
        if let Ok(configuration) = read_with(&format!("allow_anonymous true\n{}", lines.join("\n")), &Args::default()) {
            exercise(configuration.settings);
        }
    }
}
