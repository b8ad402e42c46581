//! The broker's usage and the machine's steal, read at the relevant moments.
//!
//! Invariant: CPU time and the deliveries by which it is divided are read together.

use transport::clock::{monotonic_ns, process_cpu_ns, process_rss_bytes, process_rss_bytes_about};

use crate::measure::timeline::{Phase, Progress};
use crate::outcome::validity::Throttling;
use crate::outcome::{BrokerUse, DrainReport};
use crate::system::cgroup::CpuGroups;
use crate::system::machine::CpuTimes;

/// Reads the figures, and keeps them.
#[derive(Default)]
pub(crate) struct Meter {
    pid: Option<u32>,
    groups: CpuGroups,
    before: Reading,
    pub(crate) connected: Reading,
    measured: Option<Reading>,
    stopped: Option<Reading>,
    drained: Option<Reading>,
    /// Deliveries left at the end of the load, and when the last of them arrived.
    drain: DrainReport,
    received: u64,
    rss_bytes_peak: Option<u64>,
    /// Deliveries due but not received, ten times a second.
    pub(crate) backlog: Vec<u64>,
    /// Connections and resident memory while connections are made.
    pub(crate) rss: Vec<(u64, u64)>,
}

/// The figures read at one moment.
#[derive(Clone, Copy, Default)]
pub(crate) struct Reading {
    at_ns: u64,
    cpu_ns: Option<u64>,
    rss_bytes: Option<u64>,
    received: u64,
    machine: CpuTimes,
    throttled_ns: Option<u64>,
}

impl Meter {
    /// A meter of the process `pid`, read for the first time.
    pub(crate) fn new(pid: Option<u32>) -> Meter {
        let mut meter = Meter {
            pid,
            groups: CpuGroups::find(),
            ..Meter::default()
        };
        meter.before = meter.read(&Progress::default());
        meter
    }

    pub(crate) fn read(&self, progress: &Progress) -> Reading {
        Reading {
            at_ns: monotonic_ns(),
            cpu_ns: self.pid.and_then(|pid| process_cpu_ns(pid).ok()),
            rss_bytes: self.pid.and_then(|pid| process_rss_bytes(pid).ok()),
            received: progress.received,
            machine: CpuTimes::now(),
            throttled_ns: self.groups.throttled_ns(),
        }
    }

    /// Reads the memory while connections are made.
    pub(crate) fn look_at_memory(&mut self, ready: u64) {
        let rss_bytes = self.pid.and_then(|pid| process_rss_bytes(pid).ok());
        let grown = self.rss.last().is_none_or(|(before, _)| *before < ready);
        if let Some(rss_bytes) = rss_bytes.filter(|_| grown && self.rss.len() < RSS_READINGS_MAX) {
            self.rss.push((ready, rss_bytes));
        }
    }

    pub(crate) fn sample(&mut self, phase: Phase, progress: &Progress) {
        if phase == Phase::Measuring {
            self.backlog.push(progress.backlog());
        }
        if phase != Phase::WarmUp && self.measured.is_none() {
            self.measured = Some(self.read(progress));
        }
        match self.stopped {
            Some(stopped) if progress.received > self.received => {
                self.drain.wall_ns = monotonic_ns().saturating_sub(stopped.at_ns);
            }
            None if phase == Phase::Draining => {
                self.stopped = Some(self.read(progress));
                self.drain.backlog = progress.backlog();
            }
            _ => {}
        }
        self.received = progress.received;
        let rss_bytes = self.pid.and_then(|pid| process_rss_bytes_about(pid).ok());
        self.rss_bytes_peak = self.rss_bytes_peak.max(rss_bytes);
    }

    /// The run is over: nothing more will arrive, or it is not waited for.
    pub(crate) fn end(&mut self, progress: &Progress, cut_off: bool, still_coming: bool) {
        self.drained = Some(self.read(progress));
        self.drain.cut_off = cut_off;
        self.drain.still_coming = still_coming;
    }

    /// Deliveries that arrived after the end of the load.
    pub(crate) fn drain(&self) -> DrainReport {
        self.drain
    }

    /// From the end of the load to the end of the wait for outstanding deliveries, ns.
    pub(crate) fn waited_ns(&self) -> u64 {
        let times = self.stopped.zip(self.drained);
        times.map_or(0, |(stopped, drained)| {
            drained.at_ns.saturating_sub(stopped.at_ns)
        })
    }

    /// Deliveries per second that arrived in the measured part, whenever they were sent.
    pub(crate) fn delivered_per_s(&self) -> Option<f64> {
        let (from, to) = (self.measured?, self.stopped?);
        let wall_ns = to.at_ns.saturating_sub(from.at_ns);
        (wall_ns > 0).then(|| (to.received - from.received) as f64 * 1e9 / wall_ns as f64)
    }

    pub(crate) fn usage(&self) -> Option<BrokerUse> {
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
            rss_bytes_peak: self.rss_bytes_peak,
            rss_bytes_drained: self.drained.and_then(|drained| drained.rss_bytes),
            connect_cpu_ns: self
                .connected
                .cpu_ns
                .zip(self.before.cpu_ns)
                .map(|(after, before)| after - before),
        })
    }

    /// How the control groups limited the CPU time in the measured part.
    pub(crate) fn throttling(&self) -> Throttling {
        let readings = self.measured.zip(self.stopped);
        let throttled = readings.and_then(|(from, to)| to.throttled_ns.zip(from.throttled_ns));
        let wall_ns = readings.map_or(0, |(from, to)| to.at_ns.saturating_sub(from.at_ns));
        let throttled_ns = throttled.map(|(to, from)| to.saturating_sub(from));
        Throttling::new(&self.groups, throttled_ns, wall_ns)
    }

    pub(crate) fn steal_percent(&self) -> f64 {
        match (self.measured, self.stopped) {
            (Some(from), Some(to)) => to.machine.steal_percent_since(&from.machine),
            _ => 0.0,
        }
    }
}

/// Largest number of memory readings that are kept; later ones are not drawn.
const RSS_READINGS_MAX: usize = 600;
