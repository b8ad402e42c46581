//! What the threads of a connect measurement share, and what each of them measures.
//!
//! Invariant: only connections whose intended start lies in the measured part enter the histograms; the counts have
//! all.

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

/// What all threads have done so far.
#[derive(Debug, Default)]
pub struct ConnectCounts {
    /// Connections that the broker accepted.
    pub made: AtomicU64,
    /// Connections that were closed in good order.
    pub closed: AtomicU64,
    /// Connections that failed at any stage.
    pub failed: AtomicU64,
}

/// What a thread measured.
#[derive(Debug, Default)]
pub struct ConnectMeasurements {
    /// How long the stages took.
    pub stages: StageTimes,
    /// Intended start to CONNACK.
    pub whole: Latency,
    /// Intended to actual start.
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
