//! The broker that is measured: found or started, and how it is reached.
//!
//! `request.rs` is which broker is asked for, `open.rs` finds or starts it (`process.rs`, `certificates.rs`),
//! `subject.rs` is what is there then, `endpoint.rs` how it is reached.
//!
//! Invariants: none.

pub mod certificates;
pub mod endpoint;
mod open;
pub mod process;
pub mod request;
pub mod subject;

pub use open::*;
