//! How connections and sessions end.
//!
//! Invariants: a session is detached from its connection when the connection begins to close, whatever the socket still
//! has to send; at that moment its Will is published, delayed or discarded. A session that ends loses its
//! subscriptions, its queue and its delayed Will (which is published); nothing of it remains. Messages that it held for
//! a group go to another member.

use mqtt::packet::Disconnect;
use mqtt::property::{PropertiesBuf, Property};
use mqtt::{ProtocolVersion, ReasonCode};

use crate::limits;
use crate::logic::Shard;
use crate::logic::connection::{Connection, ConnectionId, ConnectionSlot, Stage};
use crate::logic::counters::{DisconnectCause, EventKind};
use crate::logic::inconsistency::unreachable_state;
use crate::logic::message::Message;
use crate::logic::session::will::Will;
use crate::logic::session::{Session, SessionSlot};
use crate::logic::sliced_teardown::end_work;
use crate::logic::timer::Timer;
use crate::time::Timestamp;

impl Shard {
    /// The client broke the protocol: in 5.0 it is notified why [MQTT-4.13.1-1], then the connection closes.
    pub(super) fn protocol_error(&mut self, slot: ConnectionSlot, reason: ReasonCode, why: &str) {
        self.delivery.counters().protocol_errors.add(1);
        self.disconnect(slot, reason, why);
    }

    /// Ends a connection with a DISCONNECT in 5.0, bare in 3.x. Its Will is published.
    ///
    /// [MQTT-3.14.2-2], [MQTT-3.14.4-1], [MQTT-3.14.4-2]
    pub(super) fn disconnect(&mut self, slot: ConnectionSlot, reason: ReasonCode, why: &str) {
        let Some(connection) = self.delivery.connection(slot) else {
            return unreachable_state("a connection to be ended that is gone");
        };
        if connection.stage == Stage::Connected && connection.version == ProtocolVersion::V5 {
            self.delivery
                .send_explained(slot, Some(why), |out, version, properties| {
                    Disconnect { reason, properties }.encode(version, out);
                });
        }
        self.close(slot, why, true, DisconnectCause::Broker(reason));
    }

    /// Counts the end of a connection, if a client has it: once. Whose it is, if that is to be published.
    pub(super) fn count_disconnect(
        &mut self,
        slot: ConnectionSlot,
        cause: DisconnectCause,
    ) -> Option<Box<str>> {
        let connection = self.delivery.connections().get(slot)?;
        let session = self.delivery.session(connection.session)?;
        let (counters, client) = (self.delivery.counters(), &session.client_identifier);
        counters.disconnects.add(cause, 1);
        counters
            .events
            .remember(self.now, EventKind::Disconnected, cause.label(), client, None);
        self.delivery.settings().client_events.then(|| client.clone())
    }

    /// From now on the connection only drains; its session is detached.
    pub(super) fn close(&mut self, slot: ConnectionSlot, why: &str, with_will: bool, cause: DisconnectCause) {
        let Some((connection, sessions)) = self.delivery.connection_and_sessions(slot) else {
            return unreachable_state("a connection to be closed that is gone");
        };
        if connection.stage == Stage::Closing {
            return;
        }
        let session = sessions.get(connection.session);
        let client_identifier = session.map(|session| session.client_identifier.clone());
        let rare = connection.rare();
        rare.client_identifier = client_identifier;
        rare.why_closing = Some(why.into());
        self.drop_partial(slot);
        let client = self.count_disconnect(slot, cause);
        self.detach(slot, with_will);
        if let Some(connection) = self.delivery.connection(slot) {
            connection.stage = Stage::Closing;
        }
        self.publish_disconnected(client, cause, Some(why));
        self.delivery.mark_dirty(slot);
    }

