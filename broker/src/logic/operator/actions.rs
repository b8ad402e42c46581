//! What an operator has done to clients and messages.
//!
//! Invariants: an action that finds nothing changes nothing. A message of an operator is under no access rules; the
//! broker's own topics are not for it.

use mqtt::property::Properties;
use mqtt::{QoS, ReasonCode};

use crate::auth::acl;
use crate::logic::Shard;
use crate::logic::message::{Message, Publisher};
use crate::logic::retained::is_own_to_broker;

impl Shard {
    /// Whether there was a connection to be ended.
    pub(super) fn disconnect_client(&mut self, client: &str, reason: ReasonCode) -> bool {
        let session = self.delivery.sessions().find(client);
        let connection = session.and_then(|session| self.delivery.link(session));
        let Some(connection) = connection else {
            return false;
        };
        self.disconnect(connection, reason, "an operator disconnected it");
        true
    }

    /// Whether there was a session to be ended.
    pub(super) fn end_session_of(&mut self, client: &str) -> bool {
        let Some(session) = self.delivery.sessions().find(client) else {
            return false;
        };
        if self.delivery.link(session).is_some() {
            self.delivery.set_expiry(session, 0);
            return self.disconnect_client(client, ReasonCode::AdministrativeAction);
        }
        self.end_session(session);
        true
    }

    /// Whether the message was published: not to the broker's own topics, and not if there is no room to retain it.
    pub(super) fn publish_for_operator(
        &mut self,
        topic: &str,
        payload: &[u8],
        qos: QoS,
        retain: bool,
    ) -> bool {
        if is_own_to_broker(topic) || retain && self.refuses_retained(topic, payload) {
            return false;
        }
        let message = Message {
            topic,
            qos,
            retain,
            properties: Properties::EMPTY,
            payload,
            publisher: Publisher::REMOTE,
        };
        self.publish(&message, &acl::Access::default());
        true
    }
}
