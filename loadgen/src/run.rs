//! One run: from a scenario and a broker to an outcome.
//!
//! Invariants: the load begins when every client is ready and not before; the broker's CPU time and the deliveries that
//! it is divided by are read at the same moments; the threads are joined whatever happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use transport::clock::{monotonic_ns, process_cpu_ns, process_rss_bytes};

use crate::error::Failure;
use crate::latency::Latency;
use crate::ledger::Totals;
use crate::machine::{self, CpuTimes, Machine};
use crate::measure::{Measurements, WorkerOutcome};
use crate::outcome::{
    BrokerReport, BrokerUse, ConnectReport, GeneratorReport, LedgerReport, Outcome, Rates, SCHEMA,
    WindowReport,
};
use crate::phase::{Endpoint, Phase, Progress, Run, Times, nanoseconds};
use crate::scenario::{Load, Scenario};
use crate::validity::{Evidence, Steadiness, judge};
use crate::worker::{Event, work};

/// The broker of a run.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Its process, if it is on this machine.
    pub pid: Option<u32>,
    /// What it is.
    pub name: String,
}

/// Is told how a run goes on, ten times a second.
pub trait Observer {
    /// `elapsed` counts from the beginning of the load, in the connecting phase from the beginning of the run.
    fn observe(&mut self, phase: Phase, elapsed: Duration, progress: &Progress);
}

/// Watches nothing.
#[derive(Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn observe(&mut self, _: Phase, _: Duration, _: &Progress) {}
}

/// Runs a scenario against a broker. `interrupted` ends the load early; what was measured until then is the outcome.
///
/// # Errors
/// When there is no outcome: the machine's limits, a client that cannot connect, an interruption before the load.
pub fn run(
    scenario: &Scenario,
    subject: &Subject,
    interrupted: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Outcome, Failure> {
    check_limits(scenario, subject)?;
    let started_unix_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let began_ns = monotonic_ns();
    let number = run_number(began_ns);
    let state = Arc::new(Run::new(
        scenario.clone(),
        subject.endpoint.clone(),
        number,
        began_ns,
    ));
    let mut meter = Meter {
        pid: subject.pid,
        ..Meter::default()
    };
    meter.before = meter.read(&Progress::default());
    let threads = Threads::start(&state)?;
    let coordinated = coordinate(&state, &threads.events, interrupted, observer, &mut meter);
    state.timeline.finish();
    state.wake_all();
    let outcomes = threads.join();
    let connect_wall_ns = coordinated?;
    Ok(gather(
        &state,
        subject,
        &meter,
        outcomes,
        Ends {
            started_unix_s,
            connect_wall_ns,
            interrupted,
        },
    ))
}

struct Ends<'a> {
    started_unix_s: u64,
    connect_wall_ns: u64,
    interrupted: &'a AtomicBool,
}

struct Threads {
    handles: Vec<JoinHandle<WorkerOutcome>>,
    events: Receiver<Event>,
}

impl Threads {
    fn start(state: &Arc<Run>) -> Result<Threads, Failure> {
        let (sender, events) = channel();
        let mut handles = Vec::new();
        for index in 0..state.scenario.threads {
            let (state, sender) = (Arc::clone(state), sender.clone());
            let builder = std::thread::Builder::new().name(format!("load-{index}"));
            let handle = builder.spawn(move || work(&state, index, &sender));
            handles.push(handle.map_err(Failure::system("cannot start a thread"))?);
        }
        Ok(Threads { handles, events })
    }

    /// A thread that panicked has nothing to hand over.
    fn join(self) -> Vec<WorkerOutcome> {
        self.handles
            .into_iter()
            .filter_map(|handle| handle.join().ok())
            .collect()
    }
}

/// Takes the threads through the phases; gives the wall time of connecting, ns.
fn coordinate(
    state: &Run,
    events: &Receiver<Event>,
    interrupted: &AtomicBool,
    observer: &mut dyn Observer,
    meter: &mut Meter,
) -> Result<u64, Failure> {
    let began_ns = monotonic_ns();
    for _ in 0..state.scenario.threads {
        wait_for_a_thread(state, events, interrupted, observer, began_ns)?;
    }
    let connect_wall_ns = monotonic_ns() - began_ns;
    meter.connected = meter.read(&state.progress());
    let start_ns = monotonic_ns() + nanoseconds(LEAD);
    state
        .timeline
        .begin(start_ns, state.scenario.warmup, state.scenario.duration);
    state.wake_all();
    drive_load(state, interrupted, observer, meter);
    Ok(connect_wall_ns)
}

