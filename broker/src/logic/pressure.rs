//! Back-pressure: who publishes faster than a client takes it is not read from until the client has caught up.
//!
//! A client presses while more than [`limits::OUT_PRESSURE_BYTES`] wait for its socket, or its session's queue is more than
//! half full. Whoever publishes to it, in this shard or in another, is not read from until it is down to half of the bytes
//! and a quarter of the queue; but there may be more the longer it presses ([`limits::PACE_BYTES_PER_MS`]): so only who
//! publishes fast waits for a client that has stopped reading. A client that presses longer than
//! [`limits::PATIENCE_NS`] is slow: for [`limits::SLOW_NS`] nobody waits for it, and it gets what its smaller bound
//! ([`limits::OUT_SLOW_BYTES_MAX`]) and its queue let through; another connection of the same client is slow too
//! (`patience.rs`). A client whose own answers wait is not read from either. The same holds for the sum over all clients of
//! a shard (`output.rs`).
//!
//! A client whose queue presses is not kept waiting for another one's queue, or for another shard: its acknowledgements are
//! what its own publishers wait for, and two clients that publish to each other would wait for ever.
//!
//! Invariants: a client can hold others up for its patience and no longer; each paused connection is in `paused`, and
//! whatever may have been its reason ends with a call of [`Shard::resume_receiving`] (a paused one may be resumed too early:
//! it is paused again by its next publish); a pressing connection has its timer set.

use crate::limits;
use crate::logic::Shard;
use crate::logic::connection::{Connection, ConnectionId, ConnectionSlot};
use crate::logic::outbox::batch::Control;
use crate::logic::session::SessionSlot;
use crate::logic::session::queue::{Bounds, Excess};
use crate::logic::timer::Timer;
use crate::time::Timestamp;

/// What deliveries met, until the shard looks at it.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    felt: Felt,
    /// The time, as of the last look.
    now: Timestamp,
    /// Slots of clients that have just begun to press.
    begun: Vec<ConnectionSlot>,
}

/// Whom publishers have to wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Felt {
    /// A client whose socket is behind, or all of them.
    pub(super) socket: bool,
    /// A client whose acknowledgements are behind.
    pub(super) queue: bool,
    /// One of them is slow at once: the patience of the shard is used up.
    judged: bool,
}

impl Felt {
    fn any(self) -> bool {
        self.socket || self.queue
    }
}

impl Pressure {
    /// To be called after something was appended to a subscriber's `out`.
    #[inline]
    pub(super) fn feel(&mut self, slot: ConnectionSlot, connection: &mut Connection) {
        if connection.is_behind() && !connection.slow {
            let room = paced(
                connection,
                self.now,
                limits::OUT_HOLD_BYTES,
                limits::PACE_BYTES_PER_MS,
            );
            self.felt.socket |= connection.waiting_bytes() > room;
            if !connection.pressing {
                connection.pressing = true;
                self.begun.push(slot);
            }
        }
    }

    /// To be called when a session's queue is more than half full.
    pub(super) fn feel_queue(&mut self, slot: ConnectionSlot, connection: &mut Connection, excess: Excess) {
        if connection.slow {
            return;
        }
        let now = self.now;
        let messages = paced(
            connection,
            now,
            limits::QUEUE_HOLD_MESSAGES,
            limits::PACE_MESSAGES_PER_MS,
        );
        let bytes = paced(
            connection,
            now,
            limits::QUEUE_HOLD_BYTES,
            limits::PACE_BYTES_PER_MS,
        );
        self.felt.queue |= excess.messages > messages as u64 || excess.bytes > bytes as u64;
        if !connection.queue_presses {
            connection.queue_presses = true;
            connection.pressing = true;
            self.begun.push(slot);
        }
    }
}

impl Shard {
    /// After a client's bytes: stops reading from it if a client or a shard that it publishes to is behind, or it itself is.
    pub(super) fn settle_publisher(&mut self, now: Timestamp, id: ConnectionId) {
        let felt = self.settle(now);
        let met = self.outboxes.take_met();
        let Some(connection) = self.delivery.by_id(id) else {
            return;
        };
        connection.answers_wait = connection.is_behind();
        let waits = met.filled || felt.socket || connection.answers_wait;
        let waits = waits || ((met.paused || felt.queue) && !connection.queue_presses);
        if waits && !connection.is_paused() {
            connection.set_paused(true);
            self.paused.push(id);
            self.receive_changes.push((id, true));
        }
        if felt.judged {
            self.let_go();
        }
    }

