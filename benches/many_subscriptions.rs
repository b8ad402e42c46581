//! A million subscriptions: what each takes of memory, and what a publish among them costs.
//!
//! `cargo bench -p benches --bench many_subscriptions`
//!
//! One shard with 1,000,000 exact filters and 100,000 with wildcards, of 10,000 sessions or of 1,000, each case in a
//! process of its own. Memory is the growth of the process's RSS from the first SUBSCRIBE to the last SUBACK:
//! everything that a shard keeps for a subscription, and what the allocator wastes. Times are the least of many
//! rounds: "cold" takes a random topic of all each time, "warm" 1,000 of them in turn. No topic that is matched has
//! two filters, so what is found is checked.
#![allow(missing_docs, reason = "a bench has no public items")]

use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

use benches::{Shell, publish, subscribe};
use broker::logic::ConnectionId;
use mqtt::packet::QoS;

const EXACT: usize = 1_000_000;
const WILDCARD: usize = 100_000;
const SITES: usize = 1_000;
/// Filters in one SUBSCRIBE.
const AT_ONCE: usize = 100;
/// Topics of which each comes as good as never.
const COLD: usize = 200_000;
/// Topics that come in turn.
const WARM: usize = 1_000;
const ROUND: usize = 5_000;
const ROUNDS: usize = 100;

fn exact(number: usize) -> String {
    format!("site/{}/device/{number}/temperature", number % SITES)
}

/// Of each form a quarter.
fn wildcard(number: usize) -> String {
    let (form, of_form) = (number % 4, number / 4);
    match form {
        0 => format!("site/+/device/{}/#", EXACT + of_form),
        1 => format!("site/{}/#", SITES + of_form),
        2 => format!("+/{of_form}/device/+/x"),
        _ => format!("site/{}/device/{}/+/limit", of_form % SITES, 2 * EXACT + of_form),
    }
}

/// A topic that the filter of this number alone matches.
fn topic_of_wildcard(number: usize) -> String {
    let (form, of_form) = (number % 4, number / 4);
    match form {
        0 => format!("site/{}/device/{}/temperature", of_form % SITES, EXACT + of_form),
        1 => format!("site/{}/device/{of_form}/temperature", SITES + of_form),
        2 => format!("place/{of_form}/device/{number}/x"),
        _ => wildcard(number).replace('+', "high"),
    }
}

fn topic_of_none(number: usize) -> String {
    format!("site/{}/device/{number}/humidity", number % SITES)
}

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != CASE).skip(1);
    if let Some((what, sessions)) = arguments.next().zip(arguments.next()) {
        return measure(&what, sessions.parse().unwrap_or(1));
    }
    for sessions in ["10000", "1000"] {
        println!("{EXACT} exact filters and {WILDCARD} with wildcards, of {sessions} sessions");
        for what in ["memory", "interest", "times"] {
            let program = std::env::current_exe();
            let run = |program| {
                let mut command = Command::new(program);
                // Memory that is given back is to be seen at once.
                command.env("MIMALLOC_PURGE_DELAY", "0");
                command.args([CASE, what, sessions]).status()
            };
            let ended = program.and_then(run);
            assert!(ended.is_ok_and(|status| status.success()), "{what}");
        }
    }
}

const CASE: &str = "--case";

fn measure(what: &str, sessions: usize) {
    match what {
        "times" => measure_times(sessions),
        _ => measure_memory(sessions, what == "interest"),
    }
}

/// A shard with all the sessions, and perhaps another one, which learns of their interests.
struct World {
    owner: Shell,
    other: Option<Shell>,
    sessions: Vec<ConnectionId>,
    publisher: ConnectionId,
}

impl World {
    fn new(sessions: usize, with_other: bool) -> Self {
        let (mut owner, other) = if with_other {
            let (owner, other) = Shell::pair();
            (owner, Some(other))
        } else {
            (Shell::alone(), None)
        };
        let sessions = (0..sessions)
            .map(|number| owner.connect(&format!("client-{number}")))
            .collect();
        let publisher = owner.connect("publisher");
        Self {
            owner,
            other,
            sessions,
            publisher,
        }
    }

    /// All filters, dealt out in turn; returns the nanoseconds of the longest SUBSCRIBE.
    fn subscribe(&mut self) -> f64 {
        let mut longest_ns = 0;
        let of_each = (EXACT + WILDCARD) / self.sessions.len();
        let filter = |number: usize| number.checked_sub(EXACT).map_or_else(|| exact(number), wildcard);
        for from in (0..of_each).step_by(AT_ONCE) {
            for (at, &session) in self.sessions.iter().enumerate() {
                let numbers = (from..of_each.min(from + AT_ONCE)).map(|turn| turn * self.sessions.len() + at);
                let filters: Vec<_> = numbers.map(filter).collect();
                let filters: Vec<_> = filters.iter().map(String::as_str).collect();
                let packet = subscribe(&filters, QoS::AtMostOnce);
                let began = Instant::now();
                self.owner.receive(session, &packet);
                longest_ns = longest_ns.max(began.elapsed().as_nanos());
                self.owner.tick();
                self.owner.empty_outs(|_, _| {});
                exchange(&mut self.owner, self.other.as_mut());
            }
        }
        longest_ns as f64
    }
}

