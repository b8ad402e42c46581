//! What one client may make the broker hold or do: the limits that an operator sets, and work that is spread over
//! turns.

use std::sync::Arc;

use mqtt::frame::PacketType;
use mqtt::packet::Will;

use super::*;
use broker::limits::{self, Watermarks};
use broker::logic::{ConnectionId, DropReason, Shard, Timestamp, shard_counters};
use broker::settings::Settings;

fn with(shards: u16, change: impl FnOnce(&mut Settings)) -> Cluster {
    let mut settings = Settings {
        sys_interval_s: 0,
        ..Settings::default()
    };
    change(&mut settings);
    Cluster::with_settings(shards, settings)
}

/// The reason of the acknowledgement of a retained message.
fn retain(cluster: &mut Cluster, client: Client, topic: &str, payload: &str) -> ReasonCode {
    cluster.publish_with(client, &retained(topic, QoS::AtLeastOnce, payload));
    match cluster.expect(client).packet() {
        Some(Packet::PubAck(ack)) => ack.reason,
        other => panic!("no PUBACK but {other:?}"),
    }
}

#[test]
fn v36_retained_messages_are_bounded_in_number() {
    for shards in [1, 2] {
        let mut cluster = with(shards, |settings| settings.retained_messages_max = 3);
        let (first, second) = apart(shards);
        let writers = [cluster.join(V5, first), cluster.join(V5, &second)];
        for (number, writer) in writers.into_iter().cycle().take(3).enumerate() {
            assert_eq!(
                retain(&mut cluster, writer, &format!("t/{number}"), "x"),
                ReasonCode::Success
            );
        }
        for writer in writers {
            assert_eq!(
                retain(&mut cluster, writer, "t/3", "x"),
                ReasonCode::QuotaExceeded
            );
            assert_eq!(
                retain(&mut cluster, writer, "t/0", "other"),
                ReasonCode::Success,
                "in its place"
            );
        }
        let [writer, _] = writers;
        assert_eq!(retain(&mut cluster, writer, "t/0", ""), ReasonCode::Success);
        assert_eq!(retain(&mut cluster, writer, "t/3", "x"), ReasonCode::Success);
        assert_eq!(cluster.count(|counters| counters.retained.get()), 3, "each once");
    }
}

#[test]
fn v36_retained_messages_are_bounded_in_bytes() {
    let mut cluster = with(1, |settings| settings.retained_bytes_max = 20);
    let writer = cluster.join(V5, "w");
    assert_eq!(
        retain(&mut cluster, writer, "a", "123456789"),
        ReasonCode::Success
    );
    assert_eq!(
        retain(&mut cluster, writer, "b", "123456789"),
        ReasonCode::Success
    );
    assert_eq!(retain(&mut cluster, writer, "c", "x"), ReasonCode::QuotaExceeded);
    assert_eq!(
        retain(&mut cluster, writer, "b", "1234567890"),
        ReasonCode::QuotaExceeded
    );
    assert_eq!(retain(&mut cluster, writer, "b", "1"), ReasonCode::Success);
    assert_eq!(retain(&mut cluster, writer, "c", "1234567"), ReasonCode::Success);
    assert_eq!(retain(&mut cluster, writer, "a", ""), ReasonCode::Success);
    assert_eq!(
        retain(&mut cluster, writer, "d", "123456789"),
        ReasonCode::Success
    );
    assert_eq!(cluster.count(|counters| counters.publishes_dropped.get()), 2);
    let of_quota = cluster.count(|counters| counters.dropped.get(DropReason::Quota));
    assert_eq!(of_quota, 2, "that is why, and not that the message is wrong");
}

