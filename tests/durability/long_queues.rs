//! Queues that are longer than what of them is in memory: they flow back whole and in order, also over the end of the
//! broker, and memory does not grow with their payloads.

use std::time::Duration;

use mqtt::frame::PacketType;
use mqtt::packet::Publish;
use mqtt::property::{PropertiesBuf, Property};
use mqtt::{Packet, PacketIdentifier, ProtocolVersion, QoS};

use super::client::{Connection, Gone};
use super::{Restarted, SILENCE};
use crate::harness::api::metric;
use crate::harness::{Broker, Client, Options, Setup, eventually, free_port};

const PAYLOAD: usize = 1000;

/// Publishes numbers, with many on their way at once.
fn publish(broker: &Broker, from: u64, to: u64) {
    let mut publisher = Client::connect(broker, &Options::new("publisher"));
    let mut on_its_way = 0;
    let answered = |publisher: &mut Client| {
        publisher.expect(PacketType::PubAck);
    };
    for number in from..to {
        let mut payload = vec![b'x'; PAYLOAD];
        payload[..8].copy_from_slice(&number.to_be_bytes());
        publisher.send_publish("t", &payload, QoS::AtLeastOnce, false);
        on_its_way += 1;
        if on_its_way > 500 {
            answered(&mut publisher);
            on_its_way -= 1;
        }
    }
    for _ in 0..on_its_way {
        answered(&mut publisher);
    }
}

fn number_of(payload: &[u8]) -> u64 {
    assert_eq!(payload.len(), PAYLOAD);
    u64::from_be_bytes(*payload.first_chunk().unwrap())
}

/// Makes a session with a subscription, whose client is away then.
fn subscribe(broker: &Broker, client: &str, qos: QoS) {
    let mut client = Client::connect(broker, &Options::new(client).persistent());
    client.subscribe("t", qos);
    client.disconnect();
}

/// Takes up to `count` messages and acknowledges them; their numbers, without those that come again.
fn take(port: u16, client: &str, count: usize, got: &mut Vec<u64>) -> Result<(), Gone> {
    let mut connection = Connection::open(port, client)?;
    assert!(connection.session_present);
    let before = got.len();
    let mut last = std::time::Instant::now();
    while got.len() - before < count && last.elapsed() < SILENCE * 4 {
        connection.packets(|packet, out| {
            let Packet::Publish(publish) = packet else { return };
            last = std::time::Instant::now();
            let number = number_of(publish.payload);
            if !got.contains_from_end(number) {
                got.push(number);
            }
            let identifier = publish.packet_identifier.unwrap();
            super::client::acknowledge(PacketType::PubAck, identifier, out);
        })?;
    }
    Ok(())
}

/// Messages that come again are among the last ones.
trait ContainsFromEnd {
    fn contains_from_end(&self, number: u64) -> bool;
}

impl ContainsFromEnd for Vec<u64> {
    fn contains_from_end(&self, number: u64) -> bool {
        self.iter().rev().take(1000).any(|&other| other == number)
    }
}

#[test]
fn a_long_queue_flows_back_in_order_over_the_end_of_the_broker() {
    let restarted = Restarted::new(2);
    let mut broker = restarted.start();
    subscribe(&broker, "away", QoS::AtLeastOnce);
    publish(&broker, 0, 3_000);
    broker.kill();
    broker = restarted.start();
    // Those on the disk alone count too.
    eventually("it says so", || {
        broker
            .log()
            .contains("Recovered 1 sessions, 3000 messages for them")
    });
    publish(&broker, 3_000, 4_000);
    let mut got = Vec::new();
    for count in [10, 700, 300] {
        take(restarted.port, "away", count, &mut got).unwrap();
        broker.kill();
        broker = restarted.start();
    }
    take(restarted.port, "away", 500, &mut got).unwrap();
    publish(&broker, 4_000, 5_000);
    take(restarted.port, "away", usize::MAX, &mut got).unwrap();
    assert!(got.iter().copied().eq(0..5_000), "{} came", got.len());
    drop(broker);
    let broker = restarted.start();
    let (mut client, session_present) = Client::connect_session(&broker, &Options::new("away").persistent());
    assert!(session_present);
    client.expect_nothing();
}

/// At QoS 2 with a window of one, so that each step is a step of its own.
#[test]
fn a_long_queue_at_qos_2_comes_once() {
    let restarted = Restarted::new(1);
    let broker = restarted.start();
    subscribe(&broker, "away", QoS::ExactlyOnce);
    let mut publisher = Client::connect(&broker, &Options::new("p"));
    for number in 0..600 {
        publisher.publish("t", format!("{number}").as_bytes(), QoS::ExactlyOnce);
    }
    let options = Options::new("away").persistent();
    let mut client = Client::connect(&broker, &options);
    let expected = |range: std::ops::Range<u32>| range.map(|number| number.to_string()).collect::<Vec<_>>();
    assert_eq!(client.payloads(200), expected(0..200));
    // When that is stored, so is each PUBCOMP before it.
    publisher.publish_retained("r", b"x", QoS::AtLeastOnce);
    client.cut();
    broker.kill();
    let broker = restarted.start();
    let mut client = Client::connect(&broker, &options);
    let mut rest = client.payloads(400);
    // What was in flight comes first, in its order.
    assert_eq!(rest, expected(200..600));
    rest.clear();
    client.expect_nothing();
}

