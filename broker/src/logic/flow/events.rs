//! Events of consumers: their output or queue drains, their time is over, their connection ends.
//!
//! Invariants: those of `flow/mod.rs`. Each call ends with requests to the other shards for what has changed.

use super::FlowControl;
use super::pauses::{Reason, Waiter};
use crate::limits;
use crate::logic::clients::Clients;
use crate::logic::connection::{Connection, ConnectionId, ConnectionSlot};
use crate::logic::consumer_state::{Cause, Event};
use crate::logic::inconsistency::unreachable_state;
use crate::logic::outbox::Outboxes;
use crate::logic::outbox::batch::Control;
use crate::logic::timer::{Timer, Timers};
use crate::time::Timestamp;

/// Flow control, with the owners that its events change.
#[derive(Debug)]
pub(in crate::logic) struct FlowEvents<'a> {
    pub(super) flow: &'a mut FlowControl,
    pub(super) clients: &'a mut Clients,
    pub(super) timers: &'a mut Timers,
    pub(super) outboxes: &'a mut Outboxes,
}

impl FlowEvents<'_> {
    /// Another shard asks for the publishers to it to be paused, or resumed.
    pub(in crate::logic) fn set_remote_paused(&mut self, shard: u16, paused: bool) {
        self.outboxes.set_paused(shard, paused);
        if !paused {
            self.end_reason(Reason::Remote { shard });
        }
    }

    /// Publishers wait for the store: they are resumed unless it is still backlogged.
    pub(in crate::logic) fn store_timer_due(&mut self, is_backlogged: bool) {
        if is_backlogged {
            self.timers
                .set(self.flow.now.plus_ns(limits::STORE_RETRY_NS), Timer::Store);
        } else {
            self.end_reason(Reason::Store);
        }
    }

    /// The output was passed to the shell, and the sum over the shard is exact: before that it may have contained
    /// bytes twice, or those of a connection that is gone.
    #[inline]
    pub(in crate::logic) fn output_counted(&mut self) {
        if self.flow.is_output_waited_for() {
            self.shard_output_drained();
        }
    }

    /// After a flush of the connection: ends pauses if its backlog is at the low-water mark.
    pub(in crate::logic) fn output_drained(&mut self, slot: ConnectionSlot) {
        let connection = self.clients.connections().get(slot);
        if connection.is_some_and(Connection::is_watched) {
            self.client_drained(slot);
        }
    }

    /// A client acknowledged or took bytes: publishers that wait for it are resumed if it is below its low-water
    /// marks.
    pub(in crate::logic) fn client_drained(&mut self, slot: ConnectionSlot) {
        let Some(connection) = self.clients.connections().get(slot) else {
            return unreachable_state("a drained client whose connection is gone");
        };
        let state = connection.consumer();
        if self.is_below_low(slot, Cause::Output) {
            self.end_reason(Reason::OwnOutput { slot });
        }
        for cause in Cause::ALL {
            if state.has(cause) && self.is_below_low(slot, cause) {
                self.change_client(slot, Event::Below(cause));
            }
        }
    }

    /// The connection is no longer that of its session: no publisher waits for it. If it was slow, it counts as slow
    /// until its socket is closed.
    pub(in crate::logic) fn consumer_detached(&mut self, slot: ConnectionSlot) {
        let connection = self.clients.connections().get(slot);
        if connection.is_some_and(|connection| !connection.is_slow()) {
            self.change_client(slot, Event::Closed);
        }
    }

    /// A client has waited for its rate.
    pub(in crate::logic) fn rate_timer_due(&mut self, slot: ConnectionSlot) {
        if let Some(connection) = self.clients.connections().get(slot) {
            self.flow.rates.end_wait(connection.id(slot));
        }
        self.end_reason(Reason::Rate { slot });
    }

    /// Updates the sums and ends the pauses of a connection whose socket is closed.
    pub(in crate::logic) fn connection_closed(&mut self, id: ConnectionId) {
        self.change_client(id.slot, Event::Closed);
        if let Some(connection) = self.clients.connection(id.slot) {
            self.flow.output.forget(connection);
        }
        self.flow.pauses.forget(Waiter::Publisher(id));
        if let Some(until) = self.flow.rates.forget(id) {
            self.timers.cancel(until, Timer::Rate { slot: id.slot });
        }
        self.shard_output_drained();
    }

    /// The grace period or the quarantine of a client is over.
    pub(in crate::logic) fn client_timer_due(&mut self, slot: ConnectionSlot) {
        let drained = self.is_below_low(slot, Cause::Output) && self.is_below_low(slot, Cause::Queue);
        self.change_client(slot, if drained { Event::CaughtUp } else { Event::Late });
    }

    /// Publishers have been paused for the shard's sum for a grace period: clients with more than their share of it
    /// become slow.
    pub(in crate::logic) fn output_timer_due(&mut self) {
        let until = self.flow.output.over_until.take().unwrap_or(self.flow.now);
        let since = Timestamp(until.0.saturating_sub(limits::GRACE_NS));
        if !self.flow.output.is_below_low() {
            let share = self.flow.output.share(self.clients.connections().len());
            let has_too_much =
                |connection: &Connection| !connection.is_slow() && connection.waiting_bytes() > share;
            for slot in self.clients.slots_where(has_too_much) {
                self.change_client(slot, Event::Late);
            }
            self.flow.budget.charge(since, self.flow.now);
        }
        self.end_reason(Reason::ShardOutput);
    }

    /// A reason has ended, and with it the pauses that had no other.
    pub(in crate::logic) fn end_reason(&mut self, reason: Reason) {
        self.end(reason);
        self.notify_shards();
    }

    /// The slow clients to disconnect so that the others stay below their common bound: those with the most bytes in
    /// the sum that is too large, in that order. What was written since the sum was computed is in neither: otherwise
    /// a client might be chosen whose end does not reduce the sum.
    pub(super) fn slow_in_excess(&self) -> Vec<ConnectionSlot> {
        let mut excess = self.flow.output.slow_excess();
        if excess == 0 {
            return Vec::new();
        }
        let counted = |slot: ConnectionSlot| {
            let connection = self.clients.connections().get(slot);
            connection.map_or(0, |connection| connection.counted_bytes() as usize)
        };
        let mut slots = self.clients.slots_where(Connection::is_slow);
        slots.sort_by_cached_key(|&slot| std::cmp::Reverse(counted(slot)));
        let in_excess = slots.into_iter().take_while(|&slot| {
            let is_over = excess > 0;
            excess = excess.saturating_sub(counted(slot));
            is_over
        });
        in_excess.collect()
    }

    /// Drops the output of a connection that closes. Bytes of a send in the ring end with the socket.
    pub(super) fn discard_output(&mut self, slot: ConnectionSlot) {
        if let Some(connection) = self.clients.connection(slot) {
            *connection.out() = Vec::new();
            self.flow.output.count(connection);
        }
    }

    /// Sends the other shards requests for what has changed.
    pub(super) fn notify_shards(&mut self) {
        for (shard, paused) in std::mem::take(&mut self.flow.shard_changes) {
            self.outboxes.notify(shard, Control::Pause(paused));
        }
    }

    /// Whether a client's backlog of that cause is at its low-water mark or below it.
    fn is_below_low(&self, slot: ConnectionSlot, cause: Cause) -> bool {
        let Some(connection) = self.clients.connections().get(slot) else {
            unreachable_state("a mark of a connection that is gone");
            return true;
        };
        match cause {
            Cause::Output => connection.waiting_bytes() <= self.flow.output.client().low,
            Cause::Queue => {
                let sessions = self.clients.sessions();
                !sessions.queue_is_above_low(connection.session(), self.flow.bounds)
            }
        }
    }

    fn change_client(&mut self, slot: ConnectionSlot, event: Event) {
        self.change(slot, event);
        self.notify_shards();
    }

    fn shard_output_drained(&mut self) {
        let output = &mut self.flow.output;
        if let Some(until) = output.over_until.filter(|_| output.is_below_low()) {
            output.over_until = None;
            self.timers.cancel(until, Timer::Output);
            self.end_reason(Reason::ShardOutput);
        }
    }
}
