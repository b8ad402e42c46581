//! The page of one run.

use std::io;

use serde_json::Value;

use super::{facts, memory, over_time, plot, quantiles};
use crate::compare::summary::number;
use crate::html::plots::{Axis, Line, Scale, lines};
use crate::html::{Page, Plot, Table};
use crate::measure::numbers::digits;

pub(super) fn page(outcome: &Value) -> io::Result<Page> {
    let mut plots = Vec::new();
    plots.extend(percentiles(outcome)?);
    plots.extend(latency_over_time(outcome)?);
    plots.extend(rates_over_time(outcome)?);
    plots.extend(connections(outcome)?);
    Ok(Page {
        title: title(outcome),
        lead: lead(outcome),
        notices: verdict(outcome),
        tables: vec![latencies(outcome), books(outcome)],
        plots,
        facts: facts(outcome.get("machine")),
        ..Page::default()
    })
}

fn title(outcome: &Value) -> String {
    let name = outcome.pointer("/scenario/origin/name").and_then(Value::as_str);
    name.map_or_else(|| "One load".to_owned(), str::to_owned)
}

fn lead(outcome: &Value) -> String {
    let count = |pointer: &str| number(outcome, pointer).map_or("?".to_owned(), digits);
    let text = |pointer: &str, none: &str| {
        outcome
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or(none)
            .to_owned()
    };
    let unpaced = outcome.pointer("/scenario/load").and_then(Value::as_str);
    let pace = match (number(outcome, "/rates/offered_per_s"), unpaced) {
        (Some(rate), _) => format!("{} messages a second offered", digits(rate)),
        (None, Some("flood")) => "a flood, as fast as the sockets take it".to_owned(),
        (None, Some("idle")) => "no messages".to_owned(),
        (None, _) => "as fast as possible in closed loop".to_owned(),
    };
    let name = outcome
        .pointer("/scenario/origin")
        .filter(|origin| !origin.is_null())
        .map_or(String::new(), |origin| {
            let scale = origin.get("scale").and_then(Value::as_f64).unwrap_or(1.0);
            let published = origin.get("published_duration_s").and_then(Value::as_f64);
            let length = published.map_or(String::new(), |seconds| {
                format!(", published with {} s", digits(seconds))
            });
            format!("Scale {scale}{length}. ")
        });
    format!(
        "{name}{} publishers, {} subscribers, QoS {}, payloads of {} B, {pace}; {} s measured after {} s of warm-up; MQTT {}, {}; {}.",
        count("/scenario/publishers"),
        count("/scenario/subscribers"),
        count("/scenario/qos"),
        count("/scenario/payload_bytes"),
        count("/scenario/duration_s"),
        count("/scenario/warmup_s"),
        text("/scenario/version", "?"),
        text("/broker/tls", "no TLS"),
        text("/broker/name", "?"),
    )
}

fn verdict(outcome: &Value) -> Vec<String> {
    let valid = outcome.pointer("/verdict/valid").and_then(Value::as_bool) == Some(true);
    let head = if valid {
        "The run is valid."
    } else {
        "The run is INVALID: the generator limited it."
    };
    let findings = outcome.pointer("/verdict/findings").and_then(Value::as_array);
    let said = findings.into_iter().flatten().filter_map(|finding| {
        let (gravity, text) = (finding.get("gravity")?.as_str()?, finding.get("text")?.as_str()?);
        Some(format!("{gravity}: {text}"))
    });
    std::iter::once(head.to_owned()).chain(said).collect()
}

fn latencies(outcome: &Value) -> Table {
    let rows = [
        ("intended to receive", "latency"),
        ("the others, while all read", "slow/reading"),
        ("the others, while the slow ones did not", "slow/stalled"),
        ("write to receive (service time)", "service"),
        ("write to acknowledged", "acknowledged"),
        ("schedule lag", "lag"),
        ("TCP connect", "connect/tcp"),
        ("TLS handshake", "connect/tls"),
        ("WebSocket upgrade", "connect/web_socket"),
        ("CONNECT to CONNACK", "connect/connack"),
    ];
    let figures = ["p50_ns", "p90_ns", "p99_ns", "p99_9_ns", "max_ns", "mean_ns"];
    let rows = rows.into_iter().filter_map(|(name, place)| {
        let summary = outcome
            .pointer(&format!("/{place}"))
            .filter(|summary| !summary.is_null())?;
        let cells = figures.map(|figure| {
            let ns = summary.get(figure).and_then(Value::as_f64);
            ns.map_or(String::new(), |ns| digits(ns / 1e3))
        });
        Some(std::iter::once(name.to_owned()).chain(cells).collect())
    });
    Table {
        title: "Latencies, µs".to_owned(),
        heads: ["", "p50", "p90", "p99", "p99.9", "max", "mean"]
            .map(str::to_owned)
            .to_vec(),
        rows: rows.collect(),
    }
}

