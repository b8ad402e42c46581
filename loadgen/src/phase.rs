//! The phases of a run and the state that its threads share.
//!
//! Invariants: every thread reads the same timeline, so "measured" means the same to all of them; a gauge has one
//! writer, its thread, and is read by the coordinator only. What breaks them: moving the start of the measured part
//! after the load has begun.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use transport::ring::Waker;

use crate::endpoint::Endpoint;
use crate::handshake;
use crate::ledger::Ledger;
use crate::scenario::{Load, Scenario};
use crate::series;
use crate::topics::TopicPlan;
use crate::window::DeliveryWindow;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Connections are being made.
    Connecting,
    /// Load that is not measured.
    WarmUp,
    /// Load that is measured.
    Measuring,
    /// No more load: outstanding deliveries come in.
    Draining,
}

/// How the measured part is cut for the check of its steadiness.
pub const WINDOWS: usize = 5;

/// Windows of the measured part in which slow subscribers still read: what the others have to be compared with.
pub const READING_WINDOWS: usize = 2;

/// When the phases begin, CLOCK_MONOTONIC ns.
#[derive(Debug)]
pub struct Timeline {
    start_ns: AtomicU64,
    measure_from_ns: AtomicU64,
    stop_ns: AtomicU64,
    over: AtomicBool,
}

const NOT_YET: u64 = u64::MAX;

/// One look at the timeline.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The load begins.
    pub start_ns: u64,
    /// The measured part begins.
    pub measure_from_ns: u64,
    /// The load and the measured part end.
    pub stop_ns: u64,
}

impl Timeline {
    /// A timeline that has not begun.
    pub fn new() -> Timeline {
        let [start_ns, measure_from_ns, stop_ns] = [NOT_YET; 3].map(AtomicU64::new);
        Timeline {
            start_ns,
            measure_from_ns,
            stop_ns,
            over: AtomicBool::new(false),
        }
    }

    /// Fixes the phases; the threads see it at their next look.
    pub fn begin(&self, start_ns: u64, warmup: Duration, duration: Duration) {
        let measure_from_ns = start_ns + nanoseconds(warmup);
        self.measure_from_ns.store(measure_from_ns, Ordering::Release);
        self.stop_ns
            .store(measure_from_ns + nanoseconds(duration), Ordering::Release);
        self.start_ns.store(start_ns, Ordering::Release);
    }

    /// Ends the load at `now_ns` if it was to go on longer.
    pub fn stop_load(&self, now_ns: u64) {
        self.stop_ns.fetch_min(now_ns, Ordering::AcqRel);
    }

    /// Ends the run.
    pub fn finish(&self) {
        self.over.store(true, Ordering::Release);
    }

    /// Whether the run is over.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// The phases; `None` before [`Timeline::begin`].
    #[inline]
    pub fn times(&self) -> Option<Times> {
        let start_ns = self.start_ns.load(Ordering::Acquire);
        (start_ns != NOT_YET).then(|| Times {
            start_ns,
            measure_from_ns: self.measure_from_ns.load(Ordering::Acquire),
            stop_ns: self.stop_ns.load(Ordering::Acquire),
        })
    }
}

impl Default for Timeline {
    fn default() -> Timeline {
        Timeline::new()
    }
}

impl Times {
    /// Whether a message that was meant to leave at `intended_ns` is measured.
    #[inline]
    pub fn is_measured(&self, intended_ns: u64) -> bool {
        (self.measure_from_ns..self.stop_ns).contains(&intended_ns)
    }

    /// When slow subscribers stop reading: behind the first [`READING_WINDOWS`] windows of the measured part.
    pub fn stall_from_ns(&self) -> u64 {
        let measured_ns = self.stop_ns.saturating_sub(self.measure_from_ns);
        self.measure_from_ns + measured_ns / WINDOWS as u64 * READING_WINDOWS as u64
    }

    /// The phase at `now_ns`.
    pub fn phase(&self, now_ns: u64) -> Phase {
        match now_ns {
            _ if now_ns < self.measure_from_ns.min(self.stop_ns) => Phase::WarmUp,
            _ if now_ns < self.stop_ns => Phase::Measuring,
            _ => Phase::Draining,
        }
    }
}

/// What one thread says of itself while it runs; on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Gauges {
    /// Connections that are ready.
    pub ready: AtomicU64,
    /// Messages sent.
    pub sent: AtomicU64,
    /// Deliveries that they call for.
    pub expected: AtomicU64,
    /// Deliveries received, each counted once.
    pub received: AtomicU64,
    /// QoS 1 and 2 messages that are not acknowledged.
    pub in_flight: AtomicU64,
    /// Publishers with messages on their schedule.
    pub unfinished: AtomicU64,
    /// Deliveries to slow subscribers received.
    pub slow_received: AtomicU64,
    /// Connections lost.
    pub broken: AtomicU64,
}

/// The sum of all threads' gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in Gauges")]
pub struct Progress {
    pub ready: u64,
    pub sent: u64,
    pub expected: u64,
    pub received: u64,
    pub in_flight: u64,
    pub unfinished: u64,
    pub slow_received: u64,
    pub broken: u64,
}