fn wait_for_a_thread(
    state: &Run,
    events: &Receiver<Event>,
    interrupted: &AtomicBool,
    observer: &mut dyn Observer,
    began_ns: u64,
) -> Result<(), Failure> {
    loop {
        match events.recv_timeout(LOOK) {
            Ok(Event::Ready) => return Ok(()),
            Ok(Event::Failed(failure)) => return Err(failure),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::Connect(
                    "a generator thread ended before its clients were ready".to_owned(),
                ));
            }
            Err(RecvTimeoutError::Timeout) if interrupted.load(Ordering::Relaxed) => {
                return Err(Failure::Interrupted);
            }
            Err(RecvTimeoutError::Timeout) => {
                let elapsed = Duration::from_nanos(monotonic_ns() - began_ns);
                observer.observe(Phase::Connecting, elapsed, &state.progress());
            }
        }
    }
}

/// Warm-up, measured part, drain.
fn drive_load(state: &Run, interrupted: &AtomicBool, observer: &mut dyn Observer, meter: &mut Meter) {
    let mut drain = Drain::default();
    while let Some(times) = state.timeline.times() {
        let now_ns = monotonic_ns();
        if interrupted.load(Ordering::Relaxed) {
            state.timeline.stop_load(now_ns);
        }
        let progress = state.progress();
        let phase = times.phase(now_ns);
        meter.look(phase, &progress);
        observer.observe(
            phase,
            Duration::from_nanos(now_ns.saturating_sub(times.start_ns)),
            &progress,
        );
        if phase == Phase::Draining && drain.is_over(state, &progress, now_ns) {
            return;
        }
        std::thread::sleep(pause(&times, now_ns, phase));
    }
}

/// Until the next look, or until the measured part begins or ends.
fn pause(times: &Times, now_ns: u64, phase: Phase) -> Duration {
    let next_ns = match phase {
        Phase::WarmUp => times.measure_from_ns,
        Phase::Measuring => times.stop_ns,
        Phase::Connecting | Phase::Draining => now_ns + nanoseconds(LOOK) / 5,
    };
    Duration::from_nanos(next_ns.saturating_sub(now_ns)).min(LOOK)
}

/// When the outstanding deliveries have come, or will not come any more.
#[derive(Default)]
struct Drain {
    began_ns: Option<u64>,
    moved: Option<(u64, Progress)>,
}

impl Drain {
    fn is_over(&mut self, state: &Run, progress: &Progress, now_ns: u64) -> bool {
        let began_ns = *self.began_ns.get_or_insert(now_ns);
        let Progress {
            received,
            expected,
            in_flight,
            unfinished,
            ..
        } = *progress;
        let settled = received >= expected && in_flight == 0 && unfinished == 0;
        // The gauges lag the threads by a turn of their loops: twice the same means at rest.
        let at_rest = self.moved.is_some_and(|(_, before)| before == *progress);
        if !at_rest {
            self.moved = Some((now_ns, *progress));
        }
        let idle_ns = self.moved.map_or(0, |(moved_ns, _)| now_ns - moved_ns);
        let quiet = idle_ns >= nanoseconds(QUIET) && unfinished == 0;
        (settled && at_rest) || quiet || now_ns - began_ns >= nanoseconds(state.scenario.drain)
    }
}

/// Reads the broker's use and the machine's steal at the moments that count.
#[derive(Default)]
struct Meter {
    pid: Option<u32>,
    before: Reading,
    connected: Reading,
    measured: Option<Reading>,
    stopped: Option<Reading>,
    backlog: Vec<u64>,
}

#[derive(Clone, Copy, Default)]
struct Reading {
    at_ns: u64,
    cpu_ns: Option<u64>,
    rss_bytes: Option<u64>,
    received: u64,
    machine: CpuTimes,
}

impl Meter {
    fn read(&self, progress: &Progress) -> Reading {
        Reading {
            at_ns: monotonic_ns(),
            cpu_ns: self.pid.and_then(|pid| process_cpu_ns(pid).ok()),
            rss_bytes: self.pid.and_then(|pid| process_rss_bytes(pid).ok()),
            received: progress.received,
            machine: CpuTimes::now(),
        }
    }

    fn look(&mut self, phase: Phase, progress: &Progress) {
        if phase == Phase::Measuring {
            self.backlog
                .push(progress.expected.saturating_sub(progress.received));
        }
        if phase != Phase::WarmUp && self.measured.is_none() {
            self.measured = Some(self.read(progress));
        }
        if phase == Phase::Draining && self.stopped.is_none() {
            self.stopped = Some(self.read(progress));
        }
    }

