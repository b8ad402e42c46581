//! A run: many clients, their load, and what becomes of it.
//!
//! Invariants: none.

pub mod background;
mod gather;
pub mod handshake;
pub mod identity;
pub mod measure;
pub mod meter;
pub mod metrics;
pub mod progress;
pub mod publisher;
pub mod run;
pub mod state;
pub mod subscriber;
pub mod window;
pub mod worker;
