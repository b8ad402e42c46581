//! `loadgen sweep`: measures the latency at increasing offered rates, from a low rate to more than the broker can
//! carry. `args.rs` has the options.
//!
//! Invariants: the rates are fixed before the first run, so brokers can be compared at each rate. The sweep continues
//! for [`BEYOND`] steps after the first one that misses the objective, so that the bend of the curve is visible and
//! no more time is spent on it. A backlog that one step leaves to the next would break this; `--drain` is for that.

pub mod args;

use std::sync::atomic::AtomicBool;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::measure::numbers::digits;
use crate::outcome::header::{Header, OutcomeKind};
use crate::outcome::observer::Observer;
use crate::outcome::validity::{Finding, Gravity, LimitedBy, Verdict};
use crate::scenario::{Load, Scenario};
use crate::search::{self, Point};
use crate::system::error::{EXIT_GENERATOR, EXIT_MISSED, EXIT_OK, Failure};
use crate::system::machine::Machine;
use crate::target::subject::Subject;

/// Steps after the first that misses the objective.
pub const BEYOND: usize = 2;

/// A load and the rates at which it is run.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Sweep {
    /// The load; its rate is the first one.
    pub scenario: Scenario,
    /// Largest number of rates.
    pub steps: u32,
    /// Ratio of each rate to the previous one.
    pub factor: f64,
}

/// The whole result of a sweep.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
pub struct SweepOutcome {
    /// The format, the kind and the program that wrote it.
    #[serde(flatten)]
    pub header: Header,
    /// The load and the rates that were requested.
    #[serde(flatten)]
    pub sweep: Sweep,
    /// The name of the broker.
    pub broker: String,
    /// The objective for the p99, s.
    pub slo_p99_s: Option<f64>,
    /// All runs, from the lowest rate to the highest.
    pub points: Vec<Point>,
    /// The highest rate up to which every step met the objective.
    pub highest_per_s: Option<f64>,
    /// The machine on which it ran.
    pub machine: Machine,
    /// Whether the outcome is valid, and why.
    pub verdict: Verdict,
}

