//! The page of a comparison.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use serde_json::Value;

use super::{facts, json, memory, over_time, plot, quantiles};
use crate::compare::plan::{FULL, MIDGE};
use crate::compare::statistics::median;
use crate::compare::summary::{self, CPU_PER_MESSAGE, Rounds, Summary};
use crate::compare::table;
use crate::html::plots::{Axis, Line, Mark, Scale, Whisker, lines, marks, whiskers};
use crate::html::{Page, Plot, Table};
use crate::measure::numbers::digits;

pub(super) fn page(folder: &Path) -> io::Result<Page> {
    let rounds = summary::read(folder)?;
    let order: Vec<String> = FULL.iter().map(|name| (*name).to_owned()).collect();
    let summary = summary::sum_up(&rounds, &order);
    let brokers = brokers(&rounds);
    let peers: Vec<&str> = brokers
        .iter()
        .map(String::as_str)
        .filter(|name| *name != MIDGE && !name.ends_with("-nagle"))
        .collect();
    let mut plots = Vec::new();
    plots.extend(costs(&summary, &brokers, CPU_PER_MESSAGE, "a delivered message")?);
    plots.extend(costs(
        &summary,
        &brokers,
        "broker CPU per connection",
        "a connection made",
    )?);
    for row in &summary.rows {
        plots.extend(sweep(&rounds, &row.scenario, &brokers)?);
    }
    for row in summary
        .rows
        .iter()
        .filter(|row| is_paced(&rounds, &row.scenario))
        .take(PACED_MAX)
    {
        plots.extend(percentiles(&rounds, &row.scenario, &brokers)?);
    }
    let first_paced = summary.rows.iter().find(|row| is_paced(&rounds, &row.scenario));
    if let Some(row) = first_paced {
        plots.extend(time(&rounds, &row.scenario, &brokers)?);
    }
    plots.extend(connections(&rounds, &brokers)?);
    Ok(Page {
        title: format!("Midge beside {}", peers.join(", ")),
        lead: "Each broker alone in a process of its own, in turns, with equal settings and the same work. Figures are \
               medians over the rounds with 95 % bootstrap intervals; a difference is called one only where the interval \
               of the difference does not hold 0."
            .to_owned(),
        notices: versions(json(folder, "versions.json")?.as_ref()),
        tables: tables(&summary),
        plots,
        facts: facts(json(folder, "machine.json")?.as_ref()),
        ..Page::default()
    })
}

/// Readings of a broker's memory that make a plot.
const READINGS_MIN: usize = 5;
const PACED_MAX: usize = 4;

/// All brokers, ours first: the place is the number of the colour.
fn brokers(rounds: &Rounds) -> Vec<String> {
    let names: BTreeSet<&String> = rounds.values().flat_map(BTreeMap::keys).collect();
    let mut names: Vec<String> = names.into_iter().cloned().collect();
    names.sort_by_key(|name| name != MIDGE);
    names
}

fn colour(brokers: &[String], name: &str) -> usize {
    brokers.iter().position(|broker| broker == name).unwrap_or(0)
}

fn legend(brokers: &[String], shown: &BTreeSet<usize>) -> Vec<(usize, String)> {
    let entries = brokers.iter().cloned().enumerate();
    entries.filter(|(number, _)| shown.contains(number)).collect()
}

fn is_paced(rounds: &Rounds, scenario: &str) -> bool {
    let outcomes = rounds
        .get(scenario)
        .into_iter()
        .flat_map(BTreeMap::values)
        .flatten();
    outcomes
        .into_iter()
        .any(|outcome| outcome.pointer("/scenario/load/paced").is_some())
}

fn costs(summary: &Summary, brokers: &[String], figure: &str, each: &str) -> io::Result<Option<Plot>> {
    let (mut names, mut points, mut shown) = (Vec::new(), Vec::new(), BTreeSet::new());
    for row in &summary.rows {
        let Some(found) = row.figures.iter().find(|candidate| candidate.figure == figure) else {
            continue;
        };
        let count = found.values.len() as f64;
        for (place, (broker, estimate)) in found.values.iter().enumerate() {
            let colour = colour(brokers, broker);
            shown.insert(colour);
            points.push(Whisker {
                colour,
                row: names.len() as f64 + (place as f64 - (count - 1.0) / 2.0) * ROW_STEP,
                low: estimate.low,
                middle: estimate.median,
                high: estimate.high,
            });
        }
        names.push(row.scenario.clone());
    }
    let svg = whiskers("µs of the broker's CPU", &names, &points)?;
    Ok(plot(
        &format!("Broker CPU for {each}"),
        "Sum over all threads of the broker's process, divided by what arrived. Median and 95 % interval; logarithmic.",
        legend(brokers, &shown),
        svg,
    ))
}

