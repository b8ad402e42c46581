//! The origin of a connection, and the identity of its client.
//!
//! Invariants: none.

use crate::auth::Verdict;
use crate::auth::enhanced::Authenticated;
use crate::auth::token::TokenGrant;
use crate::client_address::ClientAddress;
use crate::logic::connect_request::ConnectRequest;
use crate::settings::{ListenerId, ListenerSettings};

/// The origin of a connection, and what was found out about its client before the session's owner got it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The client's address, or the one in a PROXY header.
    pub address: ClientAddress,
    /// The listener that accepted it.
    pub listener: ListenerId,
    /// The client identifier for a client that sends an empty one.
    pub assigned_client_identifier: Option<Box<str>>,
    /// The user that its certificate names, if the listener uses that.
    pub certificate_identity: Option<Box<str>>,
    /// The result of the check of its user name and password.
    pub verdict: Verdict,
    /// The result of its exchange of AUTH packets.
    pub authenticated: Option<Box<Authenticated>>,
}

impl Peer {
    /// What its token gives it, if it has one.
    #[must_use]
    pub fn grant(&self) -> Option<&TokenGrant> {
        match &self.verdict {
            Verdict::Granted(grant) => Some(grant),
            _ => None,
        }
    }

    /// The user that the client is, or says it is.
    #[must_use]
    pub fn user<'a>(&'a self, connect: &'a ConnectRequest) -> Option<&'a str> {
        let authenticated = self.authenticated.as_deref();
        let authenticated = authenticated.map(|authenticated| &*authenticated.user);
        let granted = self.grant().map(|grant| &*grant.user);
        let proved = self.certificate_identity.as_deref().or(authenticated).or(granted);
        proved.or(connect.user_name.as_deref())
    }

    /// The name of its session: the user name if the listener is configured so, otherwise the client's own identifier,
    /// otherwise the assigned one. Empty if there is none (yet).
    #[must_use]
    pub fn session_name<'a>(&'a self, connect: &'a ConnectRequest, listener: &ListenerSettings) -> &'a str {
        if listener.user_name_is_client_identifier {
            return self.user(connect).unwrap_or_default();
        }
        match &*connect.client_identifier {
            "" => self.assigned_client_identifier.as_deref().unwrap_or_default(),
            own => own,
        }
    }
}
