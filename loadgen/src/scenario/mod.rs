//! What is asked for: the load of a run, and what it is made of.
//!
//! Invariants: none.

pub(crate) mod json;
pub mod named;
pub mod payload;
pub mod properties;
mod run_scenario;
pub mod schedule;
pub mod subscription;
pub mod topics;

pub use run_scenario::*;
