//! Measures against scarce receive buffers.
//!
//! The kernel gives a receive as many buffers as it has bytes for. A few clients that send as fast as they can take
//! all of them, and a client with two bytes to send finds none. So for some turns after that, clients that have used
//! much of the shard's work get one buffer at a time, and ask for it after the others.
//!
//! Invariants: a receive that is delayed is submitted in the same turn, if nothing else prevents reading.

use super::ShardLoop;
use super::token::Subject;
use crate::limits;
use crate::logic::ConnectionId;

/// Whether receive buffers are scarce, and which connections ask for one after the others.
#[derive(Default)]
pub(super) struct Scarcity {
    until_turn: u64,
    later: Vec<ConnectionId>,
}

impl Scarcity {
    /// Whether buffers are scarce in that turn.
    fn is_in(&self, turn: u64) -> bool {
        turn < self.until_turn
    }
}

impl ShardLoop {
    /// A receive found no buffer, because others have all of them.
    pub(super) fn found_no_buffer(&mut self, id: ConnectionId) {
        self.connections.scarcity.until_turn = self.connections.turn + limits::SCARCITY_TURNS;
        let quiet = self.logic.settings().work.quiet;
        if !self.connections.is_in_debt(id, quiet) {
            return self.receive_again(id);
        }
        if let Some(connection) = self.connections.get(id) {
            connection.receiving = false;
            self.connections.scarcity.later.push(id);
        }
    }

    /// Submits the delayed receives.
    pub(super) fn receive_later(&mut self) {
        for id in std::mem::take(&mut self.connections.scarcity.later) {
            self.resume_receiving(id);
        }
    }

    /// Receives until that is cancelled; with one buffer only while they are scarce and the client has used much.
    pub(super) fn start_receive(&mut self, id: ConnectionId) {
        let quiet = self.logic.settings().work.quiet;
        let is_scarce = self.connections.scarcity.is_in(self.connections.turn);
        let one_by_one = is_scarce && self.connections.is_in_debt(id, quiet);
        let Some(connection) = self.connections.get(id) else {
            // The caller has just checked it.
            return;
        };
        let token = Subject::Connection(id).token();
        if one_by_one {
            self.ring.receive(&connection.socket, token);
        } else {
            self.ring.receive_multishot(&connection.socket, token);
        }
    }
}
