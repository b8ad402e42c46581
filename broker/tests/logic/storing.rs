//! What is given to a store, and what waits until it is durable.

mod awaited;
mod behind;
mod no_space;
mod restarting;

use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use mqtt::frame::PacketType;
use mqtt::packet::Disconnect;

use super::*;
use broker::logic::recover::RecoveredState;
use broker::logic::store::{Record, SessionRecord, Store, WallClock};
use broker::logic::{ConnectionId, FirstNumbers, Shard, Timestamp, shard_counters};
use broker::settings::Settings;

/// A store that keeps its records as text, and whose durable batch the test sets.
#[derive(Clone, Debug, Default)]
struct Recorded(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    words: Vec<String>,
    is_filled: bool,
    /// Whether a packet waits for the last batch.
    is_awaited: bool,
    batch: u64,
    durable: u64,
    is_full: bool,
    /// The Will of the last record of a session.
    will: Option<Vec<u8>>,
}

impl Recorded {
    fn set_full(&self, is_full: bool) {
        self.0.lock().unwrap().is_full = is_full;
    }

    fn is_awaited(&self) -> bool {
        self.0.lock().unwrap().is_awaited
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().words)
    }

    /// Everything that was submitted is durable.
    fn sync(&self) {
        let mut kept = self.0.lock().unwrap();
        kept.durable = kept.batch;
    }
}

impl Store for Recorded {
    fn append(&mut self, record: &Record<'_>) {
        let words = match record {
            Record::Session(SessionRecord {
                expiry_s,
                away_since_ms,
                ..
            }) => {
                let is_away = if away_since_ms.is_some() { " away" } else { "" };
                format!("session {expiry_s}{is_away}")
            }
            Record::SessionEnded { .. } => "ended".to_owned(),
            Record::Subscribed { filter, options, .. } => format!("subscribed {filter} {options}"),
            Record::Unsubscribed { filter, .. } => format!("unsubscribed {filter}"),
            Record::Publication { shards, share, .. } => {
                let shards: Vec<_> = shards.iter().collect();
                format!("publication {shards:?} {share:?}")
            }
            Record::References { references, .. } => {
                let orders: Vec<_> = references.iter().map(|reference| reference.order).collect();
                format!("references {orders:?}")
            }
            Record::InFlight {
                order,
                packet_identifier,
                ..
            } => format!("in flight {order} as {packet_identifier}"),
            Record::Released { order, .. } => format!("released {order}"),
            Record::Done { order, .. } => format!("done {order}"),
            Record::Received {
                packet_identifier, ..
            } => format!("received {packet_identifier}"),
            Record::ReceivedReleased {
                packet_identifier, ..
            } => {
                format!("received released {packet_identifier}")
            }
            Record::Retained {
                topic, message: [], ..
            } => format!("retained nothing {topic}"),
            Record::Epoch { .. } => "epoch".to_owned(),
            Record::Retained { topic, .. } => format!("retained {topic}"),
        };
        let mut kept = self.0.lock().unwrap();
        kept.words.push(words);
        if let Record::Session(session) = record {
            kept.will = session.will.map(|will| will.message.to_vec());
        }
        kept.is_filled = true;
    }

    fn submit(&mut self, is_awaited: bool) -> u64 {
        let mut kept = self.0.lock().unwrap();
        if kept.is_filled {
            kept.is_awaited = is_awaited;
        }
        kept.batch += u64::from(std::mem::take(&mut kept.is_filled));
        kept.batch
    }

    fn durable(&self) -> u64 {
        self.0.lock().unwrap().durable
    }

    fn is_full(&self) -> bool {
        self.0.lock().unwrap().is_full
    }
}

/// A shard with a store.
struct Stored {
    shard: Shard,
    store: Recorded,
    now: Timestamp,
}

