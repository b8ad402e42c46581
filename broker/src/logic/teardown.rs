//! How connections and sessions end.
//!
//! Invariants: a session is detached from its connection when the connection begins to close, whatever output the
//! socket still has; at that moment its Will is published, delayed or discarded. A session that ends loses its
//! subscriptions, its queue and its delayed Will (which is published); nothing of it remains. Its messages for a group
//! go to another member.

use mqtt::packet::Disconnect;
use mqtt::property::{PropertiesBuf, Property};
use mqtt::{ProtocolVersion, ReasonCode};

use crate::limits;
use crate::log::NOTICE;
use crate::logic::Shard;
use crate::logic::connection::{Connection, ConnectionId, ConnectionSlot, FormerClient};
use crate::logic::counters::{ClientEvent, Denied, DisconnectCause, EventKind};
use crate::logic::inconsistency::unreachable_state;
use crate::logic::message::Message;
use crate::logic::session::ends::SessionEnd;
use crate::logic::session::will::Will;
use crate::logic::session::{Session, SessionSlot};
use crate::logic::sliced_teardown::end_work;
use crate::logic::timer::Timer;
use crate::time::Timestamp;

impl Shard {
    /// The connection's socket is gone: its Will is published if due, the session is kept or ends, the slot is free.
    pub fn lost(&mut self, now: Timestamp, id: ConnectionId) {
        self.lost_by(now, id, DisconnectCause::Closed);
    }

    /// As [`Self::lost`], with another cause than the end of the client's stream.
    pub fn lost_by(&mut self, now: Timestamp, id: ConnectionId, cause: DisconnectCause) {
        self.begin(now);
        self.work.spend(limits::CONNECTION_WORK);
        if self.delivery.clients.by_id(id).is_some() {
            let connection = self.delivery.clients.connections().get(id.slot);
            let unsent = connection.map_or(0, Connection::waiting_bytes);
            let unsent = (unsent > 0).then(|| format!("{unsent} bytes of packets were not sent to it"));
            let client = self.delivery.count_disconnect(id.slot, cause, unsent.as_deref());
            self.detach(id.slot, true);
            self.publish_disconnected(client, cause, None);
            self.flow_events().connection_closed(id);
            self.partials.forget(&mut self.delivery.clients, id.slot);
            self.client_times.forget(id);
            self.delivery.clients.remove_connection(id.slot);
        }
    }

    /// The client violated the protocol: in 5.0 it gets the reason [MQTT-4.13.1-1], then the connection closes.
    pub(super) fn protocol_error(&mut self, slot: ConnectionSlot, reason: ReasonCode, why: &str) {
        self.protocol_error_with(slot, reason, why, why);
    }

    /// As [`Self::protocol_error`]; `detail` is for operators.
    pub(super) fn protocol_error_with(
        &mut self,
        slot: ConnectionSlot,
        reason: ReasonCode,
        why: &str,
        detail: &str,
    ) {
        self.delivery.counters().protocol_errors.add(1);
        self.disconnect_with(slot, reason, why, DisconnectCause::Broker(reason), detail);
    }

    /// Ends a connection with a DISCONNECT in 5.0, bare in 3.x. Its Will is published.
    ///
    /// [MQTT-3.14.2-2], [MQTT-3.14.4-1], [MQTT-3.14.4-2]
    pub(super) fn disconnect(&mut self, slot: ConnectionSlot, reason: ReasonCode, why: &str) {
        self.disconnect_with(slot, reason, why, DisconnectCause::Broker(reason), why);
    }

    /// As [`Self::disconnect`]; `detail` is for operators, and is part of the recorded event.
    pub(super) fn disconnect_with(
        &mut self,
        slot: ConnectionSlot,
        reason: ReasonCode,
        why: &str,
        cause: DisconnectCause,
        detail: &str,
    ) {
        let Some(connection) = self.delivery.clients.connection(slot) else {
            return unreachable_state("a connection to be ended that is gone");
        };
        if connection.is_connected() && connection.version() == ProtocolVersion::V5 {
            self.delivery
                .send_explained(slot, Some(why), |out, version, properties| {
                    Disconnect { reason, properties }.encode(version, out);
                });
        }
        self.close_with(slot, why, true, cause, Some(detail));
    }

