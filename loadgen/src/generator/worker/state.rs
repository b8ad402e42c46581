//! State that all clients of a thread share.
//!
//! Invariants: none.

use crate::generator::measure::Measurements;
use crate::generator::state::Run;
use crate::generator::window::Tally;
use crate::measure::differences::Differences;
use crate::measure::timeline::{Times, WINDOWS, nanoseconds};
use crate::outcome::series::IntervalPart;
use crate::scenario::Load;

/// State that all clients of a thread share.
pub(super) struct LoadState {
    pub(super) measurements: Measurements,
    pub(super) times: Option<Times>,
    pub(super) scheduled: bool,
    pub(super) window_ns: u64,
    /// Largest number of a publisher's bytes that are sent together.
    pub(super) flush_bytes: usize,
    /// The interval that ends then, CLOCK_MONOTONIC ns.
    pub(super) interval: Box<IntervalPart>,
    pub(super) interval_ends_ns: u64,
    pub(super) sent: u64,
    pub(super) expected: u64,
    pub(super) received: u64,
    pub(super) slow_received: u64,
    pub(super) overtaken: u64,
    pub(super) in_flight: u64,
    pub(super) refused: u64,
    pub(super) differences: Differences,
    pub(super) given_up: u64,
    pub(super) unfinished: u64,
    pub(super) broken: u64,
    pub(super) slow_broken: u64,
    pub(super) reconnected: u64,
    pub(super) causes: Vec<String>,
    /// Publishers (slots) that may continue: acknowledged, writable again, or with room in their window.
    pub(super) resumed: Vec<u32>,
    /// What this turn's messages subtract from the windows.
    pub(super) tally: Tally,
    /// For each thread: publishers (numbers) that have room in their window, to be posted to it.
    pub(super) announced: Vec<Vec<u32>>,
}

impl LoadState {
    pub(super) fn new(run: &Run, threads: usize) -> LoadState {
        LoadState {
            measurements: Measurements::default(),
            times: None,
            scheduled: matches!(run.scenario.load, Load::Scheduled { .. }),
            window_ns: nanoseconds(run.scenario.duration) / WINDOWS as u64,
            flush_bytes: if run.scenario.one_per_write {
                1
            } else {
                FLUSH_BYTES
            },
            interval: Box::default(),
            interval_ends_ns: u64::MAX,
            sent: 0,
            expected: 0,
            received: 0,
            slow_received: 0,
            overtaken: 0,
            in_flight: 0,
            refused: 0,
            differences: Differences::default(),
            given_up: 0,
            unfinished: 0,
            broken: 0,
            slow_broken: 0,
            reconnected: 0,
            causes: Vec::new(),
            resumed: Vec::new(),
            tally: Tally::default(),
            announced: vec![Vec::new(); threads],
        }
    }
}

/// The default of the largest number of bytes that are sent together.
const FLUSH_BYTES: usize = 64 * 1024;
