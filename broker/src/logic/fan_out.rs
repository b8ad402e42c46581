//! A message on its way out of this shard: to the local sessions, to the other shards, into the retained messages.
//!
//! Invariants: a message goes to each session once and to each interested shard once, and to one member of each group in the
//! whole broker (share.rs); a retained one goes to all shards. A run goes out as the bytes that came wherever the subscriber
//! takes them so, and else packet by packet.

use mqtt::packet::Publish;
use mqtt::property::Properties;
use mqtt::{PacketIdentifier, ProtocolVersion, QoS};

use crate::auth::acl as rules;
use crate::limits;
use crate::logic::Shard;
use crate::logic::delivery::deliver::Run;
use crate::logic::inbox::encode_message;
use crate::logic::message::{Message, Publisher, StoredMessage};
use crate::logic::outbox::batch::{Kind, Record};
use crate::logic::routing::route::{Access, RouteSlot};
use crate::logic::session::SessionSlot;
use crate::time::Timestamp;

impl Shard {
    /// Gives a run to the local subscribers of a route.
    #[inline]
    pub(super) fn fan_out_run(
        &mut self,
        now: Timestamp,
        route: RouteSlot,
        run: &Run<'_>,
        publisher: Option<SessionSlot>,
    ) {
        let Self {
            delivery,
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
            if target.no_local && Some(target.session) == publisher {
                continue;
            }
            if delivery.deliver_run(target, run, fan_out) {
                continue;
            }
            let shape = *other.get_or_insert_with(|| translate(run, translated));
            if delivery.deliver_run(
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
                delivery.deliver(now, target, route.via(target), &message, fan_out);
                sent += fan_out.sent;
                dropped += fan_out.dropped;
            }
            fan_out.begin();
            (fan_out.sent, fan_out.dropped) = before;
        }
        sent += fan_out.sent;
        dropped += fan_out.dropped;
        delivery.output.limit();
        let counters = delivery.counters();
        counters.packets_sent.add(sent);
        counters.publishes_sent.add(sent);
        counters
            .publish_bytes_sent
            .add(sent * run.payload_bytes / u64::from(run.count.max(1)));
        counters.publishes_dropped.add(dropped);
    }

    /// Publishes a message that no packet carries: a Will. `$SYS` is not for it.
    pub(super) fn publish(
        &mut self,
        now: Timestamp,
        message: &Message<'_>,
        hint: Option<RouteSlot>,
        source: &rules::Access,
    ) {
        let route = self.routes.resolve(
            message.topic,
            hint,
            &mut self.subscriptions,
            &self.delivery.sessions,
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
    pub(super) fn publish_own(&mut self, now: Timestamp, topic: &str, payload: &[u8]) {
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
            .resolve(topic, None, &mut self.subscriptions, &self.delivery.sessions);
        self.publish_on(now, route, message, None, &rules::Access::default());
    }

    /// To the local sessions, the other shards, and the retained messages (with what its publisher may do); false if nobody
    /// was there.
    pub(super) fn publish_on(
        &mut self,
        now: Timestamp,
        route: RouteSlot,
        mut message: Message<'_>,
        raw: Option<(ProtocolVersion, &[u8])>,
        source: &rules::Access,
    ) -> bool {
        let anybody = message.retain || self.routes.get(route).is_some_and(|route| !route.is_empty());
        if message.retain {
            if let Some(session) = self.delivery.sessions.get(message.publisher.session) {
                message.publisher.identity = self.delivery.sessions.identity(&session.client_identifier);
            }
            self.fan_out.begin();
            let stored = self.fan_out.stored(now, &message);
            let stamp = self.retained.next_stamp();
            self.apply_retained(now, &stored, stamp, source);
            self.send_retained(&stored, stamp, source);
            self.fan_out_message(now, route, &message, Some(&stored));
            self.share_message(now, route, &message, raw);
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
        self.share_message(now, route, &message, raw);
        anybody
    }

    /// Gives a message to the local subscribers of a route.
    #[inline]
    pub(super) fn fan_out_message(
        &mut self,
        now: Timestamp,
        route: RouteSlot,
        message: &Message<'_>,
        stored: Option<&StoredMessage>,
    ) {
        let Self {
            delivery,
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
            delivery.deliver(now, target, route.via(target), message, fan_out);
        }
        delivery.output.limit();
        let counters = delivery.counters();
        counters.packets_sent.add(fan_out.sent);
        counters.publishes_sent.add(fan_out.sent);
        counters
            .publish_bytes_sent
            .add(fan_out.sent * message.payload.len() as u64);
        counters.publishes_dropped.add(fan_out.dropped);
    }

    /// One record to each interested shard: the packet as it came, or encoded anew.
    fn send_message(
        &mut self,
        route: RouteSlot,
        message: &Message<'_>,
        raw: Option<(ProtocolVersion, &[u8])>,
    ) {
        if let Some((version, packets)) = raw {
            let record = Record {
                kind: Kind::Message(version),
                count: 1,
                packet_bytes_max: 0,
                payload_bytes: 0,
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
                    payload_bytes: 0,
                    packets: &packets,
                },
            );
            self.translated = packets;
        }
        self.remote_template = template;
    }
}

pub(super) fn message_of<'a>(
    publish: &Publish<'a>,
    topic: &'a str,
    properties: Properties<'a>,
    session: Option<SessionSlot>,
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

/// The packets of a run.
fn packets<'a>(run: &Run<'a>) -> impl Iterator<Item = Publish<'a>> + use<'a> {
    packets_with_bytes(run).map(|(publish, _)| publish)
}

/// The packets of a run, each with its bytes.
pub(super) fn packets_with_bytes<'a>(
    run: &Run<'a>,
) -> impl Iterator<Item = (Publish<'a>, &'a [u8])> + use<'a> {
    let (mut rest, version) = (run.packets, run.version);
    std::iter::from_fn(move || {
        let frame = mqtt::frame::split(rest, limits::PACKET_BYTES_MAX).ok()??;
        let (packet, behind) = rest.split_at_checked(frame.wire_bytes)?;
        rest = behind;
        Some((mqtt::decode::publish(&frame, version).ok()?, packet))
    })
}

/// Puts the run in the other encoding into `translated`: 5.0 without properties, or 3.x. Returns all of it but the bytes.
fn translate(run: &Run<'_>, translated: &mut Vec<u8>) -> Run<'static> {
    let version = match run.version {
        ProtocolVersion::V5 => ProtocolVersion::V3_1_1,
        _ => ProtocolVersion::V5,
    };
    translated.clear();
    let (mut count, mut packet_bytes_max, payload_bytes) = (0, 0, run.payload_bytes);
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
        payload_bytes,
    }
}
