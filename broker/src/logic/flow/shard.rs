//! The shard's calls of flow control: before and after everything that publishes, and when a connection or queue has
//! drained.
//!
//! Invariants: those of `flow/mod.rs`.

use mqtt::ReasonCode;

use crate::limits;
use crate::logic::Shard;
use crate::logic::connection::{Connection, ConnectionId, ConnectionSlot};
use crate::logic::delivery::Delivery;
use crate::logic::flow::client::{Cause, Event, State};
use crate::logic::flow::pauses::{Reason, Waiter};
use crate::logic::inconsistency::unreachable_state;
use crate::logic::outbox::batch::Control;
use crate::logic::session::queue::Bounds;
use crate::logic::timer::Timer;
use crate::time::Timestamp;

impl Shard {
    /// Whether so much was written since the last flush that the next one is due.
    #[must_use]
    pub fn turn_is_full(&self) -> bool {
        self.delivery.flow.written() > limits::TURN_OUT_BYTES_MAX
    }

    /// Bytes that wait for all sockets of the shard.
    #[must_use]
    pub fn output_bytes(&self) -> usize {
        self.delivery.flow.output_bytes()
    }

    /// Before the bytes of a client, a batch of another shard or a tick are handled.
    pub(in crate::logic) fn begin_flow(&mut self) {
        self.outboxes.begin();
        self.journal_before = self.delivery.journal.mark();
        self.delivery.flow.begin();
        self.begin_graces();
    }

    /// After a client's bytes: it is paused if it published to a consumer that is backlogged, or is one itself.
    #[inline]
    pub(in crate::logic) fn pause_publisher(&mut self, id: ConnectionId) {
        self.begin_graces();
        if self.delivery.journal.is_to_wait(self.journal_before) {
            self.delivery.flow.note_reason(Reason::Store);
            self.timers
                .set(self.now.plus_ns(limits::STORE_RETRY_NS), Timer::Store);
        }
        let blocked = self.outboxes.take_blocked();
        let (flow, connections) = self.delivery.flow_and_connections();
        flow.pause_publisher(connections, id, blocked);
    }

    /// After another shard's batch: that shard is to pause its publishers if it published to a consumer that is
    /// backlogged.
    pub(in crate::logic) fn pause_shard(&mut self, from: u16) {
        self.begin_graces();
        let (flow, connections) = self.delivery.flow_and_connections();
        flow.pause_shard(connections, from);
        self.notify_shards();
    }

    /// Another shard asks for the publishers to it to be paused, or resumed.
    pub(in crate::logic) fn set_remote_paused(&mut self, shard: u16, paused: bool) {
        self.outboxes.set_paused(shard, paused);
        if !paused {
            self.end_reason(Reason::Remote { shard });
        }
    }

    /// Publishers wait for the store: they go on if it has caught up.
    pub(in crate::logic) fn store_timer_due(&mut self) {
        if self.delivery.journal.keeps_waiting() {
            self.timers
                .set(self.now.plus_ns(limits::STORE_RETRY_NS), Timer::Store);
        } else {
            self.end_reason(Reason::Store);
        }
    }

    /// The outbox of another shard was full, and is empty.
    pub(in crate::logic) fn outbox_drained(&mut self, shard: u16) {
        self.end_reason(Reason::Outbox { shard });
    }

    /// What was written was handed to the shell, and the sum over the shard is exact: until now it may have held bytes
    /// twice, or those of a connection that is gone.
    #[inline]
    pub(in crate::logic) fn output_counted(&mut self) {
        if self.delivery.flow.output.over_until.is_some() {
            self.shard_output_drained();
        }
    }

    /// Updates the sums after a flush of the connection, and ends pauses if its backlog is at the low-water mark.
    #[inline]
    pub(in crate::logic) fn output_drained(&mut self, slot: ConnectionSlot) {
        self.output_counted();
        let watched = |c: &Connection| c.is_paused() || c.flow != State::Flowing;
        if self.delivery.connections().get(slot).is_some_and(watched) {
            self.client_drained(slot);
        }
    }

    /// A client acknowledged or took bytes: those who wait for it go on if it is below its low-water marks.
    pub(in crate::logic) fn client_drained(&mut self, slot: ConnectionSlot) {
        let bounds = self.delivery.queue_bounds();
        let low = self.delivery.flow.output.client().low;
        let Some(connection) = self.delivery.connections().get(slot) else {
            return unreachable_state("a drained client whose connection is gone");
        };
        let (state, session) = (connection.flow, connection.session);
        let output_is_low = connection.waiting_bytes() <= low;
        if output_is_low {
            self.end_reason(Reason::OwnOutput { slot });
        }
        if output_is_low && state.has(Cause::Output) {
            self.change_client(slot, Event::Below(Cause::Output));
        }
        if state.has(Cause::Queue) && !self.delivery.sessions().queue_is_above_low(session, bounds) {
            self.change_client(slot, Event::Below(Cause::Queue));
        }
    }

    /// The connection is no longer that of its session: nobody waits for it. If it was slow it counts as slow until
    /// its socket is closed.
    pub(in crate::logic) fn consumer_detached(&mut self, slot: ConnectionSlot) {
        let connection = self.delivery.connections().get(slot);
        if connection.is_some_and(|connection| connection.flow != State::Slow) {
            self.change_client(slot, Event::Closed);
        }
    }

