//! The machine and this process on it.
//!
//! `machine.rs` and `cpus.rs` are the machine; `output.rs`, `error.rs`, `hide_password.rs` and `key_passphrase.rs` this
//! process.
//!
//! Invariants: none.

pub mod cpus;
pub mod error;
pub mod hide_password;
pub mod key_passphrase;
pub mod machine;
pub mod output;
