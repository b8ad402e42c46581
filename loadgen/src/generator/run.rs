//! One run: from a scenario and a broker to an outcome.
//!
//! Invariants: the load begins when every client is ready and not before; the broker's CPU time and the deliveries by
//! which it is divided are read at the same moments; the threads are joined in any case.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use transport::clock::monotonic_ns;

use crate::generator::background::BackgroundConnects;
use crate::generator::gather::{self, Circumstances};
use crate::generator::measure::WorkerOutcome;
use crate::generator::meter::Meter;
use crate::generator::state::Run;
use crate::generator::worker::{Event, work};
use crate::measure::timeline::{Phase, Progress, Times, nanoseconds, pause, run_number};
use crate::outcome::Outcome;
use crate::outcome::background::BackgroundReport;
use crate::outcome::observer::Observer;
use crate::outcome::series::Series;
use crate::scenario::Scenario;
use crate::system::error::Failure;
use crate::system::machine;
use crate::target::subject::Subject;

/// Runs a scenario against a broker. `interrupted` ends the load early; the measurements until then are the outcome.
///
/// # Errors
/// There is no outcome: the machine's limits, a client that cannot connect, an interruption before the load.
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
    let mut meter = Meter::new(subject.pid);
    let mut series = Series::new(state.interval_ns, scenario.threads);
    let Threads { handles, events } = Threads::start(&state)?;
    let mut watch = Watch {
        observer,
        meter: &mut meter,
        series: &mut series,
    };
    let coordinated = coordinate(&state, subject, &events, interrupted, &mut watch);
    state.timeline.finish();
    state.wake_all();
    let workers = join(handles);
    events.try_iter().for_each(|event| {
        if let Event::Interval(part) = event {
            series.add(&part);
        }
    });
    let Coordinated {
        connect_wall_ns,
        churn,
    } = coordinated?;
    let circumstances = Circumstances {
        started_unix_s,
        connect_wall_ns,
        churn,
        interrupted: interrupted.load(Ordering::Relaxed),
        series,
    };
    Ok(gather::outcome(&state, subject, &meter, &workers?, circumstances))
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
}

fn join(handles: Vec<JoinHandle<WorkerOutcome>>) -> Result<Vec<WorkerOutcome>, Failure> {
    let joined: Vec<_> = handles.into_iter().map(JoinHandle::join).collect();
    joined
        .into_iter()
        .map(|outcome| outcome.map_err(|_| Failure::Thread))
        .collect()
}

/// The coordinator's data at the end.
struct Coordinated {
    /// Wall time of connecting, ns.
    connect_wall_ns: u64,
    churn: Option<BackgroundReport>,
}

/// Drives the threads through the phases.
fn coordinate(
    state: &Run,
    subject: &Subject,
    events: &Receiver<Event>,
    interrupted: &AtomicBool,
    watch: &mut Watch<'_>,
) -> Result<Coordinated, Failure> {
    let began_ns = monotonic_ns();
    for _ in 0..state.scenario.threads {
        wait_for_a_thread(state, events, interrupted, watch, began_ns)?;
    }
    let connect_wall_ns = monotonic_ns() - began_ns;
    watch.meter.connected = watch.meter.read(&state.progress());
    watch.meter.look_at_memory(state.progress().ready);
    let start_ns = monotonic_ns() + nanoseconds(LEAD);
    state
        .timeline
        .begin(start_ns, state.scenario.warmup, state.scenario.duration);
    state.wake_all();
    let churn = BackgroundConnects::start(state, subject)?;
    let driven = drive_load(state, events, interrupted, watch);
    let churn = churn.map(|churn| churn.finish(monotonic_ns())).transpose();
    driven?;
    Ok(Coordinated {
        connect_wall_ns,
        churn: churn?,
    })
}

/// The observers of the load.
struct Watch<'a> {
    observer: &'a mut dyn Observer,
    meter: &'a mut Meter,
    series: &'a mut Series,
}

impl Watch<'_> {
    /// Takes the reports of the threads since the last check.
    fn listen(&mut self, events: &Receiver<Event>, times: &Times) -> Result<(), Failure> {
        for event in events.try_iter() {
            match event {
                Event::Failed(failure) => return Err(failure),
                Event::Interval(part) => self.series.add(&part),
                Event::Ready => {}
            }
        }
        while let Some(interval) = self.series.next_complete(times) {
            self.observer.interval(&interval, self.series.last_reported());
        }
        Ok(())
    }

    fn sample(&mut self, times: &Times, now_ns: u64, phase: Phase, progress: &Progress) {
        let since_ns = now_ns.saturating_sub(times.start_ns);
        self.meter.sample(phase, progress);
        self.observer
            .observe(phase, Duration::from_nanos(since_ns), progress);
        if now_ns >= times.start_ns {
            self.series.note_backlog(since_ns, progress.backlog());
        }
    }
}

