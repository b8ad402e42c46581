//! How many instructions the way of a message takes: the same number at each run, so that a change that makes it
//! longer is seen where clocks are too noisy. Needs valgrind and `gungraun-runner` of the library's version:
//!
//! `cargo bench -p benches --features instructions --bench instructions`
//!
//! Each bench has its limit beside it: what it took when it was last looked at, and five in a hundred more. One that
//! takes more fails; a better one should lower its limit.
#![allow(missing_docs, reason = "gungraun's macros make public items")]

use std::hint::black_box;

use benches::{Shell, publish, subscribe};
use broker::logic::ConnectionId;
use gungraun::{
    Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use mqtt::packet::{PacketIdentifier, QoS};
use mqtt::topic;

const TOPIC: &str = "sensors/17/temperature";

/// Fails above what was measured last and five in a hundred more.
fn took(instructions: u64) -> LibraryBenchmarkConfig {
    let limit = instructions + instructions / 20;
    LibraryBenchmarkConfig::default()
        .tool(Callgrind::with_args(["--cache-sim=no"]).hard_limits([(EventKind::Ir, limit)]))
        .clone()
}

/// A shard whose caches are warm, and what its publisher sends.
struct Warm {
    shell: Shell,
    publisher: ConnectionId,
    read: Vec<u8>,
}

/// With subscribers to the topic, beside others to twice so many other filters.
fn warm(subscribers: u16, others: u32, publishes: u16, qos: QoS) -> Warm {
    let mut shell = Shell::alone();
    for number in 0..subscribers {
        let id = shell.connect(&format!("subscriber-{number}"));
        shell.receive(id, &subscribe(&[TOPIC], qos));
    }
    let other = shell.connect("other");
    for number in 0..others {
        let exact = format!("sensors/{number}/humidity");
        let wildcard = format!("buildings/{number}/+/humidity");
        shell.receive(other, &subscribe(&[&exact, &wildcard], qos));
    }
    let publisher = shell.connect("publisher");
    let mut read = Vec::new();
    for number in 1..=publishes {
        let identifier = PacketIdentifier::new(number).filter(|_| qos != QoS::AtMostOnce);
        publish(TOPIC, identifier, &mut read);
    }
    let mut warm = Warm {
        shell,
        publisher,
        read,
    };
    turn(&mut warm);
    warm.shell.begin_turn();
    let bytes = turn(&mut warm);
    // At QoS 1 there is a PUBACK besides.
    let delivered = usize::from(subscribers) * warm.read.len();
    assert!(bytes >= delivered, "{bytes} of {delivered} bytes are delivered");
    warm.shell.begin_turn();
    warm
}

/// One read of the publisher, and the `out`s it fills.
fn turn(warm: &mut Warm) -> usize {
    warm.shell.receive(warm.publisher, &warm.read);
    warm.shell.empty_outs(|_, out| {
        black_box(out);
    })
}

#[library_benchmark]
#[bench::pair(args = (1, 0, 16, QoS::AtMostOnce), setup = warm, config = took(8_939))]
#[bench::among_10_000_filters(args = (1, 5_000, 16, QoS::AtMostOnce), setup = warm, config = took(8_939))]
#[bench::fan_out_100(args = (100, 0, 16, QoS::AtMostOnce), setup = warm, config = took(56_932))]
#[bench::qos_1(args = (1, 0, 1, QoS::AtLeastOnce), setup = warm, config = took(3_271))]
fn publishes(mut warm: Warm) -> (Warm, usize) {
    let bytes = turn(black_box(&mut warm));
    // Dropping the shard is not the work that is counted.
    (warm, bytes)
}

#[library_benchmark]
#[bench::exact(args = ("sensors/17/temperature"), config = took(329))]
#[bench::wildcard(args = ("sensors/+/temperature/#"), config = took(334))]
fn matches(filter: &str) -> bool {
    topic::matches(black_box(filter), black_box(TOPIC))
}

library_benchmark_group!(name = way_of_a_message; benchmarks = publishes, matches);
main!(library_benchmark_groups = way_of_a_message);
