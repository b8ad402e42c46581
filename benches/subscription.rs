//! The subscription tree behind a publish: one shard with 100,000 exact and 10,000 wildcard filters of 100 clients.
//!
//! Every figure is for one publish (or one SUBSCRIBE with its UNSUBSCRIBE), from the bytes of a read to emptied
//! `out`s; the publish to a topic that comes again and again is the part that is not the tree. All filters share
//! their first level and half of the wildcards stand in the second, so that the tree is walked on two ways for each
//! topic.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;

use benches::{Shell, publish, quick, subscribe, unsubscribe};
use broker::logic::ConnectionId;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mqtt::packet::QoS;

const EXACT: usize = 100_000;
const WILDCARD: usize = 10_000;
const CLIENTS: usize = 100;
/// Filters in one SUBSCRIBE.
const AT_ONCE: usize = 100;

/// Topics in turn, more than the cache of routes takes: each is resolved anew.
const TOPICS_UNCACHED: usize = EXACT;
/// Topics in turn that would fit.
const TOPICS_MANY: usize = 10_000;
/// Topics in turn that are in the cache.
const TOPICS_CACHED: usize = 1000;

fn exact(number: usize) -> String {
    format!("plant/{}/machine/{number}/temperature", number % 1000)
}

fn wildcard(number: usize) -> String {
    if number.is_multiple_of(2) {
        format!("plant/+/machine/{number}/alarm")
    } else {
        format!("plant/{}/machine/{number}/limit/#", number % 1000)
    }
}

/// The shard and its publisher.
fn shard() -> (Shell, ConnectionId) {
    let mut shell = Shell::alone();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| shell.connect(&format!("client-{number}")))
        .collect();
    let filters: Vec<_> = (0..EXACT).map(exact).chain((0..WILDCARD).map(wildcard)).collect();
    for (filters, &client) in filters.chunks(AT_ONCE).zip(clients.iter().cycle()) {
        let filters: Vec<_> = filters.iter().map(String::as_str).collect();
        shell.receive(client, &subscribe(&filters, QoS::AtMostOnce));
        shell.empty_outs(|_, _| {});
    }
    let publisher = shell.connect("publisher");
    (shell, publisher)
}

fn publishes(count: usize, topic: impl Fn(usize) -> String) -> Vec<Vec<u8>> {
    let packet = |number| {
        let mut packet = Vec::new();
        publish(&topic(number), None, &mut packet);
        packet
    };
    (0..count).map(packet).collect()
}

/// What is published in turn, and how many subscribers each has.
struct Case {
    name: &'static str,
    packets: Vec<Vec<u8>>,
    matches: usize,
}

impl Case {
    fn new(name: &'static str, topics: usize, topic: impl Fn(usize) -> String, matches: usize) -> Self {
        Self {
            name,
            packets: publishes(topics, topic),
            matches,
        }
    }
}

/// The uncached come first, so that none of their topics is in the cache.
fn cases() -> [Case; 6] {
    let alarm = |number| {
        let (plant, machine) = (number / (WILDCARD / 2), 2 * (number % (WILDCARD / 2)));
        format!("plant/{plant}/machine/{machine}/alarm")
    };
    [
        Case::new(
            "uncached, no match",
            TOPICS_UNCACHED,
            |number| exact(number) + "/mean",
            0,
        ),
        Case::new("uncached, one exact match", TOPICS_UNCACHED, exact, 1),
        Case::new("uncached, one wildcard match", TOPICS_UNCACHED, alarm, 1),
        Case::new(
            "10,000 topics in turn",
            TOPICS_MANY,
            |number| exact(EXACT / 2 + number),
            1,
        ),
        Case::new("1,000 topics, cached", TOPICS_CACHED, exact, 1),
        Case::new("one topic", 1, exact, 1),
    ]
}

fn bench_publish(c: &mut Criterion) {
    let (mut shell, publisher) = shard();
    let mut group = c.benchmark_group("publish among 110,000 filters");
    group.throughput(Throughput::Elements(1));
    for Case {
        name,
        packets,
        matches,
    } in cases()
    {
        if packets.len() <= TOPICS_CACHED {
            // A topic that comes twice is worth a place in the cache.
            for packet in packets.iter().flat_map(|packet| [packet, packet]) {
                shell.receive(publisher, packet);
                shell.empty_outs(|_, _| {});
            }
        }
        let mut packets = packets.iter().cycle();
        group.bench_function(name, |b| {
            b.iter(|| {
                let packet = packets.next().map_or(&[][..], Vec::as_slice);
                shell.receive(publisher, black_box(packet));
                assert_eq!(shell.empty_outs(|_, _| {}), packet.len() * matches);
            });
        });
    }
    group.finish();
}

type Filter = fn(usize) -> String;

fn bench_subscribe(c: &mut Criterion) {
    let (mut shell, _) = shard();
    let client = shell.connect("newcomer");
    let mut group = c.benchmark_group("subscribe and unsubscribe among 110,000 filters");
    let cases: [(&str, Filter); 3] = [
        ("exact, new", |number| exact(number) + "/mean"),
        ("exact, others have it", exact),
        ("wildcard, new", |number| format!("plant/+/machine/{number}/mean")),
    ];
    for (name, filter) in cases {
        let filters: Vec<_> = (0..1000).map(filter).collect();
        let packets: Vec<_> = filters
            .iter()
            .map(|filter| (subscribe(&[filter], QoS::AtMostOnce), unsubscribe(&[filter])))
            .collect();
        let mut packets = packets.iter().cycle();
        group.bench_function(name, |b| {
            b.iter(|| {
                let Some((subscribe, unsubscribe)) = packets.next() else {
                    return;
                };
                shell.receive(client, black_box(subscribe));
                shell.receive(client, black_box(unsubscribe));
                assert_eq!(shell.empty_outs(|_, _| {}), SUBACK_BYTES + UNSUBACK_BYTES);
            });
        });
    }
    group.finish();
}

const SUBACK_BYTES: usize = 5;
const UNSUBACK_BYTES: usize = 4;

criterion_group!(name = benches; config = quick(); targets = bench_publish, bench_subscribe);
criterion_main!(benches);
