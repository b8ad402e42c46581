//! The scenario of a run: its load, and the parts that a load consists of.
//!
//! `run_scenario.rs` is the scenario; `json_payload.rs` has payloads that are JSON. `topics.rs`, `schedule.rs`,
//! `payload.rs`, `payload_sizes.rs`, `properties.rs`, `subscription.rs` and `objectives.rs` are its parts, `named/`
//! has the scenarios with names, `json.rs` the formats of values in files.
//!
//! Invariants: none.

pub(crate) mod json;
pub mod json_payload;
pub mod named;
mod objectives;
pub mod payload;
pub mod payload_sizes;
pub mod properties;
mod run_scenario;
pub mod schedule;
pub mod subscription;
pub mod topics;

pub use objectives::Objectives;
pub use run_scenario::*;