fn books(outcome: &Value) -> Table {
    let rows = [
        ("messages sent", "/ledger/sent", 1.0),
        ("unsent", "/ledger/unsent", 1.0),
        ("deliveries expected", "/ledger/expected", 1.0),
        ("received", "/ledger/received", 1.0),
        ("lost", "/ledger/lost", 1.0),
        ("twice", "/ledger/duplicate", 1.0),
        ("out of order", "/ledger/reordered", 1.0),
        ("lost to slow subscribers", "/slow/ledger/lost", 1.0),
        ("slow subscribers disconnected", "/slow/disconnected", 1.0),
        ("sent per second", "/rates/sent_per_s", 1.0),
        ("delivered per second", "/rates/delivered_per_s", 1.0),
        ("outstanding at the end of the load", "/drain/backlog", 1.0),
        ("the last of them after it, s", "/drain/wall_ns", 1e-9),
        (
            "broker CPU for each delivery, µs",
            "/broker/usage/cpu_ns_per_delivery",
            1e-3,
        ),
        (
            "broker RSS connected, MiB",
            "/broker/usage/rss_bytes_connected",
            MIB,
        ),
        ("broker RSS at most, MiB", "/broker/usage/rss_bytes_peak", MIB),
        ("broker RSS drained, MiB", "/broker/usage/rss_bytes_drained", MIB),
        (
            "generator CPU for each message sent or received, µs",
            "/generator/cpu_ns_per_message",
            1e-3,
        ),
    ];
    let rows = rows.into_iter().filter_map(|(name, pointer, factor)| {
        Some(vec![name.to_owned(), digits(number(outcome, pointer)? * factor)])
    });
    Table {
        title: "Books and costs".to_owned(),
        heads: vec![String::new(), String::new()],
        rows: rows.collect(),
    }
}

const MIB: f64 = 1.0 / (1024.0 * 1024.0);

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

const TIME: Axis<'_> = Axis {
    title: "seconds since the load began, warm-up included",
    scale: Scale::Even,
};

const LATENCY: Axis<'_> = Axis {
    title: "latency, µs",
    scale: Scale::Decades,
};

fn percentiles(outcome: &Value) -> io::Result<Option<Plot>> {
    let x = Axis {
        title: "percentile",
        scale: Scale::Percentiles,
    };
    let svg = lines(x, LATENCY, &[line(0, quantiles(outcome))])?;
    let caption = "From the intended send time to receipt.";
    Ok(plot("Latency by percentile", caption, Vec::new(), svg))
}

fn latency_over_time(outcome: &Value) -> io::Result<Option<Plot>> {
    let drawn: Vec<Line> = ["p50_ns", "p99_ns", "lag_p99_ns"]
        .into_iter()
        .enumerate()
        .map(|(colour, figure)| line(colour, over_time(outcome, figure, 1e-3)))
        .collect();
    let svg = lines(TIME, LATENCY, &drawn)?;
    let caption = "In short intervals, by the time of receipt. The lag is the generator's own and of waiting for the broker.";
    Ok(plot(
        "Latency and lag over time",
        caption,
        legend(&["p50", "p99", "p99 of the schedule lag"]),
        svg,
    ))
}

fn rates_over_time(outcome: &Value) -> io::Result<Option<Plot>> {
    let sent = over_time(outcome, "sent", 1.0);
    let length_s = match sent.as_slice() {
        [(first, _), (second, _), ..] => second - first,
        _ => 1.0,
    };
    let per_s = |figure: &str| over_time(outcome, figure, 1.0 / length_s);
    let drawn = [
        line(0, per_s("sent")),
        line(1, per_s("received")),
        line(2, over_time(outcome, "backlog", 1.0)),
    ];
    let y = Axis {
        title: "messages per second",
        scale: Scale::Even,
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

fn connections(outcome: &Value) -> io::Result<Option<Plot>> {
    let points = memory(outcome);
    if points.len() < 2 {
        return Ok(None);
    }
    let x = Axis {
        title: "connections",
        scale: Scale::Even,
    };
    let y = Axis {
        title: "RSS, MiB",
        scale: Scale::Even,
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
