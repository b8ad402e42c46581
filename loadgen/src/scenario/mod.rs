//! The scenario of a run: its load, and the parts that a load consists of.
//!
//! `run_scenario.rs` is the scenario. `topics.rs`, `schedule.rs`, `payload.rs`, `properties.rs` and `subscription.rs`
//! are its parts, `named/` has the scenarios with names, `json.rs` the formats of values in files.
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
