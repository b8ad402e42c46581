//! Flushes connections: each one with output is sealed into TLS records and sent once per turn, within a bounded time;
//! the others are flushed in the next turns.
//!
//! Invariants: each connection is delayed once, and delayed ones have their turn in order. An output that remains is
//! complete up to some turn whose batches are pushed: it may be sent in any later flush, also while other batches wait
//! for room, unless more was written since. Nothing here writes output for another connection. Events that do (a
//! connection that broke may have a Will) wait until the flush is over, and their output is sent in the next turn,
//! after that turn's batches.
//! turn's batches.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;

use mqtt::frame::PacketType;
use transport::clock::monotonic_ns;
use transport::socket;

use super::ShardLoop;
use super::client_connections::{ClientConnections, FlushTurn};
use super::sending::{NextSend, Sent, Unsent};
use super::times::Delayed;
use super::token::Subject;
use super::unread::LostCause;
use crate::limits;
use crate::logic::ConnectionId;

/// When a flush ends although connections with output are left. The clock is read after every few of them: most
/// flushes have fewer.
#[derive(Default)]
struct FlushTime {
    looked_at: u32,
    until_ns: Option<u64>,
    is_over: bool,
}

impl FlushTime {
    /// Whether the time is over before the next connection.
    #[inline]
    fn is_over(&mut self) -> bool {
        self.looked_at += 1;
        if self.looked_at.is_multiple_of(limits::FLUSHED_BETWEEN_LOOKS) && !self.is_over {
            let now_ns = monotonic_ns();
            let until_ns = self.until_ns.get_or_insert(now_ns + limits::FLUSH_NS_MAX);
            self.is_over = now_ns >= *until_ns;
        }
        self.is_over
    }
}

impl ClientConnections {
    /// Queues connections for a later flush.
    pub(super) fn delay_flush(&mut self, ids: impl Iterator<Item = ConnectionId>) {
        for id in ids {
            if let Some(connection) = self.get(id)
                && std::mem::replace(&mut connection.flush_turn, FlushTurn::Delayed) != FlushTurn::Delayed
            {
                self.delayed.push_back(id);
                self.delayed_ever += 1;
            }
        }
    }

    pub(super) fn is_flush_delayed(&mut self, id: ConnectionId) -> bool {
        self.get(id)
            .is_some_and(|connection| connection.flush_turn == FlushTurn::Delayed)
    }

    /// Whether a connection with output is to be flushed now: delayed ones have their own turn.
    #[inline]
    fn has_flush_turn(&mut self, id: ConnectionId) -> bool {
        let part = self.flush_parts;
        let turn = self.get(id).map_or(FlushTurn::WithOutput, |it| it.flush_turn);
        turn == FlushTurn::WithOutput || matches!(turn, FlushTurn::Had { part: had } if had != part)
    }

    /// The connection that has waited longest for a flush.
    #[inline]
    fn next_delayed(&mut self) -> Option<ConnectionId> {
        let part = self.flush_parts;
        loop {
            let id = self.delayed.pop_front()?;
            if let Some(connection) = self.get(id) {
                connection.flush_turn = FlushTurn::Had { part };
                return Some(id);
            }
        }
    }
}

impl ShardLoop {
    /// Passes output to the sockets, for a bounded time. Output that depends on no other shard (a PINGRESP) comes
    /// first; then connections that earlier turns had no time for take turns with those that have new output.
    pub(super) fn flush(&mut self) {
        let mut time = FlushTime::default();
        let mut ids = std::mem::take(&mut self.connections.dirty);
        self.logic.swap_independent(&mut ids);
        self.connections.flush_parts += 1;
        self.flush_all(&mut ids, &mut time);
        let mut unflushed = std::mem::take(&mut self.connections.unflushed);
        self.flush_all(&mut unflushed, &mut time);
        self.connections.unflushed = unflushed;
        self.logic.swap_dirty(&mut ids);
        // A connection that had a turn before may have more output since.
        self.connections.flush_parts += 1;
        if ids.len() > limits::FLUSHED_IN_ORDER_MAX {
            self.put_answers_first(&mut ids);
        }
        self.flush_all(&mut ids, &mut time);
        self.connections.dirty = ids;
        while !self.connections.delayed.is_empty()
            && !time.is_over()
            && let Some(delayed) = self.connections.next_delayed()
        {
            self.flush_measured(delayed);
        }
        let ever = self.connections.delayed_ever;
        self.times.flushed(Delayed {
            ever,
            over: ever - self.connections.delayed.len() as u64,
        });
    }

