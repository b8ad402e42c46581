//! A run of the generator: many clients, their load, and its figures.
//!
//! `run.rs` is the whole run. `worker/` is a thread with its clients: `publisher.rs` and `subscriber.rs`; their names
//! and topics are in `identity.rs`, their first packets in `handshake.rs`, their messages in flight in `flights.rs`,
//! their PUBLISH packets in `packets.rs`, and their closed-loop window in `window.rs`. `interruptions.rs` knows which
//! messages are unowed, `verify.rs` the expected properties of each message. `background.rs` makes connections beside
//! them. The threads share `state.rs`. `measure.rs` has the measurements of a thread and `meter.rs` the broker's
//! usage; `gather.rs` makes the outcome of both. `progress.rs` and `metrics.rs` show the run in progress.
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
