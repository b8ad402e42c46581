//! Handles PUBLISH.
//!
//! Invariants: a message goes to the local sessions and once to each interested shard before it is acknowledged; an
//! identifier of a QoS 2 message that has not been released publishes nothing again [MQTT-4.3.3-10]. On the path of a
//! QoS 0 message nothing allocates, once the buffers have grown.

use std::borrow::Cow;

use mqtt::frame::PacketType;
use mqtt::packet::Publish;
use mqtt::property::Properties;
use mqtt::{PacketIdentifier, ProtocolVersion, QoS, ReasonCode};

use crate::auth::acl;
use crate::limits;
use crate::logic::counters::{ClientEvent, Denied};
use crate::logic::delivery::Delivery;
use crate::logic::delivery::fan_out::{message_of, packets_of};
use crate::logic::delivery::flight::ExactlyOnceArrival;
use crate::logic::handle::Handler;
use crate::logic::handle::alias::without_alias;
use crate::logic::handle::no_space::lacks_space;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::message::{Message, RawPacket, Run};
use crate::logic::mount_point::mounted_topic;
use crate::logic::retained::RetainedMessages;
use crate::logic::routing::route::{RouteSlot, TopicAccess};
use crate::logic::unpublishable::Unpublishable;
use crate::settings::ListenerId;

