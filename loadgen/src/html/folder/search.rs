//! The page of a search, or of a sweep.

use std::io;

use serde_json::Value;

use super::{facts, plot};
use crate::compare::summary::number;
use crate::html::plots::{Axis, Mark, Scale, marks};
use crate::html::{Page, Table};
use crate::measure::numbers::digits;

pub(super) fn page(search: &Value) -> io::Result<Page> {
    let points = search.get("points").and_then(Value::as_array).map(Vec::as_slice);
    let points = points.unwrap_or_default();
    let slo_us = number(search, "/slo_p99_s").unwrap_or_default() * 1e6;
    let mut drawn = Vec::new();
    for (colour, figure) in ["p50_ns", "p99_ns", "p99_9_ns"].into_iter().enumerate() {
        drawn.extend(points.iter().filter_map(|point| {
            Some(Mark {
                colour,
                x: point.get("rate_per_s")?.as_f64()?,
                y: point.get(figure)?.as_f64()? / 1e3,
                valid: point.get("valid")?.as_bool()?,
            })
        }));
    }
    drawn.sort_by(|one, other| one.x.total_cmp(&other.x));
    let x = Axis {
        title: "messages per second offered",
        scale: Scale::Decades,
    };
    let y = Axis {
        title: "latency, µs",
        scale: Scale::Decades,
    };
    let svg = marks(x, y, &drawn, slo_us)?;
    let legend = ["p50", "p99", "p99.9"]
        .map(str::to_owned)
        .into_iter()
        .enumerate()
        .collect();
    let caption = format!(
        "The dashed line is the objective for the p99, {} µs. Hollow: the generator limited the run, so it says nothing of \
         the broker.",
        digits(slo_us)
    );
    let found = number(search, "/found_per_s").map(|rate| (rate, "confirmed three times"));
    let kept = number(search, "/highest_per_s").map(|rate| (rate, "and at every step below"));
    let swept = search.get("kind").and_then(Value::as_str) == Some("sweep");
    Ok(Page {
        title: if swept {
            "The latency at one rate after the other".to_owned()
        } else {
            "The highest rate within the objective".to_owned()
        },
        lead: match found.or(kept) {
            Some((rate, how)) => format!(
                "A p99 of at most {} ms at {} messages per second, {how}.",
                digits(slo_us / 1e3),
                digits(rate)
            ),
            None => "No rate passed.".to_owned(),
        },
        tables: vec![table(points)],
        plots: plot("Offered rate and latency", &caption, legend, svg)
            .into_iter()
            .collect(),
        facts: facts(search.get("machine")),
        ..Page::default()
    })
}

fn table(points: &[Value]) -> Table {
    let rows = points.iter().map(|point| {
        let figure = |name: &str, factor: f64| {
            let value = point.get(name).and_then(Value::as_f64);
            value.map_or(String::new(), |value| digits(value * factor))
        };
        let is = |name: &str| point.get(name).and_then(Value::as_bool) == Some(true);
        let verdict = match (is("valid"), is("passed")) {
            (false, _) => "invalid",
            (true, true) => "passed",
            (true, false) => "missed",
        };
        vec![
            figure("rate_per_s", 1.0),
            figure("delivered_percent", 1.0),
            figure("p50_ns", 1e-3),
            figure("p99_ns", 1e-3),
            figure("p99_9_ns", 1e-3),
            verdict.to_owned(),
        ]
    });
    Table {
        title: "All steps".to_owned(),
        heads: [
            "offered per s",
            "delivered, %",
            "p50, µs",
            "p99, µs",
            "p99.9, µs",
            "",
        ]
        .map(str::to_owned)
        .to_vec(),
        rows: rows.collect(),
    }
}
