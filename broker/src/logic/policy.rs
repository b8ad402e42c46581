//! A new policy: the password and ACL files were read again.
//!
//! Invariants: from then on nothing goes by the old rules: subscriptions stand but bring only what may be read, queued
//! messages, retained messages and Wills are checked as they are delivered. Who lost the user name, or has another
//! password now, is disconnected; nobody else notices.

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
