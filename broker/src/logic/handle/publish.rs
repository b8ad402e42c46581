//! PUBLISH, and what is published otherwise: Wills, `$SYS`.
//!
//! Invariants: a message goes to the local sessions and once to each interested shard before it is acknowledged; an
//! identifier of a QoS 2 message that has not been released publishes nothing again [MQTT-4.3.3-10]. Nothing on the way of
//! a QoS 0 message allocates, once the buffers have grown.

use mqtt::frame::PacketType;
use mqtt::packet::Publish;
use mqtt::property::{Properties, PropertiesBuf, Property};
use mqtt::{PacketIdentifier, ProtocolVersion, QoS, ReasonCode};

use super::super::Shard;
use super::super::batch::{Kind, Record};
use super::super::clients::Run;
use super::super::connection::NONE;
use super::super::interest::encode_message;
use super::super::message::{Message, Publisher, StoredMessage};
use super::super::route::Access;
use super::super::store;
use super::super::time::Timestamp;
use crate::auth::acl as rules;
use crate::limits;

impl Shard {
    /// Passes on a run of QoS 0 packets of one topic as they are.
    #[inline]
    pub(in crate::logic) fn publish_run(
        &mut self,
        now: Timestamp,
        slot: u32,
        topic: &str,
        run: &Run<'_>,
        payload_bytes: u64,
    ) {
        let counters = self.clients.counters();
        counters.publishes_received.add(u64::from(run.count));
        counters.publish_bytes_received.add(payload_bytes);
        let Some((route, session)) = self.resolve_for(slot, topic) else {
            return;
        };
        match self.access_to(slot, route, session, topic) {
            Access::Allowed => {}
            access => return self.deny(now, slot, access, QoS::AtMostOnce, None),
        }
        self.fan_out_run(now, route, run, session);
        let kind = Kind::Run(run.version);
        let Run {
            packets,
            count,
            packet_bytes_max,
            ..
        } = *run;
        self.send_record(
            route,
            Record {
                kind,
                count,
                packet_bytes_max,
                packets,
            },
        );
    }

    /// Gives a run to the local subscribers of a route.
    #[inline]
    pub(in crate::logic) fn fan_out_run(
        &mut self,
        now: Timestamp,
        route: u32,
        run: &Run<'_>,
        publisher: u32,
    ) {
        let Self {
            clients,
            routes,
            fan_out,
            translated,
            ..
        } = self;
        let Some(route) = routes.get(route) else { return };
        fan_out.begin();
        let (mut sent, mut dropped) = (0, 0);
        let mut other = None;
        for target in &route.targets {
            if target.no_local && target.session == publisher {
                continue;
            }
            if clients.deliver_run(target, run, fan_out) {
                continue;
            }
            let shape = *other.get_or_insert_with(|| translate(run, translated));
            if clients.deliver_run(
                target,
                &Run {
                    packets: translated,
                    ..shape
                },
                fan_out,
            ) {
                continue;
            }
            let before = (fan_out.sent, fan_out.dropped);
            for publish in packets(run) {
                let message = message_of(&publish, publish.topic, publish.properties, publisher);
                fan_out.begin();
                clients.deliver(now, target, route.identifiers(target), &message, fan_out);
                sent += fan_out.sent;
                dropped += fan_out.dropped;
            }
            fan_out.begin();
            (fan_out.sent, fan_out.dropped) = before;
        }
        sent += fan_out.sent;
        dropped += fan_out.dropped;
        let counters = clients.counters();
        counters.packets_sent.add(sent);
        counters.publishes_sent.add(sent);
        counters
            .publish_bytes_sent
            .add(sent * run.packets.len() as u64 / u64::from(run.count.max(1)));
        counters.publishes_dropped.add(dropped);
    }