    /// After another shard's batch: asks it to hold its publishers back if a client here is behind.
    pub(super) fn settle_shard(&mut self, now: Timestamp, from: u16) {
        let felt = self.settle(now);
        if felt.any() && !self.holding.contains(&from) {
            self.holding.push(from);
            self.outboxes.notify(from, Control::Hold(true));
        }
        if felt.judged {
            self.let_go();
        }
    }

    /// Whom deliveries since the last call have met that presses.
    pub(super) fn settle(&mut self, now: Timestamp) -> Felt {
        let over = self.settle_output(now);
        self.delivery.pressure.now = now;
        let pressure = &mut self.delivery.pressure;
        let mut felt = std::mem::take(&mut pressure.felt);
        if !pressure.begun.is_empty() {
            for slot in std::mem::take(&mut pressure.begun) {
                felt.judged |= self.begin_patience(now, slot);
            }
        }
        felt.socket |= over;
        felt
    }

    /// Another shard asks for its publishers to be held back, or no more.
    pub(super) fn hold(&mut self, from: u16, on: bool) {
        self.outboxes.set_paused(from, on);
        if !on {
            self.resume_receiving();
        }
    }

    /// The client took bytes or acknowledged: if it has caught up, those who waited for it go on.
    pub(super) fn relieve(&mut self, slot: ConnectionSlot) {
        let bounds = self.delivery.queue_bounds();
        let Some(connection) = self.delivery.connections.get_mut(slot) else {
            return;
        };
        if connection.waiting_bytes() > limits::OUT_PRESSURE_BYTES / 2 {
            return;
        }
        let pressing = connection.pressing
            && !(connection.queue_presses
                && self.delivery.sessions.queue_is_long(connection.session, bounds));
        if pressing {
            connection.pressing = false;
            connection.queue_presses = false;
            connection.caught_up = true;
        }
        let answered = std::mem::take(&mut connection.answers_wait);
        if pressing {
            self.stop_patience(slot);
        }
        if pressing || answered {
            self.let_go();
        }
    }

    /// The connection ends: nobody waits for it.
    pub(super) fn relieve_all(&mut self, id: ConnectionId) {
        let Some(connection) = self.delivery.connection(id.slot) else {
            return;
        };
        let (pressing, paused) = (connection.pressing, connection.is_paused());
        self.delivery.forget_output(id.slot);
        self.stop_patience(id.slot);
        if paused {
            self.paused.retain(|&other| other != id);
        }
        self.relieve_output();
        if pressing {
            self.let_go();
        }
    }

    /// A client that others wait for, or that is slow, parts from its session: its next connection is slow.
    pub(super) fn remember_pressing(
        &mut self,
        now: Timestamp,
        slot: ConnectionSlot,
        session: Option<SessionSlot>,
    ) {
        let is_pressing = |connection: &mut Connection| connection.pressing;
        if let Some(session) = session.filter(|_| self.delivery.connection(slot).is_some_and(is_pressing)) {
            self.remember_slow(now, session);
        }
    }

    /// A client connects: it may be known as slow.
    pub(super) fn recall_slow(&mut self, now: Timestamp, slot: ConnectionSlot, session: SessionSlot) {
        let Some(client) = self.delivery.identity_of(session) else {
            return;
        };
        if let Some(until) = self.delivery.patience.slow_until(now, client) {
            self.set_slow(slot, true);
            self.be_patient(until, slot);
        }
    }

    /// The time is over that others wait for a client, or that a client is slow.
    pub(super) fn patience_ended(&mut self, now: Timestamp, slot: ConnectionSlot) {
        let bounds = self.delivery.queue_bounds();
        let Some(connection) = self.delivery.connections.get_mut(slot) else {
            return;
        };
        connection.patience_until = Timestamp::NEVER;
        let queue_is_long = self.delivery.sessions.queue_is_long(connection.session, bounds);
        let waiting_bytes = connection.waiting_bytes();
        if connection.slow {
            if queue_is_long || connection.is_behind() {
                self.judge_slow(now, slot);
            } else {
                self.set_slow(slot, false);
            }
        } else if (connection.queue_presses && queue_is_long)
            || waiting_bytes > limits::OUT_PRESSURE_BYTES / 2
        {
            if !self.paused.is_empty() || !self.holding.is_empty() {
                self.delivery.patience.waited_in_vain(now);
            }
            self.judge_slow(now, slot);
        } else {
            connection.pressing = false;
            connection.queue_presses = false;
        }
        self.offer_again(slot);
        self.let_go();
    }