    /// An answer does not wait for messages to thousands of subscribers.
    fn put_answers_first(&mut self, ids: &mut [ConnectionId]) {
        let is_message = |first: &u8| first >> 4 == PacketType::Publish as u8;
        let mut answers = 0;
        for at in 0..ids.len() {
            let Some(&id) = ids.get(at) else {
                // `at` is less than their number.
                return;
            };
            if !self.logic.delivery().out(id).first().is_some_and(is_message) {
                ids.swap(at, answers);
                answers += 1;
            }
        }
    }

    /// Flushes these connections, each followed by a delayed one; those for which there is no time are delayed.
    fn flush_all(&mut self, ids: &mut Vec<ConnectionId>, time: &mut FlushTime) {
        let mut done = 0;
        for &id in ids.iter() {
            if time.is_over() {
                break;
            }
            done += 1;
            if self.connections.has_flush_turn(id) {
                self.flush_measured(id);
            }
            if let Some(delayed) = self.connections.next_delayed() {
                self.flush_measured(delayed);
            }
        }
        self.connections.delay_flush(ids.drain(done..));
        ids.clear();
    }

    /// Sends output that depends on no waiting batch: independent output, and what earlier flushes have left.
    pub(super) fn flush_independent(&mut self) {
        let mut time = FlushTime::default();
        let mut ids = std::mem::take(&mut self.connections.dirty);
        self.logic.swap_independent(&mut ids);
        for id in ids.drain(..) {
            self.flush_measured(id);
        }
        self.connections.dirty = ids;
        let unflushed = std::mem::take(&mut self.connections.unflushed);
        self.connections.delay_flush(unflushed.into_iter());
        let mut waiting = VecDeque::new();
        for _ in 0..self.connections.delayed.len() {
            if time.is_over() {
                break;
            }
            let Some(id) = self.connections.delayed.pop_front() else {
                // The loop runs once for each of them.
                break;
            };
            self.flush_if_independent(id, &mut waiting);
        }
        waiting.append(&mut self.connections.delayed);
        self.connections.delayed = waiting;
    }

    /// Flushes a delayed connection unless more was written since, which would depend on waiting batches.
    fn flush_if_independent(&mut self, id: ConnectionId, waiting: &mut VecDeque<ConnectionId>) {
        let Some(connection) = self.connections.get(id) else {
            // It was closed while it waited.
            return;
        };
        if !connection.sending.has_rest() && self.logic.clients().output_depends_on_batches(id) {
            return waiting.push_back(id);
        }
        connection.flush_turn = FlushTurn::WithOutput;
        self.flush_measured(id);
    }

    fn flush_measured(&mut self, id: ConnectionId) {
        let begun = self.begin_work();
        self.flush_connection(id);
        self.end_work(id, begun);
    }

    fn flush_connection(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(id) else {
            // It was closed since it had something to send.
            return;
        };
        if connection.sending.is_by_ring() {
            if self.logic.clients().closing(id) {
                self.linger(id);
            }
            return;
        }
        if let Some(unsent) = connection.sending.take_rest() {
            return self.send_piece(id, unsent);
        }
        let address = connection.address;
        let out = self.logic.delivery().take_out(id);
        if self.connections.tracer.is_on() {
            self.connections.tracer.sent(&self.logic, id, address, &out);
        }
        let Some(wire) = self.seal(id, out) else {
            return self.flushed(id);
        };
        self.send_piece(id, Unsent::new(wire));
    }

