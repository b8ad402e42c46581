//! `loadgen conn`: connections that are made and closed again, measured alone or beside a load.
//!
//! [`ConnectScenario`] is what is asked for; [`worker`] makes the connections in one thread with one ring, each an
//! `attempt`; [`run`] is the whole measurement with its [`outcome`].
//!
//! Invariants: each connection goes through TCP, TLS, CONNECT, CONNACK, DISCONNECT and waits for the broker to close,
//! so that the broker's side is whole and local ports come back at once; in open loop the time counts from the
//! intended start. What breaks them: a broker that does not close after DISCONNECT [MQTT-3.14.4-3], which costs
//! [`worker::CLOSES_WITHIN_NS`] a connection.

pub mod args;
mod attempt;
pub mod outcome;
pub mod worker;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mqtt::version::ProtocolVersion;
use serde::{Deserialize, Serialize};
use transport::clock::{monotonic_ns, process_cpu_ns, process_rss_bytes};

use crate::measure::timeline::{Phase, Progress, Timeline};
use crate::outcome::observer::Observer;
use crate::scenario::properties::GivenProperties;
use crate::scenario::{Credentials, Origin, json};
use crate::system::cpus::Cpus;
use crate::system::error::Failure;
use crate::system::machine::{CpuTimes, Machine};
use crate::target::subject::Subject;
use outcome::{ConnectOutcome, ConnectUse};
use worker::{ConnectCounts, ConnectMeasurements};

/// The connections that are asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConnectScenario {
    /// Its name, if it has one.
    pub origin: Option<Origin>,
    /// How connections follow one another.
    #[serde(rename = "pace")]
    pub load: ConnectLoad,
    /// Protocol version of MQTT.
    #[serde(with = "json::version")]
    pub version: ProtocolVersion,
    /// Connections before the measured part.
    #[serde(rename = "warmup_s", with = "json::seconds")]
    pub warmup: Duration,
    /// Length of the measured part.
    #[serde(rename = "duration_s", with = "json::seconds")]
    pub duration: Duration,
    /// Longest time for a connection.
    #[serde(rename = "connect_timeout_s", with = "json::seconds")]
    pub connect_timeout: Duration,
    /// How many threads make connections.
    pub threads: usize,
    /// The CPUs that they are pinned to, in turns.
    pub cpus: Option<Cpus>,
    /// Local addresses, in turns.
    pub bind: Vec<IpAddr>,
    /// p99 of the time to CONNACK that must not be exceeded.
    #[serde(rename = "slo_p99_s", default, with = "json::optional_seconds")]
    pub slo_p99: Option<Duration>,
    /// Properties of MQTT 5.0 in the CONNECT.
    pub properties: GivenProperties,
    /// Seed of the phases.
    pub seed: u64,
    /// User name and password.
    #[serde(skip)]
    pub credentials: Credentials,
}

/// How connections follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectLoad {
    /// So many are always on their way.
    Closed {
        /// How many, all threads together.
        concurrency: u32,
    },
    /// At intended times, whatever the broker does.
    Open {
        /// Connections per second, all threads together.
        rate_per_s: f64,
    },
}

/// Most connections that are on their way at the same time.
pub const CONCURRENCY_MAX: u32 = 100_000;

impl ConnectScenario {
    /// Refuses what cannot be run, in one sentence.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), String> {
        let refusals = [
            (
                matches!(self.load, ConnectLoad::Closed { concurrency }
                    if !(1..=CONCURRENCY_MAX).contains(&concurrency)),
                format!("--concurrency must be from 1 to {CONCURRENCY_MAX}"),
            ),
            (
                matches!(self.load, ConnectLoad::Open { rate_per_s } if !(rate_per_s > 0.0 && rate_per_s <= 1e6)),
                "--rate must be more than 0 and at most 1,000,000 connections per second".to_owned(),
            ),
            (
                self.duration.is_zero(),
                "--duration must be longer than 0".to_owned(),
            ),
            (
                self.warmup.saturating_add(self.duration) > Duration::from_secs(86_400),
                "the measurement may last a day at most".to_owned(),
            ),
            (
                self.threads == 0 || self.threads > 1024,
                "--threads must be from 1 to 1024".to_owned(),
            ),
        ];
        if let Some((_, sentence)) = refusals.into_iter().find(|(refused, _)| *refused) {
            return Err(sentence);
        }
        match self.cpus.as_ref().and_then(Cpus::first_forbidden) {
            Some(cpu) => Err(format!("--cpus: this process may not use CPU {cpu}")),
            None => Ok(()),
        }
    }

    /// The part of one of `threads` threads.
    pub fn load_of_one(&self) -> ConnectLoad {
        let threads = u32::try_from(self.threads.max(1)).unwrap_or(u32::MAX);
        match self.load {
            ConnectLoad::Closed { concurrency } => ConnectLoad::Closed {
                concurrency: concurrency.div_ceil(threads),
            },
            ConnectLoad::Open { rate_per_s } => ConnectLoad::Open {
                rate_per_s: rate_per_s / f64::from(threads),
            },
        }
    }
}