/// [MQTT-3.3.2-5], of messages that are in the store alone, also over the end of the broker.
#[test]
fn what_expires_in_a_long_queue_is_deleted() {
    let api = free_port();
    let restarted = Restarted::with(
        Setup::default()
            .shards(1)
            .global("log_type all")
            .listener(&format!("listener {api} 127.0.0.1\nprotocol http_api")),
    );
    let broker = restarted.start();
    subscribe(&broker, "away", QoS::AtLeastOnce);
    let mut publisher = Client::connect(&broker, &Options::new("publisher").version(ProtocolVersion::V5));
    let mut publish = |number: u32, expiry_s: Option<u32>| {
        let mut properties = PropertiesBuf::new();
        if let Some(expiry_s) = expiry_s {
            let expiry = Property::MessageExpiryInterval(expiry_s);
            properties.push(expiry).unwrap();
        }
        let payload = number.to_string();
        let message = Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: "t",
            packet_identifier: PacketIdentifier::new(1),
            properties: properties.as_properties(),
            payload: payload.as_bytes(),
        };
        let mut out = Vec::new();
        message.encode(ProtocolVersion::V5, &mut out).unwrap();
        publisher.send(&out);
        publisher.expect(PacketType::PubAck);
    };
    // More than are in memory.
    for number in 0..300 {
        publish(number, [None, Some(1), Some(1_000), Some(6)][number as usize % 4]);
    }
    let queued = || metric(api, "midge_queued_messages");
    let dropped = || metric(api, "midge_dropped_total{reason=\"expired\"}");
    assert!(queued() > 150.0);
    eventually("a quarter is deleted", || queued() == 225.0 && dropped() == 75.0);
    broker.kill();
    let broker = restarted.start();
    eventually("another quarter is deleted", || queued() == 150.0);
    let mut client = Client::connect(&broker, &Options::new("away").persistent());
    let expected = (0..300).filter(|number| number % 2 == 0);
    let expected: Vec<_> = expected.map(|number| number.to_string()).collect();
    assert_eq!(client.payloads(150), expected);
    client.expect_nothing();
    eventually("nothing is left of them", || {
        metric(api, "midge_store_live_bytes") < 4_000.0 && queued() == 0.0
    });
}

/// [MQTT-4.8.2-5], of messages that are in the store alone, also over the end of the broker.
#[test]
fn a_long_queue_of_a_group_goes_to_another_member() {
    const MESSAGES: u32 = 600;
    let restarted = Restarted::new(2);
    let broker = restarted.start();
    for client in ["a", "b"] {
        let mut member = Client::connect(&broker, &Options::new(client).persistent());
        member.subscribe("$share/g/t", QoS::AtLeastOnce);
        member.disconnect();
    }
    let mut publisher = Client::connect(&broker, &Options::new("publisher"));
    for number in 0..MESSAGES {
        publisher.publish("t", number.to_string().as_bytes(), QoS::AtLeastOnce);
    }
    broker.kill();
    let broker = restarted.start();
    // It has half of them.
    Client::connect(&broker, &Options::new("a")).disconnect();
    let mut other = Client::connect(&broker, &Options::new("b").persistent());
    let mut got = other.payloads(MESSAGES as usize);
    got.sort_by_key(|number| number.parse::<u32>().unwrap());
    assert_eq!(
        got,
        (0..MESSAGES).map(|number| number.to_string()).collect::<Vec<_>>()
    );
    other.expect_nothing();
}

/// A message in the store alone is a few numbers in memory: 16 bytes for it and 9 for each session that it waits for,
/// and what the tables around them need.
#[test]
fn memory_does_not_grow_with_the_payloads_of_long_queues() {
    const SESSIONS: [&str; 3] = ["a", "b", "c"];
    const FIRST: u64 = 20_000;
    const MESSAGES: u64 = 80_000;
    const BYTES_EACH_MAX: u64 = 64;
    let restarted = Restarted::new(1);
    let broker = restarted.start();
    for client in SESSIONS {
        subscribe(&broker, client, QoS::AtLeastOnce);
    }
    // Buffers of what is on its way are as large then as they get.
    publish(&broker, 0, FIRST);
    let before = resident_at_rest(&broker);
    publish(&broker, FIRST, MESSAGES);
    let after = resident_at_rest(&broker);
    let queued = SESSIONS.len() as u64 * (MESSAGES - FIRST);
    let grown = after.saturating_sub(before);
    println!("{grown} KiB for {queued} queued messages");
    assert!(
        grown * 1024 <= BYTES_EACH_MAX * queued,
        "{grown} KiB more for {queued} messages, of 60 MB: {before} KiB, then {after} KiB"
    );
    broker.kill();
    let broker = restarted.start();
    let started = resident_at_rest(&broker);
    println!("{started} KiB after a start, {after} KiB before");
    // The allocator keeps some of what a start has read and freed; the payloads are 80 MB.
    assert!(
        started < after + 48_000,
        "{started} KiB after a start, {after} KiB before"
    );
    let mut got = Vec::new();
    take(restarted.port, "b", usize::MAX, &mut got).unwrap();
    assert!(got.iter().copied().eq(0..MESSAGES), "{} came", got.len());
}

/// Resident KiB when what is freed has been given back: the least of a while.
fn resident_at_rest(broker: &Broker) -> u64 {
    let looks = (0..20).map(|_| {
        std::thread::sleep(Duration::from_millis(100));
        broker.resident_kib()
    });
    looks.min().unwrap()
}
