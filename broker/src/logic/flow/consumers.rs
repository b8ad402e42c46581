//! What happens to consumers: their output or queue drains, their time is over, their connection ends.
//!
//! Invariants: those of `flow/mod.rs`. Each call ends with the other shards asked for what has changed.

use super::FlowControl;
use super::pauses::{Reason, Waiter};
use crate::limits;
use crate::logic::clients::Clients;
use crate::logic::connection::{Connection, ConnectionId, ConnectionSlot};
use crate::logic::consumer::{Cause, Event};
use crate::logic::inconsistency::unreachable_state;
use crate::logic::outbox::Outboxes;
use crate::logic::outbox::batch::Control;
use crate::logic::timer::{Timer, Timers};
use crate::time::Timestamp;

impl FlowControl {
    /// Another shard asks for the publishers to it to be paused, or resumed.
    pub(in crate::logic) fn set_remote_paused(
        &mut self,
        clients: &mut Clients,
        outboxes: &mut Outboxes,
        shard: u16,
        paused: bool,
    ) {
        outboxes.set_paused(shard, paused);
        if !paused {
            self.end_reason(clients, outboxes, Reason::Remote { shard });
        }
    }

    /// Publishers wait for the store: they go on unless it is backlogged still.
    pub(in crate::logic) fn store_timer_due(
        &mut self,
        clients: &mut Clients,
        timers: &mut Timers,
        outboxes: &mut Outboxes,
        is_backlogged: bool,
    ) {
        if is_backlogged {
            timers.set(self.now.plus_ns(limits::STORE_RETRY_NS), Timer::Store);
        } else {
            self.end_reason(clients, outboxes, Reason::Store);
        }
    }

    /// Whether publishers wait for the sum of all output.
    #[inline]
    pub(in crate::logic) fn is_output_waited_for(&self) -> bool {
        self.output.over_until.is_some()
    }

    /// What was written was handed to the shell, and the sum over the shard is exact: until now it may have held bytes
    /// twice, or those of a connection that is gone.
    #[inline]
    pub(in crate::logic) fn output_counted(
        &mut self,
        clients: &mut Clients,
        timers: &mut Timers,
        outboxes: &mut Outboxes,
    ) {
        if self.is_output_waited_for() {
            self.shard_output_drained(clients, timers, outboxes);
        }
    }

    /// After a flush of the connection: ends pauses if its backlog is at the low-water mark.
    pub(in crate::logic) fn output_drained(
        &mut self,
        clients: &mut Clients,
        timers: &mut Timers,
        outboxes: &mut Outboxes,
        slot: ConnectionSlot,
    ) {
        let connection = clients.connections().get(slot);
        if connection.is_some_and(Connection::is_watched) {
            self.client_drained(clients, timers, outboxes, slot);
        }
    }

    /// A client acknowledged or took bytes: those who wait for it go on if it is below its low-water marks.
    pub(in crate::logic) fn client_drained(
        &mut self,
        clients: &mut Clients,
        timers: &mut Timers,
        outboxes: &mut Outboxes,
        slot: ConnectionSlot,
    ) {
        let Some(connection) = clients.connections().get(slot) else {
            return unreachable_state("a drained client whose connection is gone");
        };
        let (state, session) = (connection.consumer(), connection.session());
        let output_is_low = connection.waiting_bytes() <= self.output.client().low;
        if output_is_low {
            self.end_reason(clients, outboxes, Reason::OwnOutput { slot });
        }
        if output_is_low && state.has(Cause::Output) {
            self.change_client(clients, timers, outboxes, slot, Event::Below(Cause::Output));
        }
        if state.has(Cause::Queue) && !clients.sessions().queue_is_above_low(session, self.bounds) {
            self.change_client(clients, timers, outboxes, slot, Event::Below(Cause::Queue));
        }
    }

    /// The connection is no longer that of its session: nobody waits for it. If it was slow it counts as slow until
    /// its socket is closed.
    pub(in crate::logic) fn consumer_detached(
        &mut self,
        clients: &mut Clients,
        timers: &mut Timers,
        outboxes: &mut Outboxes,
        slot: ConnectionSlot,
    ) {
        let connection = clients.connections().get(slot);
        if connection.is_some_and(|connection| !connection.is_slow()) {
            self.change_client(clients, timers, outboxes, slot, Event::Closed);
        }
    }

