//! The phases of a measurement: when the load begins, when it is measured, when it ends.
//!
//! Invariants: every thread reads the same timeline, so "measured" means the same to all of them. What breaks them:
//! moving the start of the measured part after the load has begun.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The phase of a run at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Connections are being made.
    Connecting,
    /// Load that is not measured.
    WarmUp,
    /// Load that is measured.
    Measuring,
    /// No more load: outstanding deliveries arrive.
    Draining,
}

/// Number of parts of the measured part for the check of its steadiness.
pub const WINDOWS: usize = 5;

/// Parts of the measured part in which slow subscribers still read, for comparison with the others.
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

/// The times of a timeline, read together.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The time at which the load begins, CLOCK_MONOTONIC ns.
    pub start_ns: u64,
    /// The time at which the measured part begins, CLOCK_MONOTONIC ns.
    pub measure_from_ns: u64,
    /// The time at which the load and the measured part end, CLOCK_MONOTONIC ns.
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

    /// Sets the phases; the threads see them when they next read the timeline.
    pub fn begin(&self, start_ns: u64, warmup: Duration, duration: Duration) {
        let measure_from_ns = start_ns + nanoseconds(warmup);
        self.measure_from_ns.store(measure_from_ns, Ordering::Release);
        self.stop_ns
            .store(measure_from_ns + nanoseconds(duration), Ordering::Release);
        self.start_ns.store(start_ns, Ordering::Release);
    }

    /// Ends the load at `now_ns` if it would last longer.
    pub fn stop_load(&self, now_ns: u64) {
        self.stop_ns.fetch_min(now_ns, Ordering::AcqRel);
    }

    /// Ends the run for all threads.
    pub fn finish(&self) {
        self.over.store(true, Ordering::Release);
    }

    /// Whether the run is over.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// The times of the phases; `None` before [`Timeline::begin`].
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
    /// Whether a message with this intended time is measured.
    #[inline]
    pub fn is_measured(&self, intended_ns: u64) -> bool {
        (self.measure_from_ns..self.stop_ns).contains(&intended_ns)
    }

    /// When slow subscribers stop reading: after the first [`READING_WINDOWS`] windows of the measured part.
    pub fn stall_from_ns(&self) -> u64 {
        let measured_ns = self.stop_ns.saturating_sub(self.measure_from_ns);
        self.measure_from_ns + measured_ns / WINDOWS as u64 * READING_WINDOWS as u64
    }

    /// The phase of the run at `now_ns`.
    pub fn phase(&self, now_ns: u64) -> Phase {
        match now_ns {
            _ if now_ns < self.measure_from_ns.min(self.stop_ns) => Phase::WarmUp,
            _ if now_ns < self.stop_ns => Phase::Measuring,
            _ => Phase::Draining,
        }
    }
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
    pub overtaken: u64,
}

impl Progress {
    /// Deliveries that are due, have not arrived, and may still arrive: those that a later message of the same
    /// publisher overtook do not arrive any more.
    pub fn backlog(&self) -> u64 {
        let expected = self.expected.saturating_sub(self.overtaken);
        expected.saturating_sub(self.received)
    }
}

/// Nanoseconds of a duration, saturating.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The pause until the next check, or until the measured part begins or ends.
pub fn pause(times: &Times, now_ns: u64, phase: Phase) -> Duration {
    let next_ns = match phase {
        Phase::WarmUp => times.measure_from_ns,
        Phase::Measuring => times.stop_ns,
        Phase::Connecting | Phase::Draining => now_ns + nanoseconds(LOOK) / 5,
    };
    Duration::from_nanos(next_ns.saturating_sub(now_ns)).min(LOOK)
}

/// A number that differs between consecutive runs.
pub fn run_number(now_ns: u64) -> u16 {
    let mut random = fastrand::Rng::with_seed(now_ns ^ u64::from(std::process::id()) << 32);
    random.u16(1..)
}

/// Longest pause between two checks of the threads.
const LOOK: Duration = Duration::from_millis(100);

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
