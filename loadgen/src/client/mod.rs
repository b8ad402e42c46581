//! `loadgen pub` and `loadgen sub`: one client that publishes or subscribes, with the option letters of mosquitto_pub
//! and mosquitto_sub.
//!
//! `args` parses the command line, with a file of `properties` for defaults; `session` is the MQTT connection;
//! `publish` and `subscribe` do the work.
//!
//! Invariants: the program ends only when each QoS handshake that it began is complete or known to be broken. What was
//! not delivered is reported and changes the exit code. Sockets block, because there is only one connection.

mod args;
mod properties;
mod publish;
mod session;
mod subscribe;

pub use args::{PublishArguments, SubscribeArguments};
pub use publish::run as publish;
pub use subscribe::run as subscribe;

/// Exit code: `sub -W` ended before what `-C` asked for had come; mosquitto_sub's.
pub const EXIT_TIMEOUT: u8 = 27;
