//! The figures that the threads of a connect measurement share, and the histograms of each thread.
//!
//! Invariant: only connections whose intended start is in the measured part enter the histograms; the counts have all
//! connections.

use std::sync::atomic::AtomicU64;

use super::scenario::ConnectScenario;
use crate::connection::opening::StageTimes;
use crate::measure::latency::Latency;
use crate::measure::thread_use::ThreadUse;
use crate::measure::timeline::Timeline;
use crate::target::subject::Subject;

/// What the threads of a connect measurement share.
#[derive(Debug)]
pub struct ConnectState {
    /// The connections that were requested.
    pub scenario: ConnectScenario,
    /// The broker that they go to.
    pub subject: Subject,
    /// The number of the thread, which is part of its client identifiers.
    pub number: u16,
    /// When the phases begin and end.
    pub timeline: Timeline,
    /// Counts of connections, warm-up included.
    pub counts: ConnectCounts,
}

/// Counts of all threads so far.
#[derive(Debug, Default)]
pub struct ConnectCounts {
    /// Connections that the broker accepted.
    pub made: AtomicU64,
    /// Connections that were closed in order.
    pub closed: AtomicU64,
    /// Connections that failed at any stage.
    pub failed: AtomicU64,
}

/// The figures of one thread.
#[derive(Debug, Default)]
pub struct ConnectMeasurements {
    /// How long the stages took.
    pub stages: StageTimes,
    /// Time from the intended start to CONNACK.
    pub whole: Latency,
    /// Time from the intended to the actual start.
    pub lag: Latency,
    /// Why connections failed; the first few.
    pub causes: Vec<String>,
    /// Each thread's CPU time in the measured part.
    pub threads: Vec<ThreadUse>,
}

impl ConnectMeasurements {
    /// Adds what another thread measured.
    pub fn merge(&mut self, other: ConnectMeasurements) {
        self.stages.merge(&other.stages);
        let pairs = [(&mut self.whole, &other.whole), (&mut self.lag, &other.lag)];
        pairs.into_iter().for_each(|(mine, theirs)| mine.merge(theirs));
        self.causes.extend(other.causes);
        self.causes.truncate(CAUSES_MAX);
        self.threads.extend(other.threads);
    }
}

/// Causes of failed connections that are kept for the report.
pub(super) const CAUSES_MAX: usize = 5;