    fn usage(&self) -> Option<BrokerUse> {
        let (from, to) = (self.measured?, self.stopped?);
        let cpu_ns = to.cpu_ns?.checked_sub(from.cpu_ns?)?;
        let deliveries = to.received - from.received;
        Some(BrokerUse {
            cpu_ns,
            wall_ns: to.at_ns - from.at_ns,
            deliveries,
            cpu_ns_per_delivery: (deliveries > 0).then(|| cpu_ns as f64 / deliveries as f64),
            rss_bytes_before: self.before.rss_bytes,
            rss_bytes_connected: self.connected.rss_bytes,
            rss_bytes_loaded: to.rss_bytes,
            connect_cpu_ns: self
                .connected
                .cpu_ns
                .zip(self.before.cpu_ns)
                .map(|(after, before)| after - before),
        })
    }

    fn steal_percent(&self) -> f64 {
        match (self.measured, self.stopped) {
            (Some(from), Some(to)) => to.machine.steal_percent_since(&from.machine),
            _ => 0.0,
        }
    }
}

/// Puts together what the threads and the meter have.
fn gather(
    state: &Run,
    subject: &Subject,
    meter: &Meter,
    outcomes: Vec<WorkerOutcome>,
    ends: Ends<'_>,
) -> Outcome {
    let mut measurements = Measurements::default();
    outcomes
        .iter()
        .for_each(|outcome| measurements.merge(&outcome.measurements));
    let ledger = close_books(state, &outcomes, &measurements);
    let windows = window_reports(&measurements);
    let deliveries: Vec<u64> = windows.iter().map(|window| window.deliveries).collect();
    let steadiness = Steadiness::of(&deliveries, &meter.backlog);
    let latency = measurements.whole_latency();
    let generator = generator_report(&outcomes, &ledger, latency.count(), meter);
    let evidence = Evidence {
        paced: matches!(state.scenario.load, Load::Paced { .. }),
        qos: Some(state.scenario.qos),
        ledger: ledger.totals,
        sent: ledger.sent_measured,
        held_up: measurements.lag_held_up.count(),
        unsent: ledger.unsent,
        own_lag_p50_ns: measurements.lag_own.quantile_ns(0.5),
        own_lag_p99_ns: measurements.lag_own.quantile_ns(0.99),
        thread_cpu_percent: generator
            .threads
            .iter()
            .map(|thread| thread.cpu_percent())
            .collect(),
        steal_percent: generator.steal_percent,
        broken: state.progress().broken,
        causes: outcomes
            .iter()
            .flat_map(|outcome| outcome.broken.iter().cloned())
            .collect(),
        refused: outcomes.iter().map(|outcome| outcome.refused).sum(),
        latency_p99_ns: latency.summary().map(|summary| summary.p99_ns),
        slo_p99: state.scenario.slo_p99,
        steadiness,
        interrupted: ends.interrupted.load(Ordering::Relaxed),
    };
    Outcome {
        schema: SCHEMA,
        loadgen_version: env!("CARGO_PKG_VERSION"),
        started_unix_s: ends.started_unix_s,
        scenario: state.scenario.clone(),
        broker: broker_report(subject, meter, &outcomes),
        connect: connect_report(state, &measurements, ends.connect_wall_ns),
        rates: rates(state, &ledger, latency.count()),
        latency: latency.summary(),
        service: measurements.service.summary(),
        acknowledged: measurements.acknowledged.summary(),
        lag: measurements.whole_lag().summary(),
        lag_own: measurements.lag_own.summary(),
        ledger,
        windows,
        steadiness,
        generator,
        machine: Machine::look(),
        verdict: judge(&evidence),
    }
}

fn close_books(state: &Run, outcomes: &[WorkerOutcome], measurements: &Measurements) -> LedgerReport {
    let mut sent = vec![0; state.scenario.publishers as usize];
    for (publisher, count) in outcomes.iter().flat_map(|outcome| &outcome.sent) {
        if let Some(entry) = sent.get_mut(*publisher as usize) {
            *entry = *count;
        }
    }
    let mut totals = Totals::default();
    for ledger in outcomes.iter().flat_map(|outcome| &outcome.ledgers) {
        totals.add(&ledger.close(|publisher| sent.get(publisher as usize).copied().unwrap_or(0)));
    }
    LedgerReport {
        sent: sent.iter().sum(),
        sent_measured: measurements.sent.iter().sum(),
        unsent: outcomes.iter().map(|outcome| outcome.unsent).sum(),
        given_up: outcomes.iter().map(|outcome| outcome.given_up).sum(),
        totals,
    }
}

