//! The parts of measurements: times, histograms, ledgers.
//!
//! `timeline.rs` has the phases, `latency.rs` the histograms, `ledger.rs` the deliveries of a subscriber,
//! `differences.rs` the differences from what was sent, `thread_use.rs` the CPU time of a thread, `numbers.rs` the
//! formats of figures.
//!
//! Invariants: none.

pub mod differences;
pub mod latency;
pub mod ledger;
pub mod numbers;
pub mod thread_use;
pub mod timeline;
