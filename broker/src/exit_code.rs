//! Exit codes of the program; they are mosquitto's.
//!
//! Invariants: none.

/// A command line or a configuration that cannot be used.
pub const EXIT_INVALID: u8 = 3;
