//! What one client sends may cost the broker much; the others do not wait for it.
//!
//! The longest wait of a quiet client, idle and in each flood: `cargo test --release -p tests --test main fair_work --
//! --nocapture --test-threads 1`. On a free core it is at most 20 ms longer than without the flood; what is asserted
//! leaves room for other programs.

use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mqtt::frame::PacketType;
use mqtt::packet::{Connect, PacketIdentifier, Publish};
use mqtt::property::{Properties, PropertiesBuf, Property};
use mqtt::{ProtocolVersion, QoS};

use crate::harness::{Broker, Client, Options, Setup, subscribe_packet, unsubscribe_packet};

/// The longest wait that is no failure, with a broker that is not optimized on a machine that has other work: each
/// flood made it a multiple of this.
const WAIT_MAX: Duration = Duration::from_millis(150);

/// The longest wait whatever else runs on the machine: a shard that waits for something uses no CPU time.
const WALL_WAIT_MAX: Duration = Duration::from_secs(2);

/// How often a wait that is too long is measured again.
const TRIES: usize = 3;

/// How long each is measured.
const MEASURED: Duration = Duration::from_secs(2);

fn subscribe(filters: &[String]) -> Vec<u8> {
    let identifier = PacketIdentifier::MIN;
    subscribe_packet(filters, QoS::AtMostOnce, identifier, ProtocolVersion::V3_1_1)
}

fn unsubscribe(filters: &[String]) -> Vec<u8> {
    unsubscribe_packet(filters, PacketIdentifier::MIN, ProtocolVersion::V3_1_1)
}

/// How many of these filters a client gets.
fn subscribe_all(client: &mut Client, filters: &[String]) -> usize {
    let filters = filters.chunks(500);
    filters
        .map(|filters| client.subscribe_all(filters, QoS::AtMostOnce))
        .sum()
}

/// CPU time of each shard in nanoseconds.
fn shards_cpu_ns(broker: &Broker) -> Vec<u64> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", broker.pid())).unwrap();
    let paths = tasks.map(|task| task.unwrap().path());
    let read = |path: &Path, name: &str| std::fs::read_to_string(path.join(name)).unwrap_or_default();
    let shards = paths.filter(|path| read(path, "comm").starts_with("shard-"));
    let times = shards.map(|path| {
        let times = read(&path, "schedstat");
        times
            .split_whitespace()
            .next()
            .map_or(0, |ns| ns.parse().unwrap())
    });
    times.collect()
}

/// How long something took as far as the broker worked meanwhile: on a free core that is all of it, and where other
/// programs take the core it does not count what they do.
fn waits(broker: &Broker, wait: impl FnOnce()) -> Duration {
    let (begin, before) = (Instant::now(), shards_cpu_ns(broker));
    wait();
    let after = shards_cpu_ns(broker);
    let worked = before
        .iter()
        .zip(&after)
        .map(|(before, after)| after - before)
        .max();
    let elapsed = begin.elapsed();
    // Longer than any failure, so that it is one.
    let idle = if elapsed > WALL_WAIT_MAX {
        elapsed
    } else {
        Duration::ZERO
    };
    elapsed.min(Duration::from_nanos(worked.unwrap_or(0))).max(idle)
}

/// The longest wait of quiet clients for a PINGRESP, and of one that connects each time for its CONNACK.
fn longest_wait(broker: &Broker, until: impl Fn() -> bool) -> Duration {
    let mut quiet: Vec<_> = (0..4)
        .map(|number| Client::connect(broker, &Options::new(&format!("quiet-{number}"))))
        .collect();
    let mut longest = Duration::ZERO;
    let mut number = 0;
    while !until() {
        for client in &mut quiet {
            longest = longest.max(waits(broker, || client.ping()));
        }
        number += 1;
        let connects = || drop(Client::connect(broker, &Options::new(&format!("new-{number}"))));
        longest = longest.max(waits(broker, connects));
        std::thread::sleep(Duration::from_millis(2));
    }
    longest
}

/// The longest wait while that goes on, which ends with the flag. The shortest of a few: another program may have
/// taken the core.
fn longest_wait_in(broker: &Broker, what: &str, mut flood: impl FnMut(&AtomicBool) + Send) -> Duration {
    let mut shortest = Duration::MAX;
    for _ in 0..TRIES {
        shortest = shortest.min(longest_wait_once(broker, what, &mut flood));
        if shortest < WAIT_MAX {
            break;
        }
    }
    shortest
}

