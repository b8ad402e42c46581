//! The outcome of a run: its figures, whether they are valid, and how they are shown.
//!
//! `run_outcome.rs` is the outcome, after the `header.rs` that all files have; `series.rs` is the run as a time series
//! and `background.rs` the connections beside it. `validity/` and `steadiness.rs` assess the outcome; `report/` is its
//! text and `export/` its files. `observer.rs` is notified during the run; `testing.rs` makes outcomes for tests.
//!
//! Invariants: none.

pub mod background;
pub mod export;
pub mod header;
pub mod observer;
pub mod report;
mod run_outcome;
pub mod series;
pub mod steadiness;
#[cfg(test)]
pub(crate) mod testing;
pub mod validity;

pub use run_outcome::*;
