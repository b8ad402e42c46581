//! Actions of operators on clients and messages.
//!
//! Invariants: an action that finds nothing changes nothing. Access rules do not apply to an operator's message, but
//! all other checks of a client's message do; it may not use the broker's own topics.

use mqtt::packet::Publish;
use mqtt::property::Properties;
use mqtt::{QoS, ReasonCode};

use crate::auth::acl;
use crate::logic::Shard;
use crate::logic::counters::DisconnectCause;
use crate::logic::delivery::fan_out::message_of;
use crate::logic::handle::no_space::lacks_space;
use crate::logic::handle::publish::check_content;
use crate::logic::message::{Message, Publisher};
use crate::logic::operator::NotPublished;
use crate::logic::retained::is_own_to_broker;
use crate::logic::routing::route::TopicAccess;
use crate::logic::session::ends::SessionEnd;

impl Shard {
    /// Disconnects a client; returns whether there was a connection.
    pub(super) fn disconnect_client(&mut self, client: &str, reason: ReasonCode, operator: &str) -> bool {
        let session = self.delivery.clients.sessions().find(client);
        let connection = session.and_then(|session| self.delivery.clients.link(session));
        let Some(connection) = connection else {
            return false;
        };
        // The operator's name is for operators, and not for the client.
        let detail = format!("{operator}, with reason code {} ({reason})", reason as u8);
        let why = "an operator disconnected it";
        self.disconnect_with(connection, reason, why, DisconnectCause::Operator, &detail);
        true
    }

    /// Ends a session; returns whether there was one.
    pub(super) fn end_session_of(&mut self, client: &str, operator: &str) -> bool {
        let Some(session) = self.delivery.clients.sessions().find(client) else {
            return false;
        };
        if self.delivery.clients.link(session).is_some() {
            self.delivery.set_expiry(session, 0);
            return self.disconnect_client(client, ReasonCode::AdministrativeAction, operator);
        }
        self.end_session(session, SessionEnd::Operator);
        true
    }

    /// Deletes a retained message; returns whether there was one.
    pub(super) fn delete_retained(&mut self, topic: &str) -> bool {
        self.retained.get(topic).is_some()
            && self
                .publish_checked(&published(topic, &[], QoS::AtMostOnce, true))
                .is_ok()
    }

    /// Publishes a message of the operator, after the checks of a client's message.
    pub(super) fn publish_for_operator(
        &mut self,
        topic: &str,
        payload: &[u8],
        qos: QoS,
        retain: bool,
    ) -> Result<(), NotPublished> {
        if retain && !self.settings().retain_available {
            return Err(NotPublished::NoRetained);
        }
        self.publish_checked(&published(topic, payload, qos, retain))
    }

    fn publish_checked(&mut self, publish: &Publish<'_>) -> Result<(), NotPublished> {
        let topic = publish.topic;
        if is_own_to_broker(topic) {
            return Err(NotPublished::OwnToBroker);
        }
        let sessions = self.delivery.clients.sessions();
        let route = self.routing.resolve_whole(topic, sessions, &mut self.work);
        match self.routing.route(route).map(|route| route.access) {
            Some(TopicAccess::Allowed) => {}
            Some(TopicAccess::TooDeep) => return Err(NotPublished::TooDeep),
            Some(TopicAccess::Denied | TopicAccess::Control) | None => return Err(NotPublished::OwnToBroker),
        }
        check_content(&self.delivery, &self.retained, publish, topic, Properties::EMPTY)?;
        if lacks_space(&self.delivery, &self.routing, route, publish, topic) {
            return Err(NotPublished::NoSpace);
        }
        let message = Message {
            publisher: Publisher::REMOTE,
            ..message_of(publish, None)
        };
        self.publish_to_route(route, message, None, &acl::Access::default());
        Ok(())
    }
}

/// The packet that a client would have sent.
fn published<'a>(topic: &'a str, payload: &'a [u8], qos: QoS, retain: bool) -> Publish<'a> {
    Publish {
        dup: false,
        qos,
        retain,
        topic,
        packet_identifier: None,
        properties: Properties::EMPTY,
        payload,
    }
}
