//! A summary for people: a table on the terminal, the same table in Markdown, and CSV with one line for each figure.
//!
//! Invariants: none.

use std::fmt::Write as _;

use super::comparison::{ComparisonSummary, FigureSummary, shown as shown_broker};
use super::statistics::Estimate;
use crate::measure::numbers::digits;

/// The header of the table and its rows: a cell for each column.
pub(crate) fn cells(summary: &ComparisonSummary) -> Vec<[String; 7]> {
    let mut lines = Vec::new();
    for row in &summary.rows {
        for figure in &row.figures {
            let ours = figure.values.get(&summary.first);
            let others = figure
                .values
                .iter()
                .filter(|(broker, _)| **broker != summary.first);
            for (broker, theirs) in others {
                lines.push(line(
                    &row.scenario,
                    figure,
                    (&summary.first, broker),
                    ours,
                    theirs,
                ));
            }
        }
    }
    lines
}

/// The title above what the runs reported.
pub(crate) const FINDINGS: &str = "What the runs reported about themselves";

/// The headers of the columns.
pub(crate) fn heads(summary: &ComparisonSummary) -> [String; 7] {
    let first = shown_broker(&summary.first);
    [
        "scenario".to_owned(),
        "figure".to_owned(),
        first.to_owned(),
        "peer".to_owned(),
        String::new(),
        format!("{first} / peer"),
        format!("{first} is"),
    ]
}

fn line(
    scenario: &str,
    figure: &FigureSummary,
    (first, broker): (&str, &str),
    ours: Option<&Estimate>,
    theirs: &Estimate,
) -> [String; 7] {
    let comparison = figure.comparisons.get(broker);
    let ratio = comparison.map_or(String::new(), |comparison| shown(&comparison.ratio));
    [
        scenario.to_owned(),
        format!("{}, {}", figure.figure, figure.unit),
        ours.map_or("-".to_owned(), shown),
        broker.to_owned(),
        shown(theirs),
        ratio,
        figure.verdict(first, broker),
    ]
}

/// The table for a terminal.
pub fn terminal(summary: &ComparisonSummary) -> String {
    let lines = cells(summary);
    let heads = heads(summary);
    let mut widths = [0; 7];
    for line in std::iter::once(&heads).chain(&lines) {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in std::iter::once(&heads).chain(&lines) {
        for (cell, width) in line.iter().zip(widths) {
            // Writing to a String cannot fail.
            let _ = write!(text, "{cell:<width$}  ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// The table in Markdown.
pub fn markdown(summary: &ComparisonSummary) -> String {
    let heads = heads(summary);
    let mut text = format!("| {} |\n|{}\n", heads.join(" | "), "---|".repeat(heads.len()));
    for line in cells(summary) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {} |", line.join(" | "));
    }
    text
}

/// One record for each scenario, figure and broker.
///
/// # Errors
/// The errors of the writer.
pub fn csv(summary: &ComparisonSummary) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "scenario",
        "figure",
        "unit",
        "broker",
        "median",
        "low",
        "high",
        "rounds",
        "first_ratio",
        "ratio_low",
        "ratio_high",
        "first_is",
    ])?;
    for row in &summary.rows {
        for figure in &row.figures {
            for (broker, estimate) in &figure.values {
                let comparison = figure.comparisons.get(broker).map(|comparison| comparison.ratio);
                let ratio = |part: fn(&Estimate) -> f64| {
                    comparison
                        .as_ref()
                        .map_or(String::new(), |ratio| part(ratio).to_string())
                };
                writer.write_record([
                    row.scenario.clone(),
                    figure.figure.clone(),
                    figure.unit.clone(),
                    broker.clone(),
                    estimate.median.to_string(),
                    estimate.low.to_string(),
                    estimate.high.to_string(),
                    figure.rounds.get(broker).map_or(0, Vec::len).to_string(),
                    ratio(|ratio| ratio.median),
                    ratio(|ratio| ratio.low),
                    ratio(|ratio| ratio.high),
                    figure.verdict(&summary.first, broker),
                ])?;
            }
        }
    }
    writer
        .into_inner()
        .map_err(|error| csv::Error::from(error.into_error()))
}

/// A median with its interval.
pub fn shown(estimate: &Estimate) -> String {
    let Estimate { median, low, high } = *estimate;
    if low == high {
        return digits(median);
    }
    format!("{} [{}, {}]", digits(median), digits(low), digits(high))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::comparison::{MIDGE, sum_up, tests::scheduled};
    use crate::summary::rounds::Rounds;
    use std::collections::BTreeMap;

    fn summary() -> ComparisonSummary {
        let rounds = |cpu_ns: f64| {
            (0..7)
                .map(|round| scheduled(cpu_ns + f64::from(round), 5_000, true))
                .collect()
        };
        let brokers = BTreeMap::from([
            ("midge".to_owned(), rounds(1_000.0)),
            ("mosquitto".to_owned(), rounds(9_000.0)),
        ]);
        sum_up(&Rounds::from([("pairs".to_owned(), brokers)]), MIDGE, &[])
    }

    #[test]
    fn each_peer_has_a_line_for_each_figure() {
        let summary = summary();
        let terminal = terminal(&summary);
        assert!(
            terminal.contains("broker CPU per message, µs") && terminal.contains("better"),
            "{terminal}"
        );
        assert!(terminal.lines().all(|line| line.trim_end() == line), "{terminal}");
        let markdown = markdown(&summary);
        assert_eq!(markdown.lines().count(), 2 + 3, "{markdown}");
        let csv = String::from_utf8(csv(&summary).unwrap()).unwrap();
        assert_eq!(csv.lines().count(), 1 + 3 * 2, "{csv}");
        assert!(
            csv.contains("pairs,broker CPU per message,µs,mosquitto,"),
            "{csv}"
        );
    }
}
