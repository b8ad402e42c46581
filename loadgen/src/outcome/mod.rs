//! What a run found out, whether to believe it, and how it is shown.
//!
//! `run_outcome.rs` is the value, behind the `header.rs` that all files have; `series.rs` is the run in time and
//! `background.rs` what ran beside it. `validity/` and `steadiness.rs` assess it; `report/` is its text and `export/`
//! its files. `observer.rs` watches while it runs; `testing.rs` makes outcomes for tests.
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
