//! Outcomes as text.

use super::*;
use crate::measure::latency::Latency;
use crate::measure::ledger::Totals;
use crate::outcome::testing;
use crate::outcome::validity::{Finding, Verdict};
use crate::outcome::{BrokerReport, ConnectReport, DrainReport, LedgerReport, Rates, SlowReport};

fn slow(others: Option<Summary>) -> SlowReport {
    SlowReport {
        subscribers: 2,
        disconnected: 1,
        ledger: Totals {
            lost: 1_234,
            ..Totals::default()
        },
        reading: others,
        stalled: others,
        p99_ratio: Some(1.5),
    }
}

fn outcome() -> Outcome {
    let mut latency = Latency::new();
    latency.record(1_500_000);
    Outcome {
        broker: BrokerReport {
            address: "127.0.0.1:1883".to_owned(),
            name: "a broker".to_owned(),
            usage: Some(BrokerUse {
                cpu_ns: 500_000_000,
                wall_ns: 1_000_000_000,
                deliveries: 100_000,
                cpu_ns_per_delivery: Some(5_000.0),
                rss_bytes_before: Some(1 << 20),
                rss_bytes_connected: Some((1 << 20) + 5 * 2_048),
                rss_bytes_peak: Some(3 << 20),
                connect_cpu_ns: Some(50_000),
                ..testing::usage()
            }),
            ..BrokerReport::default()
        },
        connect: ConnectReport {
            connections: 5,
            wall_ns: 250_000_000,
            ..ConnectReport::default()
        },
        latency: latency.summary(),
        ledger: LedgerReport {
            sent: 15_000,
            sent_measured: 10_000,
            unsent: 3,
            ..LedgerReport::default()
        },
        rates: Rates {
            measured_s: 10.0,
            offered_per_s: Some(1_500.0),
            ..Rates::default()
        },
        drain: DrainReport {
            backlog: 7_000,
            wall_ns: 1_250_000_000,
            cut_off: false,
            still_coming: false,
        },
        slow: Some(slow(latency.summary())),
        verdict: Verdict {
            exit_code: 1,
            findings: vec![Finding {
                gravity: Gravity::Fault,
                text: "seven were lost".to_owned(),
            }],
            ..testing::valid()
        },
        ..testing::outcome("--pubs 2 --subs 3 -q 1 --rate 1500")
    }
}

/// The words with one space between them.
fn joined(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_part_is_in_the_text() {
    let text = text(&outcome());
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let text = joined(&text);
    for part in [
        "2 publishers, 3 subscribers (pairs), QoS 1, 64 B, 1,500 msg/s 127.0.0.1:1883",
        "127.0.0.1:1883 (a broker), MQTT 3.1.1, no TLS latency p50",
        "intended to receive 1.50 ms 1.50 ms 1.50 ms 1.50 ms 1.50 ms 1",
        "connections 5 in 0.25 s, 32 at a time",
        "15,000 messages sent, 10,000 of them measured; 3 unsent",
        "1500 offered, 0 sent",
        "7,000 deliveries outstanding when the load ended, the last of them came 1.25 s later",
        "1,234 lost, 0 duplicate, 0 reordered; 1 of 2 disconnected; p99 of the others times 1.50",
        "slow ones stalled 1.50 ms",
        "5.000 µs CPU for each delivery, 50.0 % of a core",
        "10.0 µs CPU for each connection made",
        "RSS 1.0 MiB before, 1.0 MiB connected, ? MiB loaded, 3.0 MiB at most, ? MiB drained \
         (2.0 KiB for each connection)",
        "verdict FAILED fault seven were lost",
    ] {
        assert!(text.contains(part), "{part:?} in\n{text}");
    }
}

#[test]
fn a_run_that_the_generator_limited_is_called_invalid() {
    let mut outcome = outcome();
    outcome.verdict.limited_by = LimitedBy::Generator;
    assert!(text(&outcome).contains("verdict INVALID"));
}

#[test]
fn percentiles_that_are_not_the_brokers_are_marked_where_they_stand() {
    let mut outcome = outcome();
    outcome.verdict.valid = false;
    assert!(text(&outcome).contains("not the broker's all of them"));
    let share = |percentile, percent| crate::outcome::validity::OwnShare {
        percentile,
        latency_ns: 100,
        own_ns: percent as u64,
        percent,
    };
    outcome.generator.own_shares = vec![share(50.0, 20.0), share(99.0, 51.0), share(99.9, 95.0)];
    let text = joined(&text(&outcome));
    assert!(
        text.contains("not the broker's p99 (51 %), p99.9 (95 %): mostly"),
        "{text}"
    );
}
