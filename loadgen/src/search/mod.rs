//! `loadgen search`: the highest rate that meets the objective.
//!
//! `args.rs` has the options.
//!
//! Invariants: a rate passes only if the run is valid, its p99 is within the objective, 99.9 % was delivered, the
//! backlog does not grow and nothing broke; the result was confirmed three times. If the generator cannot follow, the
//! search ends with the result so far as a lower bound, and reports that.

pub mod args;

use std::sync::atomic::{AtomicBool, Ordering};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::generator::run;
use crate::outcome::Outcome;
use crate::outcome::header::{Header, OutcomeKind};
use crate::outcome::observer::Observer;
use crate::scenario::{Load, Scenario};
use crate::system::error::{EXIT_GENERATOR, EXIT_MISSED, EXIT_OK, Failure};
use crate::system::machine::Machine;
use crate::system::output::show_progress;
use crate::target::subject::Subject;

/// One run of a search.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Point {
    /// Messages per second offered.
    pub rate_per_s: f64,
    /// Percentage of the deliveries that arrived.
    pub delivered_percent: f64,
    /// Median of the latency.
    pub p50_ns: u64,
    /// p99 of the latency.
    pub p99_ns: u64,
    /// p99.9 of the latency.
    pub p99_9_ns: u64,
    /// CPU time of the broker for each delivery, ns.
    pub cpu_ns_per_delivery: Option<f64>,
    /// Whether the generator could follow.
    pub valid: bool,
    /// Whether the objective was met.
    pub passed: bool,
}

/// The whole result of a search.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
pub struct SearchOutcome {
    /// The format, the kind and the program that wrote it.
    #[serde(flatten)]
    pub header: Header,
    /// The load, except for its rate.
    pub scenario: Scenario,
    /// The name of the broker.
    pub broker: String,
    /// The objective for the p99, s.
    pub slo_p99_s: Option<f64>,
    /// All runs, in order.
    pub points: Vec<Point>,
    /// The highest rate that passed and was confirmed.
    pub found_per_s: Option<f64>,
    /// Whether the search ended because of the generator: the broker may be faster.
    pub lower_bound: bool,
    /// The machine on which it ran.
    pub machine: Machine,
}

impl SearchOutcome {
    /// Exit code of the program.
    pub fn exit_code(&self) -> u8 {
        match (self.found_per_s, self.lower_bound) {
            (Some(_), false) => EXIT_OK,
            (_, true) => EXIT_GENERATOR,
            (None, false) => EXIT_MISSED,
        }
    }
}

/// The result of one rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It met the objective.
    Passed,
    /// It missed the objective.
    Missed,
    /// The generator could not follow.
    Invalid,
}