impl Stored {
    fn new() -> Self {
        let settings = Arc::new(Settings {
            sys_interval_s: 0,
            ..Settings::default()
        });
        let store = Recorded::default();
        let mut shard = Shard::new(0, 1, settings, shard_counters(1));
        let wall = WallClock::new(Timestamp(0), UNIX_EPOCH + Duration::from_secs(1));
        shard.open_store(Box::new(store.clone()), wall, FirstNumbers::default());
        let now = Timestamp(0);
        Self { shard, store, now }
    }

    fn join(&mut self, client: &str, expiry_s: u32) -> ConnectionId {
        self.join_with(client, &expiring(expiry_s))
    }

    fn join_with(&mut self, client: &str, properties: &PropertiesBuf) -> ConnectionId {
        let mut bytes = Vec::new();
        let asked = Connect {
            clean_start: false,
            properties: properties.as_properties(),
            ..connect(V5, client)
        };
        asked.encode(&mut bytes).unwrap();
        let id = test_support::open(&mut self.shard, self.now, test_support::peer(), &bytes);
        assert!(self.shard.clients().connected(id));
        id
    }

    /// A 3.1.1 client whose session ends with its connection.
    fn join_3_1_1(&mut self, client: &str) -> ConnectionId {
        let mut bytes = Vec::new();
        connect(V3, client).encode(&mut bytes).unwrap();
        let id = test_support::open(&mut self.shard, self.now, test_support::peer(), &bytes);
        assert!(self.shard.clients().connected(id));
        id
    }

    fn leave(&mut self, id: ConnectionId, expiry_s: u32) {
        let mut bytes = Vec::new();
        let properties = expiring(expiry_s);
        Disconnect {
            reason: ReasonCode::NormalDisconnection,
            properties: properties.as_properties(),
        }
        .encode(V5, &mut bytes);
        self.send(id, &bytes);
        self.shard.lost(self.now, id);
    }

    fn send(&mut self, id: ConnectionId, bytes: &[u8]) {
        self.shard.receive(self.now, id, bytes);
    }

    /// The types of the packets that are sent on a connection at the end of a turn.
    fn turn(&mut self, id: ConnectionId) -> Vec<u8> {
        let packets = self.packets(id);
        packets.iter().map(|packet| packet[0] >> 4).collect()
    }

    /// The packets that are sent on a connection at the end of a turn.
    fn packets(&mut self, id: ConnectionId) -> Vec<Vec<u8>> {
        self.shard.tick(self.now);
        self.shard.submit_records();
        let mut packets = Vec::new();
        for dirty in self.shard.take_dirty() {
            let out = std::mem::take(self.shard.delivery().out(dirty));
            let mut rest = out.as_slice();
            while let Ok(Some(frame)) = mqtt::frame::split(rest, u32::MAX) {
                if dirty == id {
                    packets.push(rest[..frame.wire_bytes].to_vec());
                }
                rest = &rest[frame.wire_bytes..];
            }
        }
        packets
    }

    /// The same after everything that was submitted has become durable.
    fn turn_durable(&mut self, id: ConnectionId) -> Vec<u8> {
        self.store.sync();
        self.turn(id)
    }
}

fn expiring(expiry_s: u32) -> PropertiesBuf {
    let mut properties = PropertiesBuf::new();
    properties
        .push(Property::SessionExpiryInterval(expiry_s))
        .unwrap();
    properties
}

fn publishes(qos: QoS, packet_identifier: u16, retain: bool) -> Vec<u8> {
    let publish = Publish {
        dup: false,
        qos,
        retain,
        topic: "t",
        packet_identifier: PacketIdentifier::new(packet_identifier),
        properties: Properties::EMPTY,
        payload: b"x",
    };
    bytes_of(&publish)
}

fn topics(topic: &str, qos: QoS, packet_identifier: u16) -> Vec<u8> {
    topics_of(V5, topic, qos, packet_identifier)
}

