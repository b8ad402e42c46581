//! Exit codes of the program. They are those of mosquitto.
//!
//! Invariants: none.

/// A command line or a configuration that cannot be used.
pub const EXIT_INVALID: u8 = 3;
