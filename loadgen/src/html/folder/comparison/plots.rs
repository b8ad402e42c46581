//! The plots of a comparison.
//!
//! Invariants: values that the generator limited are drawn hollow or left out. The legend of a plot lists exactly the
//! brokers that it shows.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::html::Plot;
use crate::html::folder::{memory, over_time, plot, quantiles};
use crate::html::plots::{
    Axis, LATENCY, Line, Mark, OFFERED, PERCENTILES, Scale, TIME, Unit, Whisker, lines, marks, whiskers,
};
use crate::measure::numbers::duration;
use crate::outcome::Outcome;
use crate::scenario::Load;
use crate::search::Point;
use crate::summary::comparison::ComparisonSummary;
use crate::summary::record::Record;
use crate::summary::rounds::Rounds;
use crate::summary::statistics::median;

/// The rounds of a comparison, and the brokers with their colours.
pub(super) struct ComparisonPlots<'a> {
    rounds: &'a Rounds,
    /// All brokers, Midge first: the index is the number of the colour.
    pub(super) brokers: Vec<String>,
}

impl<'a> ComparisonPlots<'a> {
    /// Prepares the plots of these rounds.
    pub(super) fn of(rounds: &'a Rounds, first: &str) -> ComparisonPlots<'a> {
        let names: BTreeSet<&String> = rounds.values().flat_map(BTreeMap::keys).collect();
        let mut brokers: Vec<String> = names.into_iter().cloned().collect();
        brokers.sort_by_key(|name| name != first);
        ComparisonPlots { rounds, brokers }
    }

    fn colour(&self, broker: &str) -> usize {
        let mut brokers = self.brokers.iter();
        brokers.position(|name| name == broker).unwrap_or(0)
    }

    fn legend(&self, shown: &BTreeSet<usize>) -> Vec<(usize, String)> {
        let entries = self.brokers.iter().cloned().enumerate();
        entries.filter(|(number, _)| shown.contains(number)).collect()
    }

    /// Each broker with rounds of a scenario, by its colour.
    fn of_scenario(&self, scenario: &str) -> impl Iterator<Item = (usize, &'a [Record])> {
        let brokers = self.rounds.get(scenario).into_iter().flatten();
        let coloured: Vec<_> = brokers
            .map(|(broker, records)| (self.colour(broker), records.as_slice()))
            .collect();
        coloured.into_iter()
    }

    /// Whether the load of a scenario has a schedule.
    pub(super) fn has_schedule(&self, scenario: &str) -> bool {
        let scheduled = |run: &Outcome| matches!(run.scenario.load, Load::Scheduled { .. });
        self.of_scenario(scenario)
            .any(|(_, records)| runs(records).any(scheduled))
    }

    /// The cost of something in each scenario that has it.
    pub(super) fn costs(
        &self,
        summary: &ComparisonSummary,
        figure: &str,
        each: &str,
    ) -> io::Result<Option<Plot>> {
        let (mut names, mut points, mut shown) = (Vec::new(), Vec::new(), BTreeSet::new());
        for row in &summary.rows {
            let Some(found) = row.figures.iter().find(|candidate| candidate.figure == figure) else {
                continue;
            };
            let count = found.values.len() as f64;
            for (place, (broker, estimate)) in found.values.iter().enumerate() {
                let colour = self.colour(broker);
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
        let svg = whiskers("CPU time of the broker", &names, &points)?;
        Ok(plot(
            &format!("Broker CPU for {each}"),
            "Sum over all threads of the broker's process, divided by what arrived. Median and 95 % interval; \
             logarithmic.",
            self.legend(&shown),
            svg,
        ))
    }

    /// The p99 of all brokers at each offered rate, if the scenario is a sweep.
    pub(super) fn sweep(&self, scenario: &str) -> io::Result<Option<Plot>> {
        let (mut shown, mut drawn, mut slo_us) = (BTreeSet::new(), Vec::new(), 0.0);
        for (colour, records) in self.of_scenario(scenario) {
            let sweeps = records.iter().filter_map(Record::as_sweep);
            let points: Vec<&Point> = sweeps
                .inspect(|sweep| slo_us = sweep.slo_p99_s.unwrap_or_default() * 1e6)
                .flat_map(|sweep| &sweep.points)
                .collect();
            shown.extend((!points.is_empty()).then_some(colour));
            drawn.extend(median_marks(&points, colour));
        }
        let svg = marks(OFFERED, LATENCY, &drawn, slo_us)?.filter(|_| !drawn.is_empty());
        Ok(plot(
            &format!("{scenario}: latency at the offered rate"),
            &format!(
                "p99 from the intended send time to receipt, the median of the rounds; the dashed line is the \
                 objective, {}. Hollow: the generator limited the run, so it is no figure of the broker.",
                duration(slo_us * 1e3)
            ),
            self.legend(&shown),
            svg,
        ))
    }

    /// The plot of latencies by percentile; `None` if no run of the scenario has a latency.
    pub(super) fn percentiles(&self, scenario: &str) -> io::Result<Option<Plot>> {
        let (mut shown, mut drawn) = (BTreeSet::new(), Vec::new());
        for (colour, records) in self.of_scenario(scenario) {
            shown.insert(colour);
            drawn.push(Line {
                colour,
                points: median_quantiles(records),
                faint: false,
            });
        }
        let svg = lines(PERCENTILES, LATENCY, &drawn)?;
        Ok(plot(
            &format!("{scenario}: latency by percentile"),
            "From the intended send time to receipt; at each percentile the median of the rounds.",
            self.legend(&shown),
            svg,
        ))
    }

    /// The latency and the schedule lag of the first round over time.
    pub(super) fn over_time(&self, scenario: &str) -> io::Result<Option<Plot>> {
        let (mut shown, mut drawn) = (BTreeSet::new(), Vec::new());
        for (colour, records) in self.of_scenario(scenario) {
            let Some(run) = records.first().and_then(Record::as_run) else {
                continue;
            };
            shown.insert(colour);
            for (points, faint) in [
                (over_time(run, |interval| interval.p99_ns as f64 / 1e3), false),
                (over_time(run, |interval| interval.lag_p99_ns as f64 / 1e3), true),
            ] {
                drawn.push(Line {
                    colour,
                    points,
                    faint,
                });
            }
        }
        let svg = lines(TIME, LATENCY, &drawn)?;
        Ok(plot(
            &format!("{scenario}: over time, first round"),
            "p99 of the latency in short intervals; thin, the p99 of the generator's own lag behind its schedule.",
            self.legend(&shown),
            svg,
        ))
    }

    /// Resident memory against connections, in the scenario with the most readings of it.
    pub(super) fn memory(&self) -> io::Result<Option<Plot>> {
        let readings = |brokers: &BTreeMap<String, Vec<Record>>| {
            let all = brokers.values().flat_map(|records| runs(records));
            all.map(|run| run.connect.rss.len()).max().unwrap_or(0)
        };
        let most = self.rounds.iter().max_by_key(|(_, brokers)| readings(brokers));
        // A few hundred connections are made between two readings: fewer do not make a line.
        let Some((scenario, _)) = most.filter(|(_, brokers)| readings(brokers) >= READINGS_MIN) else {
            return Ok(None);
        };
        let (mut shown, mut drawn) = (BTreeSet::new(), Vec::new());
        for (colour, records) in self.of_scenario(scenario) {
            shown.insert(colour);
            let first = records.first().and_then(Record::as_run);
            drawn.push(Line {
                colour,
                points: first.map(memory).unwrap_or_default(),
                faint: false,
            });
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
        let svg = lines(x, y, &drawn)?;
        Ok(plot(
            &format!("{scenario}: resident memory against connections"),
            "Read from the broker's process while the connections were made, first round.",
            self.legend(&shown),
            svg,
        ))
    }
}

/// Distance of two brokers in a row.
const ROW_STEP: f64 = 0.18;
/// Number of readings of a broker's memory that make a plot.
const READINGS_MIN: usize = 5;

fn runs(records: &[Record]) -> impl Iterator<Item = &Outcome> {
    records.iter().filter_map(Record::as_run)
}

/// One mark for each rate: the median of the valid rounds, or a hollow one if there is none.
fn median_marks(points: &[&Point], colour: usize) -> Vec<Mark> {
    let mut by_rate: BTreeMap<u64, (f64, Vec<f64>, Vec<f64>)> = BTreeMap::new();
    for point in points {
        // Rates are equal if they are equal to a thousandth.
        let rate = (point.rate_per_s * 1e3) as u64;
        let (_, valid, invalid) = by_rate
            .entry(rate)
            .or_insert((point.rate_per_s, Vec::new(), Vec::new()));
        let p99s_us = if point.valid { valid } else { invalid };
        p99s_us.push(point.p99_ns as f64 / 1e3);
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

/// The median at each quantile that all rounds have.
fn median_quantiles(records: &[Record]) -> Vec<(f64, f64)> {
    let rounds: Vec<Vec<(f64, f64)>> = runs(records)
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