fn topics_of(version: ProtocolVersion, topic: &str, qos: QoS, packet_identifier: u16) -> Vec<u8> {
    let publish = Publish {
        dup: false,
        qos,
        retain: false,
        topic,
        packet_identifier: PacketIdentifier::new(packet_identifier),
        properties: Properties::EMPTY,
        payload: b"x",
    };
    let mut bytes = Vec::new();
    publish.encode(version, &mut bytes).unwrap();
    bytes
}

fn bytes_of(publish: &Publish<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    publish.encode(V5, &mut bytes).unwrap();
    bytes
}

fn acknowledges(packet_type: PacketType, packet_identifier: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    let identifier = PacketIdentifier::new(packet_identifier).unwrap();
    mqtt::encode::ack(packet_type, identifier, ReasonCode::Success, V5, &mut bytes);
    bytes
}

fn subscribes(qos: QoS) -> Vec<u8> {
    subscribes_to("t", qos)
}

fn subscribes_to(filter: &str, qos: QoS) -> Vec<u8> {
    let mut bytes = Vec::new();
    let identifier = PacketIdentifier::new(9).unwrap();
    let options = options(qos);
    mqtt::encode::subscribe(
        identifier,
        Properties::EMPTY,
        &[(filter, options)],
        V5,
        &mut bytes,
    )
    .unwrap();
    bytes
}

const NOTHING: [u8; 0] = [];
const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const PUBREC: u8 = 5;
const PUBREL: u8 = 6;
const PUBCOMP: u8 = 7;
const SUBACK: u8 = 9;
const PINGRESP: u8 = 13;

/// MQTT 5.0, section 3.14.2.2.2: a store keeps a session as long as the DISCONNECT requests.
#[test]
fn an_expiry_that_a_disconnect_changes() {
    let mut stored = Stored::new();
    let id = stored.join("c", 100);
    assert_eq!(stored.store.take(), ["session 100"]);
    stored.leave(id, 50);
    assert_eq!(stored.store.take(), ["session 50", "session 50 away"]);
    let id = stored.join("c", 100);
    assert_eq!(stored.store.take(), ["session 100"]);
    stored.leave(id, 0);
    assert_eq!(stored.store.take(), ["ended"]);
}

#[test]
fn a_connack_waits_and_keeps_back_what_stands_behind_it() {
    let mut stored = Stored::new();
    let id = stored.join("c", 100);
    stored.send(id, &[0xC0, 0]);
    assert_eq!(stored.turn(id), NOTHING);
    stored.send(id, &[0xC0, 0]);
    assert_eq!(stored.turn(id), NOTHING, "not durable yet");
    assert_eq!(stored.turn_durable(id), [CONNACK, PINGRESP, PINGRESP]);
    let clean = stored.join("clean", 0);
    assert_eq!(
        stored.turn(clean),
        [CONNACK],
        "a session that ends with its connection"
    );
}

#[test]
fn acknowledgements_wait_in_their_order_and_nothing_else_does() {
    let mut stored = Stored::new();
    let subscriber = stored.join("s", 100);
    stored.send(subscriber, &subscribes(QoS::AtLeastOnce));
    assert_eq!(stored.turn(subscriber), NOTHING);
    assert_eq!(stored.turn_durable(subscriber), [CONNACK, SUBACK]);
    let publisher = stored.join("p", 0);
    assert_eq!(stored.turn(publisher), [CONNACK]);
    stored.store.take();
    stored.send(publisher, &publishes(QoS::AtLeastOnce, 1, false));
    stored.send(publisher, &[0xC0, 0]);
    let expected = ["publication [] \"\"", "references [1]", "in flight 1 as 1"];
    assert_eq!(stored.store.take(), expected);
    assert_eq!(stored.turn(subscriber), [PUBLISH], "QoS 1 goes out at once");
    stored.send(publisher, &publishes(QoS::AtLeastOnce, 2, false));
    assert_eq!(stored.turn_durable(publisher), [PUBACK]);
    assert_eq!(stored.turn_durable(publisher), [PUBACK]);
    // This one has no subscribers, so nothing is kept; it must not overtake.
    stored.send(publisher, &publishes(QoS::AtLeastOnce, 3, false));
    let mut other = publishes(QoS::AtLeastOnce, 4, false);
    other[4] = b'u';
    stored.send(publisher, &other);
    assert_eq!(stored.turn(publisher), NOTHING);
    assert_eq!(stored.turn_durable(publisher), [PUBACK, PUBACK]);
    stored.send(publisher, &other);
    assert_eq!(stored.turn(publisher), [PUBACK], "nothing of it is kept");
}

