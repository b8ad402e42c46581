//! The machine and this process on it.
//!
//! `machine.rs`, `cpus.rs` and `cgroup.rs` are the machine; `output.rs`, `error.rs`, `hide_password.rs` and
//! `key_passphrase.rs` this process; `run_queue.rs` a thread; `processes.rs` what a process started.
//!
//! Invariants: none.

pub(crate) mod cgroup;
pub mod cpus;
pub mod error;
pub mod hide_password;
pub mod key_passphrase;
pub mod machine;
pub mod output;
pub(crate) mod processes;
pub(crate) mod run_queue;
