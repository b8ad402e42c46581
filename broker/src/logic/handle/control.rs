//! Messages that are for the broker: commands of dynamic security, below `$CONTROL/`.
//!
//! Invariants: only what the access rules let the client publish comes here, and nothing of it goes to subscribers.
//! They are taken by the shell at the end of the same turn; nothing of a command is looked at here.

use mqtt::packet::Publish;

use crate::auth::ControlMessage;
use crate::auth::dynamic::CONTROL_TOPIC;
use crate::logic::Shard;
use crate::logic::handle::Handler;

impl Handler<'_> {
    /// Keeps a message for [`Shard::take_control_messages`]; one under another topic than that of commands is dropped,
    /// as mosquitto drops it.
    #[cold]
    pub(super) fn pass_to_broker(&mut self, topic: &str, publish: &Publish<'_>) {
        if topic != CONTROL_TOPIC {
            return;
        }
        let session = self.shard.delivery.clients.session(self.session);
        let identity = session
            .and_then(|session| session.rights())
            .and_then(|rights| rights.access().identity());
        let Some(identity) = identity else {
            // Without rules no topic is for the broker.
            return;
        };
        self.shard.control_messages.push(ControlMessage {
            listener: identity.listener,
            client_identifier: identity.client_identifier.clone(),
            user: identity.user_name.clone(),
            payload: publish.payload.into(),
        });
    }
}

impl Shard {
    /// The messages for the broker that have come since the last call.
    pub fn take_control_messages(&mut self) -> Vec<ControlMessage> {
        std::mem::take(&mut self.control_messages)
    }

    /// Whether [`Self::take_control_messages`] has something to give.
    #[inline]
    #[must_use]
    pub fn has_control_messages(&self) -> bool {
        !self.control_messages.is_empty()
    }
}
