//! Applies a new policy after the password and ACL files were read again.
//!
//! Invariants: from then on the old rules have no effect. Subscriptions stay but deliver only what the client may
//! read; queued messages, retained messages and Wills are checked when they are delivered. Subscriptions that roles of
//! dynamic security no longer allow are ended. A client whose user was removed, or now has another password, or that
//! lost a subscription, is disconnected; no other client is affected.

use std::sync::Arc;

use mqtt::ReasonCode;

use crate::auth::Policy;
use crate::logic::Shard;
use crate::logic::clients::Clients;
use crate::logic::connection::{Connection, ConnectionSlot};
use crate::logic::routing::Routing;
use crate::logic::session::SessionSlot;
use crate::logic::session::rights::Rights;
use crate::logic::store::Record;
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
        let changed = self.delivery.clients.sessions_mut().renew_access(&policy);
        self.routing.rights_changed();
        for session in changed {
            self.check_subscriptions(session);
        }
    }

    /// Ends the subscriptions of a session that its rules no longer allow. If there were any, its client is
    /// disconnected: otherwise it would wait for messages that never arrive.
    fn check_subscriptions(&mut self, session: SessionSlot) {
        let clients = &self.delivery.clients;
        let denied = self.routing.filters_where(clients, session, |rights, filter| {
            !rights.access().may_subscribe(filter)
        });
        for filter in &denied {
            self.drop_subscription(session, filter);
            let delivery = &mut self.delivery;
            delivery.record(session, |session| Record::Unsubscribed { session, filter });
        }
        let link = self.delivery.clients.link(session);
        if let Some(slot) = link.filter(|_| !denied.is_empty()) {
            let why = "it may not have a subscription any more that it has";
            self.disconnect(slot, ReasonCode::AdministrativeAction, why);
        }
    }
}

impl Routing {
    /// The whole filters of a session for which that is so; none if it has no rules.
    fn filters_where(
        &self,
        clients: &Clients,
        session: SessionSlot,
        is_it: impl Fn(&Rights, &str) -> bool,
    ) -> Vec<Box<str>> {
        let Some(session) = clients.session(session) else {
            return Vec::new();
        };
        let Some(rights) = session.rights() else {
            return Vec::new();
        };
        let alone = session.subscriptions().iter();
        let alone = alone.filter_map(|listed| self.name(listed.filter));
        let shared = session.shares().iter();
        let shared = shared.filter_map(|listed| Some(&*self.group(listed.group)?.name));
        let filters = alone.chain(shared).filter(|filter| is_it(rights, filter));
        filters.map(Into::into).collect()
    }
}

impl Clients {
    /// Connected clients that the policy no longer accepts.
    fn without_access(&self, settings: &Settings, before: &Policy, policy: &Policy) -> Vec<ConnectionSlot> {
        let has_lost_access = |connection: &Connection| {
            let by_certificate = settings.listener(connection.listener()).certificate_names_user;
            let session = self.session(connection.session());
            let user = session.and_then(|session| session.user());
            let listener = connection.listener();
            let keeps =
                |user| by_certificate && !policy.is_dynamic(listener) || policy.keeps(before, listener, user);
            let is_spared = |client: &str| policy.spares(client);
            let has_token = session.is_some_and(|session| session.ends_at().is_some());
            connection.is_connected()
                && !has_token
                && user.is_some_and(|user| !keeps(user))
                && !session.is_some_and(|session| is_spared(session.client_identifier()))
        };
        self.slots_where(has_lost_access)
    }
}
