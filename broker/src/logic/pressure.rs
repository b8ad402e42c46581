//! Back-pressure: who publishes faster than a client takes it is not read from until the client has caught up.
//!
//! A client presses while more than [`limits::OUT_PRESSURE_BYTES`] wait for it. Whoever publishes to it, in this shard or
//! in another, is not read from until it is down to half of that. A client that presses longer than
//! [`limits::PATIENCE_NS`] is slow: for [`limits::SLOW_NS`] nobody waits for it, and it gets what its smaller bound
//! ([`limits::OUT_SLOW_BYTES_MAX`]) lets through. A client whose own answers wait is not read from either.
//!
//! Invariants: a client can hold others up for its patience and no longer; each paused connection is in `paused`, and
//! whatever may have been its reason ends with a call of [`Shard::resume_receiving`] (a paused one may be resumed too early:
//! it is paused again by its next publish); a pressing connection has its timer set.

use super::Shard;
use super::batch::Control;
use super::connection::{Connection, ConnectionId};
use super::time::Timestamp;
use super::timer::Timer;
use crate::limits;

/// What deliveries met, until the shard looks at it.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    /// A delivery met a client that presses.
    felt: bool,
    /// Slots of clients that have just begun to press.
    begun: Vec<u32>,
}

impl Pressure {
    /// To be called after something was appended to a subscriber's `out`.
    #[inline]
    pub(super) fn feel(&mut self, slot: u32, connection: &mut Connection) {
        if connection.is_behind() && !connection.slow {
            self.felt = true;
            if !connection.pressing {
                connection.pressing = true;
                self.begun.push(slot);
            }
        }
    }
}

impl Shard {
    /// After a client's bytes: stops reading from it if a client or a shard that it publishes to is behind, or it itself is.
    pub(super) fn settle_publisher(&mut self, now: Timestamp, id: ConnectionId) {
        let felt = self.settle(now);
        let filled = std::mem::take(&mut self.outbox_filled);
        let Some(connection) = self.clients.by_id(id) else {
            return;
        };
        if (felt || filled || connection.is_behind()) && !connection.receive_paused {
            connection.receive_paused = true;
            self.paused.push(id);
            self.receive_changes.push((id, true));
        }
    }

    /// After another shard's batch: asks it to hold its publishers back if a client here is behind.
    pub(super) fn settle_shard(&mut self, now: Timestamp, from: u16) {
        if self.settle(now) && !self.holding.contains(&from) {
            self.holding.push(from);
            self.tell(from, Control::Hold(true));
        }
    }

    /// Whether a delivery since the last call met a client that presses.
    pub(super) fn settle(&mut self, now: Timestamp) -> bool {
        let pressure = &mut self.clients.pressure;
        if !std::mem::take(&mut pressure.felt) {
            return false;
        }
        for slot in std::mem::take(&mut pressure.begun) {
            // It may be gone or have caught up already.
            if self
                .clients
                .connection(slot)
                .is_some_and(|connection| connection.pressing)
            {
                self.be_patient(now.plus_ns(limits::PATIENCE_NS), slot);
            }
        }
        true
    }

    /// Another shard asks for its publishers to be held back, or no more.
    pub(super) fn hold(&mut self, from: u16, on: bool) {
        if let Some(outbox) = self.outboxes.get_mut(usize::from(from)) {
            outbox.held = on;
        }
        if !on {
            self.resume_receiving();
        }
    }

    /// The client took bytes: if it has caught up, those who waited for it go on.
    pub(super) fn relieve(&mut self, slot: u32) {
        let Some(connection) = self.clients.connection(slot) else {
            return;
        };
        if connection.waiting_bytes() > limits::OUT_PRESSURE_BYTES / 2 {
            return;
        }
        let (pressing, paused) = (connection.pressing, connection.receive_paused);
        connection.pressing = false;
        if pressing {
            self.stop_patience(slot);
        }
        if pressing || paused {
            self.let_go();
        }
    }

    /// The connection ends: nobody waits for it.
    pub(super) fn relieve_all(&mut self, slot: u32) {
        let Some(connection) = self.clients.connection(slot) else {
            return;
        };
        let pressing = connection.pressing;
        self.stop_patience(slot);
        if pressing {
            self.let_go();
        }
    }

    /// The time is over that others wait for a client, or that a client is slow.
    pub(super) fn patience_ended(&mut self, now: Timestamp, slot: u32) {
        let Some(connection) = self.clients.connection(slot) else {
            return;
        };
        connection.pressing = false;
        connection.slow = !connection.slow || connection.is_behind();
        if connection.slow {
            self.be_patient(now.plus_ns(limits::SLOW_NS), slot);
        }
        self.offer_again(now, slot);
        self.let_go();
    }

    /// Reads again from all who were paused, but for those who do not take their own answers.
    pub(super) fn resume_receiving(&mut self) {
        let Self {
            clients,
            paused,
            receive_changes,
            ..
        } = self;
        paused.retain(|&id| match clients.by_id(id) {
            Some(connection) if connection.is_behind() => true,
            Some(connection) => {
                connection.receive_paused = false;
                receive_changes.push((id, false));
                false
            }
            None => false,
        });
    }

    fn let_go(&mut self) {
        for shard in std::mem::take(&mut self.holding) {
            self.tell(shard, Control::Hold(false));
        }
        self.resume_receiving();
    }

    fn tell(&mut self, shard: u16, control: Control) {
        if let Some(outbox) = self.outboxes.get_mut(usize::from(shard)) {
            outbox.control(control, &mut self.spare_batches);
        }
    }

    fn be_patient(&mut self, until: Timestamp, slot: u32) {
        if let Some(connection) = self.clients.connection(slot) {
            connection.patience_until = until;
            self.timers.set(until, Timer::Patience { slot });
        }
    }

    fn stop_patience(&mut self, slot: u32) {
        if let Some(connection) = self.clients.connection(slot) {
            self.timers
                .cancel(connection.patience_until, Timer::Patience { slot });
        }
    }
}
