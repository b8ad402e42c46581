//! Clients that do anything in any order: nothing acknowledged is lost, nothing remains at the end, nothing panics.

use std::collections::BTreeSet;

use mqtt::frame::PacketType;

use super::*;
use broker::settings::{Settings, UNLIMITED};

struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % below
    }
}

fn unbounded() -> Settings {
    Settings {
        sys_interval_s: 0,
        queued_messages_max: UNLIMITED,
        ..Settings::default()
    }
}

const FILTERS: [&str; 8] = ["a", "a/b", "a/+", "+/b", "#", "a/#", "b", "+"];
const TOPICS: [&str; 5] = ["a", "a/b", "b", "b/b", "a/b/c"];

#[test]
fn whatever_clients_do_nothing_is_left_behind() {
    for seed in 1..40 {
        let mut random = Random(u64::wrapping_mul(seed, 0x9E37_79B9_7F4A_7C15));
        let shards = 1 + seed as u16 % 3;
        let mut cluster = Cluster::with_settings(shards, unbounded());
        let mut clients: Vec<Client> = Vec::new();
        for _ in 0..400 {
            if clients.is_empty() || random.next(10) == 0 {
                clients.push(come(&mut cluster, &mut random));
            } else {
                let client = clients[random.next(clients.len())];
                act(&mut cluster, &mut random, client);
            }
        }
        cluster.delay_batches(false);
        for client in clients {
            cluster.cut(client);
        }
        clean_up(&mut cluster);
        for shard in 0..usize::from(shards) {
            assert!(
                cluster.shard(shard).unwrap().resource_counts().is_bare(),
                "seed {seed}, shard {shard}"
            );
        }
        let now = [
            cluster.count(|counters| counters.clients_connected.get()),
            cluster.count(|counters| counters.sessions.get()),
            cluster.count(|counters| counters.subscriptions.get()),
            cluster.count(|counters| counters.retained.get()),
            cluster.count(|counters| counters.queued_messages.get()),
            cluster.count(|counters| counters.queued_bytes.get()),
        ];
        assert_eq!(now, [0; 6], "seed {seed}");
    }
}

const NAMES: [&str; 6] = ["c-0", "c-1", "c-2", "c-3", "c-4", "c-5"];

fn come(cluster: &mut Cluster, random: &mut Random) -> Client {
    let connect = connect(VERSIONS[random.next(3)], NAMES[random.next(NAMES.len())]);
    let (clean_start, keep_alive_s) = (random.next(2) == 0, [0, 5][random.next(2)]);
    cluster.connect(&Connect {
        clean_start,
        keep_alive_s,
        ..connect
    })
}

fn act(cluster: &mut Cluster, random: &mut Random, client: Client) {
    match random.next(12) {
        0 => cluster.cut(client),
        1 => cluster.advance_ms(random.next(9000) as u64),
        2 => cluster.set_reading(client, random.next(2) == 0),
        3 => cluster.delay_batches(random.next(2) == 0),
        4 => {
            let bytes: Vec<u8> = (0..random.next(20)).map(|_| random.next(256) as u8).collect();
            cluster.send(client, &bytes);
        }
        _ => {
            let bytes = any_packet(random, cluster.version(client));
            cluster.send(client, &bytes);
        }
    }
}

fn any_packet(random: &mut Random, version: ProtocolVersion) -> Vec<u8> {
    let mut bytes = Vec::new();
    let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][random.next(3)];
    let filter = FILTERS[random.next(FILTERS.len())];
    match random.next(7) {
        0 | 1 => {
            let filters = [(filter, options(qos))];
            mqtt::encode::subscribe(id(1), Properties::EMPTY, &filters, version, &mut bytes).unwrap();
        }
        2 => mqtt::encode::unsubscribe(id(1), Properties::EMPTY, &[filter], version, &mut bytes).unwrap(),
        3 => {
            let types = [
                PacketType::PubAck,
                PacketType::PubRec,
                PacketType::PubRel,
                PacketType::PubComp,
            ];
            let identifier = id(1 + random.next(9) as u16);
            mqtt::encode::ack(
                types[random.next(4)],
                identifier,
                ReasonCode::Success,
                version,
                &mut bytes,
            );
        }
        _ => {
            let payload = if random.next(4) == 0 { "" } else { "x" };
            let message = publish(TOPICS[random.next(TOPICS.len())], qos, payload);
            let retain = random.next(3) == 0;
            Publish { retain, ..message }.encode(version, &mut bytes).unwrap();
        }
    }
    bytes
}