#[test]
fn v36_a_will_beyond_the_bound_comes_but_is_not_kept() {
    let mut cluster = with(1, |settings| settings.retained_messages_max = 0);
    let watcher = cluster.join(V5, "watcher");
    cluster.subscribe(watcher, "t", QoS::AtMostOnce);
    let will = Will {
        qos: QoS::AtMostOnce,
        retain: true,
        properties: Properties::EMPTY,
        topic: "t",
        payload: b"gone",
    };
    let client = cluster.join_with(&Connect {
        will: Some(will),
        ..connect(V3, "c")
    });
    cluster.cut(client);
    assert_eq!(cluster.payloads(watcher), ["gone"]);
    assert_eq!(cluster.count(|counters| counters.retained.get()), 0);
    assert_eq!(
        cluster.count(|counters| counters.dropped.get(DropReason::Quota)),
        1
    );
}

#[test]
fn v37_subscriptions_of_a_client_are_bounded() {
    let mut cluster = with(1, |settings| settings.subscriptions_max = 3);
    let client = cluster.join(V5, "c");
    for number in 0..3 {
        cluster.subscribe(client, &format!("t/{number}"), QoS::AtMostOnce);
    }
    let refused = cluster.subscribe_with(client, "t/3", options(QoS::AtMostOnce), None);
    assert_eq!(refused, ReasonCode::QuotaExceeded);
    cluster.subscribe(client, "t/0", QoS::AtLeastOnce);
    cluster.unsubscribe(client, "t/0");
    cluster.subscribe(client, "t/3", QoS::AtMostOnce);
    let other = cluster.join(V3, "other");
    cluster.subscribe(other, "t/3", QoS::AtMostOnce);
}

/// Every combination of `+` and a name over twelve levels: 4096 filters that all match, and matching a message is
/// fast.
#[test]
fn v37_overlapping_wildcards_bring_one_copy() {
    let mut cluster = with(1, |_| {});
    let client = cluster.join(V3, "c");
    for combination in 0..1 << 12 {
        let level = |at| if combination >> at & 1 == 1 { "+" } else { "a" };
        let filter: Vec<_> = (0..12).map(level).collect();
        cluster.subscribe(client, &filter.join("/"), QoS::AtMostOnce);
    }
    let writer = cluster.join(V3, "w");
    let topic = ["a"; 12].join("/");
    for number in 0..100 {
        cluster.publish(writer, &topic, QoS::AtMostOnce, &number.to_string());
    }
    assert_eq!(cluster.payloads(client).len(), 100);
}

#[test]
fn v33_sessions_of_a_user_are_bounded() {
    for shards in [1, 2] {
        let mut cluster = with(shards, |settings| settings.user_sessions_max = 3);
        let mut forever = PropertiesBuf::new();
        forever.push(Property::SessionExpiryInterval(u32::MAX)).unwrap();
        let try_connect = |cluster: &mut Cluster, name: &str, user: Option<&str>| {
            let client = cluster.open_from(name, V5, user);
            let mut bytes = Vec::new();
            let kept = Connect {
                clean_start: false,
                properties: forever.as_properties(),
                ..connect(V5, name)
            };
            kept.encode(&mut bytes).unwrap();
            cluster.send(client, &bytes);
            let (_, reason, _) = cluster.connack(client);
            (client, reason)
        };
        for number in 0..3 {
            let (client, reason) = try_connect(&mut cluster, &format!("c{number}"), Some("u"));
            assert_eq!(reason, ReasonCode::Success);
            cluster.cut(client);
        }
        for number in 3..6 {
            let (_, reason) = try_connect(&mut cluster, &format!("c{number}"), Some("u"));
            assert_eq!(reason, ReasonCode::QuotaExceeded, "{shards} shards");
            let (_, reason) = try_connect(&mut cluster, &format!("d{number}"), Some("other"));
            assert_eq!(reason, ReasonCode::Success);
            let (_, reason) = try_connect(&mut cluster, &format!("e{number}"), None);
            assert_eq!(reason, ReasonCode::Success, "whoever has no user is not counted");
        }
        let (client, reason) = try_connect(&mut cluster, "c1", Some("u"));
        assert_eq!(reason, ReasonCode::Success, "its session is there");
        // DISCONNECT with a Session Expiry Interval of 0 ends it.
        cluster.send(client, &[0xE0, 7, 0, 5, 0x11, 0, 0, 0, 0]);
        assert_eq!(try_connect(&mut cluster, "c4", Some("u")).1, ReasonCode::Success);
    }
}