fn window_reports(measurements: &Measurements) -> Vec<WindowReport> {
    let windows = measurements.sent.iter().zip(&measurements.latency);
    let report = |(&sent, latency): (&u64, &Latency)| WindowReport {
        sent,
        deliveries: latency.count(),
        latency: latency.summary(),
    };
    windows.map(report).collect()
}

fn generator_report(
    outcomes: &[WorkerOutcome],
    ledger: &LedgerReport,
    deliveries: u64,
    meter: &Meter,
) -> GeneratorReport {
    let threads: Vec<_> = outcomes.iter().map(|outcome| outcome.usage).collect();
    let cpu_ns: u64 = threads.iter().map(|thread| thread.cpu_ns).sum();
    let messages = ledger.sent_measured + deliveries;
    GeneratorReport {
        threads,
        cpu_ns_per_message: (messages > 0).then(|| cpu_ns as f64 / messages as f64),
        steal_percent: meter.steal_percent(),
    }
}

fn broker_report(subject: &Subject, meter: &Meter, outcomes: &[WorkerOutcome]) -> BrokerReport {
    let program = subject
        .pid
        .map(|pid| std::path::PathBuf::from(format!("/proc/{pid}/exe")));
    BrokerReport {
        address: subject.endpoint.address.to_string(),
        name: subject.name.clone(),
        tls: outcomes.iter().find_map(|outcome| outcome.negotiated.clone()),
        pid: subject.pid,
        sha256: program.and_then(|program| machine::sha256_of(&program)),
        usage: meter.usage(),
    }
}

fn connect_report(state: &Run, measurements: &Measurements, wall_ns: u64) -> ConnectReport {
    ConnectReport {
        connections: u64::from(state.scenario.publishers) + u64::from(state.scenario.subscribers),
        wall_ns,
        tcp: measurements.tcp.summary(),
        tls: measurements.tls.summary(),
        connack: measurements.connack.summary(),
    }
}

fn rates(state: &Run, ledger: &LedgerReport, deliveries: u64) -> Rates {
    let measured_ns = state
        .timeline
        .times()
        .map_or(0, |times| times.stop_ns.saturating_sub(times.measure_from_ns));
    let measured_s = measured_ns as f64 / 1e9;
    let per_s = |count: u64| {
        if measured_s > 0.0 {
            count as f64 / measured_s
        } else {
            0.0
        }
    };
    let offered_per_s = match state.scenario.load {
        Load::Paced { rate_per_s, .. } => Some(rate_per_s),
        Load::Saturating { .. } => None,
    };
    Rates {
        measured_s,
        offered_per_s,
        sent_per_s: per_s(ledger.sent_measured),
        delivered_per_s: per_s(deliveries),
    }
}

/// Descriptors and local ports, before anything is connected.
fn check_limits(scenario: &Scenario, subject: &Subject) -> Result<(), Failure> {
    let connections = u64::from(scenario.publishers) + u64::from(scenario.subscribers);
    let needed = connections + DESCRIPTORS_SPARE;
    let allowed = transport::socket::raise_descriptor_limit();
    if allowed < needed {
        return Err(Failure::Limits(format!(
            "{connections} connections need {needed} descriptors and the hard limit is {allowed}: \
             raise it with `ulimit -Hn {needed}` as root, LimitNOFILE={needed} in a systemd unit, or connect fewer"
        )));
    }
    match machine::local_ports() {
        Some(ports) if ports < connections => Err(Failure::Limits(format!(
            "{connections} connections to {} need as many local ports and net.ipv4.ip_local_port_range has {ports}: \
             widen it with `sysctl -w net.ipv4.ip_local_port_range='1024 65535'`, or connect fewer",
            subject.endpoint.address
        ))),
        _ => Ok(()),
    }
}

/// Differs between runs that follow one another.
fn run_number(now_ns: u64) -> u16 {
    let mut random = fastrand::Rng::with_seed(now_ns ^ u64::from(std::process::id()) << 32);
    random.u16(1..)
}

/// From "all are ready" to the beginning of the load.
const LEAD: Duration = Duration::from_millis(100);
/// Pace of looking at the threads.
const LOOK: Duration = Duration::from_millis(100);
/// Nothing moves for so long while draining: nothing will come.
const QUIET: Duration = Duration::from_secs(3);
/// Descriptors besides the connections: rings, files, the broker's pipes.
const DESCRIPTORS_SPARE: u64 = 64;
