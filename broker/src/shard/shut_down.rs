//! The end of a shard: it stops accepting, closes its connections in order, and ends when no other shard sends it
//! connections any more.
//!
//! Invariants: connections that are still open [`limits::DRAIN_NS_MAX`] after the beginning are closed. Connections
//! that were accepted before the shutdown have [`limits::LATE_CONNECT_NS_MAX`] to send a CONNECT, which is refused. A
//! shard leaves when it has no clients and has pushed its last batch and its last connection. It is drained only when
//! all shards have left and its queues are empty, so it takes what the others' clients have published.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::ShardLoop;
use super::pending::PendingConnection;
use crate::limits;
use crate::time::Timestamp;

/// The progress of a shard's end.
pub(super) struct ShutDown {
    requested: Arc<AtomicBool>,
    /// When connections that are still open are closed; set when the end has begun.
    drain_until: Option<Timestamp>,
    /// Until when connections that were accepted before may send their CONNECT.
    late_until: Option<Timestamp>,
    /// The other shards know that this one sends nothing more.
    has_left: bool,
}

impl ShutDown {
    /// `requested` is set from outside, and the shard is woken then.
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

    /// When connections that are still open are closed, if the end has begun.
    pub(super) fn drain_until(&self) -> Option<Timestamp> {
        self.drain_until
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.late_until.min(self.drain_until).or(self.drain_until)
    }

    /// Whether it was requested but has not begun.
    fn is_due(&self) -> bool {
        !self.has_begun() && self.requested.load(Ordering::Relaxed)
    }

    fn begin(&mut self, now: Timestamp) {
        self.drain_until = Some(now.plus_ns(limits::DRAIN_NS_MAX));
        self.late_until = Some(now.plus_ns(limits::LATE_CONNECT_NS_MAX));
    }
}

impl ShardLoop {
    /// Begins to shut down when requested, and continues once it has begun.
    pub(super) fn continue_shut_down(&mut self) {
        if self.shut_down.is_due() {
            self.begin_shut_down();
        }
        if !self.shut_down.has_begun() {
            return;
        }
        if self.logic.disconnects_all() {
            self.disconnect_some();
        }
        if self.shut_down.late_until.is_some_and(|until| until <= self.now) {
            self.pending.drain().for_each(PendingConnection::close);
        }
        if self.pending.is_empty() {
            self.shut_down.late_until = None;
        }
        if !self.shut_down.has_left && self.has_nothing() {
            self.shut_down.has_left = true;
            self.exchange.leave();
        }
    }

    /// Whether there is no client, and nothing on its way to another shard.
    fn has_nothing(&self) -> bool {
        self.connections.is_empty()
            && !self.logic.disconnects_all()
            && !self.turn.has_arrivals()
            && self.pending.is_empty()
            && self.take_overs.is_empty()
            && self.postponed.is_empty()
            && !self.exchange.is_blocked(&self.logic)
    }

    /// Stops accepting, begins to close all connections, and gives their clients [`limits::DRAIN_NS_MAX`] to read what
    /// is on the way.
    fn begin_shut_down(&mut self) {
        self.shut_down.begin(self.now);
        self.acceptor.stop(&mut self.ring);
        self.admit_all();
        for id in self.pending.being_checked() {
            self.answer_without_session(id);
        }
        self.logic.begin_shut_down();
    }

    /// Disconnects clients within the turn's budget; the others follow in the next turns.
    fn disconnect_some(&mut self) {
        let walk = self.logic.settings().work.walk;
        self.begin_budget(walk);
        while self.logic.disconnects_all() && !self.logic.work().turn_is_over() {
            self.logic.continue_shut_down(self.now);
            self.charge_time();
        }
    }

    pub(super) fn is_drained(&self) -> bool {
        let Some(until) = self.shut_down.drain_until else {
            return false;
        };
        until <= self.now || (self.shut_down.has_left && self.has_nothing() && self.exchange.is_quiet())
    }
}
