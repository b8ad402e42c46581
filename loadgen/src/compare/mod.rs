//! `loadgen compare`: measures Midge and other brokers with the same scenarios, in turns.
//!
//! [`plan`] has the scenarios and the brokers, [`peers`] can start each broker, [`gate`] has the limits that may not
//! be exceeded; [`diff`] shows two results side by side; `kill.rs` kills brokers with -9, and `kill_outcome.rs` shows
//! what they have kept. The rounds are written to a [`folder`], from which [`crate::summary`] makes figures and
//! tables. `args.rs` has the options, `start.rs` starts a broker for a round.
//!
//! Invariants: each run has a separate broker process, which has its cores alone. The rounds go A B B A. A run that
//! fails is recorded as failed, and the other runs continue.

pub mod args;
pub mod diff;
pub mod folder;
pub mod gate;
mod kill;
pub(crate) mod kill_outcome;
pub mod peers;
pub mod plan;
mod start;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::generator::run;
use crate::measure::numbers::digits;
use crate::outcome::observer::Silent;
use crate::selftest::Selftest;
use crate::summary::record::{Record, RunFailure};
use crate::summary::rounds::BrokerVersion;
use crate::summary::table;
use crate::system::error::{EXIT_GENERATOR, EXIT_MISSED, EXIT_OK, EXIT_SATURATED, Failure};
use crate::system::machine::{self, Machine};
use crate::system::output::{note, print, show_progress};
use crate::{connect, retained, sweep};
use args::CompareRequest;
use folder::Folder;
use plan::{Broker, BrokerKind, Row, Work};
use start::{Certificates, Started};

/// Runs a comparison; returns the exit code.
///
/// # Errors
/// The results cannot be written, or the certificates cannot be made.
pub fn run(request: &CompareRequest, interrupted: &AtomicBool) -> Result<u8, Failure> {
    for peer in &request.missing {
        note(&format!(
            "{} is not installed and left out ({})",
            peer.name, peer.from
        ));
    }
    if request.kill {
        return kill::run(request, interrupted);
    }
    let certificates = Certificates::make()?;
    let folder = Folder::make(request).map_err(Failure::system("cannot create the folder of the results"))?;
    let written = Failure::system(format!("cannot write into {}", folder.path().display()));
    let versions = versions(&request.brokers);
    let selftest = Selftest {
        duration: SELFTEST,
        cpus: Some(request.settings.cpus.clone()),
    };
    let ceiling = crate::selftest::run(&selftest, interrupted)?;
    print(&crate::selftest::text(&ceiling))?;
    let kept = folder.write_json("selftest.json", &ceiling);
    kept.map_err(Failure::system("cannot keep the selftest"))?;
    let begun = write_frame(&folder, request, &versions);
    let counts = begun.and_then(|()| measure_all(request, &certificates, &folder, interrupted));
    let counts = counts.map_err(written)?;
    let written = Failure::system(format!("cannot write into {}", folder.path().display()));
    let summary = folder.sum_up(request, &versions).map_err(written)?;
    let written = Failure::system("cannot write the report");
    crate::html::write(folder.path()).map_err(written)?;
    print(&format!(
        "{}\n{}\n",
        table::terminal(&summary),
        folder.path().display()
    ))?;
    let failed = gate::check(&summary, &request.gates);
    print(&failed.iter().map(|text| format!("{text}\n")).collect::<String>())?;
    Ok(if failed.is_empty() {
        counts.exit_code()
    } else {
        EXIT_MISSED
    })
}

/// Duration of each run of the selftest before a comparison.
const SELFTEST: std::time::Duration = std::time::Duration::from_secs(1);

/// Number of completed and of failed runs.
#[derive(Debug, Default)]
struct RunCounts {
    runs: u32,
    failed: u32,
    ours_wrong: u32,
    invalid: u32,
}

impl RunCounts {
    fn count(&mut self, broker: &Broker, record: &Record) {
        let code = record.verdict().map(|verdict| verdict.exit_code);
        self.runs += 1;
        self.failed += u32::from(code.is_none());
        self.invalid += u32::from(code == Some(EXIT_GENERATOR));
        let wrong = code.is_none_or(|code| ![EXIT_OK, EXIT_GENERATOR, EXIT_SATURATED].contains(&code));
        self.ours_wrong += u32::from(matches!(broker.kind, BrokerKind::Midge) && wrong);
    }