#[test]
fn at_qos_2_each_step_waits() {
    let mut stored = Stored::new();
    let subscriber = stored.join("s", 100);
    stored.send(subscriber, &subscribes(QoS::ExactlyOnce));
    stored.turn(subscriber);
    stored.turn_durable(subscriber);
    stored.store.take();
    stored.send(subscriber, &publishes(QoS::ExactlyOnce, 7, false));
    assert_eq!(
        stored.store.take(),
        [
            "received 7",
            "publication [] \"\"",
            "references [1]",
            "in flight 1 as 1"
        ]
    );
    assert_eq!(stored.turn(subscriber), NOTHING);
    assert_eq!(stored.turn_durable(subscriber), [PUBLISH, PUBREC]);
    stored.send(subscriber, &acknowledges(PacketType::PubRec, 1));
    stored.send(subscriber, &acknowledges(PacketType::PubRel, 7));
    assert_eq!(stored.store.take(), ["released 1", "received released 7"]);
    assert_eq!(stored.turn(subscriber), NOTHING);
    assert_eq!(stored.turn_durable(subscriber), [PUBREL, PUBCOMP]);
    stored.send(subscriber, &acknowledges(PacketType::PubComp, 1));
    assert_eq!(stored.store.take(), ["done 1"]);
}

/// A message that waits for the store contains its topic: if that makes the packet too large for the client, the
/// message is dropped, and occupies no place in the window.
#[test]
fn at_qos_2_no_topic_alias_makes_a_message_fit() {
    let mut stored = Stored::new();
    let mut properties = expiring(100);
    properties.push(Property::TopicAliasMaximum(5)).unwrap();
    let maximum = std::num::NonZeroU32::new(70).unwrap();
    properties.push(Property::MaximumPacketSize(maximum)).unwrap();
    let subscriber = stored.join_with("s", &properties);
    let topic = "a/topic/of/about/fifty/bytes/that/an/alias/shortens";
    stored.send(subscriber, &subscribes_to(topic, QoS::ExactlyOnce));
    let publish = |qos, identifier, payload| Publish {
        dup: false,
        qos,
        retain: false,
        topic,
        packet_identifier: PacketIdentifier::new(identifier),
        properties: Properties::EMPTY,
        payload,
    };
    stored.send(subscriber, &bytes_of(&publish(QoS::AtMostOnce, 0, b"the alias")));
    stored.turn(subscriber);
    assert_eq!(stored.turn_durable(subscriber), [CONNACK, PUBLISH, SUBACK]);
    let large = publish(QoS::ExactlyOnce, 7, b"too large with its topic");
    stored.send(subscriber, &bytes_of(&large));
    stored.turn(subscriber);
    assert_eq!(stored.turn_durable(subscriber), [PUBREC]);
    stored.store.take();
    stored.send(subscriber, &bytes_of(&publish(QoS::ExactlyOnce, 8, b"fits")));
    assert!(stored.store.take().contains(&"in flight 1 as 1".to_owned()));
    stored.turn(subscriber);
    assert_eq!(stored.turn_durable(subscriber), [PUBLISH, PUBREC]);
}

/// A stored session that subscribes to `t`, with a message in flight to it, and then a disk that is full.
fn full() -> (Stored, ConnectionId) {
    let mut stored = Stored::new();
    let subscriber = stored.join("s", 100);
    stored.send(subscriber, &subscribes(QoS::ExactlyOnce));
    let first = stored.join("first", 0);
    stored.send(first, &publishes(QoS::AtLeastOnce, 1, false));
    stored.turn(subscriber);
    stored.turn_durable(subscriber);
    stored.store.set_full(true);
    stored.store.take();
    (stored, subscriber)
}

