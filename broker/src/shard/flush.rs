//! Flushes connections: each one with output is sealed into TLS records and sent once a turn.
//!
//! Invariant: nothing here writes output for another connection. What does (a connection that broke may have a Will)
//! waits until all are flushed, and is sent in the next turn, after that turn's batches.

use std::io;
use std::os::fd::AsFd;

use transport::socket;

use super::ShardLoop;
use super::token::Subject;
use super::unread::LostCause;
use crate::logic::ConnectionId;

impl ShardLoop {
    pub(super) fn flush(&mut self) {
        let mut unflushed = std::mem::take(&mut self.connections.unflushed);
        for id in unflushed.drain(..) {
            self.flush_connection(id);
        }
        self.connections.unflushed = unflushed;
        let mut dirty = std::mem::take(&mut self.connections.dirty);
        self.logic.swap_dirty(&mut dirty);
        for id in dirty.drain(..) {
            self.flush_connection(id);
        }
        self.connections.dirty = dirty;
    }

    /// Sends what depends on no other shard.
    pub(super) fn flush_independent(&mut self) {
        let mut independent = std::mem::take(&mut self.connections.dirty);
        self.logic.swap_independent(&mut independent);
        for id in independent.drain(..) {
            self.flush_connection(id);
        }
        self.connections.dirty = independent;
    }

    fn flush_connection(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(id) else {
            // It was closed since it had something to send.
            return;
        };
        if connection.sending {
            if self.logic.closing(id) {
                self.linger(id);
            }
            return;
        }
        let address = connection.address;
        let out = std::mem::take(self.logic.out(id));
        if self.connections.tracer.is_on() {
            self.connections.tracer.sent(&self.logic, id, address, &out);
        }
        let Some(wire) = self.seal(id, out) else {
            return self.flushed(id);
        };
        let Some(connection) = self.connections.get(id) else {
            // `seal` has just looked at it.
            return;
        };
        match socket::send_now(connection.socket.as_fd(), &wire) {
            Ok(sent) if sent == wire.len() => {
                self.logic.recycle_out(wire);
                self.flushed(id);
            }
            Ok(sent) => self.send_rest(id, wire, sent),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.send_rest(id, wire, 0),
            Err(error) => {
                // Lost after the flush: its Will must not reach a client before other shards have it.
                tracing::debug!("Connection {id:?}: {error}");
                self.connections.ended.push_back((id, LostCause::Error));
            }
        }
    }

    /// Wire bytes of `out`; `None` if there are none.
    fn seal(&mut self, id: ConnectionId, out: Vec<u8>) -> Option<Vec<u8>> {
        let connection = self.connections.get(id)?;
        if connection.stream.is_plain() {
            return (!out.is_empty()).then_some(out);
        }
        if out.is_empty() && connection.records.is_empty() {
            return None;
        }
        let mut wire = self.logic.spare_out();
        wire.append(&mut connection.records);
        connection.stream.seal(&out, &mut wire);
        self.logic.recycle_out(out);
        Some(wire)
    }

    /// The socket is full: the ring sends the rest as room comes.
    fn send_rest(&mut self, id: ConnectionId, wire: Vec<u8>, from: usize) {
        let Some(connection) = self.connections.get(id) else {
            // As in `flush_connection`.
            return;
        };
        connection.sending = true;
        let unsent_bytes = wire.len() - from;
        self.ring
            .send(&connection.socket, Subject::Connection(id).token(), wire, from);
        self.logic.flushed(self.now, id, unsent_bytes);
        if self.logic.closing(id) {
            self.linger(id);
        }
    }

    fn flushed(&mut self, id: ConnectionId) {
        if self.logic.closing(id) {
            return self.close(id);
        }
        self.logic.flushed(self.now, id, 0);
        let connection = self.connections.get(id);
        if connection.is_some_and(|connection| connection.stream.is_closed()) {
            tracing::info!("Connection {id:?}: its key of TLS 1.2 is worn out.");
            self.connections.ended.push_back((id, LostCause::Error));
        }
    }
}
