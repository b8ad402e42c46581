//! A run of the generator: many clients, their load, and the figures of it.
//!
//! `run.rs` is the whole run. `worker/` is a thread with its clients: `publisher.rs` and `subscriber.rs`, whose names
//! and topics are in `identity.rs`, whose first packets are in `handshake.rs`, whose messages in flight are in
//! `flights.rs`, whose PUBLISH packets are in `packets.rs`, and whose window of the closed loop is in `window.rs`.
//! `interruptions.rs` knows what nobody was owed, `verify.rs` what each message has to be like. `background.rs` makes
//! connections beside them. The threads share `state.rs`. `measure.rs` has what a thread measures and `meter.rs` what
//! the broker uses; `gather.rs` makes the outcome of both. `progress.rs` and `metrics.rs` show the run while it goes
//! on.
//!
//! Invariants: none.

pub mod background;
pub mod flights;
mod gather;
pub mod handshake;
pub mod identity;
pub mod interruptions;
pub mod measure;
pub mod meter;
pub mod metrics;
mod packets;
pub mod progress;
pub mod publisher;
pub mod run;
pub mod state;
pub mod subscriber;
pub mod verify;
pub mod window;
pub mod worker;