fn longest_wait_once(broker: &Broker, what: &str, flood: impl FnOnce(&AtomicBool) + Send) -> Duration {
    let idle_until = Instant::now() + MEASURED / 4;
    let idle = longest_wait(broker, || Instant::now() > idle_until);
    let ends = AtomicBool::new(false);
    let longest = std::thread::scope(|scope| {
        let flood = scope.spawn(|| flood(&ends));
        let begin = Instant::now();
        let longest = longest_wait(broker, || begin.elapsed() > MEASURED);
        ends.store(true, Ordering::Relaxed);
        flood.join().unwrap();
        longest
    });
    println!("{what}: longest wait {longest:?}, {idle:?} without");
    longest
}

/// `{+,x}/{+,x}/...`: as many filters as a session may have, each with wildcards at other levels.
fn branching() -> Vec<String> {
    let level = |number: u32, at: u32| if number >> at & 1 == 0 { "+" } else { "x" };
    (0..1 << 17)
        .map(|number| {
            let levels: Vec<_> = (0..17).map(|at| level(number, at)).collect();
            levels.join("/") + "/zz"
        })
        .collect()
}

#[test]
fn filters_that_branch_at_each_level_stop_nobody() {
    let filters = branching();
    for shards in [1, 2] {
        let broker = Setup::default().shards(shards).start();
        let mut attackers: Vec<_> = (0..8)
            .map(|number| Client::connect(&broker, &Options::new(&format!("attacker-{number}"))))
            .collect();
        let granted = subscribe_all(&mut attackers[0], &filters);
        assert!(granted < 8192, "{granted} filters");
        // Each has others, so that they add up.
        for (attacker, filters) in attackers[1..].iter_mut().zip(filters.chunks(filters.len() / 7)) {
            attacker.send(&subscribe(&filters[..2000]));
            attacker.expect(PacketType::SubAck);
        }
        let deep = vec!["x"; 17].join("/");
        let longest = longest_wait_in(&broker, &format!("branching filters, {shards} shards"), |_| {
            for number in 0..700 {
                attackers[0].send_publish(&format!("{deep}/{number}"), b"", QoS::AtMostOnce, false);
            }
        });
        assert!(longest < WAIT_MAX, "{longest:?}");
        // Others' filters are never refused for it, and get what they match.
        let mut other = Client::connect(&broker, &Options::new("other"));
        assert_eq!(
            other.subscribe(&format!("{}/+", vec!["+"; 17].join("/")), QoS::AtMostOnce),
            0
        );
        attackers[0].publish(&format!("{deep}/last"), b"found", QoS::AtLeastOnce);
        // What the attacker sent before may come before it.
        while other.message().payload != b"found" {}
    }
}

#[test]
fn a_flood_of_subscribe_and_unsubscribe_stops_nobody() {
    for shards in [1, 2] {
        let broker = Setup::default().shards(shards).start();
        let longest = longest_wait_in(&broker, &format!("SUBSCRIBE, {shards} shards"), |ends| {
            flood(&broker, ends, 20, |number| {
                let filters: Vec<_> = (0..200)
                    .map(|filter| format!("flood/{number}/+/{filter}"))
                    .collect();
                [subscribe(&filters), unsubscribe(&filters)].concat()
            });
        });
        assert!(longest < WAIT_MAX, "{longest:?}");
    }
}

#[test]
fn a_flood_of_pingreq_stops_nobody() {
    for shards in [1, 2] {
        let broker = Setup::default().shards(shards).start();
        let longest = longest_wait_in(&broker, &format!("PINGREQ, {shards} shards"), |ends| {
            flood(&broker, ends, 50, |_| [0xc0, 0].repeat(8192));
        });
        assert!(longest < WAIT_MAX, "{longest:?}");
    }
}

