//! A disk in memory, for tests.
//!
//! Invariants: none yet.
