//! The outcome for people.
//!
//! Invariant: every figure has its unit in sight, and the verdict stands last, where it is read.

use std::fmt::{self, Write};

use crate::latency::Summary;
use crate::outcome::{BrokerUse, Outcome, security};
use crate::scenario::{Load, Scenario, version_name};
use crate::topics::Topics;
use crate::validity::{Gravity, LimitedBy, Verdict};

/// The outcome as text.
pub fn text(outcome: &Outcome) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_all(&mut text, outcome);
    text
}

fn write_all(out: &mut String, outcome: &Outcome) -> fmt::Result {
    write_head(out, outcome)?;
    write_latencies(out, outcome)?;
    write_connect(out, outcome)?;
    write_ledger(out, outcome)?;
    write_costs(out, outcome)?;
    write_findings(out, &outcome.verdict)
}

fn write_head(out: &mut String, outcome: &Outcome) -> fmt::Result {
    let Scenario {
        publishers,
        subscribers,
        qos,
        payload_bytes,
        version,
        ..
    } = outcome.scenario;
    let shape = match &outcome.scenario.topics {
        Topics::Pairs => "pairs",
        Topics::FanOut => "fan-out",
        Topics::FanIn => "fan-in",
        Topics::Shared { .. } => "shared subscriptions",
        Topics::Pattern(pattern) => pattern,
    };
    let pace = match outcome.scenario.load {
        Load::Paced { rate_per_s, .. } => format!("{} msg/s", grouped(rate_per_s.round() as u64)),
        Load::Saturating { window } => format!("as fast as possible with a window of {window}"),
        Load::Idle => "no messages".to_owned(),
    };
    if let Some(origin) = &outcome.scenario.origin {
        let published = origin.published_duration_s;
        let length = published.map_or(String::new(), |seconds| format!(" of {seconds} s"));
        let measured_s = outcome.scenario.duration.as_secs_f64();
        writeln!(
            out,
            "scenario {}, scale {}, {measured_s} s{length} measured",
            origin.name, origin.scale
        )?;
    }
    let security = security(outcome.broker.web_socket, outcome.broker.tls.as_deref());
    writeln!(
        out,
        "{publishers} publishers, {subscribers} subscribers ({shape}), QoS {}, {payload_bytes} B, {pace}",
        qos as u8
    )?;
    writeln!(
        out,
        "{} ({}), MQTT {}, {security}\n",
        outcome.broker.address,
        outcome.broker.name,
        version_name(version)
    )
}

fn write_latencies(out: &mut String, outcome: &Outcome) -> fmt::Result {
    let paced = matches!(outcome.scenario.load, Load::Paced { .. });
    let first = if paced {
        "intended to receive"
    } else {
        "send to receive"
    };
    let rows = [
        (first, outcome.latency),
        ("write to receive", outcome.service),
        ("write to acknowledged", outcome.acknowledged),
        ("schedule lag", outcome.lag),
    ];
    write_table(out, "latency, ms", &rows)
}

fn write_connect(out: &mut String, outcome: &Outcome) -> fmt::Result {
    let connect = &outcome.connect;
    let rows = [
        ("TCP connect", connect.tcp),
        ("TLS handshake", connect.tls),
        ("WebSocket upgrade", connect.web_socket),
        ("CONNECT to CONNACK", connect.connack),
    ];
    write_table(out, "connecting, ms", &rows)?;
    let seconds = connect.wall_ns as f64 / 1e9;
    writeln!(
        out,
        "{:>24} {} in {seconds:.2} s, {} at a time\n",
        "connections",
        grouped(connect.connections),
        outcome.scenario.connect_concurrency
    )?;
    let Some(churn) = &outcome.churn else {
        return Ok(());
    };
    let p50_ms = churn.whole.map_or(0.0, |whole| whole.p50_ns as f64 / 1e6);
    writeln!(
        out,
        "{:>24} {} came and went beside the load, {} failed; {p50_ms:.3} ms to CONNACK in the median\n",
        "churn",
        grouped(churn.made),
        grouped(churn.failed)
    )
}

