//! The outcome for people.
//!
//! Invariants: every figure has its unit nearby, and the verdict comes last, where it is read.

use std::fmt::{self, Write};

use crate::measure::latency::Summary;
use crate::measure::numbers::{duration, grouped};
use crate::outcome::validity::{Gravity, LimitedBy, Verdict};
use crate::outcome::{BrokerUse, NeverCame, Outcome, SlowReport};
use crate::scenario::json::version_name;
use crate::scenario::topics::Topics;
use crate::scenario::{Load, Scenario};
use crate::system::error::EXIT_SATURATED;

/// The outcome as text.
pub fn text(outcome: &Outcome) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_all(&mut text, outcome);
    fit(&text)
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
    let rate = match outcome.scenario.load {
        Load::Scheduled { rate_per_s, .. } => format!("{} msg/s", grouped(rate_per_s.round() as u64)),
        Load::Saturating { window } => format!("as fast as possible with a window of {window}"),
        Load::Flood => "a flood, as fast as the sockets take it".to_owned(),
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
        "{publishers} publishers, {subscribers} subscribers ({shape}), QoS {}, {}, {rate}",
        qos as u8,
        outcome.scenario.sizes()
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
    let has_schedule = matches!(outcome.scenario.load, Load::Scheduled { .. });
    let first = if has_schedule {
        "intended to receive"
    } else {
        "send to receive"
    };
    let rows = [
        (first, outcome.latency),
        ("all reading", outcome.slow.and_then(|slow| slow.reading)),
        ("slow ones stalled", outcome.slow.and_then(|slow| slow.stalled)),
        ("write to receive", outcome.service),
        ("write to acknowledged", outcome.acknowledged),
        ("schedule lag", outcome.lag),
        ("arrival to read", outcome.read_delay),
    ];
    write_table(out, "latency", &rows)?;
    write_doubts(out, outcome)?;
    if let Some(never_came) = outcome.never_came {
        let NeverCame {
            deliveries,
            percent,
            counted_as_ns,
        } = never_came;
        writeln!(
            out,
            "{:>21} {} of the measured deliveries ({percent:.3} %); they count as {:.1} s, the wait for them\n",
            "never came",
            grouped(deliveries),
            counted_as_ns as f64 / 1e9
        )?;
    }
    Ok(())
}

/// The percentiles that do not describe the broker, below their table.
fn write_doubts(out: &mut String, outcome: &Outcome) -> fmt::Result {
    let too_much = outcome
        .generator
        .own_shares
        .iter()
        .filter(|share| share.is_too_much());
    let marked: Vec<String> = too_much
        .map(|share| format!("p{} ({:.0} %)", share.percentile, share.percent))
        .collect();
    if !marked.is_empty() {
        let marked = marked.join(", ");
        writeln!(
            out,
            "{:>21} {marked}: mostly the generator's own lag\n",
            "not the broker's"
        )?;
    } else if !outcome.verdict.valid && outcome.latency.is_some() {
        writeln!(out, "{:>21} all of them: see the verdict\n", "not the broker's")?;
    }
    Ok(())
}

fn write_connect(out: &mut String, outcome: &Outcome) -> fmt::Result {
    let connect = &outcome.connect;
    let rows = [
        ("TCP connect", connect.tcp),
        ("TLS handshake", connect.tls),
        ("WebSocket upgrade", connect.web_socket),
        ("CONNECT to CONNACK", connect.connack),
    ];
    write_table(out, "connecting", &rows)?;
    let seconds = connect.wall_ns as f64 / 1e9;
    writeln!(
        out,
        "{:>21} {} in {seconds:.2} s, {} at a time\n",
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
        "{:>21} {} came and went beside the load, {} failed; {p50_ms:.3} ms to CONNACK in the median\n",
        "churn",
        grouped(churn.made),
        grouped(churn.failed)
    )
}

/// The same text in lines of at most 80 columns: longer lines continue below the second column.
pub(crate) fn fit(text: &str) -> String {
    let indent = " ".repeat(22);
    let options = textwrap::Options::new(80).subsequent_indent(&indent);
    let lines = text.lines().map(|line| textwrap::fill(line, &options) + "\n");
    lines.collect()
}

pub(crate) fn write_table(out: &mut String, title: &str, rows: &[(&str, Option<Summary>)]) -> fmt::Result {
    let heads = ["p50", "p90", "p99", "p99.9", "max"];
    write!(out, "{title:>21}")?;
    heads.iter().try_for_each(|head| write!(out, "{head:>9}"))?;
    writeln!(out, "{:>13}", "count")?;
    for (name, summary) in rows {
        let Some(summary) = summary else { continue };
        let Summary {
            p50_ns,
            p90_ns,
            p99_ns,
            p99_9_ns,
            max_ns,
            count,
            ..
        } = *summary;
        write!(out, "{name:>21}")?;
        for value_ns in [p50_ns, p90_ns, p99_ns, p99_9_ns, max_ns] {
            write!(out, "{:>9}", duration(value_ns as f64))?;
        }
        writeln!(out, "{:>13}", grouped(count))?;
    }
    writeln!(out)
}