fn exchange(owner: &mut Shell, other: Option<&mut Shell>) {
    let Some(other) = other else { return };
    while let Some(batch) = owner.take_batch(1) {
        other.receive_batch(0, &batch);
        owner.recycle_batch(batch);
    }
    // It answers which retained messages it has for the new subscriptions.
    other.tick();
    while let Some(batch) = other.take_batch(0) {
        owner.receive_batch(1, &batch);
        other.recycle_batch(batch);
    }
}

fn measure_memory(sessions: usize, with_other: bool) {
    let mut world = World::new(sessions, with_other);
    let before = rss_bytes();
    world.subscribe();
    let whose = if with_other {
        "of two shards"
    } else {
        "of its shard"
    };
    let each = |bytes: u64| bytes as f64 / (EXACT + WILDCARD) as f64;
    print(
        &format!("memory {whose}"),
        each(rss_bytes() - before),
        "bytes a subscription",
    );
    for session in std::mem::take(&mut world.sessions) {
        world.owner.lose(session);
        exchange(&mut world.owner, world.other.as_mut());
    }
    print(
        &format!("memory {whose} when all have gone"),
        each(rss_bytes().saturating_sub(before)),
        "bytes a subscription",
    );
    assert_eq!(world.owner.resource_counts().filters, 0);
}

fn measure_times(sessions: usize) {
    let mut world = World::new(sessions, false);
    let began = Instant::now();
    let longest_ns = world.subscribe();
    let each = began.elapsed().as_nanos() as f64 / (EXACT + WILDCARD) as f64;
    print("SUBSCRIBE", each, "ns a filter");
    print("the longest SUBSCRIBE of 100 filters", longest_ns / 1e6, "ms");
    for (name, topic, topics, matches) in [
        ("one exact match", exact as fn(usize) -> String, EXACT, 1),
        ("one wildcard match", topic_of_wildcard, WILDCARD, 1),
        ("no match", topic_of_none, EXACT, 0),
    ] {
        let mut random = fastrand::Rng::with_seed(1);
        let topics: Vec<String> = (0..COLD).map(|_| topic(random.usize(0..topics))).collect();
        let packets: Vec<Vec<u8>> = topics.iter().map(|topic| packet(topic)).collect();
        let (warm_topics, warm_packets) = (
            topics.get(..WARM).unwrap_or_default(),
            packets.get(..WARM).unwrap_or_default(),
        );
        let owner = &mut world.owner;
        print(
            &format!("match, {name}, cold"),
            match_all(owner, &topics, matches),
            "ns",
        );
        print(
            &format!("match, {name}, warm"),
            match_all(owner, warm_topics, matches),
            "ns",
        );
        let figure = publish_all(&mut world, &packets, matches);
        print(&format!("publish, {name}, cold"), figure, "ns");
        let figure = publish_all(&mut world, warm_packets, matches);
        print(&format!("publish, {name}, warm, its route cached"), figure, "ns");
    }
}

/// Nanoseconds to find what matches one of the topics.
fn match_all(shell: &mut Shell, topics: &[String], matches: usize) -> f64 {
    fastest(topics, |topic| {
        assert_eq!(shell.count_matching(black_box(topic)), matches, "{topic}")
    })
}

/// Nanoseconds to publish one of the packets, from the bytes of a read to emptied `out`s.
fn publish_all(world: &mut World, packets: &[Vec<u8>], matches: usize) -> f64 {
    fastest(packets, |packet| {
        world.owner.receive(world.publisher, black_box(packet));
        assert_eq!(world.owner.empty_outs(|_, _| {}), packet.len() * matches);
    })
}

/// Nanoseconds of one of the operations, each with the next one of `all`: of the round that took the least, as what
/// disturbs only adds. A round is short enough to find a moment without.
fn fastest<T>(all: &[T], mut operation: impl FnMut(&T)) -> f64 {
    let mut all = all.iter().cycle();
    let rounds = (0..ROUNDS).map(|_| {
        let began = Instant::now();
        all.by_ref().take(ROUND).for_each(&mut operation);
        began.elapsed().as_nanos() as f64 / ROUND as f64
    });
    rounds.fold(f64::INFINITY, f64::min)
}

fn packet(topic: &str) -> Vec<u8> {
    let mut packet = Vec::new();
    publish(topic, None, &mut packet);
    packet
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
