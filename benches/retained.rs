//! Half a million retained messages: what each takes of memory, what it costs to set and to find, by the number of
//! shards.
//!
//! `cargo bench -p benches --bench retained`
//!
//! Each case has a process of its own, in which all shards take their turns one after the other in one thread: what
//! is measured is the work and the memory of all together. Each shard has one publisher; the topics are dealt out in
//! turn, so of `n` shards one topic in `n` is owned where it is published. Memory is the growth of the process's RSS.
//! What a new subscription gets is counted.
//!
//! Invariants: none.
#![allow(missing_docs, reason = "a bench has no public items")]

use std::process::Command;
use std::time::Instant;

use benches::{Shell, subscribe};
use broker::logic::ConnectionId;
use mqtt::packet::{Publish, QoS};
use mqtt::property::Properties;

const MESSAGES: usize = 500_000;
const SITES: usize = 1_000;
const PAYLOAD_BYTES: usize = 64;
/// Messages that come in one read.
const AT_ONCE: usize = 100;
const CASE: &str = "--shards";

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != CASE).skip(1);
    if let Some(shards) = arguments.next() {
        return measure(shards.parse().unwrap_or(1));
    }
    for shards in ["1", "2", "8"] {
        println!("{MESSAGES} retained messages of {PAYLOAD_BYTES} bytes in {shards} shards");
        let program = std::env::current_exe();
        let ended = program.and_then(|program| {
            let mut command = Command::new(program);
            // Memory that is given back is to be seen at once.
            command.env("MIMALLOC_PURGE_DELAY", "0");
            command.args([CASE, shards]).status()
        });
        assert!(ended.is_ok_and(|status| status.success()), "{shards} shards");
    }
}

fn topic(number: usize) -> String {
    format!("site/{}/device/{number}/temperature", number % SITES)
}

fn measure(count: u16) {
    let mut shards = Shell::all(count);
    let clients = |shards: &mut [Shell], name: &str| -> Vec<ConnectionId> {
        let shards = shards.iter_mut().enumerate();
        shards
            .map(|(at, shard)| shard.connect(&format!("{name}-{at}")))
            .collect()
    };
    let publishers = clients(&mut shards, "publisher");
    let subscribers = clients(&mut shards, "subscriber");
    turn(&mut shards);
    let reads = reads(shards.len());
    let before = rss_bytes();
    let each = |amount: f64| amount / MESSAGES as f64;
    let set_ns = set_all(&mut shards, &publishers, &reads);
    print("memory", each((rss_bytes() - before) as f64), "bytes a message");
    print("set", each(set_ns), "ns a message");
    let again_ns = set_all(&mut shards, &publishers, &reads);
    print("set again", each(again_ns), "ns a message");
    let began = Instant::now();
    let found = find(&mut shards, &subscribers, "site/#");
    print(
        "found by one subscription to all",
        each(began.elapsed().as_nanos() as f64),
        "ns a message",
    );
    assert_eq!(found, MESSAGES);
    let began = Instant::now();
    for number in 0..AT_ONCE {
        let found = find(&mut shards, &subscribers, &topic(number * 7));
        assert_eq!(found, 1);
    }
    let one_ns = began.elapsed().as_nanos() as f64 / AT_ONCE as f64;
    print(
        "a subscription to one topic, until it has its message",
        one_ns,
        "ns",
    );
}

/// What each shard's publisher sends, read by read.
fn reads(shards: usize) -> Vec<Vec<Vec<u8>>> {
    let payload = [b'x'; PAYLOAD_BYTES];
    let numbers: Vec<usize> = (0..MESSAGES).collect();
    let mut reads: Vec<Vec<Vec<u8>>> = (0..shards).map(|_| Vec::new()).collect();
    for (at, numbers) in numbers.chunks(AT_ONCE).enumerate() {
        let mut bytes = Vec::new();
        for &number in numbers {
            let publish = Publish {
                dup: false,
                qos: QoS::AtMostOnce,
                retain: true,
                topic: &topic(number),
                packet_identifier: None,
                properties: Properties::EMPTY,
                payload: &payload,
            };
            assert!(publish.encode(benches::VERSION, &mut bytes).is_ok());
        }
        if let Some(reads) = reads.get_mut(at % shards) {
            reads.push(bytes);
        }
    }
    reads
}

/// Nanoseconds until every owner has every message.
fn set_all(shards: &mut [Shell], publishers: &[ConnectionId], reads: &[Vec<Vec<u8>>]) -> f64 {
    let began = Instant::now();
    let turns = reads.iter().map(Vec::len).max().unwrap_or(0);
    for at in 0..turns {
        for ((shard, &publisher), reads) in shards.iter_mut().zip(publishers).zip(reads) {
            if let Some(bytes) = reads.get(at) {
                shard.receive(publisher, bytes);
            }
        }
        turn(shards);
    }
    began.elapsed().as_nanos() as f64
}

/// The retained messages that a new subscription of the last shard's client brings.
fn find(shards: &mut [Shell], subscribers: &[ConnectionId], filter: &str) -> usize {
    let last = shards.len() - 1;
    let mut found = 0;
    if let (Some(shard), Some(&subscriber)) = (shards.get_mut(last), subscribers.get(last)) {
        shard.receive(subscriber, &subscribe(&[filter], QoS::AtMostOnce));
    }
    while let Some(more) = turn(shards) {
        found += more;
    }
    found
}

/// A turn of each shard; the PUBLISH packets that clients got, or `None` if nothing moved.
fn turn(shards: &mut [Shell]) -> Option<usize> {
    let (mut moved, mut published) = (false, 0);
    let count = u16::try_from(shards.len()).unwrap_or(u16::MAX);
    for from in 0..count {
        let Some(shard) = shards.get_mut(usize::from(from)) else {
            continue;
        };
        shard.tick();
        let batches: Vec<_> = (0..count)
            .filter(|&to| to != from)
            .flat_map(|to| {
                let batches = std::iter::from_fn(|| shard.take_batch(to)).collect::<Vec<_>>();
                batches.into_iter().map(move |batch| (to, batch))
            })
            .collect();
        let sent = shard.empty_outs(|_, mut bytes| {
            while let Ok(Some(frame)) = mqtt::frame::split(bytes, u32::MAX) {
                published += usize::from(frame.packet_type == mqtt::frame::PacketType::Publish);
                bytes = bytes.get(frame.wire_bytes..).unwrap_or_default();
            }
        });
        moved |= sent > 0 || !batches.is_empty() || shard.has_walks();
        for (to, batch) in batches {
            if let Some(other) = shards.get_mut(usize::from(to)) {
                other.receive_batch(from, &batch);
            }
            if let Some(shard) = shards.get_mut(usize::from(from)) {
                shard.recycle_batch(batch);
            }
        }
    }
    moved.then_some(published)
}

fn print(what: &str, figure: f64, unit: &str) {
    println!("  {what:<60} {figure:>8.1} {unit}");
}

/// Resident bytes of this process.
fn rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
