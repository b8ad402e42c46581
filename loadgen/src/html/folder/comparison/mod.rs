//! The report of a comparison. `plots.rs` draws its plots.
//!
//! Invariants: everything is computed from the rounds of the folder. The scenarios are in the order in which they were
//! measured. A broker has the same colour in every plot.

mod plots;

use std::io;
use std::path::Path;

use super::{facts, json};
use crate::html::{LastColumn, Level, Notice, Page, Plot, Table};
use crate::summary::comparison::{self, ComparisonSummary};
use crate::summary::figures::{CPU_PER_CONNECTION, CPU_PER_MESSAGE};
use crate::summary::rounds::{self, BrokerVersion};
use crate::summary::table;
use crate::system::machine::Machine;
use plots::ComparisonPlots;

pub(super) fn page(folder: &Path) -> io::Result<Page> {
    let rounds = rounds::read(folder)?;
    let summary = comparison::sum_up(&rounds, &comparison::first(folder)?, &comparison::order(folder)?);
    let all = ComparisonPlots::of(&rounds, &summary.first);
    let peers: Vec<&str> = all
        .brokers
        .iter()
        .map(String::as_str)
        .filter(|name| *name != summary.first && !name.ends_with("-nagle"))
        .collect();
    let versions: Option<Vec<BrokerVersion>> = json(folder, "versions.json")?;
    let machine: Option<Machine> = json(folder, "machine.json")?;
    Ok(Page {
        title: format!(
            "{} beside {}",
            comparison::shown(&summary.first),
            peers.join(", ")
        ),
        lead: "Each broker ran alone as a separate process, in turn, with equal settings and the same load. \
            Figures are medians over the rounds with the lowest and the highest. Ratios are those of the \
            rounds in pairs, with the interval of order statistics; a difference is shown as one only if \
            the interval does not contain 1."
            .to_owned(),
        notices: versions.map(|versions| named(&versions)).into_iter().collect(),
        tables: tables(&summary),
        plots: drawn(&all, &summary)?,
        facts: machine.as_ref().map(facts).unwrap_or_default(),
        ..Page::default()
    })
}

fn drawn(all: &ComparisonPlots<'_>, summary: &ComparisonSummary) -> io::Result<Vec<Plot>> {
    let mut plots = Vec::new();
    plots.extend(all.costs(summary, CPU_PER_MESSAGE, "a delivered message")?);
    plots.extend(all.costs(summary, CPU_PER_CONNECTION, "a connection made")?);
    let scenarios = || summary.rows.iter().map(|row| row.scenario.as_str());
    for scenario in scenarios() {
        plots.extend(all.sweep(scenario)?);
    }
    let scheduled: Vec<&str> = scenarios()
        .filter(|scenario| all.has_schedule(scenario))
        .collect();
    for scenario in scheduled.iter().take(SCHEDULED_MAX) {
        plots.extend(all.percentiles(scenario)?);
    }
    if let Some(scenario) = scheduled.first() {
        plots.extend(all.over_time(scenario)?);
    }
    plots.extend(all.memory()?);
    Ok(plots)
}

/// Largest number of scenarios whose percentiles are drawn.
const SCHEDULED_MAX: usize = 4;

/// The versions of all brokers in a sentence.
fn named(versions: &[BrokerVersion]) -> Notice {
    let words: Vec<String> = versions
        .iter()
        .map(|version| format!("{}: {}", version.broker, version.version))
        .collect();
    Notice {
        level: Level::Plain,
        text: words.join("; "),
    }
}

/// A cell whose interval stays on one line.
fn unbroken(cell: &str) -> String {
    cell.replace(", ", ",\u{a0}")
}

fn tables(summary: &ComparisonSummary) -> Vec<Table> {
    let mut tables = vec![Table {
        title: "All figures".to_owned(),
        heads: table::heads(summary).to_vec(),
        rows: table::cells(summary)
            .into_iter()
            .map(|cells| cells.map(|cell| unbroken(&cell)).into())
            .collect(),
        last: LastColumn::Verdict,
    }];
    let mut reported = Vec::new();
    for row in &summary.rows {
        for (broker, findings) in &row.findings {
            for (finding, count) in findings {
                reported.push(vec![
                    row.scenario.clone(),
                    broker.clone(),
                    count.to_string(),
                    finding.clone(),
                ]);
            }
        }
    }
    if !reported.is_empty() {
        tables.push(Table {
            title: table::FINDINGS.to_owned(),
            heads: ["scenario", "broker", "runs", "finding"]
                .map(str::to_owned)
                .to_vec(),
            rows: reported,
            last: LastColumn::Sentence,
        });
    }
    tables
}
