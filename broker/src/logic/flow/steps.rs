//! The steps of consumers from state to state, with their timers, and the grace period of the shard's sum.
//!
//! Invariants: those of `flow/mod.rs`. The timer of a consumer runs in every state but that of one that keeps up.

use crate::limits;
use crate::logic::connection::{Connection, ConnectionSlot};
use crate::logic::consumer_state::{Cause, Causes, Event, TimerChange, step};
use crate::logic::flow::events::FlowEvents;
use crate::logic::flow::pauses::{Reason, Waiter};
use crate::logic::inconsistency::unreachable_state;
use crate::logic::timer::{Timer, Timers};
use crate::time::Timestamp;

impl FlowEvents<'_> {
    /// Something begins that deliveries come of: what others' deliveries met before is not its doing.
    pub(super) fn begin(&mut self) {
        self.flow.met.clear();
        self.flow.output.grew_above_high();
        self.begin_graces();
    }

    /// Begins the grace periods of clients that have become backlogged. Those that are to acknowledge are read from
    /// again.
    #[inline]
    pub(super) fn begin_graces(&mut self) {
        self.pause_for_shard_output();
        if !self.flow.begun.is_empty() {
            self.begin_graces_of_consumers();
        }
    }

    #[cold]
    fn begin_graces_of_consumers(&mut self) {
        for slot in std::mem::take(&mut self.flow.begun) {
            let Some(connection) = self.clients.connection(slot) else {
                // It ended since it became backlogged.
                continue;
            };
            if connection.consumer().causes().is_some() && connection.flow_timer() == Timestamp::NEVER {
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
                    connection.set_paused(false, self.flow.high());
                    self.flow.receive_changes.push((id, false));
                }
            }
        }
    }

    /// If the sum of all output is above its high-water mark: whoever made it grow waits for it, for a grace period at
    /// most.
    #[inline]
    fn pause_for_shard_output(&mut self) {
        if !self.flow.output.grew_above_high() {
            return;
        }
        if self.flow.output.over_until.is_none() {
            let until = self.flow.now.plus_ns(limits::GRACE_NS);
            self.flow.output.over_until = Some(until);
            self.timers.set(until, Timer::Output);
        }
        self.flow.met.insert(Reason::ShardOutput);
    }

    /// Something happened to a client: its next state, its timer, and those who need wait no more.
    pub(super) fn change(&mut self, slot: ConnectionSlot, event: Event) {
        let Some(connection) = self.clients.connection(slot) else {
            return unreachable_state("an event of a connection that is gone");
        };
        let next = step(connection.consumer(), event);
        let began_at = Timestamp(connection.flow_timer().0.saturating_sub(limits::GRACE_NS));
        if event.has_passed_grace() && self.flow.is_waited_for(slot) {
            self.flow
                .budget
                .charge(began_at.min(self.flow.now), self.flow.now);
        }
        self.flow.output.set_state(connection, next.state);
        if matches!(event, Event::TimerDue { .. }) {
            connection.replace_flow_timer(Timestamp::NEVER);
        }
        match next.timer {
            TimerChange::Keep => {}
            TimerChange::Stop => set_timer(connection, slot, self.timers, Timestamp::NEVER),
            TimerChange::StartGrace => self.flow.begun.push(slot),
            TimerChange::StartQuarantine => {
                set_timer(
                    connection,
                    slot,
                    self.timers,
                    self.flow.now.plus_ns(limits::QUARANTINE_NS),
                );
            }
        }
        if let Some(ended) = next.ended {
            self.end_causes(slot, ended);
        }
    }

    fn end_causes(&mut self, slot: ConnectionSlot, ended: Causes) {
        for cause in [Cause::Output, Cause::Queue] {
            if ended.contains(cause) {
                self.end(Reason::of(slot, cause));
            }
        }
    }
}

/// Sets the one timer that a connection has here.
fn set_timer(connection: &mut Connection, slot: ConnectionSlot, timers: &mut Timers, at: Timestamp) {
    let before = connection.replace_flow_timer(at);
    let timer = Timer::Flow { slot };
    timers.cancel(before, timer);
    timers.set(at, timer);
}
