//! `loadgen compare`: Midge and other brokers on the same work, in turns.
//!
//! [`plan`] says what is measured and with whom, [`peers`] how each broker is started; the outcomes lie in a [`folder`],
//! from which [`summary`] and [`statistics`] make the [`table`].
//!
//! Invariants: each run has a broker of its own, in a process of its own, on its cores alone; the rounds go A B B A; a
//! run that fails is kept as such and the rest goes on.

pub mod args;
pub mod folder;
pub mod peers;
pub mod plan;
mod start;
pub mod statistics;
pub mod summary;
pub mod table;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use crate::generator::run;
use crate::measure::numbers::digits;
use crate::outcome::observer::Silent;
use crate::selftest::Selftest;
use crate::system::error::{EXIT_GENERATOR, EXIT_INTERRUPTED, EXIT_MISSED, EXIT_OK, Failure};
use crate::system::machine::{self, Machine};
use crate::{connect, retained, sweep};
use args::CompareRequest;
use folder::{Folder, Version};
use plan::{Contender, Kind, Row, Work};
use start::{Certificates, Started};

/// Runs a comparison; gives the exit code.
///
/// # Errors
/// When the results cannot be written, or the certificates not be made.
pub fn run(request: &CompareRequest, interrupted: &AtomicBool) -> Result<u8, Failure> {
    for peer in &request.missing {
        eprintln!(
            "loadgen: {} is not installed and left out ({})",
            peer.name, peer.from
        );
    }
    let certificates = Certificates::make()?;
    let folder = Folder::make(request).map_err(Failure::system("cannot make the folder of the results"))?;
    let written = Failure::system(format!("cannot write into {}", folder.path().display()));
    let versions = versions(&request.contenders);
    let selftest = Selftest {
        duration: SELFTEST,
        cpus: Some(request.frame.cpus.clone()),
    };
    let ceiling = crate::selftest::run(&selftest, interrupted)?;
    print!("{}", crate::selftest::text(&ceiling));
    let kept = folder.write_json("selftest.json", &ceiling);
    kept.map_err(Failure::system("cannot keep the selftest"))?;
    let begun = write_frame(&folder, request, &versions);
    let tally = begun.and_then(|()| measure_all(request, &certificates, &folder, interrupted));
    let tally = tally.map_err(written)?;
    let written = Failure::system(format!("cannot write into {}", folder.path().display()));
    let summary = folder.sum_up(request, &versions).map_err(written)?;
    let written = Failure::system("cannot write the report");
    crate::html::write(folder.path()).map_err(written)?;
    print!("{}", table::terminal(&summary));
    println!("\n{}", folder.path().display());
    Ok(tally.exit_code(interrupted))
}

/// Length of each run of the selftest that stands before a comparison.
const SELFTEST: std::time::Duration = std::time::Duration::from_secs(1);

/// What became of the runs.
#[derive(Debug, Default)]
struct Tally {
    runs: u32,
    failed: u32,
    ours_wrong: u32,
    invalid: u32,
}

impl Tally {
    fn count(&mut self, contender: &Contender, outcome: &Value) {
        let code = outcome.pointer("/verdict/exit_code").and_then(Value::as_u64);
        self.runs += 1;
        self.failed += u32::from(code.is_none());
        self.invalid += u32::from(code == Some(u64::from(EXIT_GENERATOR)));
        let wrong = code.is_none_or(|code| code != 0 && code != u64::from(EXIT_GENERATOR));
        self.ours_wrong += u32::from(matches!(contender.kind, Kind::Midge) && wrong);
    }

    /// Ours has to be right; of the others a run that fails is a result.
    fn exit_code(&self, interrupted: &AtomicBool) -> u8 {
        match () {
            () if interrupted.load(Ordering::Relaxed) => EXIT_INTERRUPTED,
            () if self.ours_wrong > 0 || self.failed == self.runs => EXIT_MISSED,
            () if self.invalid * 2 > self.runs => EXIT_GENERATOR,
            () => EXIT_OK,
        }
    }
}

fn write_frame(folder: &Folder, request: &CompareRequest, versions: &[Version]) -> io::Result<()> {
    folder.write("command", format!("{}\n", request.line).as_bytes())?;
    folder.write_json("machine.json", &Machine::look())?;
    folder.write_json("versions.json", &versions)
}

fn measure_all(
    request: &CompareRequest,
    certificates: &Certificates,
    folder: &Folder,
    interrupted: &AtomicBool,
) -> io::Result<Tally> {
    let mut tally = Tally::default();
    let whole: usize = request
        .rows
        .iter()
        .map(|row| row.contenders(&request.contenders).len())
        .sum();
    let whole = whole * request.rounds as usize;
    let began = Instant::now();
    for row in &request.rows {
        let contenders = row.contenders(&request.contenders);
        for round in 1..=request.rounds {
            for contender in in_turn(&contenders, round) {
                if interrupted.load(Ordering::Relaxed) {
                    return Ok(tally);
                }
                let outcome = measure(row, contender, certificates, folder, interrupted);
                let outcome = outcome.unwrap_or_else(|failure| json!({ "error": failure.to_string() }));
                tally.count(contender, &outcome);
                folder.keep_outcome(&row.name, &contender.label, round, &outcome)?;
                tell(row, contender, round, &outcome, (tally.runs, whole), began);
            }
        }
    }
    Ok(tally)
}

