//! What measurements are made of: times, histograms, ledgers.
//!
//! `timeline.rs` has the phases, `latency.rs` the histograms, `ledger.rs` what came, `thread_use.rs` the CPU time of a
//! thread, `numbers.rs` how figures are written.
//!
//! Invariants: none.

pub mod latency;
pub mod ledger;
pub mod numbers;
pub mod thread_use;
pub mod timeline;