/// A separate shard, with a clock that a test may also set back.
struct Alone {
    shard: Shard,
    now: Timestamp,
}

impl Alone {
    fn new() -> Self {
        let settings = Settings {
            sys_interval_s: 0,
            ..Settings::default()
        };
        let shard = Shard::new(0, 1, Arc::new(settings), shard_counters(1));
        let now = Timestamp(1_000_000_000);
        Self { shard, now }
    }

    fn join(&mut self, connect: &Connect<'_>) -> ConnectionId {
        let mut bytes = Vec::new();
        connect.encode(&mut bytes).unwrap();
        let id = test_support::open(&mut self.shard, self.now, test_support::peer(), &bytes);
        assert!(self.shard.clients().connected(id));
        self.read(id);
        id
    }

    /// The output for a connection, flushed.
    fn read(&mut self, id: ConnectionId) -> Vec<u8> {
        self.shard.take_dirty();
        let out = std::mem::take(self.shard.delivery().out(id));
        self.shard.flushed(self.now, id, 0);
        out
    }

    fn subscribe(&mut self, connection: ConnectionId, filters: &[&str]) {
        let filters: Vec<_> = filters
            .iter()
            .map(|&filter| (filter, options(QoS::AtMostOnce)))
            .collect();
        let mut bytes = Vec::new();
        mqtt::encode::subscribe(id(1), Properties::EMPTY, &filters, V5, &mut bytes).unwrap();
        self.shard.receive(self.now, connection, &bytes);
    }

    fn publish(&mut self, id: ConnectionId, publish: &Publish<'_>) {
        let mut bytes = Vec::new();
        publish.encode(V5, &mut bytes).unwrap();
        self.shard.receive(self.now, id, &bytes);
    }
}

/// The number of packets of one type in some bytes.
fn count(mut bytes: &[u8], packet_type: PacketType) -> usize {
    let mut found = 0;
    while let Ok(Some(frame)) = mqtt::frame::split(bytes, u32::MAX) {
        found += usize::from(frame.packet_type == packet_type);
        bytes = &bytes[frame.wire_bytes..];
    }
    found
}

const TOPICS: usize = 20_000;
const FILTERS: usize = 50;

/// Filters that each lead through all retained messages and match one.
#[test]
fn many_filters_over_many_retained_messages_are_spread_over_turns() {
    let mut alone = Alone::new();
    let writer = alone.join(&connect(V5, "w"));
    for number in 0..TOPICS {
        alone.publish(
            writer,
            &retained(&format!("n{number}/t{number}"), QoS::AtMostOnce, "x"),
        );
    }
    let reader = alone.join(&connect(V5, "r"));
    let names: Vec<_> = (0..FILTERS)
        .map(|number| format!("+/t{}", number * 100))
        .collect();
    let filters: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), options(QoS::AtMostOnce)))
        .collect();
    let mut bytes = Vec::new();
    mqtt::encode::subscribe(id(1), Properties::EMPTY, &filters, V5, &mut bytes).unwrap();
    alone.shard.receive(alone.now, reader, &bytes);
    let mut got = alone.read(reader);
    assert_eq!(count(&got, PacketType::SubAck), 1, "at once");

    let other = alone.join(&connect(V5, "other"));
    alone.subscribe(other, &["n7/#"]);
    let mut others = alone.read(other);
    let mut turns = 0;
    while alone.shard.has_walks() {
        assert_eq!(
            alone.shard.next_deadline(),
            Some(Timestamp(0)),
            "the shell does not sleep"
        );
        turns += 1;
        if turns == 3 {
            assert_eq!(count(&others, PacketType::Publish), 1, "others have their turn");
        }
        // Topics are removed and added during the walk.
        let gone = format!("n{0}/t{0}", turns * 100 + 1);
        alone.publish(writer, &retained(&gone, QoS::AtMostOnce, ""));
        alone.publish(writer, &retained(&format!("new/{turns}"), QoS::AtMostOnce, "x"));
        alone.shard.tick(alone.now);
        got.extend(alone.read(reader));
        others.extend(alone.read(other));
    }
    assert!(
        turns > FILTERS * TOPICS / limits::RETAINED_NODES_MAX / 2,
        "{turns} turns"
    );
    assert_eq!(count(&got, PacketType::Publish), FILTERS);
}

