//! `loadgen conn`: connections that are made and closed again, measured alone or beside a load.
//!
//! [`scenario`] is the request, and [`args`] its options. [`worker`] makes the connections in one thread with one
//! ring, each as an `attempt`, and records them in its [`measurements`]. [`mod@run`] is the whole measurement with its
//! [`outcome`].
//!
//! Invariants: each connection goes through TCP, TLS, CONNECT, CONNACK and DISCONNECT and waits for the broker to close
//! it, so the broker's work is complete and local ports are free at once. In open loop the time counts from the
//! intended start. What breaks them: a broker that does not close after DISCONNECT [MQTT-3.14.4-3], which costs
//! [`worker::CLOSES_WITHIN_NS`] for each connection.

pub mod args;
mod attempt;
pub mod measurements;
pub mod outcome;
pub mod run;
pub mod scenario;
pub mod worker;

pub use run::run;
pub use scenario::{ConnectLoad, ConnectScenario};
