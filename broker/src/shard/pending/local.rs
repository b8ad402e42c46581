//! Connections of the broker's own bridges, which no listener accepts.
//!
//! Invariants: their other end is in this process, so what their CONNECT says of the client is true.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use transport::socket::Socket;
use transport::stream::SecureStream;

use super::{PendingConnection, Phase};
use crate::admission::{Admission, ListenerCounts};
use crate::settings::ListenerId;
use crate::shard::ShardLoop;

impl ShardLoop {
    /// Begins the connections of bridges that have come.
    pub(in crate::shard) fn begin_local(&mut self) {
        for socket in self.local.take(self.exchange.shard()) {
            if let Some(pending) = PendingConnection::local(socket, self.local.counts()) {
                let id = self.pending.insert(self.now, pending);
                self.receive_pending(id);
            }
        }
    }
}

impl PendingConnection {
    /// A connection of a bridge, which sends its CONNECT next.
    fn local(socket: Socket, counts: &Arc<ListenerCounts>) -> Option<Self> {
        Some(Self {
            socket,
            stream: SecureStream::Plain,
            admission: Admission::enter(counts, u64::MAX)?,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into(),
            listener: ListenerId::BRIDGES,
            phase: Phase::Connect,
            identity: None,
            proxied_identity: None,
            upgrade: None,
            plain: Vec::new(),
            postponed_bytes: 0,
            is_handshake_counted: false,
        })
    }
}