/// Searches with runs of this scenario, whose rate is the first to be tried.
///
/// # Errors
/// When a run has no outcome.
pub fn run(
    scenario: &Scenario,
    subject: &Subject,
    interrupted: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<SearchOutcome, Failure> {
    let Load::Scheduled {
        rate_per_s: start, ..
    } = scenario.load
    else {
        return Err(Failure::Limits(
            "a search requires a --rate to start with".to_owned(),
        ));
    };
    let mut points = Vec::new();
    let found = find(start, |rate_per_s| -> Result<Step, Failure> {
        let point = measure(scenario, rate_per_s, subject, interrupted, observer)?;
        points.push(point);
        Ok(match point {
            Point { valid: false, .. } => Step::Invalid,
            Point { passed: true, .. } => Step::Passed,
            _ => Step::Missed,
        })
    })?;
    Ok(SearchOutcome {
        header: Header::new(OutcomeKind::Search),
        scenario: scenario.clone(),
        broker: subject.name.clone(),
        slo_p99_s: scenario.slo_p99.map(|slo| slo.as_secs_f64()),
        points,
        found_per_s: found.rate_per_s,
        lower_bound: found.lower_bound,
        machine: Machine::look(),
    })
}

/// One run of the scenario with a different rate, reported on standard error.
///
/// # Errors
/// An interruption, or the error of the run.
pub(crate) fn measure(
    scenario: &Scenario,
    rate_per_s: f64,
    subject: &Subject,
    interrupted: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Point, Failure> {
    if interrupted.load(Ordering::Relaxed) {
        return Err(Failure::Interrupted);
    }
    let scenario = Scenario {
        load: Load::Scheduled {
            rate_per_s,
            arrival: scenario.load.arrival(),
        },
        ..scenario.clone()
    };
    let slo_ns = scenario
        .slo_p99
        .map_or(u64::MAX, crate::measure::timeline::nanoseconds);
    let outcome = run::run(&scenario, subject, interrupted, observer)?;
    // A run that was cut short by a signal does not measure its rate.
    if interrupted.load(Ordering::Relaxed) {
        return Err(Failure::Interrupted);
    }
    let point = Point::of(&outcome, rate_per_s, slo_ns);
    show_progress(&line(&point));
    Ok(point)
}

impl Point {
    fn of(outcome: &Outcome, rate_per_s: f64, slo_ns: u64) -> Point {
        let totals = &outcome.ledger.totals;
        let delivered_percent = 100.0 * totals.received as f64 / totals.expected.max(1) as f64;
        let latency = outcome.latency;
        let p99_ns = latency.map_or(u64::MAX, |latency| latency.p99_ns);
        let steady = outcome
            .steadiness
            .is_none_or(|steadiness| !steadiness.backlog_grows());
        let whole = totals.duplicate + totals.reordered == 0 && outcome.ledger.unsent == 0;
        let valid = outcome.verdict.valid;
        Point {
            rate_per_s,
            delivered_percent,
            p50_ns: latency.map_or(0, |latency| latency.p50_ns),
            p99_ns: latency.map_or(0, |latency| latency.p99_ns),
            p99_9_ns: latency.map_or(0, |latency| latency.p99_9_ns),
            cpu_ns_per_delivery: outcome.broker.usage.and_then(|usage| usage.cpu_ns_per_delivery),
            valid,
            passed: valid
                && p99_ns <= slo_ns
                && delivered_percent >= DELIVERED_PERCENT_MIN
                && steady
                && whole,
        }
    }
}

/// Percentage of the deliveries that must arrive.
pub const DELIVERED_PERCENT_MIN: f64 = 99.9;
/// Largest ratio of the lowest rate that failed to the highest rate that passed at the end of the search.
pub const NEAR: f64 = 1.03;
/// How often the result must pass again.
pub const CONFIRMATIONS: u32 = 3;

/// The highest rate, as far as it was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HighestRate {
    /// The highest rate that passed and was confirmed.
    pub rate_per_s: Option<f64>,
    /// Whether the search ended because of the generator.
    pub lower_bound: bool,
}

/// Doubles the rate until it fails, bisects to 3 %, and confirms the result.
///
/// # Errors
/// The error of a step.
pub fn find<E>(start: f64, mut step: impl FnMut(f64) -> Result<Step, E>) -> Result<HighestRate, E> {
    let (mut low, mut high) = (None, None);
    let mut lower_bound = false;
    let mut rate = start;
    // Upwards from a rate that passes, or downwards from one that does not: sixty doublings exceed any machine.
    for _ in 0..DOUBLINGS_MAX {
        let result = step(rate)?;
        lower_bound |= result == Step::Invalid;
        match result {
            Step::Passed => low = Some(rate),
            Step::Missed | Step::Invalid => high = Some(rate),
        }
        rate = match (low, high) {
            (Some(_), Some(_)) => break,
            (Some(low), None) => low * 2.0,
            (None, Some(high)) if high > RATE_MIN => high / 2.0,
            _ => break,
        };
    }
    let Some(mut low) = low else {
        return Ok(HighestRate {
            rate_per_s: None,
            lower_bound,
        });
    };
    let mut high = high.unwrap_or(low * 2.0);
    while high / low > NEAR {
        let middle = (low * high).sqrt();
        match step(middle)? {
            Step::Passed => low = middle,
            Step::Missed => {
                high = middle;
                lower_bound = false;
            }
            Step::Invalid => {
                high = middle;
                lower_bound = true;
            }
        }
    }
    let rate_per_s = confirm(low, &mut step)?;
    Ok(HighestRate {
        rate_per_s,
        lower_bound: lower_bound && rate_per_s.is_some(),
    })
}

/// Runs the same rate three times, and a lower one if a run fails.
fn confirm<E>(mut rate: f64, step: &mut impl FnMut(f64) -> Result<Step, E>) -> Result<Option<f64>, E> {
    for _ in 0..RETREATS_MAX {
        let mut passed = 0;
        while passed < CONFIRMATIONS && step(rate)? == Step::Passed {
            passed += 1;
        }
        if passed == CONFIRMATIONS {
            return Ok(Some(rate));
        }
        rate /= NEAR;
    }
    Ok(None)
}

const DOUBLINGS_MAX: u32 = 60;
const RETREATS_MAX: u32 = 10;
const RATE_MIN: f64 = 1.0;

fn line(point: &Point) -> String {
    let verdict = match (point.valid, point.passed) {
        (false, _) => "invalid: limited by the generator",
        (true, true) => "passed",
        (true, false) => "missed",
    };
    format!(
        "{:>12} per s: p50 {:.3} ms, p99 {:.3} ms, p99.9 {:.3} ms, {:.3} % delivered: {verdict}",
        crate::measure::numbers::digits(point.rate_per_s),
        point.p50_ns as f64 / 1e6,
        point.p99_ns as f64 / 1e6,
        point.p99_9_ns as f64 / 1e6,
        point.delivered_percent
    )
}

/// The objective in words.
pub(crate) fn objective(slo_p99_s: Option<f64>) -> String {
    slo_p99_s.map_or("any p99".to_owned(), |slo_s| {
        format!("a p99 of at most {} ms", slo_s * 1e3)
    })
}

/// The outcome as text.
pub fn text(outcome: &SearchOutcome) -> String {
    let objective = objective(outcome.slo_p99_s);
    match (outcome.found_per_s, outcome.lower_bound) {
        (Some(rate), false) => format!(
            "{} messages per second with {objective}, confirmed {CONFIRMATIONS} times\n",
            crate::measure::numbers::digits(rate)
        ),
        (Some(rate), true) => format!(
            "at least {} messages per second with {objective}: the generator could not offer more\n",
            crate::measure::numbers::digits(rate)
        ),
        (None, _) => format!("no rate reached {objective}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(start: f64, step: impl Fn(f64, u32) -> Step) -> (HighestRate, u32) {
        let mut steps = 0;
        let found = find(start, |rate| {
            steps += 1;
            Ok::<Step, ()>(step(rate, steps))
        });
        (found.unwrap(), steps)
    }

    fn up_to(limit: f64) -> impl Fn(f64, u32) -> Step {
        move |rate, _| if rate <= limit { Step::Passed } else { Step::Missed }
    }

    #[test]
    fn the_limit_is_found_to_three_percent_from_below_and_from_above() {
        for (start, limit) in [
            (100.0, 12_345.0),
            (1e6, 12_345.0),
            (12_345.0, 12_345.0),
            (1.0, 3.0),
        ] {
            let (found, steps) = search(start, up_to(limit));
            let rate = found.rate_per_s.unwrap();
            assert!(rate <= limit && rate * NEAR >= limit, "{start} {limit}: {rate}");
            assert!(!found.lower_bound && steps < 40, "{steps}");
        }
    }

    #[test]
    fn where_nothing_passes_nothing_is_found() {
        let (found, _) = search(1_000.0, |_, _| Step::Missed);
        assert_eq!(found.rate_per_s, None);
    }

    #[test]
    fn a_generator_that_cannot_follow_makes_it_a_lower_bound() {
        let (found, _) = search(100.0, |rate, _| {
            if rate <= 5_000.0 {
                Step::Passed
            } else {
                Step::Invalid
            }
        });
        assert!(found.lower_bound && found.rate_per_s.is_some());
    }

    #[test]
    fn what_is_not_confirmed_is_lowered() {
        // Near the limit every second run fails.
        let (found, _) = search(100.0, |rate, step| match rate {
            rate if rate > 1_000.0 => Step::Missed,
            rate if rate > 900.0 && step.is_multiple_of(2) => Step::Missed,
            _ => Step::Passed,
        });
        assert!(found.rate_per_s.unwrap() <= 1_000.0);
    }
}