/// Ends the sessions of all clients, deletes the retained messages, and waits until their marks are removed.
fn clean_up(cluster: &mut Cluster) {
    for name in NAMES {
        let last = cluster.connect(&connect(V3, name));
        for topic in TOPICS {
            cluster.publish_with(last, &retained(topic, QoS::AtMostOnce, ""));
        }
        cluster.cut(last);
    }
    cluster.advance_s(1000);
}

#[test]
fn whatever_breaks_nothing_acknowledged_is_lost_doubled_or_reordered() {
    // [MQTT-4.3.2-1], [MQTT-4.3.3-1], [MQTT-4.4.0-1], [MQTT-4.6.0-5]
    for seed in 1..30 {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut random = Random(u64::wrapping_mul(seed, 0x2545_F491_4F6C_DD1D));
            let mut cluster = Cluster::with_settings(1 + seed as u16 % 3, unbounded());
            let kept = Connect {
                clean_start: false,
                ..connect(V3, "subscriber")
            };
            let publisher = cluster.join(V3, "publisher");
            let mut subscriber = cluster.join_with(&kept);
            cluster.subscribe(subscriber, "t", qos);
            let mut arrived = Vec::new();
            let mut unreleased = BTreeSet::new();
            for number in 1..=300_u16 {
                let payload = number.to_string();
                let message = Publish {
                    packet_identifier: Some(id(number)),
                    ..publish("t", qos, &payload)
                };
                cluster.publish_with(publisher, &message);
                if qos == QoS::ExactlyOnce {
                    cluster.acknowledge(publisher, PacketType::PubRel, number);
                }
                if random.next(10) == 0 {
                    // What was on its way to the client is lost with the connection.
                    cluster.cut(subscriber);
                    subscriber = cluster.join_with(&kept);
                }
                for _ in 0..random.next(4) {
                    take_one(&mut cluster, subscriber, &mut arrived, &mut unreleased);
                }
            }
            while take_one(&mut cluster, subscriber, &mut arrived, &mut unreleased) {}
            if qos == QoS::AtLeastOnce {
                // Only what was not acknowledged is repeated: the first time each message arrives in order.
                let mut seen = BTreeSet::new();
                arrived.retain(|number| seen.insert(*number));
            }
            assert_eq!(arrived, (1..=300).collect::<Vec<u16>>(), "seed {seed}, {qos:?}");
        }
    }
}

/// The subscriber reads one packet and answers it, as a client must.
fn take_one(
    cluster: &mut Cluster,
    client: Client,
    arrived: &mut Vec<u16>,
    unreleased: &mut BTreeSet<u16>,
) -> bool {
    let Some(received) = cluster.next(client) else {
        return false;
    };
    match received.packet() {
        Some(Packet::Publish(publish)) => {
            let number = std::str::from_utf8(publish.payload).unwrap().parse().unwrap();
            let identifier = publish.packet_identifier.unwrap().get();
            if publish.qos == QoS::AtLeastOnce {
                arrived.push(number);
                cluster.acknowledge(client, PacketType::PubAck, identifier);
            } else {
                if unreleased.insert(identifier) {
                    arrived.push(number);
                }
                cluster.acknowledge(client, PacketType::PubRec, identifier);
            }
        }
        Some(Packet::PubRel(ack)) => {
            unreleased.remove(&ack.packet_identifier.get());
            cluster.acknowledge(client, PacketType::PubComp, ack.packet_identifier.get());
        }
        other => panic!("{other:?}"),
    }
    true
}