pub(crate) fn write_table(out: &mut String, title: &str, rows: &[(&str, Option<Summary>)]) -> fmt::Result {
    let heads = ["p50", "p90", "p99", "p99.9", "max", "mean"];
    write!(out, "{title:>24}")?;
    heads.iter().try_for_each(|head| write!(out, "{head:>10}"))?;
    writeln!(out, "{:>12}", "count")?;
    for (name, summary) in rows {
        let Some(summary) = summary else { continue };
        let Summary {
            p50_ns,
            p90_ns,
            p99_ns,
            p99_9_ns,
            max_ns,
            mean_ns,
            count,
            ..
        } = *summary;
        write!(out, "{name:>24}")?;
        for value_ns in [
            p50_ns as f64,
            p90_ns as f64,
            p99_ns as f64,
            p99_9_ns as f64,
            max_ns as f64,
            mean_ns,
        ] {
            write!(out, "{:>10.3}", value_ns / 1e6)?;
        }
        writeln!(out, "{:>12}", grouped(count))?;
    }
    writeln!(out)
}

fn write_ledger(out: &mut String, outcome: &Outcome) -> fmt::Result {
    let ledger = &outcome.ledger;
    let totals = &ledger.totals;
    writeln!(
        out,
        "{:>24} {} messages sent, {} of them measured; {} unsent",
        "ledger",
        grouped(ledger.sent),
        grouped(ledger.sent_measured),
        grouped(ledger.unsent)
    )?;
    writeln!(
        out,
        "{:>24} {} expected, {} received, {} lost, {} duplicate, {} reordered",
        "deliveries",
        grouped(totals.expected),
        grouped(totals.received),
        grouped(totals.lost),
        grouped(totals.duplicate),
        grouped(totals.reordered)
    )?;
    let rates = &outcome.rates;
    let offered = rates
        .offered_per_s
        .map_or(String::new(), |rate| format!("{rate:.0} offered, "));
    writeln!(
        out,
        "{:>24} {offered}{:.0} sent, {:.0} delivered, over {:.1} s\n",
        "messages per second", rates.sent_per_s, rates.delivered_per_s, rates.measured_s
    )
}

fn write_costs(out: &mut String, outcome: &Outcome) -> fmt::Result {
    if let Some(usage) = &outcome.broker.usage {
        write_broker_use(out, outcome, usage)?;
    }
    let threads: Vec<String> = outcome
        .generator
        .threads
        .iter()
        .map(|thread| format!("{:.1} %", thread.cpu_percent()))
        .collect();
    let each = outcome.generator.cpu_ns_per_message.map_or(String::new(), |ns| {
        format!(", {:.2} µs CPU for each message sent or received", ns / 1e3)
    });
    writeln!(
        out,
        "{:>24} {} of a core{each}; steal {:.1} %\n",
        "generator",
        threads.join(" + "),
        outcome.generator.steal_percent
    )
}

fn write_broker_use(out: &mut String, outcome: &Outcome, usage: &BrokerUse) -> fmt::Result {
    let cores = usage.cpu_ns as f64 / (usage.wall_ns.max(1)) as f64;
    let each = usage.cpu_ns_per_delivery.map_or(String::new(), |ns| {
        format!("{:.3} µs CPU for each delivery, ", ns / 1e3)
    });
    writeln!(out, "{:>24} {each}{:.1} % of a core", "broker", 100.0 * cores)?;
    let connections = outcome.connect.connections.max(1) as f64;
    if let Some(cpu_ns) = usage.connect_cpu_ns {
        writeln!(
            out,
            "{:>24} {:.1} µs CPU for each connection made",
            "",
            cpu_ns as f64 / connections / 1e3
        )?;
    }
    let mib = |bytes: Option<u64>| {
        bytes.map_or("?".to_owned(), |bytes| {
            format!("{:.1}", bytes as f64 / (1024.0 * 1024.0))
        })
    };
    write!(
        out,
        "{:>24} RSS {} MiB before, {} MiB connected, {} MiB loaded",
        "",
        mib(usage.rss_bytes_before),
        mib(usage.rss_bytes_connected),
        mib(usage.rss_bytes_loaded)
    )?;
    if let (Some(before), Some(connected)) = (usage.rss_bytes_before, usage.rss_bytes_connected) {
        write!(
            out,
            " ({:.1} KiB for each connection)",
            connected.saturating_sub(before) as f64 / connections / 1024.0
        )?;
    }
    writeln!(out)
}

