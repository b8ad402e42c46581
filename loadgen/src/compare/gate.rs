//! `--gate`: a figure in which the first broker may not be worse than the others by more than a limit.
//!
//! Invariant: a gate that cannot be decided, because there are too few rounds or none with the figure, fails.

use std::str::FromStr;

use crate::summary::comparison::{ComparisonSummary, FigureSummary, shown};
use crate::summary::figures;
use crate::summary::statistics::Sign;

/// A figure and its limit in percent.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    figure: String,
    percent: f64,
}

impl FromStr for Gate {
    type Err = String;

    fn from_str(text: &str) -> Result<Gate, String> {
        let (figure, percent) = text.rsplit_once('=').ok_or("it must be FIGURE=PERCENT")?;
        let figure = figure.trim().to_owned();
        let names = figures::with_direction();
        if !names.contains(&figure.as_str()) {
            return Err(format!("the figures are {}", names.join(", ")));
        }
        let percent = percent.trim().trim_end_matches('%').trim().parse::<f64>();
        let percent = percent.map_err(|error| format!("FIGURE=PERCENT: {error}"))?;
        if !(percent >= 0.0 && percent.is_finite()) {
            return Err("the percentage must be 0 or more".to_owned());
        }
        Ok(Gate { figure, percent })
    }
}

/// A sentence for each gate that fails.
pub fn check(summary: &ComparisonSummary, gates: &[Gate]) -> Vec<String> {
    gates.iter().flat_map(|gate| gate.check(summary)).collect()
}

impl Gate {
    fn check(&self, summary: &ComparisonSummary) -> Vec<String> {
        let first = shown(&summary.first);
        let mut failed = Vec::new();
        let mut compared = 0;
        for row in &summary.rows {
            for figure in row.figures.iter().filter(|figure| figure.figure == self.figure) {
                for broker in figure.comparisons.keys() {
                    compared += 1;
                    let place = format!("{}: {} of {first} and {broker}", row.scenario, self.figure);
                    failed.extend(
                        self.fails(figure, broker)
                            .map(|why| format!("gate: {place}: {why}")),
                    );
                }
            }
        }
        if compared == 0 {
            failed.push(format!(
                "gate: {}: no round has this figure for both",
                self.figure
            ));
        }
        failed
    }

    /// Why this comparison fails; `None` if it passes.
    fn fails(&self, figure: &FigureSummary, broker: &str) -> Option<String> {
        let comparison = figure.comparisons.get(broker)?;
        let ratio = comparison.ratio;
        if comparison.sign == Sign::Unknown {
            return Some(format!(
                "{} rounds, and {} are needed",
                comparison.rounds, comparison.rounds_needed
            ));
        }
        // The factor by which the first is worse: at its best within the interval.
        let (worse, at_best) = if figure.lower_is_better? {
            (ratio.median, ratio.low)
        } else {
            (1.0 / ratio.median, 1.0 / ratio.high)
        };
        let limit = 1.0 + self.percent / 100.0;
        (at_best > limit).then(|| {
            format!(
                "worse by {:.1} %, certainly by more than {:.1} %, and {} % are allowed",
                100.0 * (worse - 1.0),
                100.0 * (at_best - 1.0),
                self.percent
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::comparison::{MIDGE, sum_up, tests::scheduled};
    use crate::summary::rounds::Rounds;

    fn failed(ours_ns: f64, rounds: usize, gate: &str) -> Vec<String> {
        let runs = |cpu_ns: f64| vec![scheduled(cpu_ns, 5_000, true); rounds];
        let brokers = [
            (MIDGE.to_owned(), runs(ours_ns)),
            ("mosquitto".to_owned(), runs(1_000.0)),
        ];
        let summary = sum_up(&Rounds::from([("a".to_owned(), brokers.into())]), MIDGE, &[]);
        check(&summary, &[gate.parse().unwrap()])
    }

    #[test]
    fn what_is_worse_by_more_than_is_allowed_fails() {
        let gate = "broker CPU per message = 10 %";
        assert!(failed(900.0, 9, gate).is_empty());
        assert!(failed(1_090.0, 9, gate).is_empty());
        let text = failed(1_200.0, 9, gate).concat();
        assert!(
            text.contains("worse by 20.0 %") && text.contains("mosquitto"),
            "{text}"
        );
    }

    #[test]
    fn what_cannot_be_decided_fails() {
        let text = failed(900.0, 3, "broker CPU per message=10").concat();
        assert!(text.contains("3 rounds, and"), "{text}");
        let text = failed(900.0, 9, "delivered=10").concat();
        assert!(text.contains("no round"), "{text}");
        for (gate, part) in [
            ("p99", "FIGURE=PERCENT"),
            ("nonsense=5", "latency p99"),
            ("latency p99=x", "FIGURE=PERCENT"),
            ("latency p99=-1", "0 or more"),
        ] {
            assert!(gate.parse::<Gate>().unwrap_err().contains(part), "{gate}");
        }
    }
}