    /// Passes a piece of these bytes to the socket. What does not fit is sent by the ring when there is room; after a
    /// piece that fits, others have their turn.
    fn send_piece(&mut self, id: ConnectionId, unsent: Unsent) {
        let Some(connection) = self.connections.get(id) else {
            // The caller has just checked it.
            return;
        };
        let bytes = match socket::send_now(connection.socket.as_fd(), unsent.piece()) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => {
                // It is lost after the flush: its Will must not reach a client before other shards have it.
                tracing::debug!("Connection {id:?}: {error}");
                return self.connections.ended.push_back((id, LostCause::Error));
            }
        };
        let next = connection.sending.advance(Sent::BySocket { unsent, bytes });
        self.go_on_sending(id, next);
    }

    /// The ring has sent the bytes, or the connection is over.
    pub(super) fn sent(&mut self, id: ConnectionId, wire: Vec<u8>, result: io::Result<()>) {
        let Some(connection) = self.connections.get(id) else {
            // It was closed in the meantime.
            return self.logic.outputs().recycle(wire);
        };
        if let Err(error) = result {
            self.logic.outputs().recycle(wire);
            tracing::debug!("Connection {id:?}: {error}");
            return self.lose(id, LostCause::Error);
        }
        let next = connection.sending.advance(Sent::ByRing { wire });
        self.go_on_sending(id, next);
    }

    fn go_on_sending(&mut self, id: ConnectionId, next: NextSend) {
        match next {
            NextSend::AllIsOut { buffer } => {
                self.logic.outputs().recycle(buffer);
                self.flushed(id);
            }
            NextSend::RestIsOut { buffer } => {
                // What was written since, for example a DISCONNECT, follows.
                self.logic.outputs().recycle(buffer);
                self.logic.flushed(self.now, id, 0);
                self.connections.delay_flush(std::iter::once(id));
            }
            NextSend::Delay { unsent_bytes } => {
                self.connections.delay_flush(std::iter::once(id));
                self.note_unsent(id, unsent_bytes);
            }
            NextSend::GiveToRing {
                wire,
                part,
                unsent_bytes,
            } => {
                if let Some(connection) = self.connections.get(id) {
                    let token = Subject::Connection(id).token();
                    self.ring.send(&connection.socket, token, wire, part);
                }
                self.note_unsent(id, unsent_bytes);
            }
        }
    }

    fn note_unsent(&mut self, id: ConnectionId, unsent_bytes: usize) {
        self.logic.flushed(self.now, id, unsent_bytes);
        if self.logic.clients().closing(id) {
            self.linger(id);
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
        let mut wire = self.logic.outputs().spare();
        wire.append(&mut connection.records);
        connection.stream.seal(&out, &mut wire);
        self.logic.outputs().recycle(out);
        Some(wire)
    }

    fn flushed(&mut self, id: ConnectionId) {
        if self.logic.clients().closing(id) {
            return self.close(id);
        }
        self.logic.flushed(self.now, id, 0);
        let connection = self.connections.get(id);
        if connection.is_some_and(|connection| connection.stream.is_closed()) {
            tracing::info!("Connection {id:?}: its TLS 1.2 key has reached its limit.");
            self.connections.ended.push_back((id, LostCause::Error));
        }
    }

    /// The logic has finished with it, but not all bytes are sent.
    pub(super) fn linger(&mut self, id: ConnectionId) {
        let until = self
            .shut_down
            .drain_until()
            .unwrap_or(self.now.plus_ns(limits::LINGER_NS_MAX));
        if let Some(connection) = self.connections.get(id)
            && !connection.closing
        {
            connection.closing = true;
            self.connections.linger(until, id);
        }
    }
}