#[test]
fn walks_over_retained_messages_end_with_their_session_or_subscription() {
    let mut alone = Alone::new();
    let writer = alone.join(&connect(V5, "w"));
    for number in 0..TOPICS {
        alone.publish(writer, &retained(&format!("n{number}"), QoS::AtMostOnce, "x"));
    }
    for unsubscribes in [false, true] {
        let reader = alone.join(&connect(V5, "r"));
        let mut bytes = Vec::new();
        let filters = ["+", "+/t"].map(|filter| (filter, options(QoS::AtMostOnce)));
        mqtt::encode::subscribe(id(1), Properties::EMPTY, &filters, V5, &mut bytes).unwrap();
        alone.shard.receive(alone.now, reader, &bytes);
        assert!(alone.shard.has_walks());
        let mut got = alone.read(reader);
        if unsubscribes {
            let mut bytes = Vec::new();
            mqtt::encode::unsubscribe(id(2), Properties::EMPTY, &["+", "+/t"], V5, &mut bytes).unwrap();
            alone.shard.receive(alone.now, reader, &bytes);
            alone.shard.tick(alone.now);
        } else {
            alone.shard.lost(alone.now, reader);
        }
        assert!(!alone.shard.has_walks());
        got.extend(alone.read(reader));
        assert!(count(&got, PacketType::Publish) < TOPICS);
    }
}

#[test]
fn v38_the_longest_intervals_and_a_clock_that_jumps_end_nothing_early() {
    let mut alone = Alone::new();
    let (mut session, mut will_properties) = (PropertiesBuf::new(), PropertiesBuf::new());
    session
        .push(Property::SessionExpiryInterval(u32::MAX - 1))
        .unwrap();
    will_properties
        .push(Property::WillDelayInterval(u32::MAX))
        .unwrap();
    will_properties
        .push(Property::MessageExpiryInterval(u32::MAX))
        .unwrap();
    let kept = Connect {
        clean_start: false,
        keep_alive_s: u16::MAX,
        properties: session.as_properties(),
        will: Some(Will {
            qos: QoS::AtMostOnce,
            retain: true,
            properties: will_properties.as_properties(),
            topic: "will",
            payload: b"w",
        }),
        ..connect(V5, "kept")
    };
    let client = alone.join(&kept);
    let mut expiry = PropertiesBuf::new();
    expiry.push(Property::MessageExpiryInterval(u32::MAX)).unwrap();
    alone.publish(
        client,
        &Publish {
            properties: expiry.as_properties(),
            ..retained("r", QoS::AtMostOnce, "x")
        },
    );
    alone.shard.lost(alone.now, client);
    let watcher = alone.join(&connect(V5, "watcher"));
    alone.subscribe(watcher, &["#"]);
    assert_eq!(count(&alone.read(watcher), PacketType::Publish), 1);

    // A hundred years forward, a day back, and forward again.
    let start = alone.now;
    let century = start.plus_s(100 * 365 * 86_400);
    for now in [
        century,
        Timestamp(century.0 - 86_400_000_000_000),
        century.plus_s(1),
    ] {
        alone.now = now;
        alone.shard.tick(now);
        assert_eq!(count(&alone.read(watcher), PacketType::Publish), 0, "no Will yet");
        assert_eq!(alone.shard.counters().sessions.get(), 2);
        assert_eq!(alone.shard.counters().retained.get(), 1);
    }
    alone.now = start.plus_s(u64::from(u32::MAX)).plus_ns(limits::TIMER_STEP_NS);
    alone.shard.tick(alone.now);
    assert_eq!(
        count(&alone.read(watcher), PacketType::Publish),
        1,
        "the Will, with the session's end"
    );
    assert_eq!(alone.shard.counters().sessions.get(), 1);
    // The latest representable time.
    alone.now = Timestamp(u64::MAX);
    alone.shard.tick(alone.now);
    let late = alone.join(&kept);
    alone.shard.lost(alone.now, late);
    alone.shard.tick(alone.now);
}

