//! The machine and this process on it.
//!
//! Invariants: none.

pub mod cpus;
pub mod error;
pub mod hide_password;
pub mod key_passphrase;
pub mod machine;
pub mod output;
