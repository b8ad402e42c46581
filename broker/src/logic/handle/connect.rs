//! Handles CONNECT: begins a connection of the logic, with a session that is new, resumed or taken over.
//!
//! Invariants: no session is changed before the client is admitted. A session has at most one connection, so the older
//! connection is closed first [MQTT-3.1.4-3]. The CONNACK is the first packet in `out` [MQTT-3.2.0-1]. A client with
//! an Authentication Method has completed its exchange before. The logic has no connection that waits for a CONNECT.

use std::num::NonZeroU16;

use mqtt::ReasonCode;
use mqtt::error::DecodeErrorKind;
use mqtt::frame::PacketType;

use crate::limits;
use crate::logic::Shard;
use crate::logic::connect_request::{ConnectRequest, MalformedConnect};
use crate::logic::connection::{Connection, ConnectionId, ConnectionSlot, Peer};
use crate::logic::counters::{ClientEvent, ConnectRefusal};
use crate::logic::delivery::Delivery;
use crate::logic::handle::admit::{ConnectCheck, refusal};
use crate::logic::handle::granted::{Admitted, Granted};
use crate::logic::inconsistency::unreachable_state;
use crate::logic::message::{Message, Publisher, StoredMessage};
use crate::logic::owner_shard::identity;
use crate::logic::reauthentication::Enhanced;
use crate::logic::session::ends::SessionEnd;
use crate::logic::session::will::Will;
use crate::time::Timestamp;

impl Shard {
    /// Opens a connection with its CONNECT, or with the error in it; the bytes after the packet come with
    /// [`Self::receive`].
    pub fn open(
        &mut self,
        now: Timestamp,
        peer: Peer,
        connect: Result<&ConnectRequest, &MalformedConnect>,
    ) -> ConnectionId {
        self.begin(now);
        self.work.spend(limits::CONNECTION_WORK);
        self.generation = (self.generation + 1) % ConnectionId::GENERATIONS;
        let generation = self.generation;
        let listener = self.settings().listener(peer.listener);
        let connection = Connection::new(now, generation, peer.listener, listener);
        let slot = self.delivery.clients.insert_connection(connection);
        let id = ConnectionId { slot, generation };
        self.begin_flow();
        self.delivery.journal.begin_packet();
        let wire_bytes = connect.map_or_else(|malformed| malformed.wire_bytes, |it| Some(it.wire_bytes));
        let too_large = wire_bytes.is_some_and(|bytes| bytes > self.delivery.settings().packet_bytes_max);
        let counters = self.delivery.counters();
        counters.connections_opened.add(1);
        counters.bytes_received.add(u64::from(wire_bytes.unwrap_or(0)));
        if wire_bytes.is_some() && !too_large {
            counters.packets_received.add(1);
            counters.count_received(PacketType::Connect);
        }
        if too_large || connect.is_err() {
            let (reason, detail) = match connect {
                Err(malformed) if !too_large => ("malformed_connect", malformed.error.to_string()),
                _ => ("connect_too_large", DecodeErrorKind::PacketTooLarge.to_string()),
            };
            let address = Some(peer.address.machine());
            counters
                .events
                .add(ClientEvent::refused(now, reason, "", address, Some(&detail)));
        }
        match connect {
            _ if too_large => self.close_malformed(slot, DecodeErrorKind::PacketTooLarge.into()),
            Ok(connect) => self.handle_connect(slot, connect, peer),
            Err(malformed) => self.refuse_malformed(slot, malformed),
        }
        self.pause_publisher(id);
        id
    }