/// Distance of two brokers in a row.
const ROW_STEP: f64 = 0.18;

/// The p99 of all brokers at each offered rate.
fn sweep(rounds: &Rounds, scenario: &str, brokers: &[String]) -> io::Result<Option<Plot>> {
    let (mut shown, mut drawn, mut slo_us) = (BTreeSet::new(), Vec::new(), 0.0);
    for (broker, outcomes) in rounds.get(scenario).into_iter().flatten() {
        let sweeps = outcomes
            .iter()
            .filter(|outcome| outcome.get("kind").and_then(Value::as_str) == Some("sweep"));
        let points: Vec<&Value> = sweeps
            .inspect(|sweep| slo_us = summary::number(sweep, "/slo_p99_s").unwrap_or_default() * 1e6)
            .filter_map(|sweep| sweep.get("points")?.as_array())
            .flatten()
            .collect();
        let colour = colour(brokers, broker);
        shown.extend((!points.is_empty()).then_some(colour));
        drawn.extend(median_marks(&points, colour));
    }
    let x = Axis {
        title: "messages per second offered",
        scale: Scale::Decades,
    };
    let svg = marks(x, LATENCY, &drawn, slo_us)?.filter(|_| !drawn.is_empty());
    Ok(plot(
        &format!("{scenario}: latency at the offered rate"),
        &format!(
            "p99 from the intended send time to receipt, the median of the rounds; the dashed line is the objective, {} µs. \
             Hollow: the generator limited the run, so it says nothing of the broker.",
            digits(slo_us)
        ),
        legend(brokers, &shown),
        svg,
    ))
}

/// For each rate one mark: the median of the rounds that are valid, a hollow one where none is.
fn median_marks(points: &[&Value], colour: usize) -> Vec<Mark> {
    let mut by_rate: BTreeMap<u64, (f64, Vec<f64>, Vec<f64>)> = BTreeMap::new();
    for point in points {
        let figure = |name: &str| point.get(name).and_then(Value::as_f64);
        let (Some(rate), Some(p99_ns)) = (figure("rate_per_s"), figure("p99_ns")) else {
            continue;
        };
        let (_, valid, invalid) =
            by_rate
                .entry((rate * 1e3) as u64)
                .or_insert((rate, Vec::new(), Vec::new()));
        let is_valid = point.get("valid").and_then(Value::as_bool) == Some(true);
        if is_valid { valid } else { invalid }.push(p99_ns / 1e3);
    }
    by_rate
        .into_values()
        .filter_map(|(x, valid, invalid)| {
            Some(Mark {
                colour,
                x,
                y: median(&valid).or_else(|| median(&invalid))?,
                valid: !valid.is_empty(),
            })
        })
        .collect()
}

fn percentiles(rounds: &Rounds, scenario: &str, brokers: &[String]) -> io::Result<Option<Plot>> {
    let mut shown = BTreeSet::new();
    let mut drawn = Vec::new();
    for (broker, outcomes) in rounds.get(scenario).into_iter().flatten() {
        let colour = colour(brokers, broker);
        shown.insert(colour);
        drawn.push(Line {
            colour,
            points: median_quantiles(outcomes),
            faint: false,
        });
    }
    let x = Axis {
        title: "percentile",
        scale: Scale::Percentiles,
    };
    let svg = lines(x, LATENCY, &drawn)?;
    Ok(plot(
        &format!("{scenario}: latency by percentile"),
        "From the intended send time to receipt; at each percentile the median of the rounds.",
        legend(brokers, &shown),
        svg,
    ))
}

const LATENCY: Axis<'_> = Axis {
    title: "latency, µs",
    scale: Scale::Decades,
};