/// MQTT 5.0, sections 3.4.2.1 and 3.5.2.1: what would have to be stored is refused, and nothing waits.
#[test]
fn on_a_full_disk_5_0_publishers_are_refused() {
    let (mut stored, subscriber) = full();
    let publisher = stored.join("p", 0);
    assert_eq!(stored.turn(publisher), [CONNACK]);
    let full = ReasonCode::QuotaExceeded as u8;
    let refused = |stored: &mut Stored, packet: Vec<u8>| {
        stored.send(publisher, &packet);
        let packets = stored.packets(publisher);
        // Without the Reason String.
        let starts = packets.iter().map(|packet| packet[..5].to_vec());
        starts
            .map(|mut start| (start.remove(0), start[1..].to_vec()))
            .collect::<Vec<_>>()
    };
    let puback = refused(&mut stored, publishes(QoS::AtLeastOnce, 2, false));
    assert_eq!(puback, [(PUBACK << 4, vec![0, 2, full])]);
    let pubrec = refused(&mut stored, publishes(QoS::ExactlyOnce, 3, false));
    assert_eq!(pubrec, [(PUBREC << 4, vec![0, 3, full])]);
    let retained = refused(&mut stored, publishes(QoS::AtMostOnce, 0, true));
    assert!(retained.is_empty(), "nobody gets it");
    let nobodys = topics("u", QoS::AtLeastOnce, 4);
    let none = ReasonCode::NoMatchingSubscribers as u8;
    assert_eq!(refused(&mut stored, nobodys), [(PUBACK << 4, vec![0, 4, none])]);
    assert!(stored.store.take().is_empty());
    // It needs no space, it frees some.
    let mut deletes = publishes(QoS::AtLeastOnce, 5, true);
    deletes.pop();
    deletes[1] -= 1;
    deletes[3 + 1] = b'n';
    stored.send(publisher, &deletes);
    assert_eq!(stored.store.take(), ["retained nothing n"]);
    stored.send(publisher, &publishes(QoS::AtMostOnce, 0, false));
    assert_eq!(stored.turn(subscriber), [PUBLISH], "QoS 0 is not stored");
    stored.send(subscriber, &acknowledges(PacketType::PubAck, 1));
    assert_eq!(stored.store.take(), ["done 1"]);
    stored.store.set_full(false);
    stored.send(publisher, &publishes(QoS::ExactlyOnce, 3, false));
    assert_eq!(stored.store.take()[0], "publication [] \"\"");
    assert!(stored.turn(publisher).is_empty());
    assert_eq!(stored.turn_durable(publisher), [PUBACK, PUBREC]);
}

/// A QoS 2 message that arrived while there was space is kept, even if it arrives again [MQTT-4.3.3-10].
#[test]
fn a_full_disk_refuses_no_message_that_it_has() {
    let (mut stored, _) = full();
    let publisher = stored.join("p", 0);
    stored.turn(publisher);
    stored.store.set_full(false);
    stored.send(publisher, &publishes(QoS::ExactlyOnce, 3, false));
    stored.turn(publisher);
    assert_eq!(stored.turn_durable(publisher), [PUBREC]);
    stored.store.set_full(true);
    let mut again = publishes(QoS::ExactlyOnce, 3, false);
    again[0] |= 0b1000;
    stored.send(publisher, &again);
    assert_eq!(stored.packets(publisher), [vec![PUBREC << 4, 2, 0, 3]]);
}