fn write_ledger(out: &mut String, outcome: &Outcome) -> fmt::Result {
    let ledger = &outcome.ledger;
    let totals = &ledger.totals;
    writeln!(
        out,
        "{:>21} {} messages sent, {} of them measured; {} unsent",
        "ledger",
        grouped(ledger.sent),
        grouped(ledger.sent_measured),
        grouped(ledger.unsent)
    )?;
    writeln!(
        out,
        "{:>21} {} expected, {} received\n{:>21} {} lost, {} duplicate, {} reordered",
        "deliveries",
        grouped(totals.expected),
        grouped(totals.received),
        "",
        grouped(totals.lost),
        grouped(totals.duplicate),
        grouped(totals.reordered)
    )?;
    if let Some(slow) = &outcome.slow {
        write_slow(out, slow)?;
    }
    let drain = &outcome.drain;
    if outcome.scenario.load == Load::Flood || drain.wall_ns > DRAIN_NS_NOTABLE {
        writeln!(
            out,
            "{:>21} {} deliveries outstanding when the load ended, the last of them came {:.2} s later",
            "backlog",
            grouped(drain.backlog),
            drain.wall_ns as f64 / 1e9
        )?;
    }
    let rates = &outcome.rates;
    let offered = rates
        .offered_per_s
        .map_or(String::new(), |rate| format!("{rate:.0} offered, "));
    writeln!(
        out,
        "{:>21} {offered}{:.0} sent, {:.0} delivered, over {:.1} s\n",
        "messages per second", rates.sent_per_s, rates.delivered_per_s, rates.measured_s
    )
}

fn write_slow(out: &mut String, slow: &SlowReport) -> fmt::Result {
    let ratio = slow.p99_ratio.map_or(String::new(), |ratio| {
        format!("; p99 of the others times {ratio:.2} since they did not read")
    });
    writeln!(
        out,
        "{:>21} {} expected, {} received\n{:>21} {} lost, {} duplicate, {} reordered; {} of {} disconnected{ratio}",
        "to slow subscribers",
        grouped(slow.ledger.expected),
        grouped(slow.ledger.received),
        "",
        grouped(slow.ledger.lost),
        grouped(slow.ledger.duplicate),
        grouped(slow.ledger.reordered),
        slow.disconnected,
        slow.subscribers
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
        "{:>21} {} of a core{each}; steal {:.1} %\n",
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
    writeln!(out, "{:>21} {each}{:.1} % of a core", "broker", 100.0 * cores)?;
    let connections = outcome.connect.connections.max(1) as f64;
    if let Some(cpu_ns) = usage.connect_cpu_ns {
        writeln!(
            out,
            "{:>21} {:.1} µs CPU for each connection made",
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
        "{:>21} RSS {} MiB before, {} MiB connected, {} MiB loaded, {} MiB at most, {} MiB drained",
        "",
        mib(usage.rss_bytes_before),
        mib(usage.rss_bytes_connected),
        mib(usage.rss_bytes_loaded),
        mib(usage.rss_bytes_peak),
        mib(usage.rss_bytes_drained)
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

/// The shortest time of the last delivery after the load that is reported.
const DRAIN_NS_NOTABLE: u64 = 200_000_000;

/// The verdict with its findings.
pub(crate) fn write_findings(out: &mut String, verdict: &Verdict) -> fmt::Result {
    let headline = match (verdict.limited_by, verdict.exit_code) {
        (LimitedBy::Generator, _) => "INVALID: limited by the generator",
        (LimitedBy::Unknown, _) => "INVALID: limited by the generator or by the broker",
        (LimitedBy::Broker, EXIT_SATURATED) => {
            "SATURATED: the broker, or the path to it, did not carry the offered rate"
        }
        (LimitedBy::Broker, 0) => "valid; limited by the broker",
        (LimitedBy::Broker, _) => "FAILED; limited by the broker",
        (LimitedBy::Network, 0) => "valid; limited by connections that broke",
        (LimitedBy::Network, _) => "FAILED; limited by connections that broke",
        (LimitedBy::Nothing, 0) => "valid",
        (LimitedBy::Nothing, _) => "FAILED",
    };
    writeln!(out, "{:>21} {headline}", "verdict")?;
    for finding in &verdict.findings {
        let gravity = match finding.gravity {
            Gravity::Fault => "fault",
            Gravity::Warning => "warning",
            Gravity::Note => "note",
        };
        writeln!(out, "{gravity:>21} {}", finding.text)?;
    }
    Ok(())
}

/// The layers below MQTT: WebSocket, TLS with its version and cipher suite.
pub(crate) fn security(web_socket: bool, tls: Option<&str>) -> String {
    let beneath = if web_socket { "WebSocket, " } else { "" };
    format!("{beneath}{}", tls.unwrap_or("no TLS"))
}

#[cfg(test)]
mod tests;
