//! The broker that is measured: found or started, and how it is reached.
//!
//! Invariants: none.

pub mod certificates;
pub mod endpoint;
mod open;
pub mod process;
pub mod request;
pub mod subject;

pub use open::*;
