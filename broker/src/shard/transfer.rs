//! Connections on their way to the shard that owns their session.
//!
//! Invariants: nothing is in flight on the socket, so the descriptor may be another ring's; the CONNECT travels as it
//! was parsed, and the bytes behind it as they were read.

use transport::socket::Socket;
use transport::stream::SecureStream;

use crate::admission::Admission;
use crate::logic::{ConnectRequest, MalformedConnect, Peer};

/// A connection between two shards.
pub(crate) struct ConnectionTransfer {
    pub(super) socket: Socket,
    pub(super) stream: SecureStream,
    pub(super) admission: Admission,
    pub(super) peer: Peer,
    /// What the client sent first.
    pub(super) connect: Result<Box<ConnectRequest>, MalformedConnect>,
    /// Plain bytes behind it that were read already.
    pub(super) unread: Vec<u8>,
}
