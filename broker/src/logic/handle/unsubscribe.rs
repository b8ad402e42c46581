//! UNSUBSCRIBE.
//!
//! Invariant: once the UNSUBACK is out no message published later goes to the session by that filter [MQTT-3.10.4-2];
//! what is in flight or queued is still delivered [MQTT-3.10.4-3].

use mqtt::ReasonCode;
use mqtt::frame::PacketType;
use mqtt::packet::Unsubscribe;

use super::super::Shard;
use super::super::connection::NONE;
use super::super::reason_string;
use super::super::session::Held;
use super::super::store::Record;
use crate::log;

impl Shard {
    /// Takes subscriptions away, filter by filter [MQTT-3.10.4-6].
    pub(in crate::logic) fn handle_unsubscribe(&mut self, slot: u32, unsubscribe: &Unsubscribe<'_>) {
        let session = self.session_of(slot);
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
        self.clients
            .send_explained(slot, why, |out, version, properties| {
                mqtt::encode::unsuback(packet_identifier, properties, &reasons, version, out);
            });
    }

    /// All subscriptions of a session that ends.
    pub(in crate::logic) fn drop_subscriptions(&mut self, session: u32) {
        while let Some(&held) = self
            .clients
            .sessions
            .get(session)
            .and_then(|session| session.subscriptions.last())
        {
            self.drop_subscription(session, held);
        }
    }

    fn unsubscribe(&mut self, session: u32, filter: &str) -> ReasonCode {
        let found = self
            .subscriptions
            .find(filter)
            .and_then(|filter| self.held(session, filter));
        let Some(held) = found else {
            return ReasonCode::NoSubscriptionExisted;
        };
        if let Some(session) = self.clients.sessions.get(session) {
            tracing::info!(target: log::UNSUBSCRIBE, "{} {filter}", session.client_identifier);
        }
        if let Some(session) = self
            .clients
            .sessions
            .get(session)
            .filter(|session| session.outlives_connection())
        {
            let client_identifier = &*session.client_identifier;
            self.clients.store.append(Record::Unsubscribed {
                client_identifier,
                filter,
            });
        }
        self.drop_subscription(session, held);
        ReasonCode::Success
    }

    /// The subscription of a session to a filter: looked for in the shorter of their two lists.
    pub(in crate::logic) fn held(&self, session: u32, filter: u32) -> Option<Held> {
        let subscribers = &self.subscriptions.filter(filter)?.subscribers;
        let held = &self.clients.sessions.get(session)?.subscriptions;
        if held.len() <= subscribers.len() {
            return held.iter().find(|held| held.filter == filter).copied();
        }
        let position = subscribers
            .iter()
            .position(|subscriber| subscriber.session == session)?;
        Some(Held {
            filter,
            position: u32::try_from(position).unwrap_or(NONE),
        })
    }

    fn drop_subscription(&mut self, session: u32, held: Held) {
        let filter = held.filter;
        if let Some(session) = self.clients.sessions.get_mut(session)
            && let Some(at) = session
                .subscriptions
                .iter()
                .rposition(|other| other.filter == filter)
        {
            session.subscriptions.swap_remove(at);
        }
        let Some(removed) = self.subscriptions.remove(filter, held.position) else {
            return;
        };
        if let Some(moved) = removed.moved {
            self.move_subscription(moved, filter, held.position);
        }
        self.clients.counters().subscriptions.sub(1);
        self.filter_changed(filter);
        if removed.last {
            let name = self
                .subscriptions
                .filter(filter)
                .map(|filter| filter.name.clone());
            self.announce(&name.unwrap_or_default(), false);
            self.subscriptions.drop_unused(filter);
        }
    }

    /// A session's place in a filter's list changed.
    fn move_subscription(&mut self, session: u32, filter: u32, position: u32) {
        let Some(session) = self.clients.sessions.get_mut(session) else {
            return;
        };
        if let Some(held) = session
            .subscriptions
            .iter_mut()
            .find(|held| held.filter == filter)
        {
            held.position = position;
        }
    }

    /// The routes of a filter's topics are to be resolved again.
    pub(in crate::logic) fn filter_changed(&mut self, filter: u32) {
        if let Some(filter) = self.subscriptions.filter(filter) {
            self.routes.filter_changed(&filter.name, filter.is_wildcard());
        }
    }
}