/// Publishers of another thread that have room again.
#[derive(Debug, Default)]
pub struct Mailbox {
    publishers: Mutex<Vec<u32>>,
    waker: OnceLock<Waker>,
}

impl Mailbox {
    /// The owner's waker.
    pub fn open(&self, waker: Waker) {
        // A mailbox is opened once, by its thread.
        let _ = self.waker.set(waker);
    }

    /// Hands over `publishers`, leaving it empty, and wakes the owner.
    pub fn post(&self, publishers: &mut Vec<u32>) {
        if let Ok(mut waiting) = self.publishers.lock() {
            waiting.append(publishers);
        }
        self.wake();
    }

    /// Takes everything that was posted.
    pub fn take(&self, into: &mut Vec<u32>) {
        if let Ok(mut waiting) = self.publishers.lock() {
            into.append(&mut waiting);
        }
    }

    /// Wakes the owner.
    pub fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
    }
}

/// Everything that the threads of one run share.
#[derive(Debug)]
pub struct Run {
    /// What is measured.
    pub scenario: Scenario,
    /// Who hears whom.
    pub plan: TopicPlan,
    /// Its number, in stamps, topics and client identifiers.
    pub number: u16,
    /// Where stamps count from, CLOCK_MONOTONIC ns.
    pub epoch_ns: u64,
    /// The broker.
    pub endpoint: Endpoint,
    /// Length of the intervals of the time series, ns.
    pub interval_ns: u64,
    /// The phases.
    pub timeline: Timeline,
    /// One for each thread.
    pub gauges: Vec<Gauges>,
    /// One for each thread.
    pub mailboxes: Vec<Mailbox>,
    /// One for each publisher; empty in open loop.
    pub windows: Vec<DeliveryWindow>,
    /// The books of the groups of a shared subscription.
    pub groups: Vec<Arc<Mutex<Ledger>>>,
}

impl Run {
    /// The state of a run that has not begun.
    pub fn new(scenario: Scenario, endpoint: Endpoint, number: u16, epoch_ns: u64) -> Run {
        let Scenario {
            publishers,
            subscribers,
            threads,
            load,
            ..
        } = scenario;
        let topics = handshake::named_topics(&scenario, number);
        let plan = TopicPlan::new(topics, publishers, subscribers, number);
        let group = || Arc::new(Mutex::new(Ledger::new(plan.heard(0))));
        let groups = (0..plan.groups()).map(|_| group()).collect();
        let windows = match load {
            Load::Paced { .. } | Load::Flood | Load::Idle => Vec::new(),
            Load::Saturating { window } => (0..publishers)
                .map(|publisher| DeliveryWindow::new(window, plan.listeners(publisher)))
                .collect(),
        };
        Run {
            interval_ns: series::interval_ns(&scenario),
            scenario,
            plan,
            number,
            epoch_ns,
            endpoint,
            timeline: Timeline::new(),
            gauges: (0..threads).map(|_| Gauges::default()).collect(),
            mailboxes: (0..threads).map(|_| Mailbox::default()).collect(),
            windows,
            groups,
        }
    }

    /// What all threads together have done so far.
    pub fn progress(&self) -> Progress {
        let mut progress = Progress::default();
        for gauges in &self.gauges {
            progress.ready += gauges.ready.load(Ordering::Relaxed);
            progress.sent += gauges.sent.load(Ordering::Relaxed);
            progress.expected += gauges.expected.load(Ordering::Relaxed);
            progress.received += gauges.received.load(Ordering::Relaxed);
            progress.in_flight += gauges.in_flight.load(Ordering::Relaxed);
            progress.unfinished += gauges.unfinished.load(Ordering::Relaxed);
            progress.slow_received += gauges.slow_received.load(Ordering::Relaxed);
            progress.broken += gauges.broken.load(Ordering::Relaxed);
        }
        progress
    }

    /// Wakes every thread.
    pub fn wake_all(&self) {
        self.mailboxes.iter().for_each(Mailbox::wake);
    }

    /// The thread that runs a client.
    pub fn thread_of(&self, client: u32) -> usize {
        client as usize % self.scenario.threads.max(1)
    }
}

/// Nanoseconds of a duration, saturating.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_follow_one_another_and_a_stop_comes_early() {
        let timeline = Timeline::new();
        assert!(timeline.times().is_none());
        timeline.begin(1_000, Duration::from_nanos(10), Duration::from_nanos(100));
        let times = timeline.times().unwrap();
        let phases = [1_000, 1_009, 1_010, 1_109, 1_110].map(|now_ns| times.phase(now_ns));
        assert_eq!(
            phases,
            [
                Phase::WarmUp,
                Phase::WarmUp,
                Phase::Measuring,
                Phase::Measuring,
                Phase::Draining
            ]
        );
        assert_eq!(
            [1_009, 1_010, 1_109, 1_110].map(|at| times.is_measured(at)),
            [false, true, true, false]
        );
        timeline.stop_load(1_050);
        timeline.stop_load(1_070);
        assert_eq!(timeline.times().map(|times| times.stop_ns), Some(1_050));
        timeline.stop_load(1_005);
        assert_eq!(
            timeline.times().map(|times| times.phase(1_006)),
            Some(Phase::Draining)
        );
    }
}
