//! What waits for other shards.
//!
//! Invariants: those of `batch.rs`.

pub(super) mod batch;
