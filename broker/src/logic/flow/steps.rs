//! The effects of an event: on the state of a consumer, its grace period, and the publishers that wait for it.
//!
//! Invariants: those of `flow/mod.rs`. The timer of a consumer runs in every state except that of one that keeps up.

use crate::limits;
use crate::logic::connection::{Connection, ConnectionSlot};
use crate::logic::consumer_state::{Cause, Event, State};
use crate::logic::flow::events::FlowEvents;
use crate::logic::flow::pauses::{Reason, Waiter};
use crate::logic::inconsistency::unreachable_state;
use crate::logic::timer::{Timer, Timers};
use crate::time::Timestamp;

impl FlowEvents<'_> {
    /// A call that may deliver begins: reasons that earlier deliveries met are not its own.
    pub(super) fn begin(&mut self) {
        self.flow.met.clear();
        self.begin_graces();
    }

    /// Begins the grace periods of clients that have become backlogged. Clients whose acknowledgements are awaited are
    /// resumed.
    #[inline]
    pub(super) fn begin_graces(&mut self) {
        if !self.flow.begun.is_empty() {
            self.begin_graces_of_consumers();
        }
    }

    #[cold]
    fn begin_graces_of_consumers(&mut self) {
        for slot in std::mem::take(&mut self.flow.begun) {
            let Some(connection) = self.clients.connection(slot) else {
                // Its backlog has ended since.
                continue;
            };
            if connection.consumer().is_backlogged() && connection.flow_timer() == Timestamp::NEVER {
                let granted_ns = self.flow.budget.granted_ns(self.flow.now).unwrap_or(0);
                set_timer(connection, slot, self.timers, self.flow.now.plus_ns(granted_ns));
            }
            if connection.is_backlogged_by(Cause::Queue) {
                let id = connection.id(slot);
                if self
                    .flow
                    .pauses
                    .end_needing_acknowledgements(Waiter::Publisher(id))
                {
                    self.resume(id);
                }
            }
        }
    }

    /// If the sum of all output was met as a reason, its grace period begins.
    #[inline]
    pub(super) fn begin_grace_of_sum(&mut self) {
        if self.flow.met.contains(&Reason::ShardOutput) && self.flow.output.over_until.is_none() {
            let until = self.flow.now.plus_ns(limits::GRACE_NS);
            self.flow.output.over_until = Some(until);
            self.timers.set(until, Timer::Output);
        }
    }

    /// Applies an event to a client: its next state, its timer, and the publishers that no longer have to wait.
    pub(super) fn change(&mut self, slot: ConnectionSlot, event: Event) {
        let Some(connection) = self.clients.connection(slot) else {
            return unreachable_state("an event of a connection that is gone");
        };
        let before = connection.consumer();
        let after = before.after(event);
        if matches!(event, Event::Late | Event::Closed) && self.flow.is_waited_for(slot) {
            let since = Timestamp(connection.flow_timer().0.saturating_sub(limits::GRACE_NS));
            let now = self.flow.now;
            self.flow.budget.charge(since.min(now), now);
        }
        self.flow.output.set_state(connection, after);
        if !after.is_backlogged() {
            let until = if after == State::Slow {
                self.flow.now.plus_ns(limits::QUARANTINE_NS)
            } else {
                Timestamp::NEVER
            };
            set_timer(connection, slot, self.timers, until);
        }
        for cause in Cause::ALL {
            if before.has(cause) && !after.has(cause) {
                self.end(Reason::Client { slot, cause });
            }
        }
    }
}

/// Sets the one timer that a connection has in flow control.
fn set_timer(connection: &mut Connection, slot: ConnectionSlot, timers: &mut Timers, at: Timestamp) {
    let before = connection.replace_flow_timer(at);
    let timer = Timer::Flow { slot };
    timers.cancel(before, timer);
    timers.set(at, timer);
}
