//! Changes, requests and barriers of retained messages on their way between shards.
//!
//! Invariants: a request is added to an outbox before the barrier that its answer waits for, and a barrier is passed
//! on after everything that was sent before it arrived. Otherwise the answer could miss a change.

use super::{Owners, RequestId, RetainedChange, RetainedMessages, RetainedNote, is_own_to_broker};
use crate::auth::acl;
use crate::logic::counters::ShardCounters;
use crate::logic::delivery::Delivery;
use crate::logic::delivery::journal::StoredPublication;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::message::Message;
use crate::logic::outbox::Outboxes;
use crate::logic::routing::Routing;
use crate::logic::timer::Timers;
use crate::turn::WorkBudget;

impl RetainedMessages {
    /// Sends a message with RETAIN to the owner of its topic and to the other shards with interest. Returns it, with
    /// its number, to be delivered to the subscribers here.
    pub(in crate::logic) fn retain(
        &mut self,
        delivery: &mut Delivery,
        outboxes: &mut Outboxes,
        timers: &mut Timers,
        interested: &[u16],
        message: &Message<'_>,
        source: &acl::Access,
    ) -> StoredPublication {
        delivery.begin_message();
        let stored = delivery.stored_copy(message);
        let ticket = self.draw_ticket(&stored, delivery.all_counters());
        if delivery.journal.is_open() && !is_own_to_broker(message.topic) {
            let outlives = delivery.settings().retained_persistence;
            delivery.journal.append_retained(&stored, ticket, outlives);
        }
        let owner = self.owner(message.topic);
        let publication = delivery.journal.record_publication(interested, &stored);
        let change = RetainedChange {
            message: &stored,
            ticket,
            publication,
            source,
        };
        self.take_change(delivery.counters(), timers, owner, change);
        let sent = outboxes.send_retained(interested, owner, change);
        delivery.counters().batch_records_sent.add(sent);
        StoredPublication {
            message: Some(stored),
            publication,
        }
    }

    /// Another shard published a message with RETAIN.
    pub(in crate::logic) fn receive(
        &mut self,
        delivery: &mut Delivery,
        routing: &mut Routing,
        work: &mut WorkBudget,
        timers: &mut Timers,
        change: RetainedChange<'_>,
    ) {
        let stored = change.message;
        self.take_change(delivery.counters(), timers, self.owner(stored.topic()), change);
        // For a topic that this shard only owns, a route is usually not worthwhile.
        let has_subscriptions = delivery.counters().subscriptions.get() > 0;
        let mut properties = std::mem::take(&mut self.properties);
        let now = delivery.now();
        let message = if has_subscriptions {
            stored.at(now, &mut properties)
        } else {
            None
        };
        if let Some(message) = message {
            let sessions = delivery.clients.sessions();
            let route = routing.resolve_whole(message.topic, sessions, work);
            if let Some(route) = routing.route(route) {
                let kept = StoredPublication {
                    message: Some(stored.clone()),
                    publication: change.publication,
                };
                delivery.fan_out(route, &message, kept);
            }
        } else {
            delivery.begin_stored(stored);
            delivery.journal.begin(change.publication);
            delivery.note_delivered_to_all();
        }
        self.properties = properties;
    }

    /// Handles another shard's part of a request or a barrier.
    pub(in crate::logic) fn receive_note(
        &mut self,
        delivery: &mut Delivery,
        routing: &Routing,
        outboxes: &mut Outboxes,
        from: u16,
        note: &RetainedNote,
    ) {
        match note {
            RetainedNote::Barrier { number, to } => self.pass_barrier_on(from, *number, *to, outboxes),
            RetainedNote::Reached { of, number } => self.barriers.reach(*of, from, *number),
            RetainedNote::Request { id, barrier, filter } => {
                self.walks.await_barrier(from, *barrier, *id, filter.clone());
            }
            RetainedNote::Cancel(id) => self.walks.cancel(from, *id),
            RetainedNote::Found { id, messages, done } => {
                let messages = messages.iter().cloned();
                self.receive_matches(delivery, routing, outboxes, *id, messages, *done);
            }
        }
    }

    /// Applies a change if this shard is the owner; otherwise remembers its ticket.
    fn take_change(
        &mut self,
        counters: &ShardCounters,
        timers: &mut Timers,
        owner: u16,
        change: RetainedChange<'_>,
    ) {
        if owner != self.me {
            return self.requests.published(change.message.topic(), change.ticket);
        }
        self.apply(change, counters, timers);
    }
}

impl RetainedMessages {
    /// A turn of the shard: checks which barriers were reached, and sets those that are needed.
    pub(super) fn exchange_barriers(&mut self, outboxes: &mut Outboxes) {
        if let Some(number) = self.owned.removed.barrier()
            && self.barriers.all_reached(self.me, number)
        {
            self.owned.removed.reached_barrier();
        }
        self.walks.begin_ready(&self.barriers);
        if self.owned.removed.wants_barrier() {
            let number = self.set_barrier(Some(self.me), outboxes);
            self.owned.removed.set_barrier(number);
        }
        match self.asked.take() {
            None => {}
            Some(Owners::One(owner)) => {
                self.set_barrier(Some(owner), outboxes);
            }
            Some(Owners::All) => {
                self.set_barrier(None, outboxes);
            }
        }
    }

    /// Sends a request to the other shards that own matching topics.
    pub(super) fn send_request(&mut self, id: RequestId, owners: Owners, outboxes: &mut Outboxes) {
        if owners == Owners::One(self.me) {
            return;
        }
        let Some(filter) = self.requests.get(id).map(|request| request.filter.clone()) else {
            return unreachable_state("a request that was just opened");
        };
        let barrier = self.barriers.next();
        for to in self.others_of(owners) {
            let filter = filter.clone();
            outboxes.send_note(to, RetainedNote::Request { id, barrier, filter });
        }
        if self.shards > 2 {
            // With two shards there is no other one to wait for.
            self.asked = match self.asked {
                None => Some(owners),
                Some(before) if before == owners => Some(owners),
                Some(_) => Some(Owners::All),
            };
        }
    }

    /// The answer is no longer awaited.
    pub(in crate::logic) fn cancel_request(&mut self, id: RequestId, outboxes: &mut Outboxes) {
        let Some(owners) = self.requests.drop_one(id) else {
            // All owners have answered, or it was cancelled before.
            return;
        };
        self.walks.cancel(self.me, id);
        for to in self.others_of(owners) {
            outboxes.send_note(to, RetainedNote::Cancel(id));
        }
    }

    fn pass_barrier_on(&self, of: u16, number: u64, to: Option<u16>, outboxes: &mut Outboxes) {
        let concerned = |shard: &u16| match to {
            Some(to) => *shard == to,
            None => *shard != of,
        };
        for to in self.others_of(Owners::All).filter(concerned) {
            outboxes.send_note(to, RetainedNote::Reached { of, number });
        }
    }

    /// Asks all other shards to report to that shard, or to all, when they have reached this point.
    fn set_barrier(&mut self, to: Option<u16>, outboxes: &mut Outboxes) -> u64 {
        let number = self.barriers.set();
        for shard in self.others_of(Owners::All).filter(|&shard| Some(shard) != to) {
            outboxes.send_note(shard, RetainedNote::Barrier { number, to });
        }
        number
    }

    /// The other shards among the owners.
    fn others_of(&self, owners: Owners) -> impl Iterator<Item = u16> + use<> {
        let me = self.me;
        let (first, end) = match owners {
            Owners::One(owner) => (owner, owner + 1),
            Owners::All => (0, self.shards),
        };
        (first..end).filter(move |&shard| shard != me)
    }
}