    /// From now on nobody waits for the client; the caller lets its publishers go.
    pub(super) fn judge_slow(&mut self, now: Timestamp, slot: ConnectionSlot) {
        self.stop_patience(slot);
        self.set_slow(slot, true);
        self.be_patient(now.plus_ns(limits::SLOW_NS), slot);
        if let Some(session) = self
            .delivery
            .connection(slot)
            .and_then(|connection| connection.session)
        {
            self.remember_slow(now, session);
        }
    }

    /// Reads again from all who were paused, but for those who do not take their own answers.
    pub(super) fn resume_receiving(&mut self) {
        let Self {
            delivery,
            paused,
            receive_changes,
            ..
        } = self;
        paused.retain(|&id| match delivery.by_id(id) {
            Some(connection) if connection.is_behind() => {
                connection.answers_wait = true;
                true
            }
            Some(connection) => {
                connection.set_paused(false);
                receive_changes.push((id, false));
                false
            }
            None => false,
        });
    }

    pub(super) fn let_go(&mut self) {
        // Whoever is handled now met a client that may have caught up since: it would wait for nobody. If another one still
        // presses, it meets that one again.
        self.delivery.pressure.felt = Felt::default();
        if self.delivery.output.over_until.is_some() {
            // They wait for the sum over the shard too.
            return;
        }
        for shard in std::mem::take(&mut self.holding) {
            self.outboxes.notify(shard, Control::Hold(false));
        }
        self.resume_receiving();
    }

    /// A client has begun to press, or its queue has. True if nobody has patience for it.
    fn begin_patience(&mut self, now: Timestamp, slot: ConnectionSlot) -> bool {
        // It may be gone or have caught up already.
        let Some(connection) = self.delivery.connections.get_mut(slot).filter(|c| c.pressing) else {
            return false;
        };
        if connection.queue_presses && connection.is_paused() && !connection.is_behind() {
            connection.set_paused(false);
            let id = ConnectionId {
                slot,
                generation: connection.generation,
            };
            self.paused.retain(|&other| other != id);
            self.receive_changes.push((id, false));
        }
        if connection.patience_until != Timestamp::NEVER {
            return false;
        }
        let granted_ns = self.delivery.patience.granted_ns(now, connection.caught_up);
        if granted_ns < limits::PATIENCE_NS_MIN {
            self.judge_slow(now, slot);
            return true;
        }
        self.be_patient(now.plus_ns(granted_ns), slot);
        false
    }

    fn set_slow(&mut self, slot: ConnectionSlot, slow: bool) {
        if let Some(connection) = self.delivery.connections.get_mut(slot) {
            connection.pressing = false;
            connection.queue_presses = false;
            self.delivery.output.set_slow(connection, slow);
        }
    }

    fn remember_slow(&mut self, now: Timestamp, session: SessionSlot) {
        if let Some(client) = self.delivery.identity_of(session) {
            let until = now.plus_ns(limits::SLOW_NS);
            self.delivery.patience.remember(now, client, until);
        }
    }

    fn be_patient(&mut self, until: Timestamp, slot: ConnectionSlot) {
        if let Some(connection) = self.delivery.connection(slot) {
            connection.patience_until = until;
            self.timers.set(until, Timer::Patience { slot });
        }
    }

    fn stop_patience(&mut self, slot: ConnectionSlot) {
        if let Some(connection) = self.delivery.connection(slot) {
            let until = std::mem::replace(&mut connection.patience_until, Timestamp::NEVER);
            self.timers.cancel(until, Timer::Patience { slot });
        }
    }
}

/// What may wait for a client before its publishers wait for it: `at_first`, and more the longer it presses.
fn paced(connection: &Connection, now: Timestamp, at_first: usize, each_ms: usize) -> usize {
    let left_ns = match connection.patience_until {
        // It begins.
        Timestamp::NEVER => limits::PATIENCE_NS,
        until => until.since_ns(now),
    };
    let pressed_ms = limits::PATIENCE_NS.saturating_sub(left_ns) / 1_000_000;
    at_first + pressed_ms as usize * each_ms
}

impl crate::logic::delivery::Delivery {
    /// The bounds of a session's queue.
    pub(super) fn queue_bounds(&self) -> Bounds {
        Bounds {
            messages_max: self.settings.queued_messages_max,
            bytes_max: self.settings.queued_bytes_max,
        }
    }

    /// The hash of a session's client identifier.
    fn identity_of(&self, session: SessionSlot) -> Option<u64> {
        let session = self.sessions.get(session)?;
        Some(self.sessions.identity(&session.client_identifier))
    }

    fn forget_output(&mut self, slot: ConnectionSlot) {
        if let Some(connection) = self.connections.get_mut(slot) {
            self.output.forget(connection);
        }
    }
}
