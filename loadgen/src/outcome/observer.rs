//! The interface for observers of a measurement while it runs.
//!
//! Invariants: none.

use std::time::Duration;

use super::series::IntervalReport;
use crate::measure::latency::Latency;
use crate::measure::timeline::{Phase, Progress};

/// Gets the progress of a run ten times a second.
pub trait Observer {
    /// `elapsed` counts from the beginning of the load, in the connecting phase from the beginning of the run.
    fn observe(&mut self, phase: Phase, elapsed: Duration, progress: &Progress);

    /// An interval of the time series is complete; `latency` has the latencies of deliveries that arrived in it.
    fn interval(&mut self, _interval: &IntervalReport, _latency: &Latency) {}
}

/// An observer that ignores everything, for runs without a terminal.
#[derive(Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn observe(&mut self, _: Phase, _: Duration, _: &Progress) {}
}
