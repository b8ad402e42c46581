//! The whole measurement: threads, phases, and the broker's usage.
//!
//! Invariant: the broker's CPU time and the connections that it is divided by are read at the same moments.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use transport::clock::{monotonic_ns, process_cpu_ns, process_rss_bytes};

use super::measurements::{ConnectCounts, ConnectMeasurements, ConnectState};
use super::outcome::{self, ConnectOutcome, ConnectUse};
use super::scenario::ConnectScenario;
use super::worker;
use crate::measure::timeline::{Phase, Progress, Timeline};
use crate::outcome::observer::Observer;
use crate::outcome::validity::Throttling;
use crate::system::cgroup::CpuGroups;
use crate::system::error::Failure;
use crate::system::machine::{CpuTimes, Machine};
use crate::target::subject::Subject;

/// Runs the measurement against a broker.
///
/// # Errors
/// There is no outcome: the machine's limits, or no connection at all.
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
    let groups = CpuGroups::find();
    let readings = watch(&state, &groups, interrupted, observer);
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
        usage: readings.usage(),
        steal_percent: readings.steal_percent(),
        throttling: readings.throttling(&groups),
    };
    Ok(outcome::gather(&state, result, base))
}

/// The broker and the machine at the beginning, and at both ends of the measured part.
#[derive(Clone, Copy, Debug, Default)]
struct UseReadings {
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
    throttled_ns: Option<u64>,
}

impl UseReading {
    fn now(state: &ConnectState, groups: &CpuGroups) -> UseReading {
        let pid = state.subject.pid;
        UseReading {
            at_ns: monotonic_ns(),
            cpu_ns: pid.and_then(|pid| process_cpu_ns(pid).ok()),
            rss_bytes: pid.and_then(|pid| process_rss_bytes(pid).ok()),
            closed: state.counts.closed.load(Ordering::Relaxed),
            machine: CpuTimes::now(),
            throttled_ns: groups.throttled_ns(),
        }
    }
}

impl UseReadings {
    fn usage(&self) -> Option<ConnectUse> {
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

    fn throttling(&self, groups: &CpuGroups) -> Throttling {
        let readings = self.measured.zip(self.stopped);
        let throttled = readings.and_then(|(from, to)| to.throttled_ns.zip(from.throttled_ns));
        let wall_ns = readings.map_or(0, |(from, to)| to.at_ns.saturating_sub(from.at_ns));
        Throttling::new(
            groups,
            throttled.map(|(to, from)| to.saturating_sub(from)),
            wall_ns,
        )
    }

    fn steal_percent(&self) -> f64 {
        match (self.measured, self.stopped) {
            (Some(from), Some(to)) => to.machine.steal_percent_since(&from.machine),
            _ => 0.0,
        }
    }
}

/// Reads the meters at the right moments until the threads have ended.
fn watch(
    state: &ConnectState,
    groups: &CpuGroups,
    interrupted: &AtomicBool,
    observer: &mut dyn Observer,
) -> UseReadings {
    let mut readings = UseReadings {
        before: UseReading::now(state, groups),
        ..UseReadings::default()
    };
    while let Some(times) = state.timeline.times() {
        let now_ns = monotonic_ns();
        if interrupted.load(Ordering::Relaxed) {
            state.timeline.stop_load(now_ns);
        }
        let phase = times.phase(now_ns);
        if phase != Phase::WarmUp && readings.measured.is_none() {
            readings.measured = Some(UseReading::now(state, groups));
        }
        if phase == Phase::Draining {
            readings.stopped = Some(UseReading::now(state, groups));
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
