//! The figures that one thread measures, and what it returns at the end.
//!
//! Invariant: only messages whose intended time is in the measured part enter the histograms; the ledger has all
//! messages.

use crate::connection::opening::StageTimes;
use crate::generator::subscriber::SubscriberLedger;
use crate::measure::differences::Differences;
use crate::measure::latency::Latency;
use crate::measure::thread_use::ThreadUse;
use crate::measure::timeline::{Times, WINDOWS};

/// The histograms of one thread, or of all of them merged.
#[derive(Clone, Debug, Default)]
pub struct Measurements {
    /// Intended send time to receive, for each of the measured part's windows.
    pub latency: [Latency; WINDOWS],
    /// Time from the actual send to the receipt.
    pub service: Latency,
    /// Time from the write to the last acknowledgement: PUBACK or PUBCOMP.
    pub acknowledged: Latency,
    /// Time from the intended to the actual send, if nothing but the generator itself delayed it.
    pub lag_own: Latency,
    /// Time from the intended to the actual send, if the socket or the in-flight window was full.
    pub lag_blocked: Latency,
    /// Time from the intended to the actual send, if the connection had to be re-established.
    pub lag_cut_off: Latency,
    /// Time from the arrival in the kernel to the read, for each read of some connections.
    pub read_delay: Latency,
    /// Messages sent in each window.
    pub sent: [u64; WINDOWS],
    /// Durations of the stages of connecting.
    pub stages: StageTimes,
}

impl Measurements {
    /// Adds what another thread measured.
    pub fn merge(&mut self, other: &Measurements) {
        self.latency
            .iter_mut()
            .zip(&other.latency)
            .for_each(|(mine, theirs)| mine.merge(theirs));
        self.sent
            .iter_mut()
            .zip(&other.sent)
            .for_each(|(mine, theirs)| *mine += theirs);
        self.stages.merge(&other.stages);
        let pairs = [
            (&mut self.service, &other.service),
            (&mut self.acknowledged, &other.acknowledged),
            (&mut self.lag_own, &other.lag_own),
            (&mut self.lag_blocked, &other.lag_blocked),
            (&mut self.lag_cut_off, &other.lag_cut_off),
            (&mut self.read_delay, &other.read_delay),
        ];
        for (mine, theirs) in pairs {
            mine.merge(theirs);
        }
    }

    /// A message with this intended time was sent.
    #[inline]
    pub fn sent(&mut self, window: usize, lag_ns: u64, wait: Wait) {
        let lag = match wait {
            Wait::Nothing => &mut self.lag_own,
            Wait::Broker => &mut self.lag_blocked,
            Wait::Connection => &mut self.lag_cut_off,
        };
        lag.record(lag_ns);
        if let Some(sent) = self.sent.get_mut(window) {
            *sent += 1;
        }
    }

    /// Records a measured message that was received.
    #[inline]
    pub fn received(&mut self, window: usize, latency_ns: u64, lag_ns: Option<u32>) {
        if let Some(latency) = self.latency.get_mut(window) {
            latency.record(latency_ns);
        }
        if let Some(lag_ns) = lag_ns {
            self.service.record(latency_ns.saturating_sub(u64::from(lag_ns)));
        }
    }

    /// The latency of some windows together.
    pub fn latency_of(&self, windows: std::ops::Range<usize>) -> Latency {
        let mut whole = Latency::new();
        let windows = self.latency.get(windows).unwrap_or_default();
        windows.iter().for_each(|window| whole.merge(window));
        whole
    }

    /// The latency of all windows together.
    pub fn whole_latency(&self) -> Latency {
        self.latency_of(0..WINDOWS)
    }

    /// The schedule lag of all measured messages together.
    pub fn whole_lag(&self) -> Latency {
        let mut whole = self.lag_own.clone();
        whole.merge(&self.lag_blocked);
        whole.merge(&self.lag_cut_off);
        whole
    }
}

/// The reason why a message was sent after its intended time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Nothing but the generator itself.
    Nothing,
    /// The socket or the in-flight window was full.
    Broker,
    /// The connection had broken.
    Connection,
}

/// The window of the measured part that `intended_ns` lies in; `None` outside of it.
#[inline]
pub fn window_of(times: &Times, window_ns: u64, intended_ns: u64) -> Option<usize> {
    let since_ns = times
        .is_measured(intended_ns)
        .then(|| intended_ns - times.measure_from_ns)?;
    Some((since_ns / window_ns.max(1)).min(WINDOWS as u64 - 1) as usize)
}

/// The results of a thread at the end of a run.
#[derive(Debug, Default)]
pub struct WorkerOutcome {
    /// Histograms of its measurements.
    pub measurements: Measurements,
    /// The ledgers of its subscribers.
    pub ledgers: Vec<SubscriberLedger>,
    /// The ledgers of its slow subscribers.
    pub slow_ledgers: Vec<SubscriberLedger>,
    /// Slow subscribers that lost their connection.
    pub slow_broken: u64,
    /// Publisher number and messages sent.
    pub sent: Vec<(u32, u64)>,
    /// Messages of the schedule that were never sent.
    pub unsent: u64,
    /// Closed loop: messages considered lost because there was no progress.
    pub given_up: u64,
    /// Received messages that differ from what was sent.
    pub differences: Differences,
    /// Publishes that the broker refused with a reason code.
    pub refused: u64,
    /// Publishers that could not use the requested Topic Alias.
    pub without_alias: u64,
    /// Connections that were re-established after they were lost.
    pub reconnected: u64,
    /// Why connections broke during the load; the first few.
    pub broken: Vec<String>,
    /// CPU time in the measured part.
    pub usage: ThreadUse,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cut_the_measured_part() {
        let times = Times {
            start_ns: 0,
            measure_from_ns: 100,
            stop_ns: 203,
        };
        let windows =
            [99, 100, 119, 120, 199, 202, 203].map(|intended_ns| window_of(&times, 20, intended_ns));
        assert_eq!(windows, [None, Some(0), Some(0), Some(1), Some(4), Some(4), None]);
    }

    #[test]
    fn service_time_leaves_the_lag_out() {
        let mut measurements = Measurements::default();
        measurements.received(0, 1_000_000, Some(400_000));
        measurements.received(1, 1_000_000, None);
        assert_eq!(measurements.service.count(), 1);
        assert!(measurements.service.quantile_ns(1.0).abs_diff(600_000) < 1_000);
        let mut merged = Measurements::default();
        merged.merge(&measurements);
        merged.merge(&measurements);
        assert_eq!((merged.whole_latency().count(), merged.service.count()), (4, 2));
    }
}
