//! The summary of a comparison's rounds: for each scenario and figure the medians, their intervals, and the first
//! broker compared with each other one.
//!
//! Invariants: everything comes from the rounds of a folder, so a summary can be produced again from a folder alone;
//! latencies of a run that the generator limited do not count, its costs do. A broker is not called worse by a figure
//! of "as fast as possible" that was limited by the generator and not by the broker.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::figures::{FIGURES, Figure};
use super::findings::findings;
use super::rounds::Rounds;
use super::statistics::{Comparison, Estimate, Sign, compare, estimate};
use crate::measure::thread_use::ThreadUse;
use crate::outcome::header::{Header, OutcomeKind};
use crate::summary::record::Record;

/// The name of our broker: the others are compared with it if it takes part.
pub const MIDGE: &str = "midge";

/// The figures of a whole comparison.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub struct ComparisonSummary {
    /// The format, the kind and the program that wrote it; absent in summaries of the first versions.
    #[serde(flatten)]
    pub header: Option<Header>,
    /// The broker that the others are compared with.
    #[serde(default = "midge")]
    pub first: String,
    /// One summary for each scenario.
    pub rows: Vec<RowSummary>,
}

/// The figures of one scenario.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
pub struct RowSummary {
    /// The name of the scenario.
    pub scenario: String,
    /// Its figures, in the order of the tables.
    pub figures: Vec<FigureSummary>,
    /// What the runs of each broker reported about themselves, with the number of runs that did.
    pub findings: BTreeMap<String, BTreeMap<String, usize>>,
    /// Messages lost, duplicate and out of order, by broker.
    pub wrong: BTreeMap<String, u64>,
}

/// One figure of a scenario.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
pub struct FigureSummary {
    /// The name of the figure.
    pub figure: String,
    /// The unit of its values.
    pub unit: String,
    /// Whether lower is better; `None` if neither direction is.
    pub lower_is_better: Option<bool>,
    /// The figure in each round, by broker.
    pub rounds: BTreeMap<String, Vec<f64>>,
    /// The median with its interval, by broker.
    pub values: BTreeMap<String, Estimate>,
    /// The first broker compared with each other one.
    pub comparisons: BTreeMap<String, Comparison>,
    /// For a speed: the brokers with which the generator had no CPU time left, so that they may be faster than
    /// this.
    pub at_generator_limit: BTreeSet<String>,
    /// Brokers that delivered nothing in a round although messages were due: their other figures are meaningless.
    #[serde(default)]
    pub delivered_nothing: BTreeSet<String>,
}

impl FigureSummary {
    /// Whether the first broker is better or worse than this one, in a word, followed by the reason to doubt it,
    /// if there is one.
    pub fn verdict(&self, first: &str, broker: &str) -> String {
        let Some(comparison) = self.comparisons.get(broker) else {
            return String::new();
        };
        if self.delivered_nothing.contains(first) {
            return format!("{} delivered nothing", shown(first));
        }
        if self.delivered_nothing.contains(broker) {
            return "peer delivered nothing".to_owned();
        }
        let (word, behind) = match (comparison.sign, self.lower_is_better) {
            (_, None) => return String::new(),
            (Sign::Lower, Some(true)) | (Sign::Higher, Some(false)) => ("better", Some((broker, "peer"))),
            (Sign::Lower, Some(false)) | (Sign::Higher, Some(true)) => ("worse", Some((first, shown(first)))),
            (Sign::None, _) => ("no difference", None),
            (Sign::Unknown, _) => return no_verdict(comparison),
        };
        match behind {
            Some((who, name)) if self.at_generator_limit.contains(who) => {
                format!("{word} (generator at its limit with {name})")
            }
            _ => word.to_owned(),
        }
    }
}

fn midge() -> String {
    MIDGE.to_owned()
}

/// The name of a broker in tables.
pub(crate) fn shown(broker: &str) -> &str {
    if broker == MIDGE { "Midge" } else { broker }
}

/// The text in place of a verdict: how many rounds there are, and how many are required.
fn no_verdict(comparison: &Comparison) -> String {
    match comparison {
        // A summary of an earlier version.
        Comparison { rounds: 0, .. } => "too few rounds".to_owned(),
        Comparison {
            rounds,
            rounds_needed,
            ..
        } => format!("{rounds} rounds: no verdict ({rounds_needed} needed)"),
    }
}

/// The scenarios in the order of a folder's summary, whichever version wrote it; empty if there is no summary.
///
/// # Errors The errors of reading; `InvalidData` if the file is not a summary.
pub fn order(folder: &Path) -> io::Result<Vec<String>> {
    Ok(named(folder)?.rows.into_iter().map(|row| row.scenario).collect())
}

/// The broker that the others are compared with, according to a folder's summary.
///
/// # Errors As those of [`order`].
pub fn first(folder: &Path) -> io::Result<String> {
    Ok(named(folder)?.first.unwrap_or_else(midge))
}

fn named(folder: &Path) -> io::Result<NamedRows> {
    match fs::read_to_string(folder.join("summary.json")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(NamedRows::default()),
        text => Ok(serde_json::from_str(&text?)?),
    }
}

/// The fields that every version of a summary has.
#[derive(Default, Deserialize)]
struct NamedRows {
    first: Option<String>,
    rows: Vec<NamedRow>,
}

