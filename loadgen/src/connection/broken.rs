//! Why a connection ends.
//!
//! Invariants: none.

use std::io;

use mqtt::error::{DecodeError, EncodeError};
use transport::stream::StreamError;

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// The socket failed, or could not be connected.
    #[error("{0}")]
    Socket(#[from] io::Error),
    /// The broker closed it.
    #[error("the broker closed the connection")]
    Closed,
    /// TLS or WebSocket failed.
    #[error("{0}")]
    Tls(#[from] StreamError),
    /// The broker sent what the protocol forbids.
    #[error("the broker sent a bad packet: {0}")]
    Packet(#[from] DecodeError),
    /// The broker refused or ended it with a reason, or answered what was not asked.
    #[error("{0}")]
    Refused(String),
    /// The broker sent DISCONNECT with this reason; the text has its Reason String too.
    #[error("the broker ended the connection: {1}")]
    Disconnected(mqtt::ReasonCode, String),
    /// What was to be sent does not fit into a packet.
    #[error("{0}")]
    Unsendable(#[from] EncodeError),
    /// It took too long.
    #[error("no answer within {0} s")]
    Timeout(u64),
}