    /// From now on the connection only sends its pending output; its session is detached.
    pub(super) fn close(&mut self, slot: ConnectionSlot, why: &str, with_will: bool, cause: DisconnectCause) {
        self.close_with(slot, why, with_will, cause, None);
    }

    fn close_with(
        &mut self,
        slot: ConnectionSlot,
        why: &str,
        with_will: bool,
        cause: DisconnectCause,
        detail: Option<&str>,
    ) {
        let (connections, sessions) = self.delivery.clients.both();
        let Some(connection) = connections.get_mut(slot) else {
            return unreachable_state("a connection to be closed that is gone");
        };
        if connection.is_closing() {
            return;
        }
        let session = sessions.get(connection.session());
        let client = session.map(|session| FormerClient {
            identifier: session.client_identifier().into(),
            user: session.user().map(Into::into),
        });
        connection.remember_end(why, client);
        self.partials.forget(&mut self.delivery.clients, slot);
        let client = self.delivery.count_disconnect(slot, cause, detail);
        self.detach(slot, with_will);
        if let Some(connection) = self.delivery.clients.connection(slot) {
            connection.begin_closing();
        }
        self.publish_disconnected(client, cause, Some(why));
        self.delivery.mark_dirty(slot);
    }

    /// Separates a connection from its session; the session waits for another one, or ends.
    ///
    /// [MQTT3-3.1.2-10], [MQTT3-4.1.0-2], [MQTT-4.1.0-1], [MQTT-4.1.0-2]
    pub(super) fn detach(&mut self, slot: ConnectionSlot, with_will: bool) {
        let Some(connection) = self.delivery.clients.connection(slot) else {
            return unreachable_state("a connection to be detached that is gone");
        };
        let (session_slot, id) = (connection.detach(), connection.id(slot));
        self.timers
            .cancel(connection.watched_until(), Timer::KeepAlive { slot });
        self.flow_events().consumer_detached(slot);
        let Some(session_slot) = session_slot else {
            // CONNECT has not been handled, or the session was detached when it began to close.
            return;
        };
        let Some(session) = self.delivery.clients.session_mut(session_slot) else {
            return unreachable_state("a connection of a session that is gone");
        };
        self.client_times.ended(id, session);
        if let Some(ends_at) = session.ends_at() {
            session.set_ends_at(None);
            let timer = Timer::TokenEnd {
                session: session_slot,
            };
            self.timers.cancel(ends_at, timer);
        }
        session.set_since(self.now);
        let (expiry_s, expires_at) = (session.expiry_s(), session.expires_at());
        let cost = end_work(session);
        let will = session.take_will().filter(|_| with_will);
        self.delivery.clients.detach(session_slot);
        if expiry_s > 0 || cost <= limits::END_WORK_AT_ONCE {
            // A session that ends over several turns leaves its groups later.
            self.routing
                .member_disconnected(&mut self.delivery, &mut self.outboxes, session_slot);
        }
        self.delivery.counters().clients_connected.sub(1);
        if let Some(will) = will {
            if will.delay_s == 0 || expiry_s == 0 {
                self.publish_will(&will);
            } else {
                let due = self.now.plus_s(u64::from(will.delay_s));
                let clients = &mut self.delivery.clients;
                clients.delay_will(&mut self.timers, session_slot, due, will);
            }
        }
        if expiry_s == 0 {
            self.end_session(session_slot, SessionEnd::Disconnected);
        } else {
            self.delivery.note_session(session_slot);
            self.timers.set(
                expires_at,
                Timer::SessionExpiry {
                    session: session_slot,
                },
            );
        }
    }