/// What the threads of a connect measurement share.
#[derive(Debug)]
pub struct ConnectState {
    /// The connections that are asked for.
    pub scenario: ConnectScenario,
    /// The broker that they go to.
    pub subject: Subject,
    /// Its number, in client identifiers.
    pub number: u16,
    /// When the phases begin and end.
    pub timeline: Timeline,
    /// What has been done.
    pub counts: ConnectCounts,
}

/// Runs the measurement against a broker.
///
/// # Errors
/// When there is no outcome: the machine's limits, or no connection at all.
pub fn run(
    scenario: &ConnectScenario,
    subject: &Subject,
    interrupted: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<ConnectOutcome, Failure> {
    transport::socket::raise_descriptor_limit();
    let began_ns = monotonic_ns();
    let started = SystemTime::now().duration_since(UNIX_EPOCH);
    let state = Arc::new(ConnectState {
        scenario: scenario.clone(),
        subject: subject.clone(),
        number: crate::measure::timeline::run_number(began_ns),
        timeline: Timeline::new(),
        counts: ConnectCounts::default(),
    });
    state.timeline.begin(began_ns, scenario.warmup, scenario.duration);
    let handles = (0..scenario.threads).map(|index| {
        let state = Arc::clone(&state);
        let builder = std::thread::Builder::new().name(format!("connect-{index}"));
        builder
            .spawn(move || worker::work(&state, index))
            .map_err(Failure::system("cannot start a thread"))
    });
    let handles: Vec<_> = handles.collect::<Result<_, _>>()?;
    let readings = watch(&state, interrupted, observer);
    let mut result = ConnectMeasurements::default();
    for handle in handles {
        result.merge(handle.join().map_err(|_| Failure::Thread)??);
    }
    let machine = Machine::look();
    let started_unix_s = started.map_or(0, |since| since.as_secs());
    let interrupted = interrupted.load(Ordering::Relaxed);
    let base = outcome::Frame {
        started_unix_s,
        machine,
        interrupted,
    };
    Ok(outcome::gather(&state, result, readings, base))
}

/// The broker and the machine at the beginning, and at both ends of the measured part.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UseReadings {
    before: UseReading,
    measured: Option<UseReading>,
    stopped: Option<UseReading>,
}

#[derive(Clone, Copy, Debug, Default)]
struct UseReading {
    at_ns: u64,
    cpu_ns: Option<u64>,
    rss_bytes: Option<u64>,
    closed: u64,
    machine: CpuTimes,
}

impl UseReading {
    fn now(state: &ConnectState) -> UseReading {
        let pid = state.subject.pid;
        UseReading {
            at_ns: monotonic_ns(),
            cpu_ns: pid.and_then(|pid| process_cpu_ns(pid).ok()),
            rss_bytes: pid.and_then(|pid| process_rss_bytes(pid).ok()),
            closed: state.counts.closed.load(Ordering::Relaxed),
            machine: CpuTimes::now(),
        }
    }
}

impl UseReadings {
    pub(crate) fn usage(&self) -> Option<ConnectUse> {
        let (from, to) = (self.measured?, self.stopped?);
        let cpu_ns = to.cpu_ns?.checked_sub(from.cpu_ns?)?;
        let connections = to.closed - from.closed;
        Some(ConnectUse {
            cpu_ns,
            wall_ns: to.at_ns - from.at_ns,
            connections,
            cpu_ns_per_connection: (connections > 0).then(|| cpu_ns as f64 / connections as f64),
            rss_bytes_before: self.before.rss_bytes,
            rss_bytes_after: to.rss_bytes,
        })
    }

    pub(crate) fn steal_percent(&self) -> f64 {
        match (self.measured, self.stopped) {
            (Some(from), Some(to)) => to.machine.steal_percent_since(&from.machine),
            _ => 0.0,
        }
    }
}

/// Reads the meters at the right moments until the threads have ended.
fn watch(state: &ConnectState, interrupted: &AtomicBool, observer: &mut dyn Observer) -> UseReadings {
    let mut readings = UseReadings {
        before: UseReading::now(state),
        ..UseReadings::default()
    };
    while let Some(times) = state.timeline.times() {
        let now_ns = monotonic_ns();
        if interrupted.load(Ordering::Relaxed) {
            state.timeline.stop_load(now_ns);
        }
        let phase = times.phase(now_ns);
        if phase != Phase::WarmUp && readings.measured.is_none() {
            readings.measured = Some(UseReading::now(state));
        }
        if phase == Phase::Draining {
            readings.stopped = Some(UseReading::now(state));
            break;
        }
        let progress = Progress {
            received: state.counts.closed.load(Ordering::Relaxed),
            broken: state.counts.failed.load(Ordering::Relaxed),
            ..Progress::default()
        };
        observer.observe(
            phase,
            Duration::from_nanos(now_ns.saturating_sub(times.start_ns)),
            &progress,
        );
        std::thread::sleep(crate::measure::timeline::pause(&times, now_ns, phase));
    }
    state.timeline.finish();
    readings
}
