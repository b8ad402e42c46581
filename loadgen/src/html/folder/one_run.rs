//! The report of one run.
//!
//! Invariants: the verdict is above the figures, and each figure has its unit in its row or in the head of its table.

use std::io;

use super::{MIB, facts, memory, over_time, plot, quantiles};
use crate::html::plots::{Axis, LATENCY, Line, PERCENTILES, Scale, TIME, Unit, lines};
use crate::html::{Badge, Card, LastColumn, Level, Notice, Page, Plot, Table};
use crate::measure::latency::Summary;
use crate::measure::numbers::{digits, duration};
use crate::outcome::Outcome;
use crate::outcome::report::security;
use crate::outcome::series::IntervalReport;
use crate::outcome::validity::Gravity;
use crate::scenario::Load;
use crate::scenario::json::version_name;
use crate::system::error::{EXIT_OK, EXIT_SATURATED};

pub(super) fn page(run: &Outcome) -> io::Result<Page> {
    let mut plots = Vec::new();
    plots.extend(percentiles(run)?);
    plots.extend(latency_over_time(run)?);
    plots.extend(rates_over_time(run)?);
    plots.extend(connections(run)?);
    let origin = run.scenario.origin.as_ref();
    Ok(Page {
        title: origin.map_or_else(|| "One load".to_owned(), |origin| origin.name.clone()),
        lead: lead(run),
        badge: Some(badge(run)),
        cards: cards(run),
        notices: verdict(run),
        tables: vec![latencies(run), ledger(run)],
        plots,
        facts: facts(&run.machine),
        ..Page::default()
    })
}

fn lead(run: &Outcome) -> String {
    let scenario = &run.scenario;
    let rate = match scenario.load {
        Load::Scheduled { rate_per_s, .. } => format!("{} messages per second offered", digits(rate_per_s)),
        Load::Saturating { window } => format!("as fast as possible with a window of {window}"),
        Load::Flood => "a flood, as fast as the sockets take it".to_owned(),
        Load::Idle => "no messages".to_owned(),
    };
    let origin = scenario.origin.as_ref().map_or(String::new(), |origin| {
        let published = origin.published_duration_s;
        let length = published.map_or(String::new(), |seconds| {
            format!(", published with {} s", digits(seconds))
        });
        format!("Scale {}{length}. ", origin.scale)
    });
    format!(
        "{origin}{} publishers, {} subscribers, QoS {}, payloads of {}, {rate}; {} s measured after {} s of warm-up; \
         MQTT {}, {}; {}.",
        digits(f64::from(scenario.publishers)),
        digits(f64::from(scenario.subscribers)),
        scenario.qos as u8,
        scenario.sizes(),
        digits(scenario.duration.as_secs_f64()),
        digits(scenario.warmup.as_secs_f64()),
        version_name(scenario.version),
        security(run.broker.web_socket, run.broker.tls.as_deref()),
        run.broker.name,
    )
}

fn badge(run: &Outcome) -> Badge {
    let text = run.verdict.word();
    let level = match text {
        "valid" => Level::Good,
        "warning" | "saturated" => Level::Warning,
        _ => Level::Bad,
    };
    Badge { level, text }
}

/// The five most important figures. If the generator limited the run, those that it affected are marked.
fn cards(run: &Outcome) -> Vec<Card> {
    let latency = |ns: fn(&Summary) -> u64| run.latency.map(|summary| duration(ns(&summary) as f64));
    let totals = &run.ledger.totals;
    let cpu_ns = run.broker.usage.and_then(|usage| usage.cpu_ns_per_delivery);
    let figures = [
        ("p50", latency(|summary| summary.p50_ns), true),
        ("p99", latency(|summary| summary.p99_ns), true),
        (
            "delivered per second",
            Some(digits(run.rates.delivered_per_s)),
            true,
        ),
        (
            "lost",
            Some(format!(
                "{} of {}",
                digits(totals.lost as f64),
                digits(totals.expected as f64)
            )),
            false,
        ),
        ("broker CPU per delivery", cpu_ns.map(duration), false),
    ];
    let card = |(name, value, is_generators): (&'static str, Option<String>, bool)| Card {
        name,
        value: value.unwrap_or_else(|| "not known".to_owned()),
        is_marked: is_generators && !run.verdict.valid,
    };
    figures.map(card).to_vec()
}

