//! Reads the older connection of a session to its end before a newer one takes over the session, see
//! [`crate::turn::TakeOvers`].
//!
//! Invariants: the rest of the older connection is read after its receive in the ring has ended, so its bytes stay in
//! order, and is handled in the next turn, after the queues. A turn reads at most [`limits::TAKEOVER_TURN_BYTES`] of
//! it. The total is bounded by the kernel's receive buffer, so a client that keeps sending does not delay its newer
//! connection for ever. A connection that its client closed before it was answered, with nothing after its CONNECT,
//! does not take over a session from a live connection.

use std::io;
use std::os::fd::AsFd as _;

use transport::socket;

use super::ShardLoop;
use super::client_connections::{ClientConnection, ClientConnections};
use super::token::Subject;
use super::transfer::ConnectionTransfer;
use super::unread::{Drain, LostCause};
use crate::limits;
use crate::logic::{ClientEvent, ConnectionId};
use crate::turn::TakeOver;

impl ShardLoop {
    /// Admits a connection, after the older one of its session was read to its end.
    pub(super) fn admit(&mut self, transfer: Box<ConnectionTransfer>) {
        let Ok(connect) = &transfer.connect else {
            self.adopt(*transfer);
            // It has no session.
            return;
        };
        let listener = self.logic.settings().listener(transfer.peer.listener);
        let client_identifier: Box<str> = transfer.peer.session_name(connect, listener).into();
        let older = self.logic.clients().connection_of(&client_identifier);
        match self.take_overs.request_for(&client_identifier, older, transfer) {
            TakeOver::Adopt(transfer) => {
                self.adopt(*transfer);
            }
            TakeOver::AwaitOlder => older.into_iter().for_each(|older| self.ask_for_rest(older)),
            TakeOver::Queued => {}
        }
    }

    /// Admits the connections whose turn it is, within the turn's budget; returns whether there may be more.
    pub(super) fn admit_waiting(&mut self) -> bool {
        while !self.take_overs.is_empty() {
            if self.logic.work().turn_is_over() {
                return true;
            }
            let connections = &mut self.connections;
            let ready = self
                .take_overs
                .next_ready(|older| is_at_its_end(connections, older));
            let Some((transfer, older, client_identifier)) = ready else {
                // Their older connections are being read.
                return false;
            };
            let stays = older.filter(|&older| transfer.is_abandoned() && self.is_alive(older));
            let connected = if stays.is_some() {
                self.refuse_abandoned(&transfer, &client_identifier);
                stays
            } else {
                let id = self.adopt(*transfer);
                self.logic.clients().connected(id).then_some(id)
            };
            if let Some(older) = older {
                self.resume_older(older);
            }
            if let Some(awaited) = self.take_overs.connected(&client_identifier, connected) {
                self.ask_for_rest(awaited);
            }
            self.charge_time();
        }
        false
    }

    /// A client has disconnected before its CONNACK and sent nothing after its CONNECT, but its session has a live
    /// connection: that one stays. It may be the newer one, because the two may have come through different shards.
    fn refuse_abandoned(&self, transfer: &ConnectionTransfer, client_identifier: &str) {
        let address = transfer.peer.address;
        let (reason, why) = (
            "closed_before_connack",
            "it closed the connection before its CONNACK",
        );
        let event = ClientEvent::refused(self.now, reason, client_identifier, Some(address.machine()), None);
        self.logic.counters().events.add(event);
        tracing::info!(
            "Client {client_identifier} at {address} refused: {why}, and another connection has its session."
        );
    }

    fn is_alive(&mut self, id: ConnectionId) -> bool {
        let connection = self.connections.get(id);
        connection.is_some_and(|connection| !connection.closing && connection.unread.ended.is_none())
    }

    /// Whether a connection may be admitted, because [`Self::admit_waiting`] has found the end of its older one.
    pub(super) fn may_admit(&mut self) -> bool {
        let connections = &mut self.connections;
        self.take_overs
            .is_any_ready(|older| is_at_its_end(connections, older))
    }

    /// Admits all connections: the shard ends, and refuses them.
    pub(super) fn admit_all(&mut self) {
        for transfer in self.take_overs.drain().collect::<Vec<_>>() {
            self.adopt(*transfer);
        }
    }

    /// A newer connection waits for this one.
    fn ask_for_rest(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(id) else {
            // It has gone.
            return;
        };
        connection.unread.drain = Drain::Requested;
        if !connection.receiving {
            return self.read_remaining(id);
        }
        if !std::mem::replace(&mut connection.unread.is_cancelled, true) {
            self.ring.cancel(Subject::Connection(id).token());
        }
    }

    /// The newer connection was answered; if it was refused, reading of the older one resumes.
    fn resume_older(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get(id) {
            connection.unread.drain = Drain::NotRequested;
            connection.unread.drained_bytes = 0;
            if !connection.unread.waits() {
                self.resume_receiving(id);
            }
        }
    }

    /// Nothing is in flight on a connection for which a newer one waits: reads what the kernel has.
    pub(super) fn read_remaining(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(id) else {
            // It has gone.
            return;
        };
        connection.receiving = false;
        connection.unread.is_cancelled = false;
        if connection.unread.drain == Drain::Done || connection.closing {
            // It was read already, or its bytes no longer matter.
            return;
        }
        let before = connection.unread.len();
        if connection.receive_rest() {
            connection.unread.drain = Drain::Done;
        }
        self.connections.unread_bytes += connection.unread.len() - before;
        self.connections.unflushed.push(id);
        self.connections.read_ahead.push(id);
    }
}

impl ClientConnection {
    /// Receives what the kernel has, within a turn's bound; returns whether that was all, or enough.
    fn receive_rest(&mut self) -> bool {
        let mut chunk = vec![0; limits::TAKEOVER_READ_BYTES];
        let mut left = limits::TAKEOVER_TURN_BYTES;
        while left > 0 {
            let ended = match socket::receive_now(self.socket.as_fd(), &mut chunk) {
                Ok(0) => Some(LostCause::EndOfStream),
                Ok(count) => {
                    left = left.saturating_sub(count);
                    self.unread.drained_bytes += count;
                    self.open_rest(chunk.get(..count).unwrap_or_default())
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(_) => Some(LostCause::Error),
            };
            if let Some(cause) = ended {
                self.unread.end(cause);
                return true;
            }
        }
        self.unread.drained_bytes >= socket::receive_buffer_bytes_max()
    }

    /// Takes bytes from the kernel; returns why nothing can follow them, if so.
    fn open_rest(&mut self, wire: &[u8]) -> Option<LostCause> {
        if self.stream.is_plain() {
            self.unread.push(wire);
            return None;
        }
        let (mut plain, mut answer) = (Vec::new(), Vec::new());
        let opened = self.stream.open(wire, &mut plain, &mut answer);
        self.unread.push(&plain);
        self.records.append(&mut answer);
        match opened {
            Ok(opened) => opened.peer_closed.then_some(LostCause::EndOfStream),
            Err(_) => Some(LostCause::Error),
        }
    }
}

/// Whether everything that came on a connection was handled, as far as it matters.
fn is_at_its_end(connections: &mut ClientConnections, id: ConnectionId) -> bool {
    let connection = connections.get(id);
    connection.is_none_or(|connection| connection.closing || connection.unread.is_at_its_end())
}
