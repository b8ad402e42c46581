//! The run as a time series: the merged intervals of all threads.
//!
//! Invariants: an event belongs to the interval in which it happened, not to the one for which it was intended;
//! intervals cover warm-up, measured part and drain; there are about [`INTERVALS`] of them whatever the run's length,
//! so memory is bounded. What breaks them: a thread that stalls, whose events are then in the interval in which it
//! continued.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::measure::latency::Latency;
use crate::measure::timeline::{Times, nanoseconds};
use crate::scenario::Scenario;

/// The approximate number of intervals in a run.
pub const INTERVALS: u64 = 60;

/// One interval of one thread.
#[derive(Clone, Debug, Default)]
pub struct IntervalPart {
    /// The number of the thread that measured the interval.
    pub thread: usize,
    /// The interval, counted from the beginning of the load.
    pub index: usize,
    /// Time from the intended send to the receipt, for messages received in it.
    pub latency: Latency,
    /// Time from the intended to the actual send, for messages sent in it.
    pub lag: Latency,
    /// Messages that the thread sent in it.
    pub sent: u64,
}

/// One interval of a run.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct IntervalReport {
    /// Its beginning, seconds since the beginning of the load.
    pub from_s: f64,
    /// The part of the run in which it begins.
    pub part: Part,
    /// Messages sent in it.
    pub sent: u64,
    /// Deliveries that arrived in it.
    pub received: u64,
    /// Deliveries that were due but had not arrived at its end.
    pub backlog: u64,
    /// Median latency of the deliveries, ns; 0 without any, as in the next fields.
    pub p50_ns: u64,
    /// p99 of the latency.
    pub p99_ns: u64,
    /// p99.9 of the latency.
    pub p99_9_ns: u64,
    /// Maximum of the latency.
    pub max_ns: u64,
    /// Median schedule lag of sent messages, ns.
    pub lag_p50_ns: u64,
    /// p99 of the schedule lag.
    pub lag_p99_ns: u64,
}

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Before the measured part.
    WarmUp,
    /// The measured part itself.
    Measured,
    /// After the end of the load.
    Drain,
}

impl Part {
    /// The name of the part in tables.
    pub fn word(self) -> &'static str {
        match self {
            Part::WarmUp => "warm_up",
            Part::Measured => "measured",
            Part::Drain => "drain",
        }
    }
}

/// All intervals, as far as the threads have reported them.
#[derive(Clone, Debug)]
pub struct Series {
    interval_ns: u64,
    intervals: Vec<Interval>,
    /// For each thread, the first interval that it has not reported.
    unreported: Vec<usize>,
    reported: usize,
    none: Latency,
}

#[derive(Clone, Debug, Default)]
struct Interval {
    latency: Latency,
    lag: Latency,
    sent: u64,
    backlog: u64,
}

/// The length of a run's intervals, ns.
pub fn interval_ns(scenario: &Scenario) -> u64 {
    let whole_ns = nanoseconds(scenario.warmup.saturating_add(scenario.duration));
    let fits = |length_ns: &&u64| whole_ns.div_ceil(**length_ns) <= INTERVALS;
    LENGTHS_NS
        .iter()
        .find(fits)
        .copied()
        .unwrap_or_else(|| whole_ns.div_ceil(INTERVALS))
}

const SECOND_NS: u64 = 1_000_000_000;
const LENGTHS_NS: &[u64] = &[
    SECOND_NS / 10,
    SECOND_NS / 5,
    SECOND_NS / 2,
    SECOND_NS,
    2 * SECOND_NS,
    5 * SECOND_NS,
    10 * SECOND_NS,
    30 * SECOND_NS,
    60 * SECOND_NS,
];

impl Series {
    /// A series that has not begun, for this many threads.
    pub fn new(interval_ns: u64, threads: usize) -> Series {
        Series {
            interval_ns: interval_ns.max(1),
            intervals: Vec::new(),
            unreported: vec![0; threads],
            reported: 0,
            none: Latency::new(),
        }
    }

    /// Adds the interval of one thread.
    pub fn add(&mut self, part: &IntervalPart) {
        let interval = self.interval(part.index);
        interval.latency.merge(&part.latency);
        interval.lag.merge(&part.lag);
        interval.sent += part.sent;
        if let Some(unreported) = self.unreported.get_mut(part.thread) {
            *unreported = (*unreported).max(part.index + 1);
        }
    }

    /// Records the deliveries due but not arrived, `since_ns` after the beginning of the load.
    pub fn note_backlog(&mut self, since_ns: u64, backlog: u64) {
        let index = (since_ns / self.interval_ns) as usize;
        self.interval(index).backlog = backlog;
    }

