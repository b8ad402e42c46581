//! The reports of a search and of a sweep: steps with their offered rates and latencies.
//!
//! Invariants: a step that the generator limited is drawn hollow and reported as invalid, whatever its latency is.

use std::io;

use super::{facts, plot};
use crate::html::plots::{LATENCY, Mark, OFFERED, marks};
use crate::html::{LastColumn, Page, Table};
use crate::measure::numbers::{digits, duration};
use crate::search::{Point, SearchOutcome};
use crate::sweep::SweepOutcome;
use crate::system::machine::Machine;

pub(super) fn of_search(search: &SearchOutcome) -> io::Result<Page> {
    let found = search
        .found_per_s
        .map(|rate| format!("{} messages per second, confirmed three times", digits(rate)));
    Ok(Page {
        title: "The highest rate within the objective".to_owned(),
        lead: lead(search.slo_p99_s, found),
        ..page(&search.points, search.slo_p99_s, &search.machine)?
    })
}

pub(super) fn of_sweep(sweep: &SweepOutcome) -> io::Result<Page> {
    let kept = sweep
        .highest_per_s
        .map(|rate| format!("{} messages per second, and at every step below", digits(rate)));
    Ok(Page {
        title: "The latency at one rate after the other".to_owned(),
        lead: lead(sweep.slo_p99_s, kept),
        ..page(&sweep.points, sweep.slo_p99_s, &sweep.machine)?
    })
}

fn lead(slo_p99_s: Option<f64>, kept: Option<String>) -> String {
    let objective = slo_p99_s.map_or("Any p99".to_owned(), |slo_s| {
        format!("A p99 of at most {} ms", digits(slo_s * 1e3))
    });
    kept.map_or_else(
        || "No rate passed.".to_owned(),
        |rate| format!("{objective} at {rate}."),
    )
}

fn page(points: &[Point], slo_p99_s: Option<f64>, machine: &Machine) -> io::Result<Page> {
    let figures: [fn(&Point) -> u64; 3] =
        [|point| point.p50_ns, |point| point.p99_ns, |point| point.p99_9_ns];
    let mut drawn: Vec<Mark> = Vec::new();
    for (colour, ns) in figures.into_iter().enumerate() {
        drawn.extend(points.iter().map(|point| Mark {
            colour,
            x: point.rate_per_s,
            y: ns(point) as f64 / 1e3,
            valid: point.valid,
        }));
    }
    drawn.sort_by(|one, other| one.x.total_cmp(&other.x));
    let slo_us = slo_p99_s.unwrap_or_default() * 1e6;
    let svg = marks(OFFERED, LATENCY, &drawn, slo_us)?;
    let legend = ["p50", "p99", "p99.9"].map(str::to_owned);
    let caption = format!(
        "The dashed line is the objective for the p99, {}. Hollow: the generator limited the run, so it is no \
         figure of the broker.",
        duration(slo_us * 1e3)
    );
    let legend = legend.into_iter().enumerate().collect();
    Ok(Page {
        tables: vec![table(points)],
        plots: plot("Offered rate and latency", &caption, legend, svg)
            .into_iter()
            .collect(),
        facts: facts(machine),
        ..Page::default()
    })
}

fn table(points: &[Point]) -> Table {
    let rows = points.iter().map(|point| {
        let verdict = match (point.valid, point.passed) {
            (false, _) => "invalid",
            (true, true) => "passed",
            (true, false) => "missed",
        };
        vec![
            digits(point.rate_per_s),
            digits(point.delivered_percent),
            duration(point.p50_ns as f64),
            duration(point.p99_ns as f64),
            duration(point.p99_9_ns as f64),
            verdict.to_owned(),
        ]
    });
    let heads = ["offered per s", "delivered, %", "p50", "p99", "p99.9", ""];
    Table {
        title: "All steps".to_owned(),
        heads: heads.map(str::to_owned).to_vec(),
        rows: rows.collect(),
        last: LastColumn::Verdict,
    }
}
