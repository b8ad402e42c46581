//! The errors that end a command without an outcome, and the exit codes.
//!
//! Invariant: an exit code keeps its meaning, because scripts depend on it.

use std::io;

use transport::ring::RingError;

/// Exit code: all is well.
pub const EXIT_OK: u8 = 0;
/// Exit code: messages were lost, or the objective was missed.
pub const EXIT_MISSED: u8 = 1;
/// Exit code: wrong use, or more than this machine allows.
pub const EXIT_USAGE: u8 = 2;
/// Exit code: the broker could not be started or reached, or it refused a client.
pub const EXIT_CONNECT: u8 = 3;
/// Exit code: the generator itself was the bottleneck.
pub const EXIT_GENERATOR: u8 = 4;
/// Exit code: the broker, or the path to it, did not carry the offered rate.
pub const EXIT_SATURATED: u8 = 5;
/// Exit code: a signal ended it, with an outcome of what there was until then or without one.
pub const EXIT_INTERRUPTED: u8 = 130;

/// Why there is no outcome: one sentence with what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// More was asked for than this machine allows.
    #[error("{0}")]
    Limits(String),
    /// The ring could not be made.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The system refused something else.
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
    #[error("a thread of the generator ended by a programming error; its message stands above")]
    Thread,
    /// A signal came before the load began.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// For `map_err`: what was being done when the system refused.
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