/// The verdict with its findings.
pub(crate) fn write_findings(out: &mut String, verdict: &Verdict) -> fmt::Result {
    let headline = match (verdict.limited_by, verdict.exit_code) {
        (LimitedBy::Generator, _) => "INVALID: limited by the generator",
        (LimitedBy::Broker, 0) => "valid; limited by the broker",
        (LimitedBy::Broker, _) => "FAILED; limited by the broker",
        (LimitedBy::Nothing, 0) => "valid",
        (LimitedBy::Nothing, _) => "FAILED",
    };
    writeln!(out, "{:>24} {headline}", "verdict")?;
    for finding in &verdict.findings {
        let gravity = match finding.gravity {
            Gravity::Fault => "fault",
            Gravity::Warning => "warning",
            Gravity::Note => "note",
        };
        writeln!(out, "{gravity:>24} {}", finding.text)?;
    }
    Ok(())
}

/// 1234567 as 1,234,567.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Latency;
    use crate::outcome::{BrokerReport, ConnectReport, GeneratorReport, LedgerReport, Rates, SCHEMA};
    use crate::validity::{Finding, Verdict};

    #[test]
    fn digits_in_groups() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
            (100_000, "100,000"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    fn outcome() -> Outcome {
        let words = [
            "loadgen", "--pubs", "2", "--subs", "3", "-q", "1", "--rate", "1500",
        ]
        .map(std::ffi::OsString::from);
        let mut latency = Latency::new();
        latency.record(1_500_000);
        let finding = Finding {
            gravity: Gravity::Fault,
            text: "seven were lost".to_owned(),
        };
        Outcome {
            schema: SCHEMA,
            loadgen_version: "0",
            started_unix_s: 0,
            scenario: crate::args::parse(words).unwrap().scenario,
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
                    rss_bytes_loaded: None,
                    connect_cpu_ns: Some(50_000),
                }),
                ..BrokerReport::default()
            },
            connect: ConnectReport {
                connections: 5,
                wall_ns: 250_000_000,
                ..ConnectReport::default()
            },
            churn: None,
            latency: latency.summary(),
            service: None,
            acknowledged: None,
            lag: None,
            lag_own: None,
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
            windows: Vec::new(),
            series: Vec::new(),
            quantiles: Vec::new(),
            histograms: crate::outcome::Histograms::default(),
            steadiness: None,
            generator: GeneratorReport::default(),
            machine: crate::machine::Machine::default(),
            verdict: Verdict {
                exit_code: 1,
                valid: true,
                limited_by: LimitedBy::Nothing,
                findings: vec![finding],
            },
        }
    }

    #[test]
    fn every_part_is_in_the_text() {
        let text = text(&outcome());
        for part in [
            "2 publishers, 3 subscribers (pairs), QoS 1, 64 B, 1,500 msg/s\n",
            "127.0.0.1:1883 (a broker), MQTT 3.1.1, no TLS\n",
            "intended to receive     1.500",
            "connections 5 in 0.25 s, 32 at a time",
            "15,000 messages sent, 10,000 of them measured; 3 unsent",
            "1500 offered, 0 sent",
            "5.000 µs CPU for each delivery, 50.0 % of a core",
            "10.0 µs CPU for each connection made",
            "RSS 1.0 MiB before, 1.0 MiB connected, ? MiB loaded (2.0 KiB for each connection)",
            "verdict FAILED\n",
            "fault seven were lost\n",
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
}