#[derive(Deserialize)]
struct NamedRow {
    scenario: String,
}

/// Summarizes the rounds, comparing each broker with `first`; the scenarios that `order` names are first, in its
/// order.
pub fn sum_up(rounds: &Rounds, first: &str, order: &[String]) -> ComparisonSummary {
    let place = |scenario: &String| {
        order
            .iter()
            .position(|name| name == scenario)
            .unwrap_or(usize::MAX)
    };
    let mut names: Vec<&String> = rounds.keys().collect();
    names.sort_by_key(|scenario| place(scenario));
    let verdicts = names
        .iter()
        .filter_map(|scenario| rounds.get(*scenario))
        .map(|brokers| verdicts_of(first, brokers))
        .sum();
    let rows = names.into_iter().filter_map(|scenario| {
        let brokers = rounds.get(scenario)?;
        Some(RowSummary {
            scenario: scenario.clone(),
            figures: FIGURES
                .iter()
                .filter_map(|figure| figure_summary(figure, first, brokers, verdicts))
                .collect(),
            findings: brokers
                .iter()
                .map(|(broker, records)| (broker.clone(), findings(records)))
                .collect(),
            wrong: brokers
                .iter()
                .map(|(broker, records)| (broker.clone(), records.iter().map(wrong).sum()))
                .collect(),
        })
    });
    ComparisonSummary {
        header: Some(Header::new(OutcomeKind::Comparison)),
        first: first.to_owned(),
        rows: rows.collect(),
    }
}

/// Number of verdicts for one scenario.
fn verdicts_of(first: &str, brokers: &BTreeMap<String, Vec<Record>>) -> usize {
    let has_verdict = |figure: &&Figure| figure.lower_is_better.is_some();
    let of_figure = |figure: &Figure| {
        let others = brokers.keys().filter(|broker| *broker != first);
        others
            .filter(|broker| !pairs(figure, brokers, first, broker).is_empty())
            .count()
    };
    FIGURES.iter().filter(has_verdict).map(of_figure).sum()
}

/// The figure of the first broker and of another one in each round in which both have it.
fn pairs(
    figure: &Figure,
    brokers: &BTreeMap<String, Vec<Record>>,
    first: &str,
    broker: &str,
) -> Vec<(f64, f64)> {
    let (Some(ours), Some(theirs)) = (brokers.get(first), brokers.get(broker)) else {
        return Vec::new();
    };
    ours.iter()
        .zip(theirs)
        .filter_map(|(ours, theirs)| Some((figure.of(ours)?, figure.of(theirs)?)))
        .collect()
}

fn figure_summary(
    figure: &Figure,
    first: &str,
    brokers: &BTreeMap<String, Vec<Record>>,
    verdicts: usize,
) -> Option<FigureSummary> {
    let rounds: BTreeMap<String, Vec<f64>> = brokers
        .iter()
        .map(|(broker, records)| {
            let values = records.iter().filter_map(|record| figure.of(record));
            (broker.clone(), values.collect())
        })
        .filter(|(_, values): &(String, Vec<f64>)| !values.is_empty())
        .collect();
    if rounds.is_empty() {
        return None;
    }
    let values = rounds
        .iter()
        .filter_map(|(broker, values)| Some((broker.clone(), estimate(values)?)));
    let comparisons = rounds
        .keys()
        .filter(|broker| *broker != first)
        .filter_map(|broker| {
            Some((
                broker.clone(),
                compare(&pairs(figure, brokers, first, broker), verdicts)?,
            ))
        });
    Some(FigureSummary {
        figure: figure.name.to_owned(),
        unit: figure.unit.to_owned(),
        lower_is_better: figure.lower_is_better,
        values: values.collect(),
        comparisons: comparisons.collect(),
        at_generator_limit: brokers
            .iter()
            .filter(|(_, records)| figure.is_speed && records.iter().any(generator_was_limit))
            .map(|(broker, _)| broker.clone())
            .collect(),
        delivered_nothing: brokers
            .iter()
            .filter(|(_, records)| records.iter().any(delivered_nothing))
            .map(|(broker, _)| broker.clone())
            .collect(),
        rounds,
    })
}

/// Whether nothing was delivered although messages were due.
fn delivered_nothing(record: &Record) -> bool {
    match record {
        Record::Run(run) => run.ledger.totals.expected > 0 && run.ledger.totals.received == 0,
        Record::Retained(retained) => retained.received == 0,
        Record::Connections(connections) => connections.rates.made == 0,
        Record::Search(_) | Record::Sweep(_) | Record::Failed(_) => false,
    }
}

/// Whether a thread of the generator had hardly any CPU time left, while the broker had.
fn generator_was_limit(record: &Record) -> bool {
    let is_full = |used: &ThreadUse| used.cpu_ns as f64 > FULL * used.wall_ns as f64;
    let broker = record.broker_use();
    record.generator_threads().iter().any(is_full) && !broker.as_ref().is_some_and(is_full)
}

/// Deliveries that were lost, duplicate or out of order.
fn wrong(record: &Record) -> u64 {
    record.as_run().map_or(0, |run| {
        let totals = &run.ledger.totals;
        totals.lost + totals.duplicate + totals.reordered
    })
}

/// Share of a core above which a process may be the limit of a run.
const FULL: f64 = 0.95;

#[cfg(test)]
pub(crate) mod tests;
