//! Adds and removes subscriptions. A session is an entry in the filter's list of subscribers, and the filter is an
//! entry in the session's list of subscriptions.
//!
//! Invariants: each entry has the position of the other one, so removing a subscription takes a fixed number of steps.
//! The first subscription of this shard to a filter, and the end of the last one, are announced to the other shards.

use crate::limits;
use crate::logic::clients::Clients;
use crate::logic::delivery::Delivery;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::outbox::Outboxes;
use crate::logic::routing::Routing;
use crate::logic::routing::subscription::{
    Added, FilterSlot, Position, SessionPosition, Subscriber, is_wildcard,
};
use crate::logic::session::{Branches, Session, SessionSlot, SessionSubscription};

impl Routing {
    /// Adds a session to the list of a filter that it is not in.
    pub(super) fn add_subscription(
        &mut self,
        delivery: &mut Delivery,
        outboxes: &mut Outboxes,
        filter: FilterSlot,
        name: &str,
        subscriber: Subscriber,
    ) {
        let Some(added) = self.add(filter, subscriber) else {
            return unreachable_state("a filter that is gone");
        };
        let (Added::First { position } | Added::Another { position }) = added;
        if let Some(session) = delivery.clients.session_mut(subscriber.session) {
            session.list_subscription(SessionSubscription { filter, position });
        }
        delivery.counters().subscriptions.add(1);
        self.count_branches(delivery, subscriber.session, name);
        if matches!(added, Added::First { .. }) {
            outboxes.announce_interest(name, true);
        }
    }

    /// Removes all subscriptions of a session that ends.
    pub(super) fn drop_subscriptions(
        &mut self,
        delivery: &mut Delivery,
        outboxes: &mut Outboxes,
        session: SessionSlot,
    ) {
        while let Some(session_left) = delivery.clients.session(session)
            && let Some(at) = session_left.last_subscription()
        {
            self.drop_subscription(delivery, outboxes, session, at);
        }
        while let Some(session_left) = delivery.clients.session(session)
            && let Some(at) = session_left.last_share()
        {
            self.leave_group(delivery, outboxes, session, at);
        }
    }

    /// The subscription of a session to a filter and its position in the session's list; searches the shorter of their
    /// two lists.
    ///
    /// [MQTT-3.10.4-1]
    pub(super) fn subscription_of(
        &self,
        clients: &Clients,
        session: SessionSlot,
        filter: FilterSlot,
    ) -> Option<(SessionPosition, SessionSubscription)> {
        let subscribers = self.subscribers(filter);
        let listed = clients.session(session)?.subscriptions();
        if listed.len() <= subscribers.len() {
            let (at, listed) = listed
                .iter()
                .enumerate()
                .find(|(_, listed)| listed.filter == filter)?;
            return Some((SessionPosition::from_index(at), *listed));
        }
        let (at, subscriber) = subscribers
            .iter()
            .enumerate()
            .find(|(_, subscriber)| subscriber.session == session)?;
        let position = Position::from_index(at);
        Some((subscriber.listed_at, SessionSubscription { filter, position }))
    }

    /// Counts the branches of a filter that was added to the session's list.
    pub(super) fn count_branches(&self, delivery: &mut Delivery, slot: SessionSlot, name: &str) {
        let Some(session) = delivery.clients.session_mut(slot).filter(|_| is_wildcard(name)) else {
            // A filter without wildcards has no branches.
            return;
        };
        if let Some(branches) = session.branches() {
            return branches.add(of_subscription(name));
        }
        if session.count_wildcard() < limits::BRANCHES_COUNTED_FROM {
            return;
        }
        let mut branches = Box::new(Branches::new(delivery.settings().hash_seed));
        let Some(session) = delivery.clients.session(slot) else {
            return unreachable_state("a session that subscribes and is gone");
        };
        let listed = session.subscriptions().iter();
        let names = listed.filter_map(|listed| self.name(listed.filter));
        let shares = session.shares().iter();
        let shared = shares.filter_map(|share| self.group(share.group).map(|group| &*group.name));
        for name in names.chain(shared).filter(|name| is_wildcard(name)) {
            branches.add(of_subscription(name));
        }
        if let Some(session) = delivery.clients.session_mut(slot) {
            session.set_branches(branches);
        }
    }

    /// Removes the subscription at a position of the session's list.
    ///
    /// [MQTT3-3.10.4-2], [MQTT3-3.10.4-3]
    pub(super) fn drop_subscription(
        &mut self,
        delivery: &mut Delivery,
        outboxes: &mut Outboxes,
        session: SessionSlot,
        at: SessionPosition,
    ) {
        let Some(leaving) = delivery.clients.session_mut(session) else {
            return unreachable_state("a session that unsubscribes and is gone");
        };
        let Some((SessionSubscription { filter, position }, moved)) = leaving.take_subscription(at) else {
            // It is gone already.
            return;
        };
        if let Some(moved) = moved {
            self.set_listed_at(moved.filter, moved.position, at);
        }
        if let Some(name) = self.name(filter) {
            forget_branches(leaving, name);
        }
        let Some(removed) = self.remove(filter, position) else {
            return unreachable_state("a subscription that its filter does not know");
        };
        if let Some(moved) = removed.moved
            && let Some(session) = delivery.clients.session_mut(moved.session)
        {
            session.set_position(moved.listed_at, position);
        }
        delivery.counters().subscriptions.sub(1);
        if let Some(name) = removed.last_of {
            outboxes.announce_interest(&name, false);
        }
    }
}

impl Clients {
    /// Whether one more filter of a session stays within the bound for the branching of walks.
    pub(super) fn has_room_for_branches(&mut self, session: SessionSlot, name: &str) -> bool {
        let branches = self.session_mut(session).and_then(Session::branches);
        branches.is_none_or(|branches| branches.has_room(of_subscription(name)))
    }
}

/// Removes the branches of a filter.
pub(super) fn forget_branches(session: &mut Session, name: &str) {
    if !is_wildcard(name) {
        return;
    }
    match session.branches() {
        Some(branches) => branches.remove(of_subscription(name)),
        None => session.uncount_wildcard(),
    }
}

/// The filter of a subscription, shared or not.
fn of_subscription(name: &str) -> &str {
    match mqtt::topic::shared(name) {
        Ok(Some(shared)) => shared.filter,
        _ => name,
    }
}
