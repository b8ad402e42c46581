//! CONNACK: the client is in, with what it has to know of the broker, or it is refused.
//!
//! Invariant: the client learns less of a refusal than the log.

use mqtt::error::{DecodeError, DecodeErrorKind};
use mqtt::frame::PacketType;
use mqtt::packet::ConnAck;
use mqtt::property::{PropertiesBuf, Property};
use mqtt::{ProtocolVersion, ReasonCode};

use crate::auth::enhanced;
use crate::limits;
use crate::logic::Shard;
use crate::logic::connect_request::{ConnectRequest, MalformedConnect};
use crate::logic::connection::ConnectionSlot;
use crate::logic::delivery::aliases::Aliases;
use crate::logic::handle::admit::Admitted;
use crate::logic::inconsistency::unreachable_state;

impl Shard {
    /// CONNACK, then what waited for the client.
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
        let keep_alive_s = self.keep_alive_s(connect.keep_alive_s);
        let mut properties = self.capabilities(slot, connect, admitted, keep_alive_s);
        if let Some(authenticated) = authenticated {
            // [MQTT-4.12.0-5]; both are short.
            let _ = properties.extend_raw(enhanced::properties(&authenticated.data).as_properties());
        }
        let settings = self.delivery.settings();
        let (alias_max_own, seed) = (settings.topic_alias_outbound_max, settings.hash_seed);
        let Some(connection) = self.delivery.connection(slot) else {
            return unreachable_state("a CONNACK for a connection that is gone");
        };
        connection.keep_alive_s = keep_alive_s;
        let Some(session) = connection.session else {
            return unreachable_state("a CONNACK without a session");
        };
        if let Some(aliases) = Aliases::new(connect.topic_alias_max.min(alias_max_own), seed) {
            connection.rare().outbound_aliases = Some(aliases);
            connection.aliased = true;
        }
        // The bit is 3.1.1's and later [MQTT-3.2.2-2].
        let session_present = session_present && connect.version != ProtocolVersion::V3_1;
        if self.delivery.journal.has_changed() {
            self.delivery.defer_output(slot);
        }
        let sent = self.delivery.send(slot, |out, version| {
            let properties = properties.as_properties();
            ConnAck {
                session_present,
                reason: ReasonCode::Success,
                properties,
            }
            .encode(version, out);
        });
        self.watch_keep_alive(slot);
        let counters = self.delivery.counters();
        counters.connects_accepted.add(1);
        counters.clients_connected.add(1);
        counters
            .clients_connected_max
            .raise(counters.clients_connected.get());
        if !sent {
            // Nothing may stand before a CONNACK, and without one there is no connection.
            return self.close(slot, "its Maximum Packet Size has no room for the CONNACK", false);
        }
        self.delivery.send_waiting(session);
    }

    /// Whether `max_keepalive` forbids the keep alive of a client that cannot learn of another one; mosquitto answers
    /// so.
    pub(super) fn refuses_keep_alive(&self, connect: &ConnectRequest) -> bool {
        connect.version != ProtocolVersion::V5
            && self.keep_alive_s(connect.keep_alive_s) != connect.keep_alive_s
    }

    /// The keep alive that holds: the client's, or `max_keepalive` if that is shorter.
    ///
    /// [MQTT-3.2.2-22]
    pub(super) fn keep_alive_s(&self, asked_s: u16) -> u16 {
        match self.delivery.settings().keep_alive_s_max {
            0 => asked_s,
            keep_alive_s_max if asked_s == 0 => keep_alive_s_max,
            keep_alive_s_max => asked_s.min(keep_alive_s_max),
        }
    }

    /// What a 5.0 client learns of the broker: only what differs from the specification's default.
    ///
    /// [MQTT-3.2.2-9], [MQTT-3.2.2-16], [MQTT-3.2.2-20], [MQTT-3.3.2-12]
    fn capabilities(
        &self,
        slot: ConnectionSlot,
        connect: &ConnectRequest,
        admitted: &Admitted<'_>,
        keep_alive_s: u16,
    ) -> PropertiesBuf {
        let mut properties = PropertiesBuf::new();
        if connect.version != ProtocolVersion::V5 {
            return properties;
        }
        let settings = self.delivery.settings();
        let connection = self.delivery.connections().get(slot);
        let listener = settings.listener(
            connection
                .map(|connection| connection.listener)
                .unwrap_or_default(),
        );
        let mut add = |property: Property<'_>| {
            // Each is short, and there are few.
            let _ = properties.push(property);
        };
        let expiry_s = self.expiry_s(connect);
        if expiry_s != connect.session_expiry_s {
            add(Property::SessionExpiryInterval(expiry_s));
        }
        if let Some(receive_max) =
            std::num::NonZeroU16::new(settings.inflight_messages_max).filter(|m| m.get() < u16::MAX)
        {
            add(Property::ReceiveMaximum(receive_max));
        }
        if listener.qos_max < mqtt::QoS::ExactlyOnce {
            add(Property::MaximumQoS(listener.qos_max));
        }
        if !settings.retain_available {
            add(Property::RetainAvailable(false));
        }
        if let Some(maximum) = std::num::NonZeroU32::new(settings.packet_bytes_max)
            .filter(|m| m.get() < limits::PACKET_BYTES_MAX)
        {
            add(Property::MaximumPacketSize(maximum));
        }
        if admitted.assigned {
            // [MQTT-3.1.3-7]
            add(Property::AssignedClientIdentifier(admitted.client_identifier));
        }
        let topic_alias_max = listener.topic_alias_max.min(limits::TOPIC_ALIASES_MAX);
        if topic_alias_max > 0 {
            add(Property::TopicAliasMaximum(topic_alias_max));
        }
        if keep_alive_s != connect.keep_alive_s {
            // [MQTT-3.1.2-21]
            add(Property::ServerKeepAlive(keep_alive_s));
        }
        // [MQTT-3.1.2-28]
        if connect.wants_response_information
            && let Some(information) = self.response_information(admitted)
        {
            add(Property::ResponseInformation(&information));
        }
        properties
    }

    /// `response_information` for a client. None for one whose names would make more or less than a level of a topic.
    fn response_information(&self, admitted: &Admitted<'_>) -> Option<String> {
        let pattern = self.delivery.settings().response_information.as_deref()?;
        let level = |name: &'_ str| !name.is_empty() && !name.contains(['/', '+', '#']);
        let mut information = pattern.to_owned();
        let user = admitted.user.as_deref().unwrap_or_default();
        for (place, name) in [("%c", admitted.client_identifier), ("%u", user)] {
            if pattern.contains(place) {
                Some(name).filter(|name| level(name))?;
                information = information.replace(place, name);
            }
        }
        Some(information)
    }

    /// A CONNECT that is none: in 5.0, and where 3.x has a return code for it, it is answered before the end.
    ///
    /// [MQTT3-3.1.4-1], [MQTT3-3.2.2-6], [MQTT-3.1.4-1], [MQTT-3.14.0-1]
    pub(super) fn refuse_malformed(&mut self, slot: ConnectionSlot, malformed: &MalformedConnect) {
        let MalformedConnect { error, version, .. } = *malformed;
        let why = format!("{error} {}", error.statement());
        let answered = match (error.kind, version) {
            // A level that nobody knows gets the answer of 3.1.1 [MQTT-3.1.2-2].
            (DecodeErrorKind::UnsupportedProtocolLevel(_), _) => Some(ProtocolVersion::V3_1_1),
            (DecodeErrorKind::ClientIdentifierEmpty, version) => version,
            (_, Some(ProtocolVersion::V5)) => version,
            _ => None,
        };
        let (Some(version), Some(connection)) = (answered, self.delivery.connection(slot)) else {
            return self.close_malformed(slot, error);
        };
        connection.version = version;
        let reason = Some(error.reason()).filter(|reason| reason.belongs_to(PacketType::ConnAck));
        self.delivery.counters().protocol_errors.add(1);
        let reason = reason.unwrap_or(ReasonCode::MalformedPacket);
        self.refuse_connect(slot, reason, &why, &why);
    }

    /// Ends a connection whose CONNECT gets no answer; nothing may stand before a CONNACK, so there is no DISCONNECT
    /// either.
    pub(super) fn close_malformed(&mut self, slot: ConnectionSlot, error: DecodeError) {
        let why = format!("{error} {}", error.statement());
        self.delivery.counters().protocol_errors.add(1);
        self.close(slot, &why, false);
    }

    /// CONNACK with an error, and the end [MQTT-3.2.2-7]. The client learns less than the log.
    ///
    /// [MQTT3-3.1.4-5], [MQTT3-3.2.2-5], [MQTT-3.1.4-6], [MQTT-4.12.0-4]
    pub(super) fn refuse_connect(
        &mut self,
        slot: ConnectionSlot,
        reason: ReasonCode,
        for_client: &str,
        why: &str,
    ) {
        self.delivery.counters().connects_refused.add(1);
        self.delivery
            .send_explained(slot, Some(for_client), |out, version, properties| {
                ConnAck {
                    session_present: false,
                    reason,
                    properties,
                }
                .encode(version, out);
            });
        self.close(slot, why, false);
    }
}