impl Handler<'_> {
    /// Passes on a run of QoS 0 packets of one topic unchanged. False if that takes more work than is left: then
    /// nothing has happened, and it has to be tried again.
    #[inline]
    pub(in crate::logic) fn handle_run(&mut self, topic: &str, run: &Run<'_>) -> bool {
        let Some(route) = self.resolve(topic) else {
            return false;
        };
        if self.is_too_much(route, run.count, run.packets.len()) {
            return false;
        }
        let counters = self.shard.delivery.counters();
        counters.publishes_received.add(u64::from(run.count));
        counters.publish_bytes_received.add(run.payload_bytes);
        match self.access_to(route, topic) {
            TopicAccess::Allowed => self.shard.publish_run(route, run, self.session),
            TopicAccess::Denied => self.deny_run(topic, run),
            TopicAccess::TooDeep => self.refuse_levels(topic),
            TopicAccess::Control => {
                for (publish, _) in packets_of(run) {
                    self.pass_to_broker(topic, &publish);
                }
            }
        }
        true
    }

    /// At QoS 0 there is no answer: a denial is counted, recorded and logged.
    #[cold]
    fn deny_run(&mut self, topic: &str, run: &Run<'_>) {
        self.shard.work.spend(u64::from(run.count) * limits::DENIAL_WORK);
        for (publish, _) in packets_of(run) {
            self.deny(&publish, topic);
        }
    }

    /// A PUBLISH that is more than a QoS 0 message to be forwarded. False as from [`Self::handle_run`].
    ///
    /// [MQTT3-3.3.4-1], [MQTT3-4.3.2-2], [MQTT3-4.3.3-2], [MQTT-3.3.4-1], [MQTT-4.3.2-5]
    pub(in crate::logic) fn handle_publish(&mut self, publish: &Publish<'_>, raw: RawPacket<'_>) -> bool {
        let done = self.waits_behind_others(publish) || self.handle_whole_publish(publish, raw);
        if done {
            let counters = self.shard.delivery.counters();
            counters.publishes_received.add(1);
            counters.count_received_at(publish.qos);
            counters.publish_bytes_received.add(publish.payload.len() as u64);
        }
        done
    }

    #[inline]
    fn handle_whole_publish(&mut self, publish: &Publish<'_>, raw: RawPacket<'_>) -> bool {
        if publish.properties.is_empty() {
            return !self.may_publish(publish)
                || self.publish_from(publish, publish.topic, Properties::EMPTY, Some(raw));
        }
        let Ok(alias) = self.check_properties(publish) else {
            return true;
        };
        if !self.may_publish(publish) {
            return true;
        }
        let Some(alias) = alias else {
            return self.publish_from(publish, publish.topic, publish.properties, Some(raw));
        };
        let Some(topic) = self.resolve_alias(alias, publish.topic) else {
            return true;
        };
        let properties = without_alias(publish.properties);
        let done = self.publish_from(publish, &topic, properties.as_properties(), None);
        // The topic is put back into the map.
        self.set_alias(alias, topic);
        done
    }

    /// Publishes a message of a client and acknowledges it; false as from [`Self::handle_run`].
    ///
    /// [MQTT3-3.3.1-9], [MQTT3-3.3.1-12], [MQTT-3.3.1-8]
    pub(super) fn publish_from(
        &mut self,
        publish: &Publish<'_>,
        topic: &str,
        properties: Properties<'_>,
        raw: Option<RawPacket<'_>>,
    ) -> bool {
        let delivery = &self.shard.delivery;
        let whole = mounted_topic(&delivery.clients, delivery.settings(), self.slot, topic);
        let Some(whole) = whole else {
            self.refuse_levels(topic);
            return true;
        };
        // With a mount point the received packet cannot be forwarded as it is.
        let raw = raw.filter(|_| matches!(whole, Cow::Borrowed(_)));
        let topic = &*whole;
        let Some(route) = self.resolve(topic) else {
            return false;
        };
        if self.is_too_much(route, 1, publish.payload.len()) {
            return false;
        }
        self.publish_to_route(route, publish, topic, properties, raw);
        true
    }

    /// Publishes a message on its route.
    fn publish_to_route(
        &mut self,
        route: RouteSlot,
        publish: &Publish<'_>,
        topic: &str,
        properties: Properties<'_>,
        raw: Option<RawPacket<'_>>,
    ) {
        let access = self.access_to(route, topic);
        match access {
            TopicAccess::Allowed | TopicAccess::Control => {}
            // A topic of `$SYS`, or one that this client may not use: dropped.
            TopicAccess::Denied => return self.deny(publish, topic),
            TopicAccess::TooDeep => return self.refuse_levels(topic),
        }
        let (delivery, retained) = (&self.shard.delivery, &self.shard.retained);
        let refused = check_content(delivery, retained, publish, topic, properties);
        if let Err(why) = refused
            && !self.is_repeated(publish)
        {
            // Acknowledged, with a reason in 5.0, and dropped.
            self.shard.delivery.drop_unpublishable(self.session, topic, why);
            return self.acknowledge(publish, why.reason());
        }
        let (delivery, routing) = (&self.shard.delivery, &self.shard.routing);
        if lacks_space(delivery, routing, route, publish, topic) && !self.is_repeated(publish) {
            return self.refuse_or_defer_without_space(publish);
        }
        if publish.qos == QoS::ExactlyOnce && !self.begin_exactly_once(publish) {
            return;
        }
        if access == TopicAccess::Control {
            self.pass_to_broker(topic, publish);
            return self.acknowledge(publish, ReasonCode::Success);
        }
        let message = Message {
            topic,
            properties,
            ..message_of(publish, Some(self.session))
        };
        let source = if publish.retain {
            self.shard.delivery.clients.access_of(self.session)
        } else {
            acl::Access::default()
        };
        let anybody = self.shard.publish_to_route(route, message, raw, &source);
        self.acknowledge(publish, puback_reason(anybody));
    }

    /// The route of a topic; `None` if it takes more work than is left.
    #[inline]
    fn resolve(&mut self, topic: &str) -> Option<RouteSlot> {
        let shard = &mut *self.shard;
        let (connections, sessions) = shard.delivery.clients.both();
        let Some(connection) = connections.get_mut(self.slot) else {
            unreachable_state("a client whose connection is gone");
            return None;
        };
        let last = connection.last_route();
        let route = shard.routing.resolve(topic, last, sessions, &mut shard.work)?;
        connection.set_last_route(route);
        Some(route)
    }

    /// Whether messages with this many bytes together cost more than the allowance that a client has although the turn
    /// is over: they have their turn later.
    #[inline]
    fn is_too_much(&self, route: RouteSlot, messages: u32, bytes: usize) -> bool {
        let work = &self.shard.work;
        work.is_meager() && {
            let route = self.shard.routing.route(route);
            route.is_some_and(|route| route.work_with_groups(messages, bytes) > work.left())
        }
    }

    /// Whether the client may publish to the topic of a route.
    #[inline]
    fn access_to(&mut self, route: RouteSlot, topic: &str) -> TopicAccess {
        let route = self.shard.routing.route(route);
        let access = route.map_or(TopicAccess::Denied, |route| route.access);
        let delivery = &mut self.shard.delivery;
        let connection = delivery.clients.connection(self.slot);
        let restricted = connection.is_none_or(|connection| connection.is_restricted());
        if restricted && access == TopicAccess::Allowed {
            return delivery.clients.access_to(self.session, topic);
        }
        access
    }

    /// A PUBLISH that the client may not send at all closes its connection.
    fn may_publish(&mut self, publish: &Publish<'_>) -> bool {
        let settings = self.shard.settings();
        let Some(listener) = self.shard.delivery.clients.listener_of(self.slot) else {
            unreachable_state("a client whose connection is gone");
            return false;
        };
        if publish.qos > settings.listener(listener).qos_max {
            // [MQTT-3.2.2-11]
            let why = "a QoS above the listener's max_qos";
            self.end_for_publish(ReasonCode::QoSNotSupported, why, publish.topic);
            return false;
        }
        if publish.retain && !settings.retain_available {
            // [MQTT-3.2.2-14]
            let why = "retained messages are not available";
            self.end_for_publish(ReasonCode::RetainNotSupported, why, publish.topic);
            return false;
        }
        true
    }

    /// Logs, counts and acknowledges a PUBLISH to a topic that the client may not use.
    #[cold]
    fn deny(&mut self, publish: &Publish<'_>, topic: &str) {
        let what = format_args!(
            "(d{}, q{}, r{}, m{}, '{topic}', ... ({} bytes))",
            u8::from(publish.dup),
            publish.qos as u8,
            u8::from(publish.retain),
            publish.packet_identifier.map_or(0, PacketIdentifier::get),
            publish.payload.len(),
        );
        let delivery = &mut self.shard.delivery;
        delivery.note_denied(self.session, Denied::Publish, topic, what, None);
        self.acknowledge(publish, ReasonCode::NotAuthorized);
    }

    /// Whether a QoS 2 message was accepted already: a check that fails now was passed then.
    #[cold]
    fn is_repeated(&self, publish: &Publish<'_>) -> bool {
        let session = self.shard.delivery.clients.session(Some(self.session));
        let identifier = publish.packet_identifier.map(PacketIdentifier::get);
        publish.qos == QoS::ExactlyOnce
            && session
                .zip(identifier)
                .is_some_and(|(session, identifier)| session.unreleased().contains(&identifier))
    }

    /// Registers a QoS 2 message; false if it is registered already, or exceeds the limit.
    ///
    /// [MQTT3-4.3.3-2], [MQTT-4.3.3-12], [MQTT-4.3.3-9]
    fn begin_exactly_once(&mut self, publish: &Publish<'_>) -> bool {
        let Some(identifier) = publish.packet_identifier else {
            unreachable_state("QoS 2 without a Packet Identifier");
            return false;
        };
        let delivery = &mut self.shard.delivery;
        let connection = delivery.clients.connection(self.slot);
        let version = connection.map(|connection| (connection.version(), connection.listener()));
        let receive_max = match version {
            // A message that a bridge passes on is in flight at the other broker.
            Some((_, ListenerId::BRIDGES)) => limits::PACKET_IDENTIFIERS,
            Some((ProtocolVersion::V5, _)) => delivery.settings().inflight_messages_max,
            _ => limits::PACKET_IDENTIFIERS,
        };
        match delivery.receive_exactly_once(self.session, identifier, receive_max) {
            ExactlyOnceArrival::New => true,
            ExactlyOnceArrival::Again => {
                self.acknowledge(publish, ReasonCode::Success);
                false
            }
            ExactlyOnceArrival::TooMany => {
                // [MQTT-3.3.4-7], [MQTT-3.3.4-8]
                let why = "Receive Maximum exceeded";
                self.end_for_publish(ReasonCode::ReceiveMaximumExceeded, why, publish.topic);
                false
            }
        }
    }

    /// PUBACK or PUBREC [MQTT-4.3.2-4], [MQTT-4.3.3-8].
    #[inline]
    pub(super) fn acknowledge(&mut self, publish: &Publish<'_>, reason: ReasonCode) {
        let Some(identifier) = publish.packet_identifier else {
            // QoS 0.
            return;
        };
        let packet_type = if publish.qos == QoS::ExactlyOnce {
            PacketType::PubRec
        } else {
            PacketType::PubAck
        };
        self.shard
            .delivery
            .send_ack(self.slot, packet_type, identifier, reason);
    }

    /// Too many levels close the connection.
    ///
    /// [MQTT3-3.3.5-2]
    fn refuse_levels(&mut self, topic: &str) {
        self.end_for_publish(ReasonCode::TopicNameInvalid, "too many topic levels", topic);
    }

    /// Closes the connection because of a PUBLISH; operators see its topic.
    #[cold]
    fn end_for_publish(&mut self, reason: ReasonCode, why: &str, topic: &str) {
        let detail = format!("{why}: a PUBLISH to '{}'", ClientEvent::cut(topic));
        self.shard.protocol_error_with(self.slot, reason, why, &detail);
    }
}

