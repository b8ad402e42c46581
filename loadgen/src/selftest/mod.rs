//! `loadgen selftest`: measures the generator itself, against a sink in place of a broker.
//!
//! [`sink`] takes what publishers send and passes it to subscribers without any other work. The loads are ordinary
//! runs, so the code that is measured is the code that measures brokers. `args.rs` has the options; `bare.rs` sends
//! without the generator.
//!
//! Invariants: the generator sends exactly what its schedule contains. The measured maxima are those of the generator
//! only if the sink is not slower; on one core they share it.

pub mod args;
mod bare;
pub mod sink;

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::generator::run;
use crate::outcome::Outcome;
use crate::outcome::header::{Header, OutcomeKind};
use crate::outcome::observer::Silent;
use crate::scenario::Scenario;
use crate::system::cpus::Cpus;
use crate::system::error::{EXIT_GENERATOR, EXIT_OK, Failure};
use crate::system::machine::Machine;
use crate::target::endpoint::Endpoint;
use crate::target::subject::Subject;
use sink::Sink;

/// The settings of a selftest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selftest {
    /// Length of each run.
    pub duration: Duration,
    /// CPUs that the generator's thread may use.
    pub cpus: Option<Cpus>,
}

/// What the runs of a selftest measured, and what is worse than it should be.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
pub struct SelftestOutcome {
    /// The format, the kind and the program that wrote it.
    #[serde(flatten)]
    pub header: Header,
    /// How well the schedule was kept.
    #[serde(alias = "pacer")]
    pub schedule: ScheduleCheck,
    /// Each message sent with a separate write.
    pub single: Ceiling,
    /// The same with `send(2)` only, which is the kernel's share; the first versions did not measure it.
    #[serde(default)]
    pub bare: Option<Ceiling>,
    /// As many messages in each write as fit.
    pub batched: Ceiling,
    /// Messages received; the cost of sending them is subtracted.
    pub received: Ceiling,
    /// What is worse than it should be.
    pub findings: Vec<String>,
    /// Exit code of the program.
    pub exit_code: u8,
    /// The machine on which it ran.
    pub machine: Machine,
}

/// How well the generator kept its schedule at one rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct ScheduleCheck {
    /// Messages per second in the schedule.
    pub asked_per_s: f64,
    /// Messages per second sent in the measured part.
    pub sent_per_s: f64,
    /// Messages of the schedule that were never sent.
    pub unsent: u64,
    /// Intended to actual send time: the median.
    pub lag_p50_ns: u64,
    /// Intended to actual send time: the p99.
    pub lag_p99_ns: u64,
    /// Intended to actual send time: the longest.
    pub lag_max_ns: u64,
}

/// A maximum rate and its cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Ceiling {
    /// Messages per second in the measured part.
    pub per_s: f64,
    /// CPU time of the generator for each message, ns.
    pub cpu_ns_per_message: f64,
}

/// Objective: CPU time of a publish that is sent alone, ns; if the kernel's share is most of that,
/// [`BARE_SHARE_AIM`].
pub const SINGLE_NS_AIM: f64 = 1_000.0;
/// Objective: ratio of a publish that is sent alone to a bare send.
pub const BARE_SHARE_AIM: f64 = 1.25;
/// Objective: CPU time of a publish in a batch, ns.
pub const BATCHED_NS_AIM: f64 = 100.0;
/// Objective: CPU time of a delivery, ns.
pub const RECEIVED_NS_AIM: f64 = 1_200.0;

