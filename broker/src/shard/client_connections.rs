//! The shell's half of a shard's connections: sockets, streams, and what is in flight for each.
//!
//! Invariants: a closed connection has no state here; what was in flight for it is dropped when it completes. A
//! connection has the same slot and generation as in the logic.

use std::collections::VecDeque;
use std::os::fd::AsFd;

use transport::socket::{self, Socket};
use transport::stream::SecureStream;

use super::scarcity::Scarcity;
use super::sending::Sending;
use super::token::same_generation;
use super::tracer::Tracer;
use super::unread::{LostCause, Unread};
use super::work_clock::WorkClock;
use crate::admission::Admission;
use crate::client_address::ClientAddress;
use crate::logic::{ConnectionId, Shard, ShownIn};
use crate::time::Timestamp;

/// The shell's half of a connection.
pub(super) struct ClientConnection {
    pub(super) generation: u32,
    pub(super) socket: Socket,
    pub(super) stream: SecureStream,
    /// The client's address for the log: the socket no longer has it when the client has gone.
    pub(super) address: ClientAddress,
    _admission: Admission,
    /// Records that TLS itself sends (a key update, an alert), before anything newer.
    pub(super) records: Vec<u8>,
    /// Bytes that are sent before anything newer.
    pub(super) sending: Sending,
    /// Whether a receive is in flight.
    pub(super) receiving: bool,
    /// Bytes that were received but not handled.
    pub(super) unread: Unread,
    /// It will be closed when everything is sent.
    pub(super) closing: bool,
    /// Whether it waits for a later flush.
    pub(super) flush_turn: FlushTurn,
}

/// Whether a connection waits for a later flush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum FlushTurn {
    /// It is flushed when it has output.
    #[default]
    WithOutput,
    /// It is in the queue of delayed connections.
    Delayed,
    /// It was in the queue, and had its turn in this part of a flush.
    Had { part: u64 },
}

/// All connections of a shard, in the logic's slots.
#[derive(Default)]
pub(super) struct ClientConnections {
    slots: Vec<Option<Box<ClientConnection>>>,
    count: usize,
    /// Connections to be closed that still have bytes to send, in the order of their deadlines.
    lingering: VecDeque<(Timestamp, ConnectionId)>,
    /// Connections to be flushed for the shell's own reasons, beside those that the logic names.
    pub(super) unflushed: Vec<ConnectionId>,
    /// Connections with which a later flush continues: time ran out, or a long output has a remainder.
    pub(super) delayed: VecDeque<ConnectionId>,
    /// How many have ever been queued there.
    pub(super) delayed_ever: u64,
    /// How many parts of flushes have begun.
    pub(super) flush_parts: u64,
    /// Connections that ended by themselves, to be lost after the flush.
    pub(super) ended: VecDeque<(ConnectionId, LostCause)>,
    /// Connections whose bytes, or whose packet, are handled further in their turn.
    pub(super) waiting: VecDeque<ConnectionId>,
    /// For this many at the end of [`Self::waiting`] a receive may still be in flight.
    pub(super) newly_waiting: usize,
    /// Connections whose bytes were read from the kernel in this turn, to be handled in the next one.
    pub(super) read_ahead: Vec<ConnectionId>,
    /// Bytes of all connections that were received but not handled.
    pub(super) unread_bytes: usize,
    /// Bytes that were handled in the current turn.
    pub(super) turn_bytes: usize,
    /// The turn that `turn_bytes` belongs to.
    pub(super) turn: u64,
    /// Decrypted bytes of a TLS stream, reused.
    pub(super) plain: Vec<u8>,
    /// The logic's list of connections to flush, reused.
    pub(super) dirty: Vec<ConnectionId>,
    /// What shows packets in the log.
    pub(super) tracer: Tracer,
    pub(super) work_clock: WorkClock,
    pub(super) scarcity: Scarcity,
}

impl ClientConnections {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether connections wait for the next flush, for being lost after it, or for further reading.
    pub(super) fn has_unfinished(&self) -> bool {
        !self.unflushed.is_empty()
            || !self.delayed.is_empty()
            || !self.ended.is_empty()
            || self.has_waiting()
            || !self.read_ahead.is_empty()
    }

