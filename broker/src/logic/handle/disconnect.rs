//! Handles DISCONNECT: the client closes its connection.
//!
//! Invariant: a session whose expiry is 0 ends with the connection [MQTT-3.1.2-23].

use mqtt::packet::Disconnect;
use mqtt::{ProtocolVersion, ReasonCode};

use crate::logic::counters::DisconnectCause;
use crate::logic::handle::Handler;
use crate::logic::session::NEVER_EXPIRES;

impl Handler<'_> {
    /// Closes the connection; without the Will unless the client requests it [MQTT-3.14.4-3].
    ///
    /// [MQTT3-3.14.4-3], [MQTT-4.13.2-1]
    pub(in crate::logic) fn handle_disconnect(&mut self, disconnect: &Disconnect<'_>) {
        if let Some(expiry_s) = disconnect.properties.session_expiry_interval_s()
            && !self.change_expiry(expiry_s)
        {
            // [MQTT-3.1.2-23], and section 3.14.2.2.2.
            return self.protocol_error(
                ReasonCode::ProtocolError,
                "Session Expiry Interval was zero at CONNECT",
            );
        }
        let with_will = disconnect.reason != ReasonCode::NormalDisconnection;
        let cause = if with_will {
            DisconnectCause::ClientWithWill
        } else {
            DisconnectCause::Client
        };
        self.shard
            .close(self.slot, "the client disconnected", with_will, cause);
    }

    /// False if the session was to end with its connection and now is not.
    fn change_expiry(&mut self, expiry_s: u32) -> bool {
        let delivery = &mut self.shard.delivery;
        let connection = delivery.clients.connection(self.slot);
        if connection.is_none_or(|connection| connection.version() != ProtocolVersion::V5) {
            return true;
        }
        let ends = delivery
            .clients
            .session(self.session)
            .is_some_and(|session| session.expiry_s() == 0);
        if ends && expiry_s > 0 {
            return false;
        }
        let persistent_s = delivery.settings().persistent_client_expiration_s;
        delivery.set_expiry(self.session, bounded_expiry_s(expiry_s, persistent_s));
        true
    }
}

/// A Session Expiry Interval, bounded by `persistent_client_expiration` where it would never end.
pub(in crate::logic) fn bounded_expiry_s(expiry_s: u32, persistent_s: Option<u64>) -> u32 {
    match persistent_s {
        Some(persistent_s) if expiry_s == NEVER_EXPIRES => {
            u32::try_from(persistent_s).unwrap_or(NEVER_EXPIRES - 1)
        }
        _ => expiry_s,
    }
}