/// Runs all parts of the selftest.
///
/// # Errors
/// When the sink or a run cannot be set up.
pub fn run(selftest: &Selftest, interrupted: &AtomicBool) -> Result<SelftestOutcome, Failure> {
    let sink = Sink::start()?;
    let subject = Subject {
        endpoint: Endpoint::one(sink.address(), "localhost", None),
        pid: None,
        name: "sink".to_owned(),
        configuration: None,
    };
    let load = |words: &str| {
        let scenario = scenario(selftest, words)?;
        let outcome = run::run(&scenario, &subject, interrupted, &mut Silent)?;
        // A run that was cut short proves nothing.
        match interrupted.load(Ordering::Relaxed) {
            true => Err(Failure::Interrupted),
            false => Ok(outcome),
        }
    };
    let schedule = schedule(&load(&format!("--pubs 100 --subs 0 --rate {SCHEDULE_RATE}"))?);
    // More than can be sent, so that sending is measured and not waiting.
    let single = sent(&load("--pubs 10 --subs 0 --one-per-write --rate 20000000")?);
    let bare = bare::measure(
        sink.address(),
        selftest.duration,
        selftest.cpus.as_ref(),
        interrupted,
    )?;
    let batched = sent(&load("--pubs 10 --subs 0 --rate 20000000")?);
    let received = received(&load("--pubs 100 --subs 100 --rate max --window 1000")?, &batched);
    let (findings, exit_code) = assess(&schedule, &[&single, &batched, &received], &bare);
    Ok(SelftestOutcome {
        header: Header::new(OutcomeKind::Selftest),
        schedule,
        single,
        bare: Some(bare),
        batched,
        received,
        findings,
        exit_code,
        machine: Machine::look(),
    })
}

const SCHEDULE_RATE: f64 = 10_000.0;

fn scenario(selftest: &Selftest, words: &str) -> Result<Scenario, Failure> {
    let seconds = selftest.duration.as_secs_f64();
    let cpus = selftest.cpus.as_ref();
    let pinned = cpus.map_or(String::new(), |cpus| format!("--cpus {cpus}"));
    let line =
        format!("loadgen {words} {pinned} --threads 1 --warmup 0.3 --duration {seconds} --drain 5 --no-tls");
    let words = line.split_whitespace().map(OsString::from);
    let request = crate::options::parse(words).map_err(|error| Failure::Limits(error.to_string()))?;
    Ok(request.scenario)
}

fn schedule(outcome: &Outcome) -> ScheduleCheck {
    let lag = outcome.lag;
    ScheduleCheck {
        asked_per_s: SCHEDULE_RATE,
        sent_per_s: outcome.rates.sent_per_s,
        unsent: outcome.ledger.unsent,
        lag_p50_ns: lag.map_or(0, |lag| lag.p50_ns),
        lag_p99_ns: lag.map_or(0, |lag| lag.p99_ns),
        lag_max_ns: lag.map_or(0, |lag| lag.max_ns),
    }
}

fn cpu_ns(outcome: &Outcome) -> f64 {
    outcome
        .generator
        .threads
        .iter()
        .map(|thread| thread.cpu_ns as f64)
        .sum()
}

/// By the CPU clocks of the threads: the messages that were sent while they ran.
fn sent(outcome: &Outcome) -> Ceiling {
    let count = by_time(outcome, |interval| interval.sent);
    Ceiling {
        per_s: count / outcome.rates.measured_s.max(1e-9),
        cpu_ns_per_message: cpu_ns(outcome) / count.max(1.0),
    }
}

fn received(outcome: &Outcome, batched: &Ceiling) -> Ceiling {
    let count = by_time(outcome, |interval| interval.received);
    let sending_ns = by_time(outcome, |interval| interval.sent) * batched.cpu_ns_per_message;
    Ceiling {
        per_s: count / outcome.rates.measured_s.max(1e-9),
        cpu_ns_per_message: ((cpu_ns(outcome) - sending_ns) / count.max(1.0)).max(0.0),
    }
}

/// Messages of the measured part by the time at which they were sent or received, not by their intended time: only
/// a schedule that cannot be kept shows the maximum.
fn by_time(outcome: &Outcome, count: fn(&crate::outcome::series::IntervalReport) -> u64) -> f64 {
    let measured = outcome
        .series
        .iter()
        .filter(|interval| interval.part == crate::outcome::series::Part::Measured);
    measured.map(count).sum::<u64>() as f64
}