    fn interval(&mut self, index: usize) -> &mut Interval {
        // A stalled clock cannot make this large: indices follow the run's own time.
        let index = index.min(INTERVALS_MAX);
        if self.intervals.len() <= index {
            self.intervals.resize_with(index + 1, Interval::default);
        }
        // It was created one line above.
        #[expect(clippy::indexing_slicing, reason = "the length is at least index + 1")]
        &mut self.intervals[index]
    }

    /// The next interval that all threads have reported.
    pub fn next_complete(&mut self, times: &Times) -> Option<IntervalReport> {
        let complete = self.unreported.iter().copied().min()?;
        if self.reported >= complete.min(self.intervals.len()) {
            return None;
        }
        self.reported += 1;
        self.report(self.reported - 1, times)
    }

    /// The latencies of the interval that [`Series::next_complete`] returned last.
    pub fn last_reported(&self) -> &Latency {
        let index = self.reported.saturating_sub(1);
        self.intervals
            .get(index)
            .map_or(&self.none, |interval| &interval.latency)
    }

    /// The reports of all intervals, complete or not.
    pub fn reports(&self, times: &Times) -> Vec<IntervalReport> {
        (0..self.intervals.len())
            .filter_map(|index| self.report(index, times))
            .collect()
    }

    fn report(&self, index: usize, times: &Times) -> Option<IntervalReport> {
        let interval = self.intervals.get(index)?;
        let from_ns = index as u64 * self.interval_ns;
        let at_ns = times.start_ns + from_ns;
        let latency = interval.latency.summary();
        let lag = interval.lag.summary();
        Some(IntervalReport {
            from_s: from_ns as f64 / 1e9,
            part: match () {
                () if at_ns >= times.stop_ns => Part::Drain,
                () if at_ns >= times.measure_from_ns => Part::Measured,
                () => Part::WarmUp,
            },
            sent: interval.sent,
            received: interval.latency.count(),
            backlog: interval.backlog,
            p50_ns: latency.map_or(0, |latency| latency.p50_ns),
            p99_ns: latency.map_or(0, |latency| latency.p99_ns),
            p99_9_ns: latency.map_or(0, |latency| latency.p99_9_ns),
            max_ns: latency.map_or(0, |latency| latency.max_ns),
            lag_p50_ns: lag.map_or(0, |lag| lag.p50_ns),
            lag_p99_ns: lag.map_or(0, |lag| lag.p99_ns),
        })
    }

    /// The histograms of the intervals, with their beginning since the start of the load and their length.
    pub fn histograms(&self) -> impl Iterator<Item = (Duration, Duration, &Latency)> {
        let length = Duration::from_nanos(self.interval_ns);
        self.intervals.iter().enumerate().map(move |(index, interval)| {
            let from = Duration::from_nanos(index as u64 * self.interval_ns);
            (from, length, &interval.latency)
        })
    }
}

/// Far more than a run can have.
const INTERVALS_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times {
        start_ns: 1_000,
        measure_from_ns: 1_100,
        stop_ns: 1_300,
    };

    fn part(thread: usize, index: usize, latency_ns: u64) -> IntervalPart {
        let mut part = IntervalPart {
            thread,
            index,
            sent: 2,
            ..IntervalPart::default()
        };
        part.latency.record(latency_ns);
        part
    }

    #[test]
    fn an_interval_is_complete_when_every_thread_has_reported_it() {
        let mut series = Series::new(100, 2);
        series.add(&part(0, 0, 10));
        assert_eq!(series.next_complete(&TIMES), None);
        series.note_backlog(50, 7);
        series.add(&part(1, 1, 30));
        let first = series.next_complete(&TIMES).unwrap();
        assert_eq!(
            (first.received, first.sent, first.backlog, first.part),
            (1, 2, 7, Part::WarmUp)
        );
        assert_eq!(series.last_reported().count(), 1);
        assert_eq!(series.next_complete(&TIMES), None);
        series.add(&part(0, 3, 40));
        let parts: Vec<Part> = series.reports(&TIMES).iter().map(|report| report.part).collect();
        assert_eq!(parts, [Part::WarmUp, Part::Measured, Part::Measured, Part::Drain]);
        assert_eq!(series.histograms().count(), 4);
    }

    #[test]
    fn there_are_about_sixty_intervals_whatever_the_length() {
        let words = |line: &str| {
            line.split_whitespace()
                .map(std::ffi::OsString::from)
                .collect::<Vec<_>>()
        };
        for (warmup, duration) in [
            ("0", "0.5"),
            ("1", "2"),
            ("5", "10"),
            ("0", "3600"),
            ("0", "100000"),
        ] {
            let line = format!("loadgen --warmup {warmup} --duration {duration}");
            let scenario = crate::options::parse(words(&line)).unwrap().scenario;
            let whole_ns = nanoseconds(scenario.warmup + scenario.duration);
            let count = whole_ns.div_ceil(interval_ns(&scenario));
            assert!(count <= INTERVALS, "{line}: {count}");
        }
    }
}