/// Why the broker does not accept a message of a client or an operator, although they may publish to the topic.
#[inline]
pub(in crate::logic) fn check_content(
    delivery: &Delivery,
    retained: &RetainedMessages,
    publish: &Publish<'_>,
    topic: &str,
    properties: Properties<'_>,
) -> Result<(), Unpublishable> {
    let (settings, bytes) = (delivery.settings(), publish.payload.len());
    let bytes_max = settings.payload_bytes_max;
    if bytes > bytes_max as usize {
        return Err(Unpublishable::TooLarge { bytes, bytes_max });
    }
    if settings.check_payload_format && !is_as_indicated(properties, publish.payload) {
        return Err(Unpublishable::NotUtf8 { bytes });
    }
    if publish.retain {
        return retained.check(delivery, topic, publish.payload);
    }
    Ok(())
}

fn puback_reason(anybody: bool) -> ReasonCode {
    if anybody {
        ReasonCode::Success
    } else {
        ReasonCode::NoMatchingSubscribers
    }
}

/// Whether a payload is UTF-8 where its Payload Format Indicator says so.
pub(in crate::logic) fn is_as_indicated(properties: Properties<'_>, payload: &[u8]) -> bool {
    properties.payload_format_indicator() != Some(true) || std::str::from_utf8(payload).is_ok()
}