fn assess(schedule: &ScheduleCheck, ceilings: &[&Ceiling; 3], bare: &Ceiling) -> (Vec<String>, u8) {
    let mut findings = Vec::new();
    let off_percent = 100.0 * (schedule.sent_per_s / schedule.asked_per_s - 1.0).abs();
    if schedule.unsent > 0 || off_percent > RATE_OFF_PERCENT_MAX {
        findings.push(format!(
            "the schedule was not kept: {:.1} per second instead of {:.1}, {} never sent",
            schedule.sent_per_s, schedule.asked_per_s, schedule.unsent
        ));
    }
    if schedule.lag_p50_ns > LAG_P50_NS_MAX {
        let lag_ms = schedule.lag_p50_ns as f64 / 1e6;
        findings.push(format!(
            "the generator is late by {lag_ms:.3} ms (median): this machine is too busy to measure"
        ));
    }
    let exit_code = if findings.is_empty() {
        EXIT_OK
    } else {
        EXIT_GENERATOR
    };
    let aims = [
        (
            "a publish sent alone",
            SINGLE_NS_AIM.max(BARE_SHARE_AIM * bare.cpu_ns_per_message),
        ),
        ("a publish in a batch", BATCHED_NS_AIM),
        ("a delivery", RECEIVED_NS_AIM),
    ];
    for ((what, aim_ns), ceiling) in aims.into_iter().zip(ceilings) {
        if ceiling.cpu_ns_per_message > aim_ns {
            let (ns, aim_ns) = (ceiling.cpu_ns_per_message, aim_ns);
            findings.push(format!(
                "{what} costs {ns:.0} ns of the generator's CPU, the objective is {aim_ns:.0}"
            ));
        }
    }
    (findings, exit_code)
}

const RATE_OFF_PERCENT_MAX: f64 = 0.2;
const LAG_P50_NS_MAX: u64 = 1_000_000;

/// The outcome as text.
pub fn text(outcome: &SelftestOutcome) -> String {
    let ScheduleCheck {
        asked_per_s,
        sent_per_s,
        unsent,
        lag_p50_ns,
        lag_p99_ns,
        lag_max_ns,
    } = outcome.schedule;
    let us = |ns: u64| ns as f64 / 1e3;
    let mut text = format!(
        "{:>24} {asked_per_s:.0} per second scheduled, {sent_per_s:.1} sent, {unsent} never sent; \
         late by {:.1} µs (p50), {:.1} µs (p99), {:.1} µs (max)\n",
        "schedule",
        us(lag_p50_ns),
        us(lag_p99_ns),
        us(lag_max_ns)
    );
    let rows = [
        ("publish alone", Some(&outcome.single)),
        ("of which the bare send", outcome.bare.as_ref()),
        ("publish batched", Some(&outcome.batched)),
        ("delivery", Some(&outcome.received)),
    ];
    for (name, ceiling) in rows {
        let Some(ceiling) = ceiling else { continue };
        let per_s = crate::measure::numbers::digits(ceiling.per_s);
        text.push_str(&format!(
            "{name:>24} {:.0} ns CPU each, {per_s} per second\n",
            ceiling.cpu_ns_per_message
        ));
    }
    for finding in &outcome.findings {
        text.push_str(&format!("{:>24} {finding}\n", "note"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_that_is_off_by_one_in_a_hundred_is_found() {
        let right = ScheduleCheck {
            asked_per_s: 10_000.0,
            sent_per_s: 10_000.5,
            ..ScheduleCheck::default()
        };
        let cheap = Ceiling {
            per_s: 1.0,
            cpu_ns_per_message: 50.0,
        };
        let code = |schedule: ScheduleCheck| assess(&schedule, &[&cheap, &cheap, &cheap], &cheap).1;
        assert_eq!(code(right), EXIT_OK);
        assert_eq!(
            code(ScheduleCheck {
                sent_per_s: 9_900.0,
                ..right
            }),
            EXIT_GENERATOR
        );
        assert_eq!(code(ScheduleCheck { unsent: 1, ..right }), EXIT_GENERATOR);
        assert_eq!(
            code(ScheduleCheck {
                lag_p50_ns: 2_000_000,
                ..right
            }),
            EXIT_GENERATOR
        );
        let dear = Ceiling {
            cpu_ns_per_message: 5_000.0,
            ..cheap
        };
        let (findings, code) = assess(&right, &[&dear, &dear, &dear], &cheap);
        assert_eq!((findings.len(), code), (3, EXIT_OK));
        let (findings, _) = assess(&right, &[&dear, &cheap, &cheap], &dear);
        assert!(findings.is_empty(), "the cost is the kernel's: {findings:?}");
    }
}