    /// Updates the sums and ends the pauses of a connection whose socket is closed.
    pub(in crate::logic) fn connection_closed(
        &mut self,
        clients: &mut Clients,
        timers: &mut Timers,
        outboxes: &mut Outboxes,
        id: ConnectionId,
    ) {
        self.change_client(clients, timers, outboxes, id.slot, Event::Closed);
        if let Some(connection) = clients.connection(id.slot) {
            self.output.forget(connection);
        }
        self.pauses.forget(Waiter::Publisher(id));
        self.shard_output_drained(clients, timers, outboxes);
    }

    /// The grace period or the quarantine of a client is over.
    pub(in crate::logic) fn client_timer_due(
        &mut self,
        clients: &mut Clients,
        timers: &mut Timers,
        outboxes: &mut Outboxes,
        slot: ConnectionSlot,
    ) {
        let Some(connection) = clients.connections().get(slot) else {
            return unreachable_state("a grace period of no connection");
        };
        let is_above_low = |session| clients.sessions().queue_is_above_low(session, self.bounds);
        let drained =
            connection.waiting_bytes() <= self.output.client().low && !is_above_low(connection.session());
        self.change_client(clients, timers, outboxes, slot, Event::TimerDue { drained });
    }

    /// Publishers have been paused for the shard's sum for a grace period: clients with more than their share of it
    /// become slow.
    pub(in crate::logic) fn output_timer_due(
        &mut self,
        clients: &mut Clients,
        timers: &mut Timers,
        outboxes: &mut Outboxes,
    ) {
        let until = self.output.over_until.take().unwrap_or(self.now);
        let since = Timestamp(until.0.saturating_sub(limits::GRACE_NS));
        if !self.output.is_below_low() {
            let share = self.output.share(clients.connections().len());
            let has_too_much =
                |connection: &Connection| !connection.is_slow() && connection.waiting_bytes() > share;
            for slot in clients.slots_where(has_too_much) {
                self.change_client(clients, timers, outboxes, slot, Event::Overdrawn);
            }
            self.budget.charge(since, self.now);
        }
        self.end_reason(clients, outboxes, Reason::ShardOutput);
    }

    /// A reason is over, and with it the pauses that had no other.
    pub(in crate::logic) fn end_reason(
        &mut self,
        clients: &mut Clients,
        outboxes: &mut Outboxes,
        reason: Reason,
    ) {
        self.end(clients, reason);
        self.notify_shards(outboxes);
    }

    /// The slow clients that are to be disconnected so that the others hold no more than they may together: those with
    /// the most bytes in the sum that is too large, in that order. What was written since the sum was taken is in
    /// neither: by it a client might be chosen whose end brings the sum no lower.
    pub(super) fn slow_in_excess(&self, clients: &Clients) -> Vec<ConnectionSlot> {
        let mut excess = self.output.slow_excess();
        if excess == 0 {
            return Vec::new();
        }
        let counted = |slot: ConnectionSlot| {
            let connection = clients.connections().get(slot);
            connection.map_or(0, |connection| connection.counted_bytes() as usize)
        };
        let mut slots = clients.slots_where(Connection::is_slow);
        slots.sort_by_cached_key(|&slot| std::cmp::Reverse(counted(slot)));
        let in_excess = slots.into_iter().take_while(|&slot| {
            let is_over = excess > 0;
            excess = excess.saturating_sub(counted(slot));
            is_over
        });
        in_excess.collect()
    }

    /// Drops the output of a connection that closes. Bytes of a send in the ring end with the socket.
    pub(super) fn discard_output(&mut self, clients: &mut Clients, slot: ConnectionSlot) {
        if let Some(connection) = clients.connection(slot) {
            *connection.out() = Vec::new();
            self.output.count(connection);
        }
    }

    /// Asks the other shards for what has changed.
    pub(super) fn notify_shards(&mut self, outboxes: &mut Outboxes) {
        for (shard, paused) in std::mem::take(&mut self.shard_changes) {
            outboxes.notify(shard, Control::Pause(paused));
        }
    }

    fn change_client(
        &mut self,
        clients: &mut Clients,
        timers: &mut Timers,
        outboxes: &mut Outboxes,
        slot: ConnectionSlot,
        event: Event,
    ) {
        self.change(clients, timers, slot, event);
        self.notify_shards(outboxes);
    }

    fn shard_output_drained(&mut self, clients: &mut Clients, timers: &mut Timers, outboxes: &mut Outboxes) {
        let output = &mut self.output;
        if let Some(until) = output.over_until.filter(|_| output.is_below_low()) {
            output.over_until = None;
            timers.cancel(until, Timer::Output);
            self.end_reason(clients, outboxes, Reason::ShardOutput);
        }
    }
}
