//! Received bytes that cannot be handled at once: of connections that are paused, and of those that have used their
//! share of a turn's work.
//!
//! A paused connection's bytes stay here until it is resumed. So a paused publisher can still add the rest of one read
//! to a consumer, and not everything that the ring had received for it. A connection whose bytes cost more than its
//! share waits here for its turn; nothing more is received for it in the meantime.
//!
//! Invariants: the bytes of a connection reach the logic in order. Nothing is received for a connection that has bytes
//! here, except what the ring had before the receive could be cancelled. A stream that has ended is lost after its
//! last bytes. Each connection is in the queue once. [`limits::UNREAD_BYTES_MAX`] bounds the bytes of paused
//! connections: above it the logic gets new bytes even though the connection is paused.

use transport::ring::{Completion, Ring};

use super::ShardLoop;
use super::client_connections::ClientConnections;
use super::token::Subject;
use super::unread::{Drain, LostCause};
use crate::limits;
use crate::logic::{ConnectionId, Shard};
use crate::time::Timestamp;

impl ClientConnections {
    /// Begins a turn, in which nothing has been spent yet.
    pub(super) fn begin_turn(&mut self) {
        self.turn += 1;
        self.turn_bytes = 0;
    }

    /// Whether connections wait for their turn.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Handles received bytes, or keeps them if the connection is paused, has older ones here, or has used its share.
    #[inline]
    pub(super) fn handle_or_keep(
        &mut self,
        logic: &mut Shard,
        now: Timestamp,
        id: ConnectionId,
        bytes: &[u8],
    ) {
        let paused = logic.clients().receive_paused(id) && self.unread_bytes < limits::UNREAD_BYTES_MAX;
        let Some(connection) = self.get(id) else {
            // It was closed after these bytes were received.
            return;
        };
        if paused && connection.unread.drain == Drain::NotRequested || connection.unread.waits() {
            connection.unread.push(bytes);
            self.unread_bytes += bytes.len();
            self.charge_to(logic, id);
        } else {
            self.pass_to_logic(logic, now, id, bytes);
        }
    }

    /// Passes bytes to the logic; what its share does not allow waits for its turn.
    pub(super) fn pass_to_logic(
        &mut self,
        logic: &mut Shard,
        now: Timestamp,
        id: ConnectionId,
        bytes: &[u8],
    ) {
        let work = logic.settings().work;
        let turn = self.turn;
        let Some(connection) = self.get(id) else {
            // As in `handle_or_keep`.
            return;
        };
        let spent = *connection.unread.spent_in(turn, work.quiet);
        let is_quiet = spent == 0 && !connection.unread.is_in_debt(turn, work.quiet);
        let at_least = if is_quiet { work.quiet } else { 0 };
        let taken = self.receive(logic, now, id, bytes, work.share.saturating_sub(spent), at_least);
        let rest = bytes.get(taken..).unwrap_or_default();
        if (!rest.is_empty() || logic.clients().is_unfinished(id))
            && let Some(connection) = self.get(id)
        {
            connection.unread.push(rest);
            self.unread_bytes += rest.len();
            self.wait_for_turn(id);
        }
    }

    /// Puts a connection at the end of the queue.
    pub(super) fn wait_for_turn(&mut self, id: ConnectionId) {
        if let Some(connection) = self.get(id)
            && !std::mem::replace(&mut connection.unread.is_queued, true)
        {
            self.waiting.push_back(id);
            self.newly_waiting += 1;
        }
    }

    /// The stream of a connection has ended: it is lost after the flush, or after its last bytes.
    pub(super) fn end_of_stream(&mut self, id: ConnectionId, cause: LostCause) {
        match self.get(id) {
            Some(connection) if connection.unread.waits() => connection.unread.ended = Some(cause),
            _ => self.ended.push_back((id, cause)),
        }
    }

    /// Stops receiving for the connections that wait now.
    pub(super) fn cancel_receiving(&mut self, ring: &mut Ring) {
        let new = std::mem::take(&mut self.newly_waiting);
        for at in self.waiting.len().saturating_sub(new)..self.waiting.len() {
            let Some(&id) = self.waiting.get(at) else {
                // Impossible: nothing leaves the queue in the meantime.
                return;
            };
            if let Some(connection) = self.get(id)
                && connection.receiving
                && !std::mem::replace(&mut connection.unread.is_cancelled, true)
            {
                ring.cancel(Subject::Connection(id).token());
            }
        }
    }

    /// Gives the logic a share of work for these bytes; returns how many were taken.
    fn receive(
        &mut self,
        logic: &mut Shard,
        now: Timestamp,
        id: ConnectionId,
        bytes: &[u8],
        units: u64,
        at_least: u64,
    ) -> usize {
        let before = logic.work().spent_in_turn();
        logic.work().begin_share(units, at_least);
        let taken = if logic.work().is_spent() {
            0
        } else {
            self.show_and_receive(logic, now, id, bytes)
        };
        self.charge_since(logic, id, before);
        logic.work().end_share();
        self.turn_bytes += taken;
        taken
    }

    /// Charges the work since the last piece of work to this connection, although the logic got none of it.
    pub(super) fn charge_to(&mut self, logic: &mut Shard, id: ConnectionId) {
        let before = logic.work().spent_in_turn();
        self.charge_since(logic, id, before);
    }

    /// A piece of work for a connection is done; `before` units had been spent in the turn when it began.
    #[inline]
    fn charge_since(&mut self, logic: &mut Shard, id: ConnectionId, before: u64) {
        self.work_clock.charge(logic.work());
        let spent = logic.work().spent_in_turn() - before;
        let (turn, quiet) = (self.turn, logic.settings().work.quiet);
        if let Some(connection) = self.get(id) {
            *connection.unread.spent_in(turn, quiet) += spent;
        }
    }
}