    // [MQTT3-3.1.4-2], [MQTT3-3.1.4-3], [MQTT3-3.1.4-4], [MQTT-3.1.4-4], [MQTT-3.1.4-5]
    fn handle_connect(&mut self, slot: ConnectionSlot, connect: &ConnectRequest, peer: Peer) {
        let Some(connection) = self.delivery.clients.connection(slot) else {
            return unreachable_state("a CONNECT of no connection");
        };
        connection.set_version(connect.version);
        if let Some(bytes_max) = connect.packet_bytes_max {
            connection.bound_packets(bytes_max.get());
        }
        if connect.without_reasons {
            connection.forbid_reasons();
        }
        if connect.is_bridge {
            connection.mark_as_bridge();
        }
        let check = ConnectCheck {
            delivery: &self.delivery,
            shuts_down: self.shut_down.has_begun(),
            connect,
            peer: &peer,
        };
        let admitted = match check.decide() {
            Ok(admitted) => admitted,
            Err(refused) => {
                let why = refusal(refused, connect, &peer);
                let label = ConnectRefusal(refused.reason).label();
                let client = &connect.client_identifier;
                let address = Some(peer.address.machine());
                let event = ClientEvent::refused(self.now, label, client, address, Some(refused.why));
                self.delivery.counters().events.add(event);
                return self.refuse_connect(slot, refused.reason, refused.why, &why);
            }
        };
        let session_present = self.open_session(slot, connect, &admitted);
        let authenticated = peer.authenticated.as_deref();
        self.accept(slot, connect, &admitted, session_present, authenticated);
        let client = self
            .settings()
            .client_events
            .then(|| Box::from(admitted.client_identifier));
        drop(admitted);
        if let Some(client) = client.as_deref() {
            self.publish_connected(client, connect, &peer);
        }
        if let (Some(connection), Some(authenticated)) =
            (self.delivery.clients.connection(slot), peer.authenticated)
        {
            connection.set_enhanced(Enhanced::new(*authenticated));
        }
    }

    /// Closes an older connection of the client, creates or resumes the session, and links it; returns whether it
    /// existed.
    ///
    /// [MQTT3-3.1.2-4], [MQTT3-3.1.2-6], [MQTT-3.1.2-4], [MQTT-3.1.2-5], [MQTT-3.1.2-6], [MQTT-3.1.2-23]
    fn open_session(
        &mut self,
        slot: ConnectionSlot,
        connect: &ConnectRequest,
        admitted: &Admitted<'_>,
    ) -> bool {
        let older = self.delivery.clients.sessions().find(admitted.client_identifier);
        if let Some(older_link) = older.and_then(|session| self.delivery.clients.link(session)) {
            self.disconnect(
                older_link,
                ReasonCode::SessionTakenOver,
                "another connection took over the session",
            );
        }
        // The takeover may have ended it.
        let mut known = self.delivery.clients.sessions().find(admitted.client_identifier);
        if let Some(session) = known.take_if(|_| connect.clean_start) {
            self.end_session(session, SessionEnd::CleanStart);
        }
        if let Some(session) = known {
            self.delivery
                .clients
                .cancel_session_timers(&mut self.timers, session);
        }
        let session_slot = known.unwrap_or_else(|| {
            let (client_identifier, user) = (admitted.client_identifier, admitted.user.clone());
            self.delivery.begin_session(client_identifier, user)
        });
        let expiry_s = Granted::new(self.delivery.settings(), connect).expiry_s();
        let window = connect.receive_max.map_or(u16::MAX, NonZeroU16::get);
        let window = window.min(self.delivery.settings().inflight_messages_max);
        let will = will_of(&self.delivery, connect, admitted);
        let sessions = self.delivery.clients.sessions_mut();
        if sessions.set_access(session_slot, &admitted.access) {
            self.routing.rights_changed();
        }
        let Some(session) = self.delivery.clients.session_mut(session_slot) else {
            unreachable_state("a session that was just begun or found");
            return false;
        };
        // A delayed Will is discarded [MQTT-3.1.3-9].
        session.set_will(will);
        session.reconnected(window);
        session.set_since(self.now);
        self.delivery.set_expiry(session_slot, expiry_s);
        self.delivery.clients.attach(session_slot, slot);
        self.end_connection_at(session_slot, admitted.ends_at);
        self.routing
            .member_connected(&mut self.delivery, &mut self.outboxes, session_slot);
        known.is_some()
    }
}

// [MQTT3-3.1.2-8], [MQTT3-3.1.2-9], [MQTT3-3.1.2-12], [MQTT-3.1.2-7], [MQTT-3.1.2-9], [MQTT-3.1.3-10]
fn will_of(delivery: &Delivery, connect: &ConnectRequest, admitted: &Admitted<'_>) -> Option<Box<Will>> {
    let will = connect.will.as_ref()?;
    let identity = identity(admitted.client_identifier);
    let message = Message {
        topic: admitted.will_topic.as_deref().unwrap_or(&will.topic),
        qos: will.qos,
        retain: will.retain,
        properties: will.properties.as_properties(),
        payload: &will.payload,
        publisher: Publisher {
            session: None,
            identity,
        },
    };
    Some(Box::new(Will {
        message: StoredMessage::new(delivery.now(), &message, &mut Vec::new()),
        delay_s: will.delay_s,
        expiry_s: will.expiry_s,
        access: admitted.access.clone(),
    }))
}
