//! What a run found out, whether to believe it, and how it is shown.
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