    /// Publishes a Will [MQTT-3.1.2-8].
    ///
    /// [MQTT3-3.1.2-8], [MQTT3-3.1.2-16], [MQTT3-3.1.2-17], [MQTT-3.1.2-14], [MQTT-3.1.2-15]
    pub(super) fn publish_will(&mut self, will: &Will) {
        // The rules may have changed since CONNECT.
        let access = self.delivery.policy().renewed(&will.access);
        if !access.may_write(will.message.topic()) {
            let client = access
                .identity()
                .map_or("", |identity| &identity.client_identifier);
            let topic = will.message.topic();
            let counters = self.delivery.counters();
            counters.denied.add(Denied::Publish, 1);
            let event = ClientEvent::new(self.now, EventKind::Denied, Denied::Publish.label(), client);
            counters
                .events
                .add(event.with_topic(topic).with_detail(Some("its Will")));
            let user = access
                .identity()
                .and_then(|identity| identity.user_name.as_deref());
            let text = || format!("Denied the Will of {client} ('{topic}')");
            self.delivery.trace_lines().add_of((client, user), None, text);
            return tracing::warn!("The Will of {client} is dropped: it may not publish to {topic}.");
        }
        let mut properties = PropertiesBuf::new();
        if let Some(expiry_s) = will.expiry_s {
            // Both fitted a packet before.
            let _ = properties.push(Property::MessageExpiryInterval(expiry_s));
        }
        let _ = properties.extend_raw(will.message.properties());
        let (topic, payload) = (will.message.topic(), will.message.payload());
        let room = self.retained.check(&self.delivery, topic, payload);
        if let Err(why) = room
            && will.message.retain()
        {
            let identity = access.identity();
            let client = identity.map_or("", |identity| &identity.client_identifier);
            self.delivery.drop_retained_will(client, topic, why);
        }
        let retain = will.message.retain() && room.is_ok();
        let message = Message {
            topic: will.message.topic(),
            qos: will.message.qos(),
            retain,
            properties: properties.as_properties(),
            payload: will.message.payload(),
            publisher: crate::logic::message::Publisher {
                session: None,
                identity: will.message.publisher(),
            },
        };
        self.publish(&message, &access);
    }

    /// Ends a session whose Session Expiry Interval is over.
    pub(super) fn expire_session(&mut self, slot: SessionSlot) {
        self.delivery.counters().sessions_expired.add(1);
        if let Some(session) = self.delivery.clients.session(slot) {
            let client = session.client_identifier();
            tracing::info!(target: NOTICE, "Expiring client {client} due to timeout.");
        }
        self.end_session(slot, SessionEnd::Expired);
    }

    /// Ends a session that has no connection.
    pub(super) fn end_session(&mut self, slot: SessionSlot, end: SessionEnd) {
        self.delivery
            .clients
            .cancel_session_timers(&mut self.timers, slot);
        let session = self.delivery.clients.session(slot);
        let cost = session.map_or(0, end_work);
        if cost > limits::END_WORK_AT_ONCE || session.is_some_and(Session::has_stored_shared) {
            let will = self
                .delivery
                .clients
                .session_mut(slot)
                .and_then(Session::take_will);
            self.endings
                .begin(slot, end, &mut self.delivery, &mut self.routing);
            if let Some(will) = will {
                self.publish_will(&will);
            }
            return;
        }
        self.work.spend(cost);
        self.retained.forget_requests(&mut self.outboxes, slot);
        self.routing
            .drop_subscriptions(&mut self.delivery, &mut self.outboxes, slot);
        let Some(mut session) = self.delivery.end_session(slot) else {
            return unreachable_state("a session to be ended that is gone");
        };
        if let Some(will) = session.take_will() {
            // Its delay ends with the session at the latest [MQTT 5.0, 3.1.3.2.2].
            self.publish_will(&will);
        }
        // [MQTT-4.8.2-5]
        if !self.forgets_messages() {
            let lost = session.undeliverable();
            self.delivery.drop_with_session(&session, end, &lost);
            session = self.sharing().redistribute_messages(session);
        }
        self.delivery.journal.append_end(&mut session);
    }
}
