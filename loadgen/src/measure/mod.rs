//! What measurements are made of: times, histograms, ledgers.
//!
//! Invariants: none.

pub mod latency;
pub mod ledger;
pub mod numbers;
pub mod thread_use;
pub mod timeline;
