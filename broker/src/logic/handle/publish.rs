//! PUBLISH of a client.
//!
//! Invariants: a message goes to the local sessions and once to each interested shard before it is acknowledged; an
//! identifier of a QoS 2 message that has not been released publishes nothing again [MQTT-4.3.3-10]. Nothing on the way of
//! a QoS 0 message allocates, once the buffers have grown.

use std::borrow::Cow;

use mqtt::frame::PacketType;
use mqtt::packet::Publish;
use mqtt::property::Properties;
use mqtt::{PacketIdentifier, ProtocolVersion, QoS, ReasonCode};

use crate::auth::acl;
use crate::limits;
use crate::logic::Shard;
use crate::logic::connection::ConnectionSlot;
use crate::logic::delivery::fan_out::message_of;
use crate::logic::handle::alias::without_alias;
use crate::logic::message::{Message, RawPacket, Run};
use crate::logic::routing::route::RouteSlot;
use crate::logic::routing::route::TopicAccess;
use crate::logic::session::SessionSlot;
use crate::logic::store;
use crate::time::Timestamp;

impl Shard {
    /// Passes on a run of QoS 0 packets of one topic as they are.
    #[inline]
    pub(in crate::logic) fn publish_run(
        &mut self,
        now: Timestamp,
        slot: ConnectionSlot,
        topic: &str,
        run: &Run<'_>,
    ) {
        let counters = self.delivery.counters();
        counters.publishes_received.add(u64::from(run.count));
        counters.publish_bytes_received.add(run.payload_bytes);
        let Some((route, session)) = self.resolve_for(slot, topic) else {
            return;
        };
        match self.access_to(slot, route, session, topic) {
            TopicAccess::Allowed => {}
            access => return self.deny(now, slot, access, QoS::AtMostOnce, None),
        }
        self.publish_run_on(now, route, run, session);
    }

    /// A PUBLISH that is more than a QoS 0 message to be passed on.
    ///
    /// [MQTT3-3.3.4-1], [MQTT3-4.3.2-2], [MQTT3-4.3.3-2], [MQTT-3.3.4-1], [MQTT-4.3.2-5]
    pub(in crate::logic) fn handle_publish(
        &mut self,
        now: Timestamp,
        slot: ConnectionSlot,
        publish: &Publish<'_>,
        raw: RawPacket<'_>,
    ) {
        let counters = self.delivery.counters();
        counters.publishes_received.add(1);
        counters.publish_bytes_received.add(publish.payload.len() as u64);
        if publish.properties.is_empty() {
            if self.may_publish(now, slot, publish) {
                self.publish_from(now, slot, publish, publish.topic, Properties::EMPTY, Some(raw));
            }
            return;
        }
        let Ok(alias) = self.check_properties(now, slot, publish) else {
            return;
        };
        if !self.may_publish(now, slot, publish) {
            return;
        }
        let Some(alias) = alias else {
            return self.publish_from(now, slot, publish, publish.topic, publish.properties, Some(raw));
        };
        let Some(topic) = self.resolve_alias(now, slot, alias, publish.topic) else {
            return;
        };
        let properties = without_alias(publish.properties);
        self.publish_from(now, slot, publish, &topic, properties.as_properties(), None);
        // The name goes back into the map.
        self.set_alias(slot, alias, topic);
    }

