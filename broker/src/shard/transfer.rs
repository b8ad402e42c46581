//! A connection on its way to the shard that owns its session.
//!
//! Invariants: no request is in flight on the socket, so another ring may use the descriptor. The CONNECT is moved as
//! it was parsed, and the bytes after it as they were read.

use std::os::fd::AsFd as _;

use transport::socket::{self, Socket};
use transport::stream::SecureStream;

use super::tracer::{ShownConnect, described};
use crate::admission::Admission;
use crate::logic::{ConnectRequest, MalformedConnect, Peer};

/// A connection that is sent to the shard that owns its session.
pub(crate) struct ConnectionTransfer {
    pub(super) socket: Socket,
    pub(super) stream: SecureStream,
    pub(super) admission: Admission,
    pub(super) peer: Peer,
    /// The client's first packet, or why it is malformed.
    pub(super) connect: Result<Box<ConnectRequest>, MalformedConnect>,
    /// Bytes after it that were read already.
    pub(super) unread: Vec<u8>,
    /// Where its CONNECT was shown already.
    pub(super) shown: Option<ShownConnect>,
}

impl ConnectionTransfer {
    /// Whether its client has disconnected, and sent nothing after the CONNECT that would have to be handled.
    pub(super) fn is_abandoned(&self) -> bool {
        self.unread.is_empty() && socket::is_over(self.socket.as_fd())
    }

    /// The properties of the CONNECT for the log; `None` if they are not known.
    pub(super) fn description(&self) -> Option<String> {
        let connect = self.connect.as_ref().ok()?;
        Some(described(connect, self.peer.user(connect)))
    }
}