    /// A failed run of Midge is a failure; one of another broker is a result.
    fn exit_code(&self) -> u8 {
        match () {
            () if self.ours_wrong > 0 || self.failed == self.runs => EXIT_MISSED,
            () if self.invalid * 2 > self.runs => EXIT_GENERATOR,
            () => EXIT_OK,
        }
    }
}

fn write_frame(folder: &Folder, request: &CompareRequest, versions: &[BrokerVersion]) -> io::Result<()> {
    folder.write("command", format!("{}\n", request.line).as_bytes())?;
    folder.write_json("machine.json", &Machine::look())?;
    folder.write_json("versions.json", &versions)
}

fn measure_all(
    request: &CompareRequest,
    certificates: &Certificates,
    folder: &Folder,
    interrupted: &AtomicBool,
) -> io::Result<RunCounts> {
    let mut counts = RunCounts::default();
    let whole: usize = request
        .rows
        .iter()
        .map(|row| row.brokers(&request.brokers).len())
        .sum();
    let mut progress = CompareProgress {
        runs_done: 0,
        runs_in_all: whole * request.rounds as usize,
        began: Instant::now(),
    };
    for row in &request.rows {
        let brokers = row.brokers(&request.brokers);
        for round in 1..=request.rounds {
            for broker in in_turn(&brokers, round) {
                if interrupted.load(Ordering::Relaxed) {
                    return Ok(counts);
                }
                let measured = measure(row, broker, certificates, folder, interrupted);
                let record = measured.unwrap_or_else(|failure| {
                    Record::Failed(RunFailure {
                        error: failure.to_string(),
                    })
                });
                counts.count(broker, &record);
                folder.keep_record(&row.name, &broker.label, round, &record)?;
                progress.runs_done += 1;
                progress.report(row, broker, round, &record);
            }
        }
    }
    Ok(counts)
}

/// A B B A: every second round has the reverse order.
fn in_turn<'a>(brokers: &[&'a Broker], round: u32) -> Vec<&'a Broker> {
    let mut turn = brokers.to_vec();
    if round.is_multiple_of(2) {
        turn.reverse();
    }
    turn
}

/// The progress of a comparison, for the line on the terminal.
#[derive(Clone, Copy)]
struct CompareProgress {
    runs_done: u32,
    runs_in_all: usize,
    began: Instant,
}

impl CompareProgress {
    /// Writes a line about the finished run to standard error.
    fn report(&self, row: &Row, broker: &Broker, round: u32, record: &Record) {
        let CompareProgress {
            runs_done,
            runs_in_all,
            began,
        } = self;
        let minutes = began.elapsed().as_secs_f64() / 60.0;
        show_progress(&format!(
            "[{runs_done}/{runs_in_all}, {minutes:.1} min] {} {} {round}: {}",
            row.name,
            broker.label,
            headline(record)
        ));
    }
}

/// The most important figure of a run, or the reason why the run has none.
fn headline(record: &Record) -> String {
    let cost = |cpu_ns: Option<f64>, each: &str| {
        cpu_ns.map_or(String::new(), |cpu_ns| {
            format!("{} µs CPU {each}", digits(cpu_ns / 1e3))
        })
    };
    match record {
        Record::Run(run) => {
            let usage = run.broker.usage;
            cost(usage.and_then(|usage| usage.cpu_ns_per_delivery), "a message")
        }
        Record::Connections(connections) => {
            let usage = connections.broker.usage;
            cost(
                usage.and_then(|usage| usage.cpu_ns_per_connection),
                "a connection",
            )
        }
        Record::Retained(retained) => cost(retained.broker.cpu_ns_per_insert, "an insert"),
        Record::Sweep(sweep) => sweep.highest_per_s.map_or(String::new(), |rate| {
            format!("within the objective up to {} per s", digits(rate))
        }),
        Record::Search(_) => String::new(),
        Record::Failed(failure) => failure.error.clone(),
    }
}

