//! Pauses publishers and shards for the reasons that they met, and resumes them when the last reason has ended.
//!
//! Invariants: each pause and each resumption is reported in `receive_changes` or `shard_changes`, or the shell would
//! continue to read from a paused publisher, or never read from a resumed one again.

use super::events::FlowEvents;
use super::pauses::{Reason, Waiter};
use crate::limits;
use crate::logic::clients::Clients;
use crate::logic::connection::ConnectionId;
use crate::logic::consumer_state::Cause;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::outbox::Blocked;
use crate::logic::timer::Timer;

impl FlowEvents<'_> {
    /// The publisher was handled: it waits for the reasons that it met.
    #[inline]
    pub(super) fn pause_publisher(&mut self, id: ConnectionId, blocked: Vec<Blocked>) {
        self.begin_graces();
        self.begin_grace_of_sum();
        for blocked in blocked {
            self.flow.met.insert(match blocked {
                Blocked::Full(shard) => Reason::Outbox { shard },
                Blocked::Paused(shard) => Reason::Remote { shard },
            });
        }
        let high = self.flow.high();
        let Some(connection) = self
            .clients
            .connections()
            .get(id.slot)
            .filter(|connection| connection.is_of(id))
        else {
            return unreachable_state("a publisher whose connection is gone");
        };
        if connection.waiting_bytes() > high {
            self.flow.met.insert(Reason::OwnOutput { slot: id.slot });
        }
        if self.flow.met.is_empty() {
            return;
        }
        let acknowledges = connection.is_backlogged_by(Cause::Queue);
        if self.add_reasons(Waiter::Publisher(id), acknowledges)
            && let Some(connection) = self.clients.connection(id.slot)
        {
            connection.set_paused(true, high);
            self.flow.receive_changes.push((id, true));
        }
    }

    /// The current publisher has to wait for the store.
    pub(super) fn wait_for_store(&mut self) {
        self.flow.met.insert(Reason::Store);
        self.timers
            .set(self.flow.now.plus_ns(limits::STORE_RETRY_NS), Timer::Store);
    }

    /// A batch of another shard was handled: that shard waits for the reasons that it met.
    pub(in crate::logic) fn pause_shard(&mut self, from: u16) {
        self.begin_graces();
        self.begin_grace_of_sum();
        if self.add_reasons(Waiter::Shard(from), false) {
            self.flow.shard_changes.push((from, true));
        }
        self.notify_shards();
    }

    /// Gives the waiter the reasons that were met, as far as they still apply and, if it `acknowledges`, need no
    /// acknowledgements; true if it was not paused.
    fn add_reasons(&mut self, waiter: Waiter, acknowledges: bool) -> bool {
        let mut pauses = false;
        for reason in std::mem::take(&mut self.flow.met) {
            let may_wait = !(acknowledges && reason.needs_acknowledgements());
            if may_wait && reason_applies(self.clients, reason) {
                pauses |= self.flow.pauses.add(waiter, reason);
            }
        }
        pauses
    }

    /// Ends a reason, and resumes the waiters for which it was the last one.
    pub(super) fn end(&mut self, reason: Reason) {
        for waiter in self.flow.pauses.end(reason) {
            match waiter {
                Waiter::Shard(shard) => self.flow.shard_changes.push((shard, false)),
                Waiter::Publisher(id) => self.resume(id),
            }
        }
    }

    /// The publisher has no reason left.
    pub(super) fn resume(&mut self, id: ConnectionId) {
        if let Some(connection) = self.clients.connection(id.slot) {
            connection.set_paused(false, self.flow.high());
        }
        self.flow.receive_changes.push((id, false));
    }
}

/// Whether a reason for a pause still applies: the consumer may have caught up since.
fn reason_applies(clients: &Clients, reason: Reason) -> bool {
    let Reason::Client { slot, cause } = reason else {
        return true;
    };
    let connection = clients.connections().get(slot);
    connection.is_some_and(|connection| connection.is_backlogged_by(cause))
}