impl ClientConnections {
    fn show_and_receive(
        &mut self,
        logic: &mut Shard,
        now: Timestamp,
        id: ConnectionId,
        bytes: &[u8],
    ) -> usize {
        if !self.tracer.is_on() {
            return logic.receive(now, id, bytes);
        }
        if let Some(address) = self.get(id).map(|connection| connection.address) {
            self.tracer.received(logic, id, address, bytes);
        }
        let taken = logic.receive(now, id, bytes);
        self.show_trace_lines(logic);
        self.tracer.not_taken(id, bytes.len() - taken);
        taken
    }
}

impl ShardLoop {
    /// Handles new bytes and bytes that had to wait, in alternating order, so that neither takes all that a turn may
    /// write. A client that has nothing waiting is handled in the turn in which its bytes came, whatever others sent.
    pub(super) fn handle_completions(&mut self) {
        self.connections.begin_turn();
        for id in std::mem::take(&mut self.connections.read_ahead) {
            self.connections.wait_for_turn(id);
        }
        let waits = self.connections.has_waiting();
        if waits && self.connections.turn.is_multiple_of(2) {
            self.read_waiting(limits::TURN_BYTES_MAX / 2);
            self.handle_new(limits::TURN_BYTES_MAX);
        } else {
            self.handle_new(limits::TURN_BYTES_MAX / if waits { 2 } else { 1 });
            self.read_waiting(limits::TURN_BYTES_MAX);
        }
        self.connections.cancel_receiving(&mut self.ring);
        self.receive_later();
        let walk = self.logic.settings().work.walk;
        self.begin_budget(walk);
        self.goes_on = self.take_answers();
        self.goes_on |= self.admit_waiting();
    }

    /// A client that has nothing waiting gets a small share, even beyond the turn's budget; the number of receive
    /// buffers bounds that. New clients wait then: a CONNECT costs as much as hundreds of small packets.
    fn handle_new(&mut self, bytes_max: usize) {
        let units = self.logic.settings().work.turn;
        self.handle_postponed(units / 2, bytes_max);
        self.begin_budget(units);
        while !self.is_full(bytes_max)
            && let Some(completion) = self.ring.next()
        {
            match sender(&completion) {
                Sender::Newcomer if self.logic.work().turn_is_over() => self.postpone(completion),
                // The bytes of a client were charged when they were handled.
                Sender::Client => self.handle(completion),
                Sender::Newcomer | Sender::Other => {
                    self.handle(completion);
                    self.charge_time();
                }
            }
        }
    }

    /// Whether so much was received or written in this turn that the rest waits for the next one.
    pub(super) fn is_full(&self, bytes_max: usize) -> bool {
        self.connections.turn_bytes >= bytes_max || self.logic.flow().turn_is_full()
    }

    /// Continues with the connections that wait for their turn, a share of work for each, until the turn is full.
    pub(super) fn read_waiting(&mut self, bytes_max: usize) {
        if !self.connections.has_waiting() {
            return;
        }
        let work = self.logic.settings().work;
        self.begin_budget(work.turn / 2);
        while !self.is_full(bytes_max)
            && !self.logic.work().turn_is_over()
            && let Some(id) = self.connections.waiting.pop_front()
        {
            let begun = self.begin_work();
            self.read_waiting_of(id);
            self.end_work(id, begun);
            self.charge_time();
        }
    }

    fn read_waiting_of(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(id) else {
            // It was closed while it waited for its turn.
            return;
        };
        connection.unread.is_queued = false;
        let is_awaited = connection.unread.drain != Drain::NotRequested;
        let mut left = self.logic.settings().work.share;
        let mut stopped = false;
        loop {
            let paused = self.logic.clients().receive_paused(id) && !is_awaited;
            let unfinished = self.logic.clients().is_unfinished(id);
            let Some(connection) = self.connections.get(id) else {
                // Its last bytes have ended it.
                return;
            };
            if connection.unread.len() == 0 && !unfinished {
                break;
            }
            if paused || stopped {
                if !paused {
                    self.connections.wait_for_turn(id);
                }
                return;
            }
            let (piece, handled) = connection.unread.take_first();
            let bytes = piece.get(handled..).unwrap_or_default();
            let before = self.logic.work().spent_in_turn();
            let taken = self
                .connections
                .receive(&mut self.logic, self.now, id, bytes, left, 0);
            left = left.saturating_sub(self.logic.work().spent_in_turn() - before);
            stopped = taken < bytes.len() || self.logic.clients().is_unfinished(id);
            self.connections.unread_bytes -= taken;
            match self.connections.get(id) {
                Some(connection) => connection.unread.put_back(piece, handled + taken),
                None => self.connections.unread_bytes -= piece.len() - handled - taken,
            }
        }
        let connection = self.connections.get(id);
        match connection.and_then(|connection| connection.unread.ended.take()) {
            Some(cause) => self.connections.ended.push_back((id, cause)),
            None => self.resume_receiving(id),
        }
    }
}

/// The sender of a completion's bytes.
enum Sender {
    /// A client with a CONNACK.
    Client,
    /// A connection without a CONNACK.
    Newcomer,
    Other,
}

fn sender(completion: &Completion) -> Sender {
    match completion {
        Completion::Accepted { .. } => Sender::Newcomer,
        Completion::ReceiveEnded { token, .. } => match Subject::of(*token) {
            Subject::Pending(_) => Sender::Newcomer,
            _ => Sender::Other,
        },
        Completion::Received { token, .. } => match Subject::of(*token) {
            Subject::Connection(_) => Sender::Client,
            Subject::Pending(_) | Subject::Listener(_) => Sender::Newcomer,
        },
        _ => Sender::Other,
    }
}