/// The verdict in one sentence, and its findings.
fn verdict(run: &Outcome) -> Vec<Notice> {
    let verdict = &run.verdict;
    let (level, text) = match (verdict.valid, verdict.exit_code) {
        (true, EXIT_OK) => (Level::Good, "The run is valid."),
        (true, EXIT_SATURATED) => (
            Level::Warning,
            "The figures are valid; the broker, or the path to it, did not carry the offered rate.",
        ),
        (true, _) => (Level::Bad, "The figures are valid; the run failed."),
        (false, _) => (Level::Bad, "The run is INVALID: the generator limited it."),
    };
    let head = Notice {
        level,
        text: text.to_owned(),
    };
    let findings = verdict.findings.iter().map(|finding| {
        let (level, gravity) = match finding.gravity {
            Gravity::Fault => (Level::Bad, "fault"),
            Gravity::Warning => (Level::Warning, "warning"),
            Gravity::Note => (Level::Plain, "note"),
        };
        Notice {
            level,
            text: format!("{gravity}: {}", finding.text),
        }
    });
    std::iter::once(head).chain(findings).collect()
}

fn latencies(run: &Outcome) -> Table {
    let connect = &run.connect;
    let rows = [
        ("intended to receive", run.latency),
        (
            "other subscribers, all reading",
            run.slow.and_then(|slow| slow.reading),
        ),
        (
            "other subscribers, slow ones stalled",
            run.slow.and_then(|slow| slow.stalled),
        ),
        ("write to receive (service time)", run.service),
        ("write to acknowledged", run.acknowledged),
        ("schedule lag", run.lag),
        ("TCP connect", connect.tcp),
        ("TLS handshake", connect.tls),
        ("WebSocket upgrade", connect.web_socket),
        ("CONNECT to CONNACK", connect.connack),
    ];
    let cells = |name: &str, summary: Summary| {
        let percentiles = [
            summary.p50_ns as f64,
            summary.p90_ns as f64,
            summary.p99_ns as f64,
            summary.p99_9_ns as f64,
            summary.max_ns as f64,
            summary.mean_ns,
        ];
        let figures = percentiles.map(duration);
        std::iter::once(name.to_owned()).chain(figures).collect()
    };
    let heads = ["", "p50", "p90", "p99", "p99.9", "max", "mean"];
    let known = rows
        .into_iter()
        .filter_map(|(name, summary)| Some(cells(name, summary?)));
    Table {
        title: "Latencies".to_owned(),
        heads: heads.map(str::to_owned).to_vec(),
        rows: known.collect(),
        last: LastColumn::Figure,
    }
}

fn ledger(run: &Outcome) -> Table {
    let count = |count: u64| Some(count as f64);
    let totals = &run.ledger.totals;
    let counts = [
        ("messages sent", count(run.ledger.sent)),
        ("messages of the schedule not sent", count(run.ledger.unsent)),
        ("deliveries expected", count(totals.expected)),
        ("deliveries received", count(totals.received)),
        ("deliveries lost", count(totals.lost)),
        (
            "measured deliveries that never came, %",
            run.never_came.map(|never_came| never_came.percent),
        ),
        ("deliveries duplicate", count(totals.duplicate)),
        ("deliveries out of order", count(totals.reordered)),
        (
            "deliveries to slow subscribers lost",
            run.slow.and_then(|slow| count(slow.ledger.lost)),
        ),
        (
            "slow subscribers disconnected",
            run.slow.and_then(|slow| count(slow.disconnected)),
        ),
        ("deliveries outstanding at the end", count(run.drain.backlog)),
        (
            "last delivery after the end, s",
            Some(run.drain.wall_ns as f64 / 1e9),
        ),
    ];
    let rows = counts
        .into_iter()
        .chain(costs(run))
        .filter_map(|(name, value)| Some(vec![name.to_owned(), digits(value?)]));
    Table {
        title: "Ledger and costs".to_owned(),
        heads: vec![String::new(), String::new()],
        rows: rows.collect(),
        last: LastColumn::Figure,
    }
}

