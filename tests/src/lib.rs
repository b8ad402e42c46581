//! What the tests of the whole broker are made of beside the harness: a naive model of a broker, a simulator that
//! runs the shards' logic under a seeded scheduler and compares it with the model, the page of the specifications'
//! statements, and the rules of the tree.
//!
//! In that order: `simulation/`, `model/`, `conformance/` and `tree/`.
//!
//! Invariants: none.
#![allow(
    clippy::indexing_slicing,
    reason = "the indices are the simulator's own; a panic is a finding, and the seed replays it"
)]

pub mod conformance;
pub mod model;
pub mod simulation;
pub mod tree;
