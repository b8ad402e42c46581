//! The shell's half of the connections of a shard: sockets, streams, and what is in flight for each.
//!
//! Invariants: a connection that is closed has no state here; what was in flight for it is dropped as it completes. It
//! has the slot and the generation that the logic has for it.

use std::collections::VecDeque;
use std::net::SocketAddr;
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
use crate::logic::{ConnectionId, Shard, ShownIn};
use crate::time::Timestamp;

/// The shell's half of a connection.
pub(super) struct ClientConnection {
    pub(super) generation: u32,
    pub(super) socket: Socket,
    pub(super) stream: SecureStream,
    /// The client's, for the log: the socket does not have it any more when the client has gone.
    pub(super) address: SocketAddr,
    _admission: Admission,
    /// Records that TLS itself wants sent (a key update, an alert), before anything newer.
    pub(super) records: Vec<u8>,
    /// What is to be sent before anything newer.
    pub(super) sending: Sending,
    /// Whether a receive is in flight.
    pub(super) receiving: bool,
    /// Bytes that were received and not handled.
    pub(super) unread: Unread,
    /// It will be closed when everything is sent.
    pub(super) closing: bool,
    /// Whether it waits for a later flush.
    pub(super) flush_turn: FlushTurn,
}

/// Whether a connection waits for a later flush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum FlushTurn {
    /// It has its turn when it has output.
    #[default]
    WithOutput,
    /// It stands among those that are delayed.
    Delayed,
    /// It was among them, and had its turn in this part of a flush.
    Had { part: u64 },
}

/// All connections of a shard, in the logic's slots.
#[derive(Default)]
pub(super) struct ClientConnections {
    slots: Vec<Option<Box<ClientConnection>>>,
    count: usize,
    /// Connections that are to be closed but have bytes to send, in the order of their deadlines.
    lingering: VecDeque<(Timestamp, ConnectionId)>,
    /// To be flushed for the shell's own reasons, beside those that the logic names.
    pub(super) unflushed: Vec<ConnectionId>,
    /// Those that a later flush goes on with: the time was over, or they have the rest of a long output.
    pub(super) delayed: VecDeque<ConnectionId>,
    /// How many have ever been put there.
    pub(super) delayed_ever: u64,
    /// How many parts of flushes have begun.
    pub(super) flush_parts: u64,
    /// Ended by themselves, to be lost after the flush.
    pub(super) ended: VecDeque<(ConnectionId, LostCause)>,
    /// Connections whose bytes, or whose packet, go on in their turn.
    pub(super) waiting: VecDeque<ConnectionId>,
    /// So many at the end of [`Self::waiting`] may still be received for.
    pub(super) newly_waiting: usize,
    /// Connections of which the kernel's bytes were read in this turn, to be handled in the next one.
    pub(super) read_ahead: Vec<ConnectionId>,
    /// Bytes that were received and not handled, of all connections.
    pub(super) unread_bytes: usize,
    /// Bytes that were handled in the present turn.
    pub(super) turn_bytes: usize,
    /// The turn that `turn_bytes` belongs to.
    pub(super) turn: u64,
    /// Plain bytes out of a TLS stream, reused.
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

    /// Whether connections wait for the next flush, or to be lost after it, or to be read on.
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

    /// Frees the memory that is kept for use again, where it is much beside what is used.
    pub(super) fn drop_spare(&mut self) {
        self.plain = Vec::new();
        let used = self.slots.iter().rposition(Option::is_some);
        self.slots.truncate(used.map_or(0, |last| last + 1));
        if self.slots.capacity() > 2 * self.slots.len() {
            self.slots.shrink_to_fit();
        }
    }

    /// Shows what access rules denied and what was dropped, where it is traced.
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

    /// Shows that a connection is over, and why, where its client is traced.
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

    /// The next connection that had its time to take its last bytes.
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
    /// A connection whose CONNECT the logic has.
    pub(super) fn new(
        id: ConnectionId,
        socket: Socket,
        stream: SecureStream,
        address: SocketAddr,
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

    /// Ends the stream in order (RFC 8446, 6.1), behind an alert if there is one. What does not fit is not worth
    /// waiting for.
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