fn wait_for_a_thread(
    state: &Run,
    events: &Receiver<Event>,
    interrupted: &AtomicBool,
    watch: &mut Watch<'_>,
    began_ns: u64,
) -> Result<(), Failure> {
    loop {
        match events.recv_timeout(LOOK) {
            Ok(Event::Ready | Event::Interval(_)) => return Ok(()),
            Ok(Event::Failed(failure)) => return Err(failure),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::Thread);
            }
            Err(RecvTimeoutError::Timeout) if interrupted.load(Ordering::Relaxed) => {
                return Err(Failure::Interrupted);
            }
            Err(RecvTimeoutError::Timeout) => {
                let elapsed = Duration::from_nanos(monotonic_ns() - began_ns);
                let progress = state.progress();
                watch.meter.look_at_memory(progress.ready);
                watch.observer.observe(Phase::Connecting, elapsed, &progress);
            }
        }
    }
}

/// Warm-up, measured part, drain.
fn drive_load(
    state: &Run,
    events: &Receiver<Event>,
    interrupted: &AtomicBool,
    watch: &mut Watch<'_>,
) -> Result<(), Failure> {
    let mut drain = Drain::default();
    while let Some(times) = state.timeline.times() {
        let now_ns = monotonic_ns();
        if interrupted.load(Ordering::Relaxed) {
            state.timeline.stop_load(now_ns);
        }
        let progress = state.progress();
        let phase = times.phase(now_ns);
        watch.sample(&times, now_ns, phase, &progress);
        watch.listen(events, &times)?;
        if phase == Phase::Draining
            && let Some(end) = drain.end(state, &progress, now_ns)
        {
            let cut_off = end != DrainEnd::AtRest;
            watch.meter.end(&progress, cut_off, end == DrainEnd::StillComing);
            break;
        }
        std::thread::sleep(pause(&times, now_ns, phase));
    }
    Ok(())
}

/// Decides when the outstanding deliveries have arrived, or will not arrive any more.
#[derive(Default)]
struct Drain {
    began_ns: Option<u64>,
    moved: Option<(u64, Progress)>,
}

/// Why the wait for outstanding deliveries is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DrainEnd {
    /// All arrived, or nothing arrives any more.
    AtRest,
    /// The time is over, and nothing arrived for a moment: that proves nothing yet.
    CutOff,
    /// The time is over, and some were still arriving.
    StillComing,
}

impl Drain {
    fn end(&mut self, state: &Run, progress: &Progress, now_ns: u64) -> Option<DrainEnd> {
        let began_ns = *self.began_ns.get_or_insert(now_ns);
        let Progress {
            received,
            expected,
            in_flight,
            unfinished,
            ..
        } = *progress;
        // Outstanding deliveries to slow subscribers are not counted: they end when nothing arrives any more.
        let is_complete =
            state.scenario.slow_subscribers == 0 && received >= expected && in_flight == 0 && unfinished == 0;
        // The gauges lag the threads by one turn of their loops: unchanged twice means at rest.
        let at_rest = self.moved.is_some_and(|(_, before)| before == *progress);
        if !at_rest {
            self.moved = Some((now_ns, *progress));
        }
        let idle_ns = self.moved.map_or(0, |(moved_ns, _)| now_ns - moved_ns);
        let quiet = idle_ns >= nanoseconds(QUIET) && unfinished == 0;
        match () {
            () if (is_complete && at_rest) || quiet => Some(DrainEnd::AtRest),
            () if now_ns - began_ns < nanoseconds(state.scenario.drain) => None,
            () if idle_ns < nanoseconds(MOMENT.min(state.scenario.drain / 2)) => Some(DrainEnd::StillComing),
            () => Some(DrainEnd::CutOff),
        }
    }
}

/// Checks descriptors and local ports, before anything is connected.
fn check_limits(scenario: &Scenario, subject: &Subject) -> Result<(), Failure> {
    let connections = scenario.connections();
    let needed = connections + DESCRIPTORS_SPARE;
    let allowed = transport::socket::raise_descriptor_limit();
    if allowed < needed {
        return Err(Failure::Limits(format!(
            "{connections} connections need {needed} descriptors and the hard limit is {allowed}: \
             raise it with `ulimit -Hn {needed}` as root, LimitNOFILE={needed} in a systemd unit, or connect fewer"
        )));
    }
    let pairs = scenario.bind.len().max(1) as u64 * u64::from(subject.endpoint.hosts());
    let ports = machine::local_ports().map(|ports| ports * pairs);
    match ports {
        Some(ports) if ports < connections => Err(Failure::Limits(format!(
            "{connections} connections to {} need as many local ports and net.ipv4.ip_local_port_range has {ports}: \
             widen it with `sysctl -w net.ipv4.ip_local_port_range='1024 65535'`, \
                 add addresses with --bind, or connect fewer",
            subject.endpoint.addresses()
        ))),
        _ => Ok(()),
    }
}

/// Time from "all are ready" to the beginning of the load.
const LEAD: Duration = Duration::from_millis(100);
/// Interval of checking the threads.
const LOOK: Duration = Duration::from_millis(100);
/// Deliveries that are closer to each other than this, or than half of the wait, are still arriving.
const MOMENT: Duration = Duration::from_millis(500);
/// If there is no progress for this long while draining, nothing more will arrive.
const QUIET: Duration = Duration::from_secs(3);
/// Descriptors besides the connections: rings, files, the broker's pipes.
const DESCRIPTORS_SPARE: u64 = 64;