    /// Publishes a message of a client, acknowledges it.
    ///
    /// [MQTT3-3.3.1-9], [MQTT3-3.3.1-12], [MQTT-3.3.1-8]
    fn publish_from(
        &mut self,
        now: Timestamp,
        slot: ConnectionSlot,
        publish: &Publish<'_>,
        topic: &str,
        properties: Properties<'_>,
        raw: Option<RawPacket<'_>>,
    ) {
        let Some(whole) = self.whole_topic(slot, topic) else {
            return self.deny(
                now,
                slot,
                TopicAccess::TooDeep,
                publish.qos,
                publish.packet_identifier,
            );
        };
        // What came is not what goes on where a mount point stands in front.
        let raw = raw.filter(|_| matches!(whole, Cow::Borrowed(_)));
        let topic = &*whole;
        let Some((route, session)) = self.resolve_for(slot, topic) else {
            return;
        };
        match self.access_to(slot, route, session, topic) {
            TopicAccess::Allowed => {}
            access => return self.deny(now, slot, access, publish.qos, publish.packet_identifier),
        }
        if publish.payload.len() > self.delivery.settings.payload_bytes_max as usize {
            return self.refuse_payload(slot, publish);
        }
        if self.delivery.settings.check_payload_format && !is_as_indicated(properties, publish.payload) {
            self.delivery.counters().publishes_dropped.add(1);
            let (qos, identifier) = (publish.qos, publish.packet_identifier);
            return self.acknowledge_with(slot, qos, identifier, ReasonCode::PayloadFormatInvalid);
        }
        if publish.retain && self.refuses_retained(topic, publish.payload) {
            self.delivery.counters().publishes_dropped.add(1);
            let (qos, identifier) = (publish.qos, publish.packet_identifier);
            return self.acknowledge_with(slot, qos, identifier, ReasonCode::QuotaExceeded);
        }
        if publish.qos == QoS::ExactlyOnce && !self.begin_exactly_once(now, slot, session, publish) {
            return;
        }
        let message = Message {
            topic,
            properties,
            ..message_of(publish, Some(session))
        };
        let source = if publish.retain {
            self.access_of(session)
        } else {
            acl::Access::default()
        };
        let anybody = self.publish_on(now, route, message, raw, &source);
        self.acknowledge(slot, publish.qos, publish.packet_identifier, anybody);
    }

    /// Whether there is no room for one more retained message.
    pub(in crate::logic) fn refuses_retained(&self, topic: &str, payload: &[u8]) -> bool {
        let is_full = || {
            let settings = &self.delivery.settings;
            self.delivery.memory_full || self.retained.is_full_for(topic, payload.len(), settings)
        };
        !payload.is_empty() && is_full()
    }

    /// The route of a topic for a connection, and the connection's session.
    #[inline]
    fn resolve_for(&mut self, slot: ConnectionSlot, topic: &str) -> Option<(RouteSlot, SessionSlot)> {
        let connection = self.delivery.connections.get_mut(slot)?;
        let route = self
            .routing
            .resolve(topic, connection.route, &self.delivery.sessions);
        connection.route = Some(route);
        Some((route, connection.session?))
    }

    /// Whether the connection's client may publish to the topic of a route.
    #[inline]
    fn access_to(
        &mut self,
        slot: ConnectionSlot,
        route: RouteSlot,
        session: SessionSlot,
        topic: &str,
    ) -> TopicAccess {
        let access = self
            .routing
            .route(route)
            .map_or(TopicAccess::Denied, |route| route.access);
        let restricted = self
            .delivery
            .connection(slot)
            .is_none_or(|connection| connection.restricted);
        if restricted && access == TopicAccess::Allowed && !self.delivery.sessions.may_write(session, topic) {
            return TopicAccess::Denied;
        }
        access
    }

    /// What a session's client may do, to be kept with what it leaves.
    fn access_of(&self, session: SessionSlot) -> acl::Access {
        let rights = self
            .delivery
            .sessions
            .get(session)
            .and_then(|session| session.rights());
        rights.map(|rights| rights.access().clone()).unwrap_or_default()
    }

    /// What a client may not publish at all ends its connection.
    fn may_publish(&mut self, now: Timestamp, slot: ConnectionSlot, publish: &Publish<'_>) -> bool {
        let settings = &self.delivery.settings;
        let Some(connection) = self.delivery.connections.get(slot) else {
            return false;
        };
        if publish.qos > settings.listener(connection.listener).qos_max {
            // [MQTT-3.2.2-11]
            self.protocol_error(
                now,
                slot,
                ReasonCode::QoSNotSupported,
                "a QoS above the listener's max_qos",
            );
            return false;
        }
        if publish.retain && !settings.retain_available {
            // [MQTT-3.2.2-14]
            self.protocol_error(
                now,
                slot,
                ReasonCode::RetainNotSupported,
                "retained messages are not available",
            );
            return false;
        }
        true
    }