fn costs(run: &Outcome) -> [(&'static str, Option<f64>); 7] {
    let usage = run.broker.usage;
    let mib = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64 / MIB);
    let us = |ns: Option<f64>| ns.map(|ns| ns / 1e3);
    [
        ("messages sent per second", Some(run.rates.sent_per_s)),
        ("messages delivered per second", Some(run.rates.delivered_per_s)),
        (
            "broker CPU per delivery, µs",
            us(usage.and_then(|usage| usage.cpu_ns_per_delivery)),
        ),
        (
            "broker RSS with all connected, MiB",
            mib(usage.and_then(|usage| usage.rss_bytes_connected)),
        ),
        (
            "broker peak RSS, MiB",
            mib(usage.and_then(|usage| usage.rss_bytes_peak)),
        ),
        (
            "broker RSS after the drain, MiB",
            mib(usage.and_then(|usage| usage.rss_bytes_drained)),
        ),
        (
            "generator CPU per message sent or received, µs",
            us(run.generator.cpu_ns_per_message),
        ),
    ]
}

fn line(colour: usize, points: Vec<(f64, f64)>) -> Line {
    Line {
        colour,
        points,
        faint: false,
    }
}

fn legend(names: &[&str]) -> Vec<(usize, String)> {
    names.iter().map(|name| (*name).to_owned()).enumerate().collect()
}

fn percentiles(run: &Outcome) -> io::Result<Option<Plot>> {
    let svg = lines(PERCENTILES, LATENCY, &[line(0, quantiles(run))])?;
    let caption = "From the intended send time to receipt.";
    Ok(plot("Latency by percentile", caption, Vec::new(), svg))
}

fn latency_over_time(run: &Outcome) -> io::Result<Option<Plot>> {
    let figures: [fn(&IntervalReport) -> u64; 3] = [
        |interval| interval.p50_ns,
        |interval| interval.p99_ns,
        |interval| interval.lag_p99_ns,
    ];
    let drawn: Vec<Line> = figures
        .into_iter()
        .enumerate()
        .map(|(colour, ns)| line(colour, over_time(run, |interval| ns(interval) as f64 / 1e3)))
        .collect();
    let svg = lines(TIME, LATENCY, &drawn)?;
    let caption =
        "In short intervals, by the time of receipt. The schedule lag includes waiting for the broker.";
    Ok(plot(
        "Latency and lag over time",
        caption,
        legend(&["p50", "p99", "p99 of the schedule lag"]),
        svg,
    ))
}

fn rates_over_time(run: &Outcome) -> io::Result<Option<Plot>> {
    let length_s = match run.series.as_slice() {
        [first, second, ..] => second.from_s - first.from_s,
        _ => 1.0,
    };
    let drawn = [
        line(0, over_time(run, |interval| interval.sent as f64 / length_s)),
        line(1, over_time(run, |interval| interval.received as f64 / length_s)),
        line(2, over_time(run, |interval| interval.backlog as f64)),
    ];
    let y = Axis {
        title: "messages per second",
        scale: Scale::Even,
        unit: Unit::Number,
    };
    let svg = lines(TIME, y, &drawn)?;
    let caption = "Backlog: deliveries that were due and had not come at the interval's end, as a count.";
    Ok(plot(
        "Messages over time",
        caption,
        legend(&["sent", "received", "backlog"]),
        svg,
    ))
}

fn connections(run: &Outcome) -> io::Result<Option<Plot>> {
    let points = memory(run);
    if points.len() < 2 {
        return Ok(None);
    }
    let x = Axis {
        title: "connections",
        scale: Scale::Even,
        unit: Unit::Number,
    };
    let y = Axis {
        title: "RSS, MiB",
        scale: Scale::Even,
        unit: Unit::Number,
    };
    let svg = lines(x, y, &[line(0, points)])?;
    let caption = "Read from the broker's process while the connections were made.";
    Ok(plot(
        "Resident memory against connections",
        caption,
        Vec::new(),
        svg,
    ))
}
