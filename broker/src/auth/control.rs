//! Commands of clients for the broker: messages on `$CONTROL/dynamic-security/v1`.
//!
//! Invariants: whoever sends one may publish there, which the logic has checked. No password is logged.

use std::fmt;

use super::Authentication;
use crate::settings::ListenerId;

/// A message of a client on [`super::dynamic::CONTROL_TOPIC`].
#[derive(Clone, PartialEq, Eq)]
pub struct ControlMessage {
    /// The listener that the client came by.
    pub listener: ListenerId,
    /// What the client calls itself.
    pub client_identifier: Box<str>,
    /// Its user, if it has one.
    pub user: Option<Box<str>>,
    /// Commands, with passwords among them.
    pub payload: Box<[u8]>,
}

/// The answer to a [`ControlMessage`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlAnswer {
    /// For those who have subscribed to [`super::dynamic::RESPONSE_TOPIC`].
    pub payload: Box<[u8]>,
    /// Something is another than before.
    pub has_changed: bool,
    /// The user of the client that sent the commands is not let in any more, or has another password.
    pub ends_its_client: bool,
}

/// Without the payload, which may have passwords.
impl fmt::Debug for ControlMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlMessage")
            .field("client_identifier", &self.client_identifier)
            .finish_non_exhaustive()
    }
}

impl Authentication {
    /// Carries out the commands of a message on [`super::dynamic::CONTROL_TOPIC`]: its answer, if the listener has
    /// dynamic security. What they change is in effect then; the caller wakes the shards. Takes milliseconds and more:
    /// it is for a thread that is no shard's.
    #[must_use]
    pub fn execute(&self, command: &ControlMessage) -> Option<ControlAnswer> {
        let security = self.policy().dynamic(command.listener).cloned()?;
        let user = command.user.as_deref().unwrap_or("(no user)");
        let who = format!("{} ({user})", command.client_identifier.escape_debug());
        let executed = security.execute(&command.payload, &who);
        let mut ends_its_client = false;
        if executed.has_changed {
            self.shared.put(|before| {
                let spared = Some(&*command.client_identifier);
                let now = before.with_dynamic_of_now(before.generation() + 1, spared);
                let user = command.user.as_deref();
                ends_its_client = user.is_some_and(|user| !now.keeps(before, command.listener, user));
                now
            });
        }
        Some(ControlAnswer {
            payload: executed.response.into_bytes().into(),
            has_changed: executed.has_changed,
            ends_its_client,
        })
    }
}