/// In 3.1.1 nothing can be refused: what there is no space for waits, in order, and everything else is handled.
#[test]
fn on_a_full_disk_3_1_1_publishers_wait_and_are_read_on() {
    let (mut stored, subscriber) = full();
    let publisher = stored.join_3_1_1("p");
    stored.turn(publisher);
    stored.store.take();
    let publish = |topic, qos, identifier| topics_of(V3, topic, qos, identifier);
    stored.send(publisher, &publish("t", QoS::AtLeastOnce, 1));
    stored.send(publisher, &publish("t", QoS::ExactlyOnce, 2));
    stored.send(publisher, &publish("u", QoS::AtLeastOnce, 3));
    stored.send(publisher, &[0xC0, 0]);
    assert_eq!(stored.turn(publisher), [PINGRESP], "nothing overtakes but that");
    assert_eq!(stored.shard.resource_counts().unstored, 3);
    assert!(!stored.shard.clients().receive_paused(publisher));
    stored.send(subscriber, &acknowledges(PacketType::PubAck, 1));
    assert_eq!(stored.store.take(), ["done 1"]);
    let later = |stored: &mut Stored| {
        stored.now = stored.now.plus_ns(100_000_000);
        stored.turn(publisher)
    };
    assert_eq!(later(&mut stored), NOTHING);
    stored.store.set_full(false);
    assert_eq!(later(&mut stored), NOTHING, "it is on its way to the disk");
    let expected = [
        "publication [] \"\"",
        "references [2]",
        "in flight 2 as 2",
        "publication [] \"\"",
        "references [3]",
        "in flight 3 as 3",
    ];
    assert_eq!(stored.store.take(), expected);
    assert_eq!(stored.turn_durable(publisher), [PUBACK, PUBREC, PUBACK]);
    assert_eq!(stored.shard.resource_counts().unstored, 0);
}

/// Nobody waits for ever, and no client fills the memory with what waits.
#[test]
fn who_waits_for_space_too_long_is_disconnected() {
    let (mut stored, _) = full();
    let [quiet, greedy] = ["quiet", "greedy"].map(|client| stored.join_3_1_1(client));
    stored.send(quiet, &topics_of(V3, "t", QoS::AtLeastOnce, 1));
    for identifier in 1..2000 {
        if stored.shard.clients().receive_paused(greedy) {
            break;
        }
        stored.send(greedy, &topics_of(V3, "t", QoS::AtLeastOnce, identifier));
    }
    assert!(stored.shard.clients().receive_paused(greedy) && !stored.shard.clients().receive_paused(quiet));
    assert!(stored.shard.resource_counts().unstored < 1100);
    for _ in 0..150 {
        stored.now = stored.now.plus_ns(100_000_000);
        stored.turn(quiet);
    }
    assert!(!stored.shard.clients().closing(quiet), "15 seconds");
    for _ in 0..60 {
        stored.now = stored.now.plus_ns(100_000_000);
        stored.turn(quiet);
    }
    for id in [quiet, greedy] {
        assert!(stored.shard.clients().closing(id), "21 seconds");
        stored.shard.lost(stored.now, id);
    }
    stored.now = stored.now.plus_s(1);
    stored.turn(quiet);
    assert_eq!(stored.shard.resource_counts().unstored, 0);
}

#[test]
fn the_puback_of_a_retained_message_waits() {
    let mut stored = Stored::new();
    let publisher = stored.join("p", 0);
    stored.turn(publisher);
    stored.send(publisher, &publishes(QoS::AtLeastOnce, 1, true));
    assert_eq!(stored.store.take(), ["retained t"]);
    assert_eq!(stored.turn(publisher), NOTHING);
    assert_eq!(stored.turn_durable(publisher), [PUBACK]);
}

#[test]
fn what_waits_for_a_connection_that_is_gone_goes_to_nobody() {
    let mut stored = Stored::new();
    let first = stored.join("c", 100);
    stored.turn(first);
    stored.shard.lost(stored.now, first);
    let second = stored.join("d", 0);
    assert_eq!(first.slot, second.slot, "the place is used again");
    assert_eq!(stored.turn_durable(second), [CONNACK]);
}
