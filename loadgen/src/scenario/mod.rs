//! What is asked for: the load of a run, and what it is made of.
//!
//! `run_scenario.rs` is the value; `topics.rs`, `schedule.rs`, `payload.rs`, `properties.rs` and `subscription.rs` are
//! its parts, `named/` has those with names, `json.rs` how they are written.
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