    /// A PUBLISH that is more than a QoS 0 message to be passed on.
    pub(in crate::logic) fn handle_publish(
        &mut self,
        now: Timestamp,
        slot: u32,
        version: ProtocolVersion,
        publish: &Publish<'_>,
        raw: &[u8],
    ) {
        let counters = self.clients.counters();
        counters.publishes_received.add(1);
        counters.publish_bytes_received.add(publish.payload.len() as u64);
        if publish.properties.is_empty() {
            if self.may_publish(now, slot, publish) {
                self.publish_from(
                    now,
                    slot,
                    publish,
                    publish.topic,
                    Properties::EMPTY,
                    Some((version, raw)),
                );
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
            return self.publish_from(
                now,
                slot,
                publish,
                publish.topic,
                publish.properties,
                Some((version, raw)),
            );
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
    fn publish_from(
        &mut self,
        now: Timestamp,
        slot: u32,
        publish: &Publish<'_>,
        topic: &str,
        properties: Properties<'_>,
        raw: Option<(ProtocolVersion, &[u8])>,
    ) {
        let Some((route, session)) = self.resolve_for(slot, topic) else {
            return;
        };
        match self.access_to(slot, route, session, topic) {
            Access::Allowed => {}
            access => return self.deny(now, slot, access, publish.qos, publish.packet_identifier),
        }
        if publish.payload.len() > self.clients.settings.payload_bytes_max as usize {
            return self.refuse_payload(now, slot, publish);
        }
        if publish.qos == QoS::ExactlyOnce && !self.begin_exactly_once(now, slot, session, publish) {
            return;
        }
        let message = message_of(publish, topic, properties, session);
        let source = if publish.retain {
            self.access_of(session)
        } else {
            rules::Access::default()
        };
        let anybody = self.publish_on(now, route, message, raw, &source);
        self.acknowledge(slot, publish.qos, publish.packet_identifier, anybody);
    }

    /// Publishes a message that no packet carries: a Will. `$SYS` is not for it.
    pub(in crate::logic) fn publish(
        &mut self,
        now: Timestamp,
        message: &Message<'_>,
        hint: Option<u32>,
        source: &rules::Access,
    ) {
        let route = self.routes.resolve(
            message.topic,
            hint.unwrap_or(NONE),
            &mut self.subscriptions,
            &self.clients.sessions,
        );
        if self
            .routes
            .get(route)
            .is_some_and(|route| route.access == Access::Allowed)
        {
            self.publish_on(now, route, *message, None, source);
        }
    }

    /// Publishes what the broker says itself, retained.
    pub(in crate::logic) fn publish_own(&mut self, now: Timestamp, topic: &str, payload: &[u8]) {
        let message = Message {
            topic,
            qos: QoS::AtMostOnce,
            retain: true,
            properties: Properties::EMPTY,
            payload,
            publisher: Publisher::ELSEWHERE,
        };
        let route = self
            .routes
            .resolve(topic, NONE, &mut self.subscriptions, &self.clients.sessions);
        self.publish_on(now, route, message, None, &rules::Access::default());
    }

    /// To the local sessions, the other shards, and the retained messages; false if nobody was there.
    fn publish_on(
        &mut self,
        now: Timestamp,
        route: u32,
        mut message: Message<'_>,
        raw: Option<(ProtocolVersion, &[u8])>,
        source: &rules::Access,
    ) -> bool {
        let anybody = message.retain || self.routes.get(route).is_some_and(|route| !route.is_empty());
        if message.retain {
            if let Some(session) = self.clients.sessions.get(message.publisher.session) {
                message.publisher.identity = self.clients.sessions.identity(&session.client_identifier);
            }
            let stored = self.clients.store_message(now, &message);
            let stamp = self.retained.next_stamp();
            self.apply_retained(now, &stored, stamp, source);
            self.send_retained(&stored, stamp, source);
            self.fan_out_message(now, route, &message, Some(&stored));
            return anybody;
        }
        self.fan_out_message(now, route, &message, None);
        if self
            .routes
            .get(route)
            .is_some_and(|route| !route.shards.is_empty())
        {
            self.send_message(route, &message, raw);
        }
        anybody
    }

    /// Gives a message to the local subscribers of a route.
    #[inline]
    pub(in crate::logic) fn fan_out_message(
        &mut self,
        now: Timestamp,
        route: u32,
        message: &Message<'_>,
        stored: Option<&StoredMessage>,
    ) {
        let Self {
            clients,
            routes,
            fan_out,
            ..
        } = self;
        let Some(route) = routes.get(route) else { return };
        fan_out.begin();
        if let Some(stored) = stored {
            fan_out.set_stored(stored.clone());
        }
        for target in &route.targets {
            clients.deliver(now, target, route.identifiers(target), message, fan_out);
        }
        let counters = clients.counters();
        counters.packets_sent.add(fan_out.sent);
        counters.publishes_sent.add(fan_out.sent);
        counters
            .publish_bytes_sent
            .add(fan_out.sent * message.payload.len() as u64);
        counters.publishes_dropped.add(fan_out.dropped);
    }

    /// One record to each interested shard: the packet as it came, or encoded anew.
    fn send_message(&mut self, route: u32, message: &Message<'_>, raw: Option<(ProtocolVersion, &[u8])>) {
        if let Some((version, packets)) = raw {
            let record = Record {
                kind: Kind::Message(version),
                count: 1,
                packet_bytes_max: 0,
                packets,
            };
            return self.send_record(route, record);
        }
        let mut template = std::mem::take(&mut self.remote_template);
        if encode_message(&mut template, message) {
            let mut packets = std::mem::take(&mut self.translated);
            packets.clear();
            template.append_with_identifier(PacketIdentifier::MIN, false, &mut packets);
            let kind = Kind::Message(ProtocolVersion::V5);
            self.send_record(
                route,
                Record {
                    kind,
                    count: 1,
                    packet_bytes_max: 0,
                    packets: &packets,
                },
            );
            self.translated = packets;
        }
        self.remote_template = template;
    }

    /// The route of a topic for a connection, and the connection's session.
    #[inline]
    fn resolve_for(&mut self, slot: u32, topic: &str) -> Option<(u32, u32)> {
        let Self {
            clients,
            routes,
            subscriptions,
            ..
        } = self;
        let connection = clients.connections.get_mut(slot as usize)?;
        let route = routes.resolve(topic, connection.route, subscriptions, &clients.sessions);
        connection.route = route;
        Some((route, connection.session))
    }

    /// Whether the connection's client may publish to the topic of a route.
    #[inline]
    fn access_to(&mut self, slot: u32, route: u32, session: u32, topic: &str) -> Access {
        let access = self
            .routes
            .get(route)
            .map_or(Access::Denied, |route| route.access);
        let restricted = self
            .clients
            .connection(slot)
            .is_none_or(|connection| connection.restricted);
        if restricted && access == Access::Allowed && !self.clients.sessions.may_write(session, topic) {
            return Access::Denied;
        }
        access
    }

    /// What a session's client may do, to be kept with what it leaves.
    fn access_of(&self, session: u32) -> rules::Access {
        let rights = self
            .clients
            .sessions
            .get(session)
            .and_then(|session| session.rights.as_ref());
        rights.map(|rights| rights.access().clone()).unwrap_or_default()
    }

    /// What a client may not publish at all ends its connection.
    fn may_publish(&mut self, now: Timestamp, slot: u32, publish: &Publish<'_>) -> bool {
        let settings = &self.clients.settings;
        let Some(connection) = self.clients.connections.get(slot as usize) else {
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
    fn begin_exactly_once(&mut self, now: Timestamp, slot: u32, session: u32, publish: &Publish<'_>) -> bool {
        let Some(packet_identifier) = publish.packet_identifier else {
            return false;
        };
        let version = self.clients.connection(slot).map(|connection| connection.version);
        let receive_max = match version {
            Some(ProtocolVersion::V5) => self.clients.settings.inflight_messages_max,
            _ => limits::PACKET_IDENTIFIERS,
        };
        let Some(session) = self.clients.sessions.get_mut(session) else {
            return false;
        };
        if session.unreleased.contains(&packet_identifier.get()) {
            self.acknowledge(slot, publish.qos, publish.packet_identifier, true);
            return false;
        }
        if session.unreleased.len() >= usize::from(receive_max) {
            // [MQTT-3.3.4-7], [MQTT-3.3.4-8]
            self.protocol_error(
                now,
                slot,
                ReasonCode::ReceiveMaximumExceeded,
                "Receive Maximum exceeded",
            );
            return false;
        }
        session.unreleased.push(packet_identifier.get());
        if session.outlives_connection() {
            let client_identifier = &*session.client_identifier;
            self.clients.store.append(store::Record::Received {
                client_identifier,
                packet_identifier,
            });
        }
        true
    }

    /// PUBACK or PUBREC [MQTT-4.3.2-4], [MQTT-4.3.3-8].
    #[inline]
    fn acknowledge(&mut self, slot: u32, qos: QoS, identifier: Option<PacketIdentifier>, anybody: bool) {
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
        slot: u32,
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
        self.clients.send(slot, |out, version| {
            mqtt::encode::ack(packet_type, identifier, reason, version, out)
        });
    }

    /// A topic that is not for clients (`$SYS`) or not for this one: dropped and acknowledged, with 0x87 in 5.0; too many
    /// levels close.
    fn deny(
        &mut self,
        now: Timestamp,
        slot: u32,
        access: Access,
        qos: QoS,
        identifier: Option<PacketIdentifier>,
    ) {
        if access == Access::TooDeep {
            return self.protocol_error(now, slot, ReasonCode::TopicNameInvalid, "too many topic levels");
        }
        self.acknowledge_with(slot, qos, identifier, ReasonCode::NotAuthorized);
    }

    /// A payload above `message_size_limit`: 5.0 is told, 3.x has it acknowledged and dropped.
    fn refuse_payload(&mut self, now: Timestamp, slot: u32, publish: &Publish<'_>) {
        let version = self.clients.connection(slot).map(|connection| connection.version);
        self.clients.counters().publishes_dropped.add(1);
        if version == Some(ProtocolVersion::V5) {
            return self.disconnect(
                now,
                slot,
                ReasonCode::PacketTooLarge,
                "a payload above message_size_limit",
            );
        }
        self.acknowledge_with(slot, publish.qos, publish.packet_identifier, ReasonCode::Success);
    }

    /// The Topic Alias, if there is one. An error has closed the connection.
    fn check_properties(
        &mut self,
        now: Timestamp,
        slot: u32,
        publish: &Publish<'_>,
    ) -> Result<Option<u16>, ()> {
        if publish.properties.subscription_identifier().is_some() {
            // [MQTT-3.3.4-6]
            self.protocol_error(
                now,
                slot,
                ReasonCode::ProtocolError,
                "a Subscription Identifier in a client's PUBLISH",
            );
            return Err(());
        }
        let Some(alias) = publish.properties.topic_alias() else {
            return Ok(None);
        };
        let Some(connection) = self.clients.connections.get(slot as usize) else {
            return Err(());
        };
        let alias_max = self
            .clients
            .settings
            .listener(connection.listener)
            .topic_alias_max;
        if alias.get() > alias_max.min(limits::TOPIC_ALIASES_MAX) {
            // [MQTT-3.3.2-9]
            self.protocol_error(
                now,
                slot,
                ReasonCode::TopicAliasInvalid,
                "a Topic Alias above the maximum",
            );
            return Err(());
        }
        Ok(Some(alias.get()))
    }

    /// The topic that an alias stands for, taken out of the map; a topic that comes with it takes its place.
    fn resolve_alias(&mut self, now: Timestamp, slot: u32, alias: u16, topic: &str) -> Option<Box<str>> {
        if !topic.is_empty() {
            return Some(topic.into());
        }
        let known = self
            .clients
            .connection(slot)?
            .aliases
            .get_mut(usize::from(alias))
            .and_then(Option::take);
        if known.is_none() {
            // [MQTT-3.3.2-7] and section 3.3.2.3.4.
            self.protocol_error(
                now,
                slot,
                ReasonCode::ProtocolError,
                "a Topic Alias that was not set",
            );
        }
        known
    }

    fn set_alias(&mut self, slot: u32, alias: u16, topic: Box<str>) {
        let Some(connection) = self.clients.connection(slot) else {
            return;
        };
        let at = usize::from(alias);
        if connection.aliases.len() <= at {
            connection.aliases.resize(at + 1, None);
        }
        if let Some(place) = connection.aliases.get_mut(at) {
            *place = Some(topic);
        }
    }
}

fn message_of<'a>(
    publish: &Publish<'a>,
    topic: &'a str,
    properties: Properties<'a>,
    session: u32,
) -> Message<'a> {
    let (qos, retain, payload) = (publish.qos, publish.retain, publish.payload);
    Message {
        topic,
        qos,
        retain,
        properties,
        payload,
        publisher: Publisher { session, identity: 0 },
    }
}

fn without_alias(properties: Properties<'_>) -> PropertiesBuf {
    let mut kept = PropertiesBuf::new();
    for property in properties
        .iter()
        .filter(|property| !matches!(property, Property::TopicAlias(_)))
    {
        // What was in one packet fits in another one.
        let _ = kept.push(property);
    }
    kept
}

/// The packets of a run.
fn packets<'a>(run: &Run<'a>) -> impl Iterator<Item = Publish<'a>> + use<'a> {
    let (mut rest, version) = (run.packets, run.version);
    std::iter::from_fn(move || {
        let frame = mqtt::frame::split(rest, limits::PACKET_BYTES_MAX).ok()??;
        rest = rest.get(frame.wire_bytes..)?;
        mqtt::decode::publish(&frame, version).ok()
    })
}

/// Puts the run in the other encoding into `translated`: 5.0 without properties, or 3.x. Returns all of it but the bytes.
fn translate(run: &Run<'_>, translated: &mut Vec<u8>) -> Run<'static> {
    let version = match run.version {
        ProtocolVersion::V5 => ProtocolVersion::V3_1_1,
        _ => ProtocolVersion::V5,
    };
    translated.clear();
    let (mut count, mut packet_bytes_max) = (0, 0);
    for publish in packets(run) {
        let start = translated.len();
        // It was a packet: it is one again, unless its last byte made it the largest that there is.
        if publish.encode(version, translated).is_ok() {
            count += 1;
            packet_bytes_max =
                packet_bytes_max.max(u32::try_from(translated.len() - start).unwrap_or(u32::MAX));
        }
    }
    Run {
        packets: &[],
        version,
        count,
        packet_bytes_max,
    }
}
