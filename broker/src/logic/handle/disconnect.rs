//! DISCONNECT: the client goes.

use mqtt::packet::Disconnect;
use mqtt::{ProtocolVersion, ReasonCode};

use crate::logic::Shard;
use crate::logic::connection::ConnectionSlot;
use crate::logic::session::NEVER_EXPIRES;
use crate::logic::store::Record;
use crate::time::Timestamp;

impl Shard {
    /// Closes; without the Will unless it is asked for [MQTT-3.14.4-3].
    ///
    /// [MQTT3-3.14.4-3], [MQTT-4.13.2-1]
    pub(in crate::logic) fn handle_disconnect(
        &mut self,
        now: Timestamp,
        slot: ConnectionSlot,
        disconnect: &Disconnect<'_>,
    ) {
        if let Some(expiry_s) = disconnect.properties.session_expiry_interval_s()
            && !self.change_expiry(slot, expiry_s)
        {
            // [MQTT-3.1.2-23], and section 3.14.2.2.2.
            return self.protocol_error(
                now,
                slot,
                ReasonCode::ProtocolError,
                "Session Expiry Interval was zero at CONNECT",
            );
        }
        let with_will = disconnect.reason != ReasonCode::NormalDisconnection;
        self.close(now, slot, "the client disconnected", with_will);
    }

    /// False if the session was to end with its connection and now is not.
    fn change_expiry(&mut self, slot: ConnectionSlot, expiry_s: u32) -> bool {
        let persistent_s = self.delivery.settings.persistent_client_expiration_s;
        let Some(connection) = self.delivery.connection(slot) else {
            return true;
        };
        let (session, version) = (connection.session, connection.version);
        let Some(session) = self.delivery.sessions.get_mut(session) else {
            return true;
        };
        if version != ProtocolVersion::V5 {
            return true;
        }
        if session.expiry_s == 0 && expiry_s > 0 {
            return false;
        }
        let outlived = session.outlives_connection();
        session.expiry_s = bounded_expiry_s(expiry_s, persistent_s);
        let (client_identifier, expiry_s) = (&*session.client_identifier, session.expiry_s);
        if expiry_s > 0 {
            self.delivery.store.append(Record::Session {
                client_identifier,
                expiry_s,
            });
        } else if outlived {
            self.delivery
                .store
                .append(Record::SessionEnded { client_identifier });
        }
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
