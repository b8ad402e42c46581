//! Applies a new policy after the password and ACL files were read again.
//!
//! Invariants: from then on the old rules have no effect. Subscriptions stay but deliver only what the client may read;
//! queued messages, retained messages and Wills are checked when they are delivered. A client whose user was removed,
//! or has another password now, is disconnected; no other client is affected.

use std::sync::Arc;

use mqtt::ReasonCode;

use crate::auth::Policy;
use crate::logic::Shard;
use crate::logic::clients::Clients;
use crate::logic::connection::{Connection, ConnectionSlot};
use crate::settings::Settings;
use crate::time::Timestamp;

impl Shard {
    /// Takes a policy; the first one before any connection.
    pub fn set_policy(&mut self, now: Timestamp, policy: Arc<Policy>) {
        self.begin(now);
        let before = self.delivery.set_policy(Arc::clone(&policy));
        let clients = &self.delivery.clients;
        for slot in clients.without_access(self.delivery.settings(), &before, &policy) {
            let why = "its user was removed or has another password";
            self.disconnect(slot, ReasonCode::NotAuthorized, why);
        }
        self.delivery.clients.sessions_mut().renew_access(&policy);
        self.routing.rights_changed();
    }
}

impl Clients {
    /// Connected clients that the policy lets in no more.
    fn without_access(&self, settings: &Settings, before: &Policy, policy: &Policy) -> Vec<ConnectionSlot> {
        let has_lost_access = |connection: &Connection| {
            let by_certificate = settings.listener(connection.listener()).certificate_names_user;
            let session = self.session(connection.session());
            let user = session.and_then(|session| session.user());
            let keeps = |user| by_certificate || policy.keeps(before, connection.listener(), user);
            connection.is_connected() && user.is_some_and(|user| !keeps(user))
        };
        self.slots_where(has_lost_access)
    }
}
