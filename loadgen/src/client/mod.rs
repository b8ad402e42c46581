//! `loadgen pub`, `loadgen sub` and `loadgen rr`: one client that publishes, subscribes, or requests a response, with
//! the option letters of mosquitto_pub, mosquitto_sub and mosquitto_rr.
//!
//! `args` parses the command line, with a `properties` file for defaults; `session` is the MQTT connection, whose
//! packets `packet_lines` shows; `publish` and `subscribe` do the work, the latter for `rr` too. `output` prints
//! received messages, in a `format` or as JSON (`json_form`).
//!
//! Invariants: the program ends only when each QoS handshake that it began is complete or known to be broken.
//! Undelivered messages are reported and change the exit code. Sockets block, because there is only one connection.

mod args;
mod format;
mod json_form;
mod output;
mod packet_lines;
mod properties;
mod publish;
mod session;
mod subscribe;

pub use args::{PublishArguments, RequestArguments, SubscribeArguments};
pub use publish::run as publish;
pub use subscribe::{request, run as subscribe};

/// Exit code: `sub -W` ended before the messages of `-C`, or `rr -W` before a response; that of mosquitto_sub.
pub const EXIT_TIMEOUT: u8 = 27;