    /// Updates the sums and ends the pauses of a connection whose socket is closed.
    pub(in crate::logic) fn end_flow(&mut self, id: ConnectionId) {
        self.change_client(id.slot, Event::Closed);
        let (flow, connections) = self.delivery.flow_and_connections();
        if let Some(connection) = connections.get_mut(id.slot) {
            flow.output.forget(connection);
        }
        flow.pauses.forget(Waiter::Publisher(id));
        self.shard_output_drained();
    }

    /// The grace period or the quarantine of a client is over.
    pub(in crate::logic) fn flow_timer_due(&mut self, slot: ConnectionSlot) {
        let bounds = self.delivery.queue_bounds();
        let Some(connection) = self.delivery.connections().get(slot) else {
            return unreachable_state("a grace period of no connection");
        };
        let drained = connection.waiting_bytes() <= self.delivery.flow.output.client().low
            && !self
                .delivery
                .sessions()
                .queue_is_above_low(connection.session, bounds);
        self.change_client(slot, Event::TimerDue { drained });
        self.offer_again(slot);
        self.disconnect_slow();
    }

    /// Publishers have been paused for the shard's sum for a grace period: clients with more than their share of it
    /// become slow.
    pub(in crate::logic) fn output_timer_due(&mut self) {
        let until = self.delivery.flow.output.over_until.take().unwrap_or(self.now);
        let since = Timestamp(until.0.saturating_sub(limits::GRACE_NS));
        if !self.delivery.flow.output.is_below_low() {
            let share = self.delivery.flow.output.share(self.delivery.connections().len());
            let has_too_much = |connection: &Connection| {
                connection.flow != State::Slow && connection.waiting_bytes() > share
            };
            for slot in self.delivery.slots_where(has_too_much) {
                self.change_client(slot, Event::Overdrawn);
            }
            self.delivery.flow.budget.charge(since, self.now);
        }
        self.end_reason(Reason::ShardOutput);
        self.disconnect_slow();
    }

    /// Begins the grace periods of consumers that have become backlogged since the last call.
    #[inline]
    fn begin_graces(&mut self) {
        let (flow, connections) = self.delivery.flow_and_connections();
        flow.begin_graces(connections, &mut self.timers);
    }

    /// Asks the other shards for what has changed.
    fn notify_shards(&mut self) {
        for (shard, paused) in std::mem::take(&mut self.delivery.flow.shard_changes) {
            self.outboxes.notify(shard, Control::Pause(paused));
        }
    }

    fn change_client(&mut self, slot: ConnectionSlot, event: Event) {
        let (flow, connections) = self.delivery.flow_and_connections();
        flow.change(connections, &mut self.timers, slot, event);
        self.notify_shards();
    }

    pub(in crate::logic) fn end_reason(&mut self, reason: Reason) {
        let (flow, connections) = self.delivery.flow_and_connections();
        flow.end(connections, reason);
        self.notify_shards();
    }

    fn shard_output_drained(&mut self) {
        let output = &mut self.delivery.flow.output;
        if let Some(until) = output.over_until.filter(|_| output.is_below_low()) {
            output.over_until = None;
            self.timers.cancel(until, Timer::Output);
            self.end_reason(Reason::ShardOutput);
        }
    }

    /// Ends connections of slow clients while they hold too much together, those with the most bytes first.
    fn disconnect_slow(&mut self) {
        for slot in self.delivery.slow_in_excess() {
            let why = "it does not read, and the memory for output is full";
            self.disconnect(slot, ReasonCode::QuotaExceeded, why);
            self.delivery.discard_output(slot);
        }
    }
}

impl Delivery {
    /// The bounds of a session's queue.
    pub(in crate::logic) fn queue_bounds(&self) -> Bounds {
        Bounds {
            messages_max: self.settings().queued_messages_max,
            bytes_max: self.settings().queued_bytes_max,
        }
    }

    /// The slow clients that are to be disconnected so that the others hold no more than they may together: those with
    /// the most bytes in the sum that is too large, in that order. What was written since the sum was taken is in
    /// neither: by it a client might be chosen whose end brings the sum no lower.
    fn slow_in_excess(&self) -> Vec<ConnectionSlot> {
        let mut excess = self.flow.output.slow_excess();
        if excess == 0 {
            return Vec::new();
        }
        let counted = |slot: ConnectionSlot| {
            let connection = self.connections().get(slot);
            connection.map_or(0, |connection| connection.counted_bytes as usize)
        };
        let mut slots = self.slots_where(|connection| connection.flow == State::Slow);
        slots.sort_by_cached_key(|&slot| std::cmp::Reverse(counted(slot)));
        let in_excess = slots.into_iter().take_while(|&slot| {
            let is_over = excess > 0;
            excess = excess.saturating_sub(counted(slot));
            is_over
        });
        in_excess.collect()
    }

    /// Drops the output of a connection that closes. Bytes of a send in the ring end with the socket.
    fn discard_output(&mut self, slot: ConnectionSlot) {
        let (flow, connections) = self.flow_and_connections();
        if let Some(connection) = connections.get_mut(slot) {
            connection.out = Vec::new();
            flow.output.count(connection);
        }
    }

    fn slots_where(&self, is_it: impl Fn(&Connection) -> bool) -> Vec<ConnectionSlot> {
        let connections = self.connections().iter();
        connections
            .filter(|(_, connection)| is_it(connection))
            .map(|(slot, _)| slot)
            .collect()
    }
}
