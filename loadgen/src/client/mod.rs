//! `loadgen pub` and `loadgen sub`: one client that publishes or subscribes, with the letters of mosquitto_pub and
//! mosquitto_sub.
//!
//! `args` turns words into settings, with the help of a file of `properties`; `link` is the socket with its TLS,
//! `session` the MQTT connection on it; `publish` and `subscribe` do the work.
//!
//! Invariants: the program ends only when each QoS handshake that it began is complete or known to be broken; what was
//! not delivered is said and shows in the exit code. Blocking sockets do: there is one connection.

mod args;
mod link;
mod properties;
mod publish;
mod session;
mod subscribe;

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::system::error::{EXIT_USAGE, Failure};

/// Exit code: `sub -W` ended before what `-C` asked for had come; mosquitto_sub's.
pub const EXIT_TIMEOUT: u8 = 27;

/// Runs `loadgen pub` with the words behind it.
pub fn publish(words: impl IntoIterator<Item = OsString>, interrupted: &Arc<AtomicBool>) -> u8 {
    match args::publishing(words) {
        Ok(request) => end(publish::run(&request, interrupted)),
        Err(error) => refuse(&error),
    }
}

/// Runs `loadgen sub` with the words behind it.
pub fn subscribe(words: impl IntoIterator<Item = OsString>, interrupted: &Arc<AtomicBool>) -> u8 {
    match args::subscribing(words) {
        Ok(request) => end(subscribe::run(&request, interrupted)),
        Err(error) => refuse(&error),
    }
}

/// The password among the words behind `pub` or `sub`.
pub fn password(publishes: bool, words: impl IntoIterator<Item = OsString>) -> Option<String> {
    args::password(publishes, words)
}

fn end(ended: Result<u8, Failure>) -> u8 {
    ended.unwrap_or_else(|failure| {
        eprintln!("loadgen: {failure}");
        failure.exit_code()
    })
}

fn refuse(error: &clap::Error) -> u8 {
    // Without a place to print to, the exit code has to do.
    let _ = error.print();
    u8::try_from(error.exit_code()).unwrap_or(EXIT_USAGE)
}