/// A session that ends notifies the other shards of each of its filters, in more batches than an outbox holds: that is
/// not charged to the client that is handled next.
#[test]
fn a_full_outbox_is_not_blamed_on_a_bystander() {
    let mut cluster = with(2, |_| {});
    let (first, second) = apart(2);
    let many = cluster.join(V3, first);
    let batches = limits::OUTBOX_BATCHES_MAX + 2;
    let names: Vec<_> = (0..batches * limits::BATCH_CONTROL_MAX)
        .map(|n| n.to_string())
        .collect();
    for names in names.chunks(10_000) {
        let filters: Vec<_> = names
            .iter()
            .map(|name| (name.as_str(), options(QoS::AtMostOnce)))
            .collect();
        let mut bytes = Vec::new();
        mqtt::encode::subscribe(id(1), Properties::EMPTY, &filters, V3, &mut bytes).unwrap();
        cluster.send(many, &bytes);
    }
    let owner = broker::logic::owner_shard(first, 2);
    let names = (0..).map(|number| format!("beside-{number}"));
    let name = names
        .into_iter()
        .find(|name| broker::logic::owner_shard(name, 2) == owner)
        .unwrap();
    let beside = cluster.open(&name, V3);
    let mut bytes = Vec::new();
    connect(V3, &name).encode(&mut bytes).unwrap();
    cluster.delay_batches(true);
    cluster.cut(many);
    cluster.send(beside, &bytes);
    cluster.send(beside, &[0xC0, 0]);
    assert!(!cluster.paused(beside));
    cluster.delay_batches(false);
    let remote = cluster.join(V3, &second);
    cluster.publish(remote, "1", QoS::AtMostOnce, "x");
}

/// A packet that arrived in pieces leaves no memory behind.
#[test]
fn who_sent_a_large_packet_once_is_no_larger_for_it() {
    let mut cluster = Cluster::new(1);
    let client = cluster.join(V3, "c");
    let payload = "x".repeat(100_000);
    let mut packet = Vec::new();
    let publish = publish("t", QoS::AtMostOnce, &payload);
    publish.encode(V3, &mut packet).unwrap();
    let (first, second) = packet.split_at(60_000);
    let gathered = |cluster: &Cluster| cluster.shard(0).unwrap().clients().partial_bytes();
    cluster.send(client, first);
    assert!(gathered(&cluster) >= first.len());
    cluster.send(client, second);
    assert_eq!(cluster.count(|counters| counters.publishes_received.get()), 1);
    assert!(gathered(&cluster) <= limits::PARTIAL_KEPT_BYTES_MAX);
}