/// Runs the scenario at one rate after the other.
///
/// # Errors
/// When a run has no outcome.
pub fn run(
    sweep: &Sweep,
    subject: &Subject,
    interrupted: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<SweepOutcome, Failure> {
    let scenario = &sweep.scenario;
    let points = steps(&sweep.rates(), |rate_per_s| {
        let point = search::measure(scenario, rate_per_s, subject, interrupted, observer)?;
        // Once more: a disturbance of the generator is not the bend of the curve.
        if point.valid {
            return Ok(point);
        }
        search::measure(scenario, rate_per_s, subject, interrupted, observer)
    })?;
    Ok(SweepOutcome {
        header: Header::new(OutcomeKind::Sweep),
        sweep: sweep.clone(),
        broker: subject.name.clone(),
        slo_p99_s: scenario.slo_p99.map(|slo| slo.as_secs_f64()),
        highest_per_s: highest(&points),
        verdict: assess(&points),
        points,
        machine: Machine::look(),
    })
}

impl Sweep {
    /// The rates that are tried, ascending.
    pub fn rates(&self) -> Vec<f64> {
        let Load::Scheduled { rate_per_s, .. } = self.scenario.load else {
            return Vec::new();
        };
        let rate = |step: u32| rate_per_s * self.factor.powf(f64::from(step));
        (0..self.steps).map(rate).collect()
    }
}

/// Measures at each rate until [`BEYOND`] steps after the first that misses the objective.
fn steps<E>(rates: &[f64], mut measure: impl FnMut(f64) -> Result<Point, E>) -> Result<Vec<Point>, E> {
    let mut points: Vec<Point> = Vec::new();
    for &rate_per_s in rates {
        let missed = points.iter().position(|point| !point.passed);
        if missed.is_some_and(|first| points.len() > first + BEYOND) {
            break;
        }
        points.push(measure(rate_per_s)?);
    }
    Ok(points)
}

fn highest(points: &[Point]) -> Option<f64> {
    let kept = points.iter().take_while(|point| point.passed);
    kept.last().map(|point| point.rate_per_s)
}

/// A sweep is right if its first rate met the objective; invalid if the generator limited every step that did not.
fn assess(points: &[Point]) -> Verdict {
    let invalid = points.iter().filter(|point| !point.valid).count();
    let missed = points.iter().filter(|point| point.valid && !point.passed).count();
    let generator = highest(points).is_none() && missed == 0;
    let mut findings = Vec::new();
    if invalid > 0 {
        findings.push(Finding {
            gravity: Gravity::Warning,
            text: format!("the generator limited {invalid} of {} steps", points.len()),
        });
    }
    if invalid + missed == 0 {
        findings.push(Finding {
            gravity: Gravity::Note,
            text: "every step met the objective: the broker can carry more".to_owned(),
        });
    }
    Verdict {
        exit_code: match (highest(points), generator) {
            (Some(_), _) => EXIT_OK,
            (None, true) => EXIT_GENERATOR,
            (None, false) => EXIT_MISSED,
        },
        valid: !generator,
        limited_by: if generator {
            LimitedBy::Generator
        } else {
            LimitedBy::Nothing
        },
        findings,
    }
}

/// The outcome as text.
pub fn text(outcome: &SweepOutcome) -> String {
    let objective = search::objective(outcome.slo_p99_s);
    let mut text = match outcome.highest_per_s {
        Some(rate) => format!("{objective} up to {} messages per second\n", digits(rate)),
        None => format!("{objective} at no rate\n"),
    };
    for finding in &outcome.verdict.findings {
        text.push_str(&finding.text);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(rate_per_s: f64, valid: bool, passed: bool) -> Point {
        Point {
            rate_per_s,
            delivered_percent: 100.0,
            p50_ns: 1,
            p99_ns: 2,
            p99_9_ns: 3,
            cpu_ns_per_delivery: None,
            valid,
            passed,
        }
    }

    fn sweep(limit: f64) -> Vec<Point> {
        let rates = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
        steps(&rates, |rate| Ok::<_, ()>(point(rate, true, rate <= limit))).unwrap()
    }

    #[test]
    fn it_ends_two_steps_behind_the_bend() {
        for (limit, count, found) in [
            (0.5, 3, None),
            (1.0, 4, Some(1.0)),
            (4.0, 6, Some(4.0)),
            (32.0, 7, Some(32.0)),
            (100.0, 7, Some(64.0)),
        ] {
            let points = sweep(limit);
            assert_eq!((points.len(), highest(&points)), (count, found), "{limit}");
        }
        assert_eq!(steps(&[1.0], |_| Err::<Point, _>("broken")), Err("broken"));
    }

    #[test]
    fn a_rate_that_is_kept_behind_one_that_is_not_does_not_count() {
        let points = [
            point(1.0, true, true),
            point(2.0, true, false),
            point(4.0, true, true),
        ];
        assert_eq!(highest(&points), Some(1.0));
    }

    #[test]
    fn a_slow_broker_and_a_slow_generator_have_different_verdicts() {
        let code = |points: &[Point]| assess(points).exit_code;
        assert_eq!(code(&[point(1.0, true, true), point(2.0, true, false)]), EXIT_OK);
        assert_eq!(code(&[point(1.0, true, true), point(2.0, false, false)]), EXIT_OK);
        assert_eq!(code(&[point(1.0, true, false)]), EXIT_MISSED);
        assert_eq!(code(&[point(1.0, false, false)]), EXIT_GENERATOR);
        assert_eq!(
            assess(&[point(1.0, true, true)])
                .findings
                .first()
                .map(|finding| finding.gravity),
            Some(Gravity::Note)
        );
    }
}