/// At each quantile that all rounds have, the median.
fn median_quantiles(outcomes: &[Value]) -> Vec<(f64, f64)> {
    let rounds: Vec<Vec<(f64, f64)>> = outcomes
        .iter()
        .map(quantiles)
        .filter(|quantiles| !quantiles.is_empty())
        .collect();
    let shortest = rounds.iter().map(Vec::len).min().unwrap_or(0);
    (0..shortest.saturating_sub(1))
        .filter_map(|index| {
            let at: Vec<(f64, f64)> = rounds
                .iter()
                .filter_map(|round| round.get(index).copied())
                .collect();
            let values: Vec<f64> = at.iter().map(|(_, value)| *value).collect();
            Some((at.first()?.0, median(&values)?))
        })
        .collect()
}

fn time(rounds: &Rounds, scenario: &str, brokers: &[String]) -> io::Result<Option<Plot>> {
    let mut shown = BTreeSet::new();
    let mut drawn = Vec::new();
    for (broker, outcomes) in rounds.get(scenario).into_iter().flatten() {
        let Some(outcome) = outcomes.first() else { continue };
        let colour = colour(brokers, broker);
        shown.insert(colour);
        for (figure, faint) in [("p99_ns", false), ("lag_p99_ns", true)] {
            drawn.push(Line {
                colour,
                points: over_time(outcome, figure, 1e-3),
                faint,
            });
        }
    }
    let x = Axis {
        title: "seconds since the load began, warm-up included",
        scale: Scale::Even,
    };
    let svg = lines(x, LATENCY, &drawn)?;
    Ok(plot(
        &format!("{scenario}: over time, first round"),
        "p99 of the latency in short intervals; thin, the p99 of the generator's own lag behind its schedule.",
        legend(brokers, &shown),
        svg,
    ))
}

fn connections(rounds: &Rounds, brokers: &[String]) -> io::Result<Option<Plot>> {
    let most = rounds.iter().max_by_key(|(_, contenders)| {
        contenders
            .values()
            .flatten()
            .map(|outcome| memory(outcome).len())
            .max()
    });
    let Some((scenario, contenders)) = most else {
        return Ok(None);
    };
    // A few hundred connections are there before there is a line to draw.
    let readings = contenders.values().flatten().map(|outcome| memory(outcome).len());
    if readings.max().unwrap_or(0) < READINGS_MIN {
        return Ok(None);
    }
    let mut shown = BTreeSet::new();
    let mut drawn = Vec::new();
    for (broker, outcomes) in contenders {
        let colour = colour(brokers, broker);
        shown.insert(colour);
        drawn.push(Line {
            colour,
            points: outcomes.first().map(memory).unwrap_or_default(),
            faint: false,
        });
    }
    let x = Axis {
        title: "connections",
        scale: Scale::Even,
    };
    let y = Axis {
        title: "RSS, MiB",
        scale: Scale::Even,
    };
    let svg = lines(x, y, &drawn)?;
    Ok(plot(
        &format!("{scenario}: resident memory against connections"),
        "Read from the broker's process while the connections were made, first round.",
        legend(brokers, &shown),
        svg,
    ))
}

fn versions(versions: Option<&Value>) -> Vec<String> {
    let list = versions.and_then(Value::as_array).into_iter().flatten();
    let words: Vec<String> = list
        .filter_map(|version| {
            let (broker, said) = (
                version.get("broker")?.as_str()?,
                version.get("version")?.as_str()?,
            );
            Some(format!("{broker}: {said}"))
        })
        .collect();
    if words.is_empty() {
        Vec::new()
    } else {
        vec![words.join("; ")]
    }
}

fn tables(summary: &Summary) -> Vec<Table> {
    let mut tables = vec![Table {
        title: "All figures".to_owned(),
        heads: table::HEADS.map(str::to_owned).to_vec(),
        rows: table::cells(summary).into_iter().map(Vec::from).collect(),
    }];
    let mut said = Vec::new();
    for row in &summary.rows {
        for (broker, findings) in &row.findings {
            for (finding, count) in findings {
                said.push(vec![
                    row.scenario.clone(),
                    broker.clone(),
                    count.to_string(),
                    finding.clone(),
                ]);
            }
        }
    }
    if !said.is_empty() {
        tables.push(Table {
            title: "What the runs said of themselves".to_owned(),
            heads: ["scenario", "broker", "runs", "finding"]
                .map(str::to_owned)
                .to_vec(),
            rows: said,
        });
    }
    tables
}
