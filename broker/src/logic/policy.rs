//! Applies a new policy after the password and ACL files were read again.
//!
//! Invariants: from then on the old rules have no effect. Subscriptions stay but deliver only what the client may read;
//! queued messages, retained messages and Wills are checked when they are delivered. A client whose user was removed,
//! or has another password now, is disconnected; no other client is affected.

use std::sync::Arc;

use mqtt::ReasonCode;

use crate::auth::Policy;
use crate::auth::acl::Access;
use crate::logic::Shard;
use crate::logic::connection::Stage;
use crate::logic::session::SessionSlot;
use crate::time::Timestamp;

impl Shard {
    /// Takes a policy; the first one before any connection.
    pub fn set_policy(&mut self, now: Timestamp, policy: Arc<Policy>) {
        self.begin(now);
        let before = self.delivery.set_policy(Arc::clone(&policy));
        self.disconnect_unauthenticated(&before, &policy);
        self.delivery.sessions_mut().renew_access(&policy);
        self.routing.rights_changed();
    }

    /// What the client of a session may do from now on.
    pub(super) fn give_rights(&mut self, session: SessionSlot, access: &Access) {
        if self.delivery.sessions_mut().set_access(session, access) {
            self.routing.rights_changed();
        }
    }

    fn disconnect_unauthenticated(&mut self, before: &Policy, policy: &Policy) {
        let mut without_access = Vec::new();
        for (slot, connection) in self.delivery.connections().iter() {
            let by_certificate = self
                .delivery
                .settings()
                .listener(connection.listener)
                .certificate_names_user;
            let session = self.delivery.session(connection.session);
            let user = session.and_then(|session| session.user());
            let has_lost_access = |user| !by_certificate && !policy.keeps(before, connection.listener, user);
            if connection.stage == Stage::Connected && user.is_some_and(has_lost_access) {
                without_access.push(slot);
            }
        }
        for slot in without_access {
            self.disconnect(
                slot,
                ReasonCode::NotAuthorized,
                "its user was removed or has another password",
            );
        }
    }
}
