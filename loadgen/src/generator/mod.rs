//! A run: many clients, their load, and what becomes of it.
//!
//! `run.rs` is the whole; `worker/` is a thread with its `publisher.rs` and `subscriber.rs` (`identity.rs`: who they
//! are, `handshake.rs`: what they send first, `window.rs`: the closed loop), `background.rs` the connections beside
//! them. The threads share `state.rs`. `measure.rs` is what a thread measures and `meter.rs` what the broker uses;
//! `gather.rs` makes the outcome of both, `progress.rs` and `metrics.rs` show it meanwhile.
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