/// A B B A: every second round goes the other way round.
fn in_turn<'a>(contenders: &[&'a Contender], round: u32) -> Vec<&'a Contender> {
    let mut turn = contenders.to_vec();
    if round.is_multiple_of(2) {
        turn.reverse();
    }
    turn
}

fn tell(
    row: &Row,
    contender: &Contender,
    round: u32,
    outcome: &Value,
    (done, whole): (u32, usize),
    began: Instant,
) {
    let cost = [
        ("/broker/usage/cpu_ns_per_delivery", "a message"),
        ("/broker/usage/cpu_ns_per_connection", "a connection"),
        ("/broker/cpu_ns_per_insert", "an insert"),
    ];
    let cost = cost.iter().find_map(|(pointer, each)| {
        let us = summary::number(outcome, pointer)? / 1e3;
        Some(format!("{} µs CPU {each}", digits(us)))
    });
    let cost = cost.or_else(|| {
        let rate = summary::number(outcome, "/highest_per_s")?;
        Some(format!("within the objective up to {} per s", digits(rate)))
    });
    let error = outcome.get("error").and_then(Value::as_str);
    let said = error.map(str::to_owned).or(cost).unwrap_or_default();
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    eprintln!(
        "[{done}/{whole}, {minutes:.1} min] {} {} {round}: {said}",
        row.name, contender.label
    );
}

/// One run with a broker of its own.
fn measure(
    row: &Row,
    contender: &Contender,
    certificates: &Certificates,
    folder: &Folder,
    interrupted: &AtomicBool,
) -> Result<Value, Failure> {
    let started = Started::new(row.tls, contender, certificates, interrupted)?;
    folder
        .keep_configuration(contender, row.tls.is_some(), &started.configuration)
        .map_err(Failure::system("cannot keep a configuration"))?;
    let subject = &started.subject;
    let value = match &row.work {
        Work::Load(scenario) => to_value(&run::run(scenario, subject, interrupted, &mut Silent)?),
        Work::Sweep(sweep) => to_value(&sweep::run(sweep, subject, interrupted, &mut Silent)?),
        Work::Storm(storm) => to_value(&connect::run(storm, subject, interrupted, &mut Silent)?),
        Work::Retained(retained) => to_value(&retained::run(retained, subject, interrupted)?),
    };
    let mut started = started;
    started.process.check_alive()?;
    value
}

fn to_value<T: serde::Serialize>(outcome: &T) -> Result<Value, Failure> {
    serde_json::to_value(outcome).map_err(|error| Failure::System {
        what: "cannot write an outcome".to_owned(),
        source: error.into(),
    })
}

fn versions(contenders: &[Contender]) -> Vec<Version> {
    let version = |contender: &Contender| {
        let (version, program): (String, Option<PathBuf>) = match &contender.kind {
            Kind::Midge => (
                format!("Midge {}", env!("CARGO_PKG_VERSION")),
                std::env::current_exe().ok(),
            ),
            Kind::Peer(peer, program) => (peer.version(program), Some(program.clone())),
        };
        Version {
            broker: contender.label.clone(),
            version,
            sha256: program.and_then(|program| machine::sha256_of(&program)),
        }
    };
    contenders.iter().map(version).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::cpus::Cpus;

    fn contender(label: &str) -> Contender {
        Contender {
            label: label.to_owned(),
            kind: Kind::Midge,
            nodelay: true,
            cores: Cpus::allowed().first(1),
        }
    }

    #[test]
    fn rounds_go_there_and_back() {
        let (a, b) = (contender("a"), contender("b"));
        let order: String = (1..=4)
            .flat_map(|round| in_turn(&[&a, &b], round))
            .map(|contender| contender.label.as_str())
            .collect();
        assert_eq!(order, "abbaabba");
    }

    #[test]
    fn ours_has_to_be_right() {
        let code = |outcomes: &[(bool, Value)]| {
            let mut tally = Tally::default();
            for (ours, outcome) in outcomes {
                let mut contender = contender("x");
                if !ours {
                    let peer = peers::Peer::of("mosquitto").unwrap();
                    contender.kind = Kind::Peer(peer, PathBuf::new());
                }
                tally.count(&contender, outcome);
            }
            tally.exit_code(&AtomicBool::new(false))
        };
        let verdict = |code: u8| json!({"verdict": {"exit_code": code}});
        let error = json!({"error": "it does not start"});
        assert_eq!(code(&[(true, verdict(0)), (false, verdict(1))]), 0);
        assert_eq!(code(&[(true, verdict(0)), (false, error.clone())]), 0);
        assert_eq!(code(&[(true, verdict(1)), (false, verdict(0))]), 1);
        assert_eq!(code(&[(true, error), (false, verdict(0))]), 1);
        assert_eq!(code(&[(true, verdict(4)), (false, verdict(4))]), 4);
    }
}
