//! Writes the CONNACK, which accepts the client and lists the broker's limits, or refuses the client.
//!
//! Invariant: a CONNACK that refuses contains less about the reason than the log.

use mqtt::error::{DecodeError, DecodeErrorKind};
use mqtt::frame::PacketType;
use mqtt::packet::ConnAck;
use mqtt::{ProtocolVersion, ReasonCode};

use crate::auth::enhanced;
use crate::logic::Shard;
use crate::logic::aliases::Aliases;
use crate::logic::connect_request::{ConnectRequest, MalformedConnect};
use crate::logic::connection::{Connection, ConnectionSlot};
use crate::logic::counters::{ConnectRefusal, DisconnectCause};
use crate::logic::handle::granted::{Admitted, Granted};
use crate::logic::inconsistency::unreachable_state;

impl Shard {
    /// Sends the CONNACK, and then the messages that waited for the client.
    ///
    /// [MQTT3-3.2.0-1], [MQTT3-3.2.2-1], [MQTT3-3.2.2-2], [MQTT3-3.2.2-3], [MQTT-3.2.0-2], [MQTT-3.2.2-3],
    /// [MQTT-4.12.0-6]
    pub(super) fn accept(
        &mut self,
        slot: ConnectionSlot,
        connect: &ConnectRequest,
        admitted: &Admitted<'_>,
        session_present: bool,
        authenticated: Option<&enhanced::Authenticated>,
    ) {
        let settings = self.delivery.settings();
        let connection = self.delivery.clients.connections().get(slot);
        let listener = connection.map(Connection::listener).unwrap_or_default();
        let granted = Granted::new(settings, connect);
        let keep_alive_s = granted.keep_alive_s();
        let mut properties = granted.properties(settings.listener(listener), admitted);
        if let Some(authenticated) = authenticated {
            // [MQTT-4.12.0-5]; both are short.
            let _ = properties.extend_raw(enhanced::properties(&authenticated.data).as_properties());
        }
        let (alias_max_own, seed) = (settings.topic_alias_outbound_max, settings.hash_seed);
        let Some(connection) = self.delivery.clients.connection(slot) else {
            return unreachable_state("a CONNACK for a connection that is gone");
        };
        connection.set_keep_alive(keep_alive_s);
        let Some(session) = connection.session() else {
            return unreachable_state("a CONNACK without a session");
        };
        if let Some(aliases) = Aliases::new(connect.topic_alias_max.min(alias_max_own), seed) {
            connection.set_outbound_aliases(aliases);
        }
        let is_new = !session_present;
        // The bit is 3.1.1's and later [MQTT-3.2.2-2].
        let session_present = session_present && connect.version != ProtocolVersion::V3_1;
        if self.delivery.journal.has_changed() {
            self.delivery.defer_output(slot);
        }
        let sent = self.delivery.send_connack(slot, is_new, |out, version| {
            let properties = properties.as_properties();
            ConnAck {
                session_present,
                reason: ReasonCode::Success,
                properties,
            }
            .encode(version, out);
        });
        self.delivery.clients.watch_keep_alive(&mut self.timers, slot);
        let counters = self.delivery.counters();
        counters.connects_accepted.add(1);
        counters.clients_connected.add(1);
        counters
            .clients_connected_max
            .raise(counters.clients_connected.get());
        if !sent {
            // Nothing may precede a CONNACK, and without one there is no connection.
            let cause = DisconnectCause::Broker(ReasonCode::PacketTooLarge);
            return self.close(
                slot,
                "its Maximum Packet Size has no room for the CONNACK",
                false,
                cause,
            );
        }
        self.delivery.send_waiting(session);
    }

    /// Refuses a malformed CONNECT: in MQTT 5.0, and where 3.x has a return code for it, with a CONNACK.
    ///
    /// [MQTT3-3.1.4-1], [MQTT3-3.2.2-6], [MQTT-3.1.4-1], [MQTT-3.14.0-1]
    pub(super) fn refuse_malformed(&mut self, slot: ConnectionSlot, malformed: &MalformedConnect) {
        let MalformedConnect { error, version, .. } = *malformed;
        let why = format!("{error} {}", error.statement());
        let answered = match (error.kind, version) {
            // An unknown level gets the answer of 3.1.1 [MQTT-3.1.2-2].
            (DecodeErrorKind::UnsupportedProtocolLevel(_), _) => Some(ProtocolVersion::V3_1_1),
            (DecodeErrorKind::ClientIdentifierEmpty, version) => version,
            (_, Some(ProtocolVersion::V5)) => version,
            _ => None,
        };
        let (Some(version), Some(connection)) = (answered, self.delivery.clients.connection(slot)) else {
            return self.close_malformed(slot, error);
        };
        connection.set_version(version);
        let reason = Some(error.reason()).filter(|reason| reason.belongs_to(PacketType::ConnAck));
        self.delivery.counters().protocol_errors.add(1);
        let reason = reason.unwrap_or(ReasonCode::MalformedPacket);
        self.refuse_connect(slot, reason, &why, &why);
    }

    /// Closes a connection whose CONNECT gets no answer; nothing may precede a CONNACK, so no DISCONNECT is sent
    /// either.
    pub(super) fn close_malformed(&mut self, slot: ConnectionSlot, error: DecodeError) {
        let why = format!("{error} {}", error.statement());
        self.delivery.counters().protocol_errors.add(1);
        self.close(slot, &why, false, DisconnectCause::Broker(error.reason()));
    }

    /// Sends a CONNACK with an error and closes [MQTT-3.2.2-7]. It says less than the log.
    ///
    /// [MQTT3-3.1.4-5], [MQTT3-3.2.2-5], [MQTT-3.1.4-6], [MQTT-4.12.0-4]
    pub(super) fn refuse_connect(
        &mut self,
        slot: ConnectionSlot,
        reason: ReasonCode,
        for_client: &str,
        why: &str,
    ) {
        self.delivery
            .counters()
            .connects_refused
            .add(ConnectRefusal(reason), 1);
        self.delivery
            .send_explained(slot, Some(for_client), |out, version, properties| {
                ConnAck {
                    session_present: false,
                    reason,
                    properties,
                }
                .encode(version, out);
            });
        self.close(slot, why, false, DisconnectCause::Broker(reason));
    }
}