    /// Takes a QoS 2 message in; false if it is here already, or one too many.
    ///
    /// [MQTT3-4.3.3-2], [MQTT-4.3.3-12], [MQTT-4.3.3-9]
    fn begin_exactly_once(
        &mut self,
        now: Timestamp,
        slot: ConnectionSlot,
        session: SessionSlot,
        publish: &Publish<'_>,
    ) -> bool {
        let Some(packet_identifier) = publish.packet_identifier else {
            return false;
        };
        let version = self
            .delivery
            .connection(slot)
            .map(|connection| connection.version);
        let receive_max = match version {
            Some(ProtocolVersion::V5) => self.delivery.settings.inflight_messages_max,
            _ => limits::PACKET_IDENTIFIERS,
        };
        let Some(session) = self.delivery.sessions.get_mut(session) else {
            return false;
        };
        if session.unreleased().contains(&packet_identifier.get()) {
            self.acknowledge(slot, publish.qos, publish.packet_identifier, true);
            return false;
        }
        if session.unreleased_now() >= usize::from(receive_max) {
            // [MQTT-3.3.4-7], [MQTT-3.3.4-8]
            self.protocol_error(
                now,
                slot,
                ReasonCode::ReceiveMaximumExceeded,
                "Receive Maximum exceeded",
            );
            return false;
        }
        session.begin_release(packet_identifier.get());
        if session.outlives_connection() {
            let client_identifier = &*session.client_identifier;
            self.delivery.store.append(store::Record::Received {
                client_identifier,
                packet_identifier,
            });
        }
        true
    }

    /// PUBACK or PUBREC [MQTT-4.3.2-4], [MQTT-4.3.3-8].
    #[inline]
    fn acknowledge(
        &mut self,
        slot: ConnectionSlot,
        qos: QoS,
        identifier: Option<PacketIdentifier>,
        anybody: bool,
    ) {
        let reason = if anybody {
            ReasonCode::Success
        } else {
            ReasonCode::NoMatchingSubscribers
        };
        self.acknowledge_with(slot, qos, identifier, reason);
    }

    #[inline]
    fn acknowledge_with(
        &mut self,
        slot: ConnectionSlot,
        qos: QoS,
        identifier: Option<PacketIdentifier>,
        reason: ReasonCode,
    ) {
        let Some(identifier) = identifier else { return };
        let packet_type = if qos == QoS::ExactlyOnce {
            PacketType::PubRec
        } else {
            PacketType::PubAck
        };
        self.delivery.send_ack(slot, packet_type, identifier, reason);
    }

    /// A topic that is not for clients (`$SYS`) or not for this one: dropped and acknowledged, with 0x87 in 5.0; too many
    /// levels close.
    ///
    /// [MQTT3-3.3.5-2]
    fn deny(
        &mut self,
        now: Timestamp,
        slot: ConnectionSlot,
        access: TopicAccess,
        qos: QoS,
        identifier: Option<PacketIdentifier>,
    ) {
        if access == TopicAccess::TooDeep {
            return self.protocol_error(now, slot, ReasonCode::TopicNameInvalid, "too many topic levels");
        }
        self.acknowledge_with(slot, qos, identifier, ReasonCode::NotAuthorized);
    }

    /// A payload above `message_size_limit`: acknowledged, which tells 5.0 of it, and dropped.
    fn refuse_payload(&mut self, slot: ConnectionSlot, publish: &Publish<'_>) {
        self.delivery.counters().publishes_dropped.add(1);
        let reason = ReasonCode::ImplementationSpecificError;
        self.acknowledge_with(slot, publish.qos, publish.packet_identifier, reason);
    }
}

/// Whether a payload is UTF-8 where its Payload Format Indicator says so.
pub(in crate::logic) fn is_as_indicated(properties: Properties<'_>, payload: &[u8]) -> bool {
    properties.payload_format_indicator() != Some(true) || std::str::from_utf8(payload).is_ok()
}