/// Ends in every way: the client goes, another connection takes the session over with Clean Session, and a group loses
/// its members.
#[test]
fn the_end_of_a_client_with_200_000_subscriptions_stops_nobody() {
    for shards in [1, 2] {
        let broker = Setup::default()
            .shards(shards)
            .global("max_subscriptions 300000")
            .start();
        let what = format!("200,000 subscriptions end, {shards} shards");
        let longest = longest_wait_in(&broker, &what, |ends| {
            let filters = |first: &str| -> Vec<_> {
                (0..100_000)
                    .map(|number| format!("{first}{}/{number}", number % 300))
                    .collect()
            };
            let mut client = Client::connect(&broker, &Options::new("many").persistent());
            subscribe_all(&mut client, &filters("plain/"));
            subscribe_all(&mut client, &filters("$share/group/+/"));
            drop(Client::connect(&broker, &Options::new("many")));
            let mut client = Client::connect(&broker, &Options::new("many"));
            subscribe_all(&mut client, &filters("+/"));
            client.cut();
            while !ends.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        assert!(longest < WAIT_MAX, "{longest:?}");
    }
}

/// What a client of a flood sends again and again; it has a number.
type Bytes = Box<dyn Fn(usize) -> Vec<u8> + Sync>;

/// What else costs more to handle than to send, and how many clients send it.
fn costly_floods() -> [(&'static str, usize, Bytes); 7] {
    let deep = vec!["l"; 190].join("/");
    let long = vec!["a".repeat(300); 100].join("/");
    let numbered = |count: usize, text: &dyn Fn(usize) -> String| (0..count).map(text).collect::<Vec<_>>();
    let both = |filters: &[String]| [subscribe(filters), unsubscribe(filters)].concat();
    [
        (
            "5,000 filters a packet",
            10,
            Box::new(move |client| both(&numbered(5000, &|filter| format!("m/{client}/{filter}/+")))),
        ),
        (
            "one filter 5,000 times",
            10,
            Box::new(move |_| subscribe(&numbered(5000, &|_| "a/+".to_owned()))),
        ),
        (
            "filters of 30 KB",
            20,
            Box::new(move |_| both(&numbered(30, &|filter| format!("{long}/{filter}/+")))),
        ),
        (
            "filters of 200 levels",
            20,
            Box::new(move |client| {
                both(&numbered(200, &|filter| {
                    format!("{}{client}/{filter}", "/".repeat(199))
                }))
            }),
        ),
        (
            "topics of 190 levels",
            20,
            Box::new(move |client| {
                let topics = numbered(300, &|topic| format!("{deep}/{client}/{topic}"));
                topics
                    .iter()
                    .flat_map(|topic| publish_packet(topic, b""))
                    .collect()
            }),
        ),
        (
            "retained messages come and go",
            20,
            Box::new(move |client| {
                let topics = numbered(500, &|topic| format!("retained/{client}/{topic}"));
                let both = |topic| {
                    [
                        publish_or_retain(topic, b"x", true),
                        publish_or_retain(topic, b"", true),
                    ]
                    .concat()
                };
                topics.iter().flat_map(|topic| both(topic)).collect()
            }),
        ),
        (
            "walks over all retained messages",
            30,
            Box::new(move |_| both(&["#".to_owned()])),
        ),
    ]
}

#[test]
fn floods_of_what_costs_much_stop_nobody() {
    let floods = costly_floods();
    for shards in [1, 2] {
        let broker = Setup::default().shards(shards).start();
        let mut writer = Client::connect(&broker, &Options::new("writer"));
        for number in 0..30_000 {
            let topic = format!("r/{}/{number}/x", number % 1000);
            writer.send_publish(&topic, b"kept", QoS::AtMostOnce, true);
        }
        writer.ping();
        for (what, clients, bytes) in &floods {
            let longest = longest_wait_in(&broker, &format!("{what}, {shards} shards"), |ends| {
                flood(&broker, ends, *clients, bytes);
            });
            assert!(longest < WAIT_MAX, "{what}: {longest:?}");
        }
    }
}

/// While a queue to another shard is full, a shard flushes nothing; that lasts until the other one has had a turn or
/// two, each of bounded work (docs/ARCHITECTURE.md, "The order of work between shards").
#[test]
fn full_queues_between_shards_stop_nobody() {
    let broker = Setup::default().shards(2).start();
    let wait = longest_wait_in(&broker, "publishes to all of the other shard", |ends| {
        flood(&broker, ends, 12, |number| {
            let mut bytes = subscribe(&["flood/+".to_owned()]);
            let topic = format!("flood/{number}");
            for _ in 0..200 {
                bytes.extend(publish_packet(&topic, &[b'x'; 200]));
            }
            bytes
        });
    });
    assert!(wait < WAIT_MAX, "{wait:?}");
}

/// CONNECTs of 85 KB on many connections at once take all receive buffers: who brings a small one does not wait until
/// they are all answered. Before, that was as long as the flood went on.
#[test]
fn a_flood_of_large_connects_keeps_nobody_out() {
    let broker = Broker::start();
    let mut properties = PropertiesBuf::new();
    for _ in 0..17_000 {
        properties.push(Property::UserProperty("", "")).unwrap();
    }
    let packets: Vec<_> = (0..LARGE_CONNECTS)
        .map(|number| {
            let connect = Connect {
                version: ProtocolVersion::V5,
                clean_start: true,
                keep_alive_s: 0,
                properties: properties.as_properties(),
                client_identifier: &format!("flood-{number}"),
                will: None,
                user_name: None,
                password: None,
            };
            let mut bytes = Vec::new();
            connect.encode(&mut bytes).unwrap();
            bytes
        })
        .collect();
    let wait = longest_wait_in(&broker, "CONNECTs of 85 KB", |ends| {
        flood_of_connects(&broker, ends, &packets);
    });
    assert!(wait < CONNACK_WAIT_MAX, "{wait:?}");
}

/// Connections that bring a large CONNECT at once.
const LARGE_CONNECTS: usize = 400;

/// The longest wait for a CONNACK beside them that is no failure: each of them costs milliseconds here.
const CONNACK_WAIT_MAX: Duration = Duration::from_millis(1500);

/// A connection for each of these CONNECTs; one that was answered is closed, and another one takes its place.
fn flood_of_connects(broker: &Broker, ends: &AtomicBool, packets: &[Vec<u8>]) {
    use std::io::{ErrorKind, Read as _, Write as _};
    let open = || {
        let stream = TcpStream::connect(broker.address()).unwrap();
        stream.set_nonblocking(true).unwrap();
        (stream, 0)
    };
    let mut connections: Vec<_> = packets.iter().map(|_| open()).collect();
    while !ends.load(Ordering::Relaxed) {
        for (packet, connection) in packets.iter().zip(&mut connections) {
            let (stream, sent) = connection;
            if *sent < packet.len() {
                *sent += stream.write(&packet[*sent..]).unwrap_or(0);
                continue;
            }
            let answer = stream.read(&mut [0; 64]);
            if !answer.is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
                *connection = open();
            }
        }
    }
}

/// Each of its packets costs more to decode than a client gets although the turn is over.
#[test]
fn packets_full_of_properties_stop_nobody() {
    let broker = Broker::start();
    let mut properties = PropertiesBuf::new();
    for _ in 0..12_000 {
        properties.push(Property::UserProperty("", "")).unwrap();
    }
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "t",
        packet_identifier: None,
        properties: properties.as_properties(),
        payload: b"x",
    };
    let mut packet = Vec::new();
    publish.encode(ProtocolVersion::V5, &mut packet).unwrap();
    let options = Options::new("").v5();
    let wait = longest_wait_in(&broker, "12,000 properties a packet", |ends| {
        flood_as(&options, &broker, ends, 20, |_| packet.clone());
    });
    assert!(wait < WAIT_MAX, "{wait:?}");
}

fn publish_packet(topic: &str, payload: &[u8]) -> Vec<u8> {
    publish_or_retain(topic, payload, false)
}

fn publish_or_retain(topic: &str, payload: &[u8], retain: bool) -> Vec<u8> {
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain,
        topic,
        packet_identifier: None,
        properties: Properties::EMPTY,
        payload,
    };
    let mut bytes = Vec::new();
    publish.encode(ProtocolVersion::V3_1_1, &mut bytes).unwrap();
    bytes
}

/// So many connections that send the same again and again, and read what comes.
fn flood(broker: &Broker, ends: &AtomicBool, connections: usize, bytes: impl Fn(usize) -> Vec<u8>) {
    flood_as(&Options::new(""), broker, ends, connections, bytes);
}

fn flood_as(
    options: &Options,
    broker: &Broker,
    ends: &AtomicBool,
    connections: usize,
    bytes: impl Fn(usize) -> Vec<u8>,
) {
    let mut clients: Vec<_> = (0..connections)
        .map(|number| {
            let client = Client::connect(broker, &options.clone().named(&format!("flood-{number}")));
            (client.into_non_blocking(), bytes(number), 0)
        })
        .collect();
    let mut chunk = vec![0; 256 << 10];
    while !ends.load(Ordering::Relaxed) {
        for (stream, bytes, sent) in &mut clients {
            use std::io::{Read as _, Write as _};
            if let Ok(count) = stream.write(&bytes[*sent..]) {
                *sent = (*sent + count) % bytes.len();
            }
            while stream.read(&mut chunk).is_ok_and(|count| count == chunk.len()) {}
        }
    }
}