    /// Separates a connection from its session; the session waits for another one, or ends.
    ///
    /// [MQTT3-3.1.2-10], [MQTT3-4.1.0-2], [MQTT-4.1.0-1], [MQTT-4.1.0-2]
    pub(super) fn detach(&mut self, slot: ConnectionSlot, with_will: bool) {
        let Some(connection) = self.delivery.connection(slot) else {
            return unreachable_state("a connection to be detached that is gone");
        };
        let session_slot = connection.session.take();
        if let Some(rare) = &mut connection.rare {
            rare.aliases = Vec::new();
            rare.enhanced = None;
            rare.outbound_aliases = None;
            rare.filters_begun = None;
        }
        self.timers
            .cancel(connection.watched_until, Timer::KeepAlive { slot });
        self.consumer_detached(slot);
        let Some(session_slot) = session_slot else {
            // CONNECT has not come, or it is detached since it began to close.
            return;
        };
        let Some(session) = self.delivery.session_mut(session_slot) else {
            return unreachable_state("a connection of a session that is gone");
        };
        session.disconnected_at = self.now;
        let (expiry_s, expires_at) = (session.expiry_s, session.expires_at());
        let cost = end_work(session);
        let will = session.take_will().filter(|_| with_will);
        self.delivery.detach(session_slot);
        if expiry_s > 0 || cost <= limits::END_WORK_AT_ONCE {
            // One that ends over several turns leaves its groups then.
            self.member_disconnected(session_slot);
        }
        self.delivery.counters().clients_connected.sub(1);
        if let Some(will) = will {
            if will.delay_s == 0 || expiry_s == 0 {
                self.publish_will(&will);
            } else {
                self.delay_will(session_slot, will);
            }
        }
        if expiry_s == 0 {
            self.end_session(session_slot);
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

    /// Keeps a Will back for its Will Delay Interval.
    fn delay_will(&mut self, session_slot: SessionSlot, will: Box<Will>) {
        self.timers.set(
            self.now.plus_s(u64::from(will.delay_s)),
            Timer::WillDelay {
                session: session_slot,
            },
        );
        if let Some(session) = self.delivery.session_mut(session_slot) {
            session.set_will(Some(will));
        }
    }

    /// A session without a connection gets one, or ends: its timers are to come up no more.
    pub(super) fn cancel_session_timers(&mut self, session_slot: SessionSlot) {
        let Some(session) = self.delivery.session(session_slot) else {
            return unreachable_state("timers of a session that is gone");
        };
        self.timers.cancel(
            session.expires_at(),
            Timer::SessionExpiry {
                session: session_slot,
            },
        );
        if let Some(will) = session.will() {
            let due = session.disconnected_at.plus_s(u64::from(will.delay_s));
            self.timers.cancel(
                due,
                Timer::WillDelay {
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
            return tracing::warn!("The Will of {client} is dropped: it may not publish to {topic}.");
        }
        let mut properties = PropertiesBuf::new();
        if let Some(expiry_s) = will.expiry_s {
            // Both fit a packet once.
            let _ = properties.push(Property::MessageExpiryInterval(expiry_s));
        }
        let _ = properties.extend_raw(will.message.properties());
        let (topic, payload) = (will.message.topic(), will.message.payload());
        let retain = will.message.retain() && !self.refuses_retained(topic, payload);
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

    /// Ends a session that has no connection.
    pub(super) fn end_session(&mut self, slot: SessionSlot) {
        self.cancel_session_timers(slot);
        let cost = self.delivery.session(slot).map_or(0, end_work);
        if cost > limits::END_WORK_AT_ONCE {
            let will = self.delivery.session_mut(slot).and_then(Session::take_will);
            self.begin_ending(slot);
            if let Some(will) = will {
                self.publish_will(&will);
            }
            return;
        }
        self.work.spend(cost);
        self.forget_requests(slot);
        self.drop_subscriptions(slot);
        let Some(mut session) = self.delivery.end_session(slot) else {
            return unreachable_state("a session to be ended that is gone");
        };
        if let Some(will) = session.take_will() {
            // Its delay ends with the session at the latest [MQTT 5.0, 3.1.3.2.2].
            self.publish_will(&will);
        }
        // [MQTT-4.8.2-5]
        let mut session = self.redistribute_messages(session);
        self.delivery.note_end(&mut session);
    }

    /// Disconnects all: the process ends. Wills are published first, as after any connection that the
    /// client did not end itself; those with a delay of sessions that the store keeps wait there until the broker runs
    /// again, and those of other sessions are due, because their sessions end. Whoever connects from now on is answered
    /// that the broker is not available.
    pub fn shut_down(&mut self, now: Timestamp) {
        self.begin(now);
        self.shuts_down = true;
        for will in self.delivery.sessions_mut().take_due_wills() {
            self.publish_will(&will);
        }
        let all: Vec<ConnectionId> = self.delivery.connections().iter().map(connection_id).collect();
        for id in all {
            self.disconnect(id.slot, ReasonCode::ServerShuttingDown, "the broker shuts down");
        }
    }
}

fn connection_id((slot, connection): (ConnectionSlot, &Connection)) -> ConnectionId {
    ConnectionId {
        slot,
        generation: connection.generation,
    }
}