    pub(super) fn get(&mut self, id: ConnectionId) -> Option<&mut ClientConnection> {
        let connection = self.slots.get_mut(id.slot.to_u32() as usize)?.as_mut()?;
        same_generation(connection.generation, id.generation).then_some(connection)
    }

    pub(super) fn insert(&mut self, id: ConnectionId, connection: ClientConnection) {
        let slot = id.slot.to_u32() as usize;
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        if let Some(place) = self.slots.get_mut(slot) {
            self.count += usize::from(place.is_none());
            *place = Some(Box::new(connection));
        }
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Box<ClientConnection>> {
        let unread_bytes = self.get(id)?.unread.len();
        self.tracer.forget(id);
        self.unread_bytes -= unread_bytes;
        self.count -= 1;
        self.slots.get_mut(id.slot.to_u32() as usize)?.take()
    }

    /// Frees memory that is kept for reuse, if it is much compared with what is used.
    pub(super) fn drop_spare(&mut self) {
        self.plain = Vec::new();
        let used = self.slots.iter().rposition(Option::is_some);
        self.slots.truncate(used.map_or(0, |last| last + 1));
        if self.slots.capacity() > 2 * self.slots.len() {
            self.slots.shrink_to_fit();
        }
    }

    /// Shows denied and dropped messages, where they are traced.
    #[inline]
    pub(super) fn show_trace_lines(&mut self, logic: &mut Shard) {
        if self.tracer.has_traces() {
            for (shown_in, text) in logic.delivery().trace_lines().take() {
                match shown_in {
                    ShownIn::TracesOf(id) => {
                        let address = self.get(id).map(|connection| connection.address);
                        self.tracer.show_line(logic, id, address, &text);
                    }
                    ShownIn::Traces(traces) => {
                        traces.iter().for_each(|trace| trace.show(format_args!("{text}")));
                    }
                }
            }
        }
    }

    /// Shows the end of a connection and its reason, if its client is traced.
    pub(super) fn show_end(&mut self, logic: &Shard, id: ConnectionId, why: &str) {
        if self.tracer.has_traces()
            && let Some(address) = self.get(id).map(|connection| connection.address)
        {
            self.tracer.ended(logic, id, address, why);
        }
    }

    /// Whether it has used more than `quiet` units of work in each of the last turns.
    pub(super) fn is_in_debt(&mut self, id: ConnectionId, quiet: u64) -> bool {
        let turn = self.turn;
        self.get(id)
            .is_some_and(|connection| connection.unread.is_in_debt(turn, quiet))
    }

    pub(super) fn linger(&mut self, until: Timestamp, id: ConnectionId) {
        self.lingering.push_back((until, id));
    }

    /// The next connection whose time to read its last bytes is over.
    pub(super) fn expired(&mut self, now: Timestamp) -> Option<ConnectionId> {
        while let Some((until, id)) = self.lingering.front().copied() {
            if until > now && self.get(id).is_some() {
                return None;
            }
            self.lingering.pop_front();
            if self.get(id).is_some() {
                return Some(id);
            }
        }
        None
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.lingering.front().map(|(until, _)| *until)
    }
}

impl ClientConnection {
    /// A connection whose CONNECT is with the logic.
    pub(super) fn new(
        id: ConnectionId,
        socket: Socket,
        stream: SecureStream,
        address: ClientAddress,
        admission: Admission,
    ) -> Self {
        Self {
            generation: id.generation,
            socket,
            stream,
            address,
            _admission: admission,
            records: Vec::new(),
            sending: Sending::default(),
            receiving: false,
            unread: Unread::default(),
            closing: false,
            flush_turn: FlushTurn::default(),
        }
    }

    /// Ends the stream in order (RFC 8446, 6.1), after an alert if there is one. Bytes that the socket does not accept
    /// are dropped.
    pub(super) fn end_stream(&mut self) {
        if !self.sending.is_idle() || self.stream.is_plain() {
            return;
        }
        let mut end = std::mem::take(&mut self.records);
        self.stream.close(&mut end);
        if !end.is_empty() {
            let _ = socket::send_now(self.socket.as_fd(), &end);
        }
    }
}