/// Packets that do not end cost only their senders the connection.
#[test]
fn unfinished_packets_are_bounded_in_sum() {
    let mut cluster = with(1, |settings| settings.memory_bytes_max = 0);
    let most = limits::partial_bytes(0, 1, Settings::default().packet_bytes_max);
    let bystander = cluster.join(V5, "bystander");
    cluster.send(bystander, &[0x30, 0xC0, 0x84, 0x3D, 0, 1, b't', 0]);
    let piece = vec![b'x'; 100_000];
    let stalled: Vec<_> = (0..8)
        .map(|number| {
            let client = cluster.join(V5, &format!("stalled{number}"));
            cluster.send(client, &[0x30, 0xC0, 0x84, 0x3D, 0, 1, b't', 0]);
            for _ in 0..9 {
                cluster.send(client, &piece);
            }
            client
        })
        .collect();
    assert!(stalled.iter().all(|&client| !cluster.closed(client)));
    cluster.advance_s(60);
    let moving: Vec<_> = (0..8)
        .map(|number| {
            let client = cluster.join(V5, &format!("moving{number}"));
            cluster.send(client, &[0x30, 0xC0, 0x84, 0x3D, 0, 1, b't', 0]);
            for _ in 0..9 {
                cluster.send(client, &piece);
                assert!(cluster.shard(0).unwrap().clients().partial_bytes() <= most);
            }
            client
        })
        .collect();
    let cut = stalled.iter().filter(|&&client| cluster.closed(client)).count();
    assert!(cut > 0, "the stalled ones pay");
    assert!(moving.iter().all(|&client| !cluster.closed(client)));
    assert!(!cluster.closed(bystander));
}

/// Whatever is published to it, and at whatever QoS, in addition to the bytes of its queue that the operator allows.
#[test]
fn v35_a_client_that_stops_reading_holds_4_mib_and_one_message_at_most() {
    const QUEUED_BYTES_MAX: u64 = 1 << 20;
    for payload_bytes in [500, 60_000, 1_900_000] {
        let mut cluster = with(1, |settings| settings.queued_bytes_max = QUEUED_BYTES_MAX);
        let publisher = cluster.join(V5, "publisher");
        let stalled = cluster.join(V5, "stalled");
        cluster.subscribe(stalled, "t", QoS::AtLeastOnce);
        cluster.set_reading(stalled, false);
        let payload = "x".repeat(payload_bytes);
        let mut most = 0;
        for number in 0..(16 << 20) / payload_bytes {
            let qos = [QoS::AtMostOnce, QoS::AtLeastOnce][number % 2];
            cluster.publish(publisher, "t", qos, &payload);
            if cluster.paused(publisher) {
                cluster.advance_ms(limits::GRACE_NS / 1_000_000);
            }
            let queued_bytes = cluster.count(|counters| counters.queued_bytes.get()) as usize;
            let output_bytes = cluster.shard(0).unwrap().flow().output_bytes();
            most = most.max(output_bytes + queued_bytes);
        }
        let bound = limits::CONSUMER_BYTES_MAX + QUEUED_BYTES_MAX as usize + payload_bytes + 100;
        assert!(most <= bound, "{most} bytes, of messages of {payload_bytes}");
        assert!(most >= limits::CLIENT_OUTPUT.cap / 2, "{most} bytes are not many");
    }
}

/// One client's bytes that arrive at once go to many that have space: the shard's limit holds within the turn.
#[test]
fn v35_the_cap_of_a_shard_holds_within_a_turn() {
    let cap = 4_000_000;
    let shard_output = Watermarks {
        high: 1_000_000,
        low: 500_000,
        cap,
    };
    let mut cluster = Cluster::with_settings(
        1,
        Settings {
            shard_output,
            sys_interval_s: 0,
            ..Settings::default()
        },
    );
    let publisher = cluster.join(V3, "p");
    for number in 0..20 {
        let client = cluster.join(V3, &format!("s{number}"));
        cluster.subscribe(client, "#", QoS::AtMostOnce);
        cluster.set_reading(client, false);
    }
    // Of two topics alternately: consecutive messages of one topic are written at once.
    let mut burst = Vec::new();
    for number in 0..20 {
        publish(["t", "u"][number % 2], QoS::AtMostOnce, &"x".repeat(20_000))
            .encode(V3, &mut burst)
            .unwrap();
    }
    for _ in 0..2 {
        cluster.send(publisher, &burst);
        let waiting = cluster.shard(0).unwrap().flow().output_bytes();
        assert!((cap..cap + 20 * 20_010).contains(&waiting), "{waiting}");
    }
    assert!(cluster.count(|counters| counters.publishes_dropped.get()) > 0);
}
