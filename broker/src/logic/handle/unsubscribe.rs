//! UNSUBSCRIBE.
//!
//! Invariants: once the UNSUBACK is out no message published later goes to the session by that filter [MQTT-3.10.4-2];
//! what is in flight or queued is still delivered [MQTT-3.10.4-3], that of a group too. A Shared Subscription goes by its whole
//! text and by nothing else. Whatever leaves takes a fixed number of steps.

use mqtt::ReasonCode;
use mqtt::frame::PacketType;
use mqtt::packet::Unsubscribe;

use crate::log;
use crate::logic::Shard;
use crate::logic::connection::ConnectionSlot;
use crate::logic::reason_string;
use crate::logic::routing::subscription::{FilterSlot, HeldAt, Position};
use crate::logic::session::Held;
use crate::logic::session::SessionSlot;
use crate::logic::slots::shrink_list;
use crate::logic::store::Record;

impl Shard {
    /// Takes subscriptions away, filter by filter [MQTT-3.10.4-6].
    ///
    /// [MQTT3-3.10.4-5], [MQTT3-3.10.4-6], [MQTT-3.10.4-4], [MQTT-3.11.3-1]
    pub(in crate::logic) fn handle_unsubscribe(
        &mut self,
        slot: ConnectionSlot,
        unsubscribe: &Unsubscribe<'_>,
    ) {
        let Some(session) = self.session_of(slot) else {
            return;
        };
        let reasons: Vec<u8> = unsubscribe
            .filters
            .iter()
            .map(|filter| {
                let filter = self.whole_filter(slot, filter);
                self.unsubscribe(session, &filter) as u8
            })
            .collect();
        let packet_identifier = unsubscribe.packet_identifier;
        let why = reason_string::of_first(PacketType::UnsubAck, &reasons);
        self.delivery
            .send_explained(slot, why, |out, version, properties| {
                mqtt::encode::unsuback(packet_identifier, properties, &reasons, version, out);
            });
    }

    /// All subscriptions of a session that ends.
    pub(in crate::logic) fn drop_subscriptions(&mut self, session: SessionSlot) {
        let last = |held: usize| held.checked_sub(1).map(HeldAt::from_index);
        while let Some(session_left) = self.delivery.sessions.get(session)
            && let Some(at) = last(session_left.subscriptions.len())
        {
            self.drop_subscription(session, at);
        }
        while let Some(session_left) = self.delivery.sessions.get(session)
            && let Some(at) = last(session_left.shares().len())
        {
            self.leave_group(session, at);
        }
    }

    // [MQTT3-3.10.4-1]
    fn unsubscribe(&mut self, session: SessionSlot, filter: &str) -> ReasonCode {
        if !self.drop_named(session, filter) {
            return ReasonCode::NoSubscriptionExisted;
        }
        if let Some(session) = self.delivery.sessions.get(session) {
            let client_identifier = &*session.client_identifier;
            tracing::info!(target: log::UNSUBSCRIBE, "{client_identifier} {filter}");
            if session.outlives_connection() {
                self.delivery.store.append(Record::Unsubscribed {
                    client_identifier,
                    filter,
                });
            }
        }
        ReasonCode::Success
    }

    /// Whether there was a subscription of that whole text.
    fn drop_named(&mut self, session: SessionSlot, filter: &str) -> bool {
        if let Some(group) = self.routing.find_group(filter) {
            let at = self.share_of(session, group);
            return at.inspect(|&at| self.leave_group(session, at)).is_some();
        }
        let filter = self.routing.find(filter);
        let held = filter.and_then(|filter| self.held(session, filter));
        held.inspect(|&(at, _)| self.drop_subscription(session, at))
            .is_some()
    }

    /// The subscription of a session to a filter and its place in the session's list: looked for in the shorter of their two
    /// lists.
    ///
    /// [MQTT-3.10.4-1]
    pub(in crate::logic) fn held(&self, session: SessionSlot, filter: FilterSlot) -> Option<(HeldAt, Held)> {
        let subscribers = self.routing.subscribers(filter);
        let held = &self.delivery.sessions.get(session)?.subscriptions;
        if held.len() <= subscribers.len() {
            let (at, held) = held.iter().enumerate().find(|(_, held)| held.filter == filter)?;
            return Some((HeldAt::from_index(at), *held));
        }
        let (at, subscriber) = subscribers
            .iter()
            .enumerate()
            .find(|(_, subscriber)| subscriber.session == session)?;
        let position = Position::from_index(at);
        Some((subscriber.held_at, Held { filter, position }))
    }

    /// Takes the subscription at a place of the session's list away.
    ///
    /// [MQTT3-3.10.4-2], [MQTT3-3.10.4-3]
    fn drop_subscription(&mut self, session: SessionSlot, at: HeldAt) {
        let Some(leaving) = self.delivery.sessions.get_mut(session) else {
            return;
        };
        if at.index() >= leaving.subscriptions.len() {
            return;
        }
        let Held { filter, position } = leaving.subscriptions.swap_remove(at.index());
        shrink_list(&mut leaving.subscriptions);
        if let Some(moved) = leaving.subscriptions.get(at.index()) {
            self.routing.set_held_at(moved.filter, moved.position, at);
        }
        let Some(removed) = self.routing.remove(filter, position) else {
            return;
        };
        if let Some(moved) = removed.moved
            && let Some(session) = self.delivery.sessions.get_mut(moved.session)
            && let Some(held) = session.subscriptions.get_mut(moved.held_at.index())
        {
            held.position = position;
        }
        self.delivery.counters().subscriptions.sub(1);
        if let Some(name) = removed.last_of {
            self.outboxes.announce_interest(&name, false);
        }
    }
}