/// One run with a separate broker.
fn measure(
    row: &Row,
    broker: &Broker,
    certificates: &Certificates,
    folder: &Folder,
    interrupted: &AtomicBool,
) -> Result<Record, Failure> {
    let started = Started::new(row.tls, broker, certificates, interrupted)?;
    folder
        .keep_configuration(broker, row.tls.is_some(), &started.configuration)
        .map_err(Failure::system("cannot keep a configuration"))?;
    let subject = &started.subject;
    let record = match &row.work {
        Work::Load(scenario) => Record::Run(run::run(scenario, subject, interrupted, &mut Silent)?.into()),
        Work::Sweep(sweep) => Record::Sweep(sweep::run(sweep, subject, interrupted, &mut Silent)?.into()),
        Work::Connect(connections) => {
            Record::Connections(connect::run(connections, subject, interrupted, &mut Silent)?.into())
        }
        Work::Retained(retained) => Record::Retained(retained::run(retained, subject, interrupted)?.into()),
    };
    let mut started = started;
    started.process.check_alive()?;
    Ok(record)
}

fn versions(brokers: &[Broker]) -> Vec<BrokerVersion> {
    let version = |broker: &Broker| {
        let (version, program): (String, Option<PathBuf>) = match &broker.kind {
            BrokerKind::Midge => (
                format!("Midge {}", env!("CARGO_PKG_VERSION")),
                std::env::current_exe().ok(),
            ),
            BrokerKind::Peer(peer, program) => (peer.version(program), Some(program.clone())),
        };
        BrokerVersion {
            broker: broker.label.clone(),
            version,
            sha256: program.as_deref().and_then(machine::sha256_of),
            build: match broker.kind {
                BrokerKind::Midge => program.as_deref().and_then(build_of),
                BrokerKind::Peer(..) => None,
            },
        }
    };
    brokers.iter().map(version).collect()
}

/// The commit of the tree that contains this program, with a star if the tree has changes, and how it was built.
fn build_of(program: &Path) -> Option<String> {
    let git = |words: &[&str]| {
        let folder = program.parent()?;
        let output = std::process::Command::new("git")
            .arg("-C")
            .arg(folder)
            .args(words)
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(text)
    };
    let commit = git(&["rev-parse", "HEAD"])?;
    let is_changed =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_none_or(|text| !text.is_empty());
    let star = if is_changed { "*" } else { "" };
    let assertions = if cfg!(debug_assertions) { "with" } else { "without" };
    let flags = option_env!("RUSTFLAGS").unwrap_or_default();
    Some(format!(
        "commit {commit}{star}, {assertions} debug assertions, RUSTFLAGS {flags:?}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::cpus::Cpus;

    fn broker(label: &str) -> Broker {
        Broker {
            label: label.to_owned(),
            kind: BrokerKind::Midge,
            nodelay: true,
            cores: Cpus::allowed().first(1),
        }
    }

    #[test]
    fn rounds_go_there_and_back() {
        let (a, b) = (broker("a"), broker("b"));
        let order: String = (1..=4)
            .flat_map(|round| in_turn(&[&a, &b], round))
            .map(|broker| broker.label.as_str())
            .collect();
        assert_eq!(order, "abbaabba");
    }

    #[test]
    fn ours_has_to_be_right() {
        let code = |records: &[(bool, Record)]| {
            let mut counts = RunCounts::default();
            for (ours, record) in records {
                let mut broker = broker("x");
                if !ours {
                    let peer = peers::Peer::of("mosquitto").unwrap();
                    broker.kind = BrokerKind::Peer(Box::new(peer), PathBuf::new());
                }
                counts.count(&broker, record);
            }
            counts.exit_code()
        };
        let ended = |exit_code: u8| {
            let mut outcome = crate::outcome::testing::outcome("");
            outcome.verdict.exit_code = exit_code;
            Record::Run(outcome.into())
        };
        let failed = Record::Failed(RunFailure {
            error: "it does not start".to_owned(),
        });
        assert_eq!(code(&[(true, ended(0)), (false, ended(1))]), 0);
        assert_eq!(code(&[(true, ended(0)), (false, failed.clone())]), 0);
        assert_eq!(code(&[(true, ended(1)), (false, ended(0))]), 1);
        assert_eq!(code(&[(true, failed), (false, ended(0))]), 1);
        assert_eq!(code(&[(true, ended(4)), (false, ended(4))]), 4);
    }
}
