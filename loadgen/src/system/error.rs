//! The errors that end a command without an outcome, and the exit codes.
//!
//! Invariant: the meaning of an exit code never changes, because scripts depend on it.

use std::io;

use transport::ring::RingError;

/// Exit code: nothing failed and every objective was met.
pub const EXIT_OK: u8 = 0;
/// Exit code: messages were lost, or the objective was missed.
pub const EXIT_MISSED: u8 = 1;
/// Exit code: wrong use, or the machine's limits do not allow the load.
pub const EXIT_USAGE: u8 = 2;
/// Exit code: the broker could not be started or reached, or it refused a client.
pub const EXIT_CONNECT: u8 = 3;
/// Exit code: the generator itself was the bottleneck.
pub const EXIT_GENERATOR: u8 = 4;
/// Exit code: the broker, or the path to it, did not carry the offered rate.
pub const EXIT_SATURATED: u8 = 5;
/// Exit code: a signal ended the program, with an outcome of what there was until then or without one.
pub const EXIT_INTERRUPTED: u8 = 130;

/// Why there is no outcome: one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The request exceeds the limits of this machine.
    #[error("{0}")]
    Limits(String),
    /// The io_uring instance could not be created.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// Another error of the system.
    #[error("{what}: {source}")]
    System {
        /// What was being done.
        what: String,
        /// The error of the system.
        source: io::Error,
    },
    /// A client could not connect.
    #[error("{0}")]
    Connect(String),
    /// The broker could not be started.
    #[error("{0}")]
    Broker(String),
    /// A thread of the generator panicked.
    #[error("a thread of the generator ended with a programming error; its message is above")]
    Thread,
    /// A signal arrived before the load started.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// For `map_err`: what was being done when the system reported an error.
    pub fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Failure {
        let what = what.into();
        move |source| Failure::System { what, source }
    }

    /// The exit code of the program.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Limits(_) | Failure::Ring(_) | Failure::System { .. } | Failure::Thread => EXIT_USAGE,
            Failure::Connect(_) | Failure::Broker(_) => EXIT_CONNECT,
            Failure::Interrupted => EXIT_INTERRUPTED,
        }
    }
}
