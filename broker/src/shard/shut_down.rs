//! The end of a shard: it stops accepting, closes its connections in order, and ends when no other shard sends it a
//! connection any more.
//!
//! Invariants: connections that are open [`limits::DRAIN_NS_MAX`] after the beginning are cut. Connections that were
//! accepted before the shutdown have [`limits::LATE_CONNECT_NS_MAX`] to send a CONNECT, which is refused. A shard has
//! left when it has sent its last connection to another shard; it is drained only when all shards have left and their
//! queues are empty.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::ShardLoop;
use super::pending::PendingConnection;
use crate::limits;
use crate::time::Timestamp;

/// How far a shard's end is.
pub(super) struct ShutDown {
    requested: Arc<AtomicBool>,
    /// Since it has begun: when what is still open is cut.
    drain_until: Option<Timestamp>,
    /// Until when connections that were accepted before may send their CONNECT.
    late_until: Option<Timestamp>,
    /// The other shards know that this one sends no more connections.
    has_left: bool,
}

impl ShutDown {
    /// `requested` is set from outside, and the shard woken then.
    pub(super) fn new(requested: Arc<AtomicBool>) -> Self {
        Self {
            requested,
            drain_until: None,
            late_until: None,
            has_left: false,
        }
    }

    pub(super) fn has_begun(&self) -> bool {
        self.drain_until.is_some()
    }

    /// When what is still open is cut, since the end has begun.
    pub(super) fn drain_until(&self) -> Option<Timestamp> {
        self.drain_until
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.late_until.min(self.drain_until).or(self.drain_until)
    }

    /// Whether it was requested, and has not begun.
    fn is_due(&self) -> bool {
        !self.has_begun() && self.requested.load(Ordering::Relaxed)
    }

    fn begin(&mut self, now: Timestamp) {
        self.drain_until = Some(now.plus_ns(limits::DRAIN_NS_MAX));
        self.late_until = Some(now.plus_ns(limits::LATE_CONNECT_NS_MAX));
    }
}

impl ShardLoop {
    /// Begins to shut down when that was requested, and goes on once it has begun.
    pub(super) fn continue_shut_down(&mut self) {
        if self.shut_down.is_due() {
            self.begin_shut_down();
        }
        if !self.shut_down.has_begun() {
            return;
        }
        if self.shut_down.late_until.is_some_and(|until| until <= self.now) {
            self.pending.drain().for_each(PendingConnection::close);
        }
        if self.pending.is_empty() {
            self.shut_down.late_until = None;
        }
        // From now on each connection is answered where it was accepted, so no more follow those that are on their way.
        if !self.shut_down.has_left && self.exchange.has_no_connections() {
            self.shut_down.has_left = true;
            self.exchange.leave();
        }
    }

    /// Stops to accept, closes all connections, and gives their clients [`limits::DRAIN_NS_MAX`] to take what is on the
    /// way.
    fn begin_shut_down(&mut self) {
        self.shut_down.begin(self.now);
        self.acceptor.stop(&mut self.ring);
        self.admit_all();
        for id in self.pending.being_checked() {
            self.answer_without_session(id);
        }
        self.logic.shut_down(self.now);
    }

    pub(super) fn is_drained(&self) -> bool {
        let Some(until) = self.shut_down.drain_until else {
            return false;
        };
        let is_empty = || {
            self.connections.is_empty()
                && !self.turn.has_arrivals()
                && self.pending.is_empty()
                && self.take_overs.is_empty()
        };
        let nothing_comes = || self.exchange.is_quiet() && !self.exchange.is_blocked(&self.logic);
        until <= self.now || (is_empty() && nothing_comes())
    }
}
