//! The broker that is measured: how it is found or started, and how clients reach it.
//!
//! `request.rs` says which broker is wanted. `open.rs` finds or starts it (`process.rs`, `certificates.rs`).
//! `subject.rs` describes the broker that was found, `endpoint.rs` its address.
//!
//! Invariants: none.

pub mod certificates;
pub mod endpoint;
mod open;
pub mod process;
pub mod request;
pub mod subject;

pub use open::*;
