//! The connections and sessions of a shard, with what is needed to send to them.
//!
//! Invariant: whoever appends to an `out` marks its connection dirty, so that the shell sends it in this tick.

pub(super) mod aliases;
pub(super) mod deliver;
mod encodings;
pub(super) mod fan_out;
mod outputs;
pub(super) mod waiting;

use std::sync::Arc;

use mqtt::frame::PacketType;
use mqtt::packet::Ack;
use mqtt::property::{Properties, PropertiesBuf, Property};
use mqtt::publish_template::PublishTemplate;
use mqtt::{PacketIdentifier, ProtocolVersion, QoS, ReasonCode};

use self::encodings::Encodings;
use self::outputs::Outputs;
use crate::auth::{Policy, acl};
use crate::logic::connection::{Connection, ConnectionId, ConnectionSlot, Stage};
use crate::logic::counters::ShardCounters;
use crate::logic::flow::FlowControl;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::message::{Message, StoredMessage};
use crate::logic::reason_string;
use crate::logic::session::{Session, SessionSlot, Sessions};
use crate::logic::slots::Slots;
use crate::logic::store::{Store, StoreRecord};
use crate::settings::{ListenerId, Settings};
use crate::time::Timestamp;

#[derive(Debug)]
pub(in crate::logic) struct Delivery {
    /// As the shard's.
    now: Timestamp,
    pub(in crate::logic) connections: Slots<ConnectionSlot, Connection>,
    pub(in crate::logic) sessions: Sessions,
    outputs: Outputs,
    encodings: Encodings,
    /// A run in the encoding that its publisher does not use.
    translated: Vec<u8>,
    pub(in crate::logic) flow: FlowControl,
    pub(in crate::logic) settings: Arc<Settings>,
    /// Who may do what.
    policy: Arc<Policy>,
    store: Box<dyn Store>,
    counters: Arc<[ShardCounters]>,
    index: usize,
    /// `upgrade_outgoing_qos`
    upgrade: bool,
    /// `memory_limit` is reached.
    memory_full: bool,
    /// `max_inflight_bytes`
    inflight_bytes_max: u64,
    template: PublishTemplate,
    properties: PropertiesBuf,
}

impl Delivery {
    pub(in crate::logic) fn new(
        index: u16,
        settings: Arc<Settings>,
        counters: Arc<[ShardCounters]>,
        store: Box<dyn Store>,
    ) -> Self {
        Self {
            now: Timestamp(0),
            connections: Slots::new(),
            sessions: Sessions::new(settings.hash_seed),
            upgrade: settings.upgrade_outgoing_qos,
            memory_full: false,
            inflight_bytes_max: settings.inflight_bytes_max,
            outputs: Outputs::default(),
            encodings: Encodings::default(),
            translated: Vec::new(),
            flow: FlowControl::new(settings.client_output, settings.shard_output),
            settings,
            policy: Arc::default(),
            store,
            counters,
            index: usize::from(index),
            template: PublishTemplate::new(),
            properties: PropertiesBuf::new(),
        }
    }

    /// What follows happens at that time.
    #[inline]
    pub(in crate::logic) fn begin(&mut self, now: Timestamp) {
        self.now = now;
        self.flow.set_time(now);
    }

    /// The counters of this shard.
    #[inline]
    pub(in crate::logic) fn counters(&self) -> &ShardCounters {
        static NOWHERE: std::sync::LazyLock<ShardCounters> = std::sync::LazyLock::new(ShardCounters::default);
        self.counters.get(self.index).unwrap_or(&NOWHERE)
    }

    /// The counters of all shards.
    pub(in crate::logic) fn all_counters(&self) -> &[ShardCounters] {
        &self.counters
    }

    /// Sessions of a user, in all shards.
    pub(in crate::logic) fn sessions_of_user(&self, user: &str) -> u64 {
        self.counters.iter().map(|shard| shard.sessions_of(user)).sum()
    }

    /// A session begins or ends: its user has one more or one less.
    pub(in crate::logic) fn count_user(&self, session: &Session, begins: bool) {
        if let Some(user) = session.user() {
            self.counters().count_session_of(user, begins);
        }
    }

    /// The connection in a slot.
    #[inline]
    pub(in crate::logic) fn connection(
        &mut self,
        slot: impl Into<Option<ConnectionSlot>>,
    ) -> Option<&mut Connection> {
        self.connections.get_mut(slot)
    }

    /// A connection, and all sessions.
    #[inline]
    pub(in crate::logic) fn connection_and_sessions(
        &mut self,
        slot: ConnectionSlot,
    ) -> Option<(&mut Connection, &Sessions)> {
        Some((self.connections.get_mut(slot)?, &self.sessions))
    }

    /// A connection, and what its client's listener asks of it.
    pub(in crate::logic) fn policy_and_connection(
        &mut self,
        slot: ConnectionSlot,
    ) -> (&Policy, Option<&mut Connection>) {
        (&self.policy, self.connections.get_mut(slot))
    }

    /// The listener that a connection came by.
    pub(in crate::logic) fn listener_of(&self, slot: ConnectionSlot) -> Option<ListenerId> {
        Some(self.connections.get(slot)?.listener)
    }

    /// All connections, to be looked at.
    pub(in crate::logic) fn connections(&self) -> &Slots<ConnectionSlot, Connection> {
        &self.connections
    }

    /// The connection that the shell names, to be looked at.
    pub(in crate::logic) fn named(&self, id: ConnectionId) -> Option<&Connection> {
        let connection = self.connections.get(id.slot)?;
        Some(connection).filter(|connection| connection.generation == id.generation)
    }

    /// A connection arrived.
    pub(in crate::logic) fn insert_connection(&mut self, connection: Connection) -> ConnectionSlot {
        self.connections.insert(connection)
    }

    /// A connection is gone; it has no session any more.
    pub(in crate::logic) fn remove_connection(&mut self, slot: ConnectionSlot) {
        self.connections.remove(slot);
    }

    /// All sessions, to be looked at.
    pub(in crate::logic) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// All sessions: to keep their lists in step with those of filters and groups.
    pub(in crate::logic) fn sessions_mut(&mut self) -> &mut Sessions {
        &mut self.sessions
    }

    #[inline]
    pub(in crate::logic) fn session_mut(
        &mut self,
        slot: impl Into<Option<SessionSlot>>,
    ) -> Option<&mut Session> {
        self.sessions.get_mut(slot)
    }

    /// The connection of a session, if it has one.
    #[inline]
    pub(in crate::logic) fn link(&self, session: SessionSlot) -> Option<ConnectionSlot> {
        self.sessions.link(session)
    }

    /// A session begins; there must be none of that client identifier.
    pub(in crate::logic) fn begin_session(
        &mut self,
        client_identifier: &str,
        user: Option<Box<str>>,
    ) -> SessionSlot {
        let slot = self.sessions.insert(client_identifier, user);
        self.counters().sessions.add(1);
        if let Some(session) = self.sessions.get(slot) {
            self.count_user(session, true);
        }
        slot
    }

    /// A session ends.
    pub(in crate::logic) fn end_session(&mut self, slot: SessionSlot) -> Option<Session> {
        let session = self.sessions.remove(slot)?;
        self.forget_queue(&session);
        self.count_user(&session, false);
        self.counters().sessions.sub(1);
        if session.outlives_connection() {
            self.store.append(StoreRecord::SessionEnded {
                client_identifier: &session.client_identifier,
            });
        }
        Some(session)
    }

    /// From now on a connection is that of a session.
    pub(in crate::logic) fn attach(&mut self, session_slot: SessionSlot, slot: ConnectionSlot) {
        self.sessions.set_link(session_slot, Some(slot));
        let (Some(session), Some(connection)) =
            (self.sessions.get(session_slot), self.connections.get_mut(slot))
        else {
            return unreachable_state("a session or a connection that is gone");
        };
        connection.session = Some(session_slot);
        connection.restricted = session.rights().is_some();
        connection.waits = !session.queue_is_empty() || session.inflight.resends();
        connection.qos0_waits = session.queue.as_ref().is_some_and(|queue| queue.holds_qos0());
    }

    /// A session has no connection any more.
    pub(in crate::logic) fn detach(&mut self, session: SessionSlot) {
        self.sessions.set_link(session, None);
    }

    /// These settings hold from now on.
    pub(in crate::logic) fn set_settings(&mut self, settings: Arc<Settings>) {
        self.upgrade = settings.upgrade_outgoing_qos;
        self.inflight_bytes_max = settings.inflight_bytes_max;
        self.flow.set_marks(settings.client_output, settings.shard_output);
        self.settings = settings;
    }

    /// Who may do what.
    pub(in crate::logic) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Takes a policy; returns the one before.
    pub(in crate::logic) fn set_policy(&mut self, policy: Arc<Policy>) -> Arc<Policy> {
        std::mem::replace(&mut self.policy, policy)
    }

    /// Whether `memory_limit` is reached.
    pub(in crate::logic) fn is_memory_full(&self) -> bool {
        self.memory_full
    }

    pub(in crate::logic) fn set_memory_full(&mut self, full: bool) {
        self.memory_full = full;
        self.flow.set_memory_full(full);
        if full {
            self.drop_spare_outs();
        }
    }

    /// Whether a message of that QoS waits for a client that is away.
    pub(in crate::logic) fn waits_away(&self, qos: QoS) -> bool {
        qos != QoS::AtMostOnce || self.upgrade || self.settings.queue_qos0_messages
    }

    /// A retained message is set or deleted.
    pub(in crate::logic) fn record_retained(&mut self, message: &StoredMessage) {
        self.store.append(StoreRecord::Retained { message });
    }

    pub(in crate::logic) fn settings(&self) -> &Settings {
        &self.settings
    }

    #[inline]
    pub(in crate::logic) fn session(&self, slot: impl Into<Option<SessionSlot>>) -> Option<&Session> {
        self.sessions.get(slot)
    }

    /// Whether the client of a session may publish to a topic.
    pub(in crate::logic) fn may_write(&mut self, session: SessionSlot, topic: &str) -> bool {
        self.sessions.may_write(session, topic)
    }

    /// What a session's client may do, to be kept with what it leaves.
    pub(in crate::logic) fn access_of(&self, session: SessionSlot) -> acl::Access {
        let rights = self.session(session).and_then(Session::rights);
        rights.map(|rights| rights.access().clone()).unwrap_or_default()
    }

    /// Sets a Session Expiry Interval.
    pub(in crate::logic) fn set_expiry(&mut self, slot: SessionSlot, expiry_s: u32) {
        let Some(session) = self.sessions.get_mut(slot) else {
            return unreachable_state("an expiry of a session that is gone");
        };
        let outlived = session.outlives_connection();
        session.expiry_s = expiry_s;
        let client_identifier = &*session.client_identifier;
        if expiry_s > 0 {
            self.store.append(StoreRecord::Session {
                client_identifier,
                expiry_s,
            });
        } else if outlived {
            self.store.append(StoreRecord::SessionEnded { client_identifier });
        }
    }

    /// Appends a record to the store, if the session outlives its connection.
    pub(in crate::logic) fn record<'a>(
        &'a mut self,
        session: SessionSlot,
        record: impl FnOnce(&'a str) -> StoreRecord<'a>,
    ) {
        let session = self.sessions.get(session);
        if let Some(session) = session.filter(|session| session.outlives_connection()) {
            self.store.append(record(&session.client_identifier));
        }
    }

    /// The connection of that slot and generation.
    pub(in crate::logic) fn by_id(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(id.slot)?;
        Some(connection).filter(|connection| connection.generation == id.generation)
    }

    /// Appends a packet to the connection's `out` with `write`; not one that is larger than the client takes
    /// [MQTT-3.1.2-24]. Whether it was appended.
    #[inline]
    pub(in crate::logic) fn send(
        &mut self,
        slot: ConnectionSlot,
        write: impl FnOnce(&mut Vec<u8>, ProtocolVersion),
    ) -> bool {
        let Some(connection) = self.connections.get_mut(slot) else {
            unreachable_state("a packet for a connection that is gone");
            return false;
        };
        if connection.stage == Stage::Closing {
            return false;
        }
        self.outputs.open(connection);
        let start = connection.out.len();
        write(&mut connection.out, connection.version);
        if connection.out.len() - start > connection.packet_bytes_max as usize {
            connection.out.truncate(start);
            return false;
        }
        self.outputs.mark_dirty(slot, connection);
        self.counters().packets_sent.add(1);
        true
    }

    /// As [`Self::send`] with a Reason String for a 5.0 client that wants such [MQTT-3.1.2-29], unless the packet would be larger
    /// than the client takes: [MQTT-3.2.2-19], [MQTT-3.4.2-2], [MQTT-3.5.2-2], [MQTT-3.6.2-2], [MQTT-3.7.2-2],
    /// [MQTT-3.9.2-1], [MQTT-3.11.2-1], [MQTT-3.14.2-3], [MQTT-3.15.2-2]. There is no User Property: [MQTT-3.4.2-3],
    /// [MQTT-3.5.2-3], [MQTT-3.6.2-3], [MQTT-3.7.2-3], [MQTT-3.9.2-2], [MQTT-3.11.2-2], [MQTT-3.14.2-4], [MQTT-3.15.2-3].
    pub(in crate::logic) fn send_explained(
        &mut self,
        slot: ConnectionSlot,
        why: Option<&str>,
        write: impl Fn(&mut Vec<u8>, ProtocolVersion, Properties<'_>),
    ) {
        let Some(connection) = self.connections.get(slot) else {
            return unreachable_state("a packet for a connection that is gone");
        };
        let bytes_max = connection.packet_bytes_max as usize;
        let tells = connection.version == ProtocolVersion::V5 && !connection.without_reasons;
        let mut reason = PropertiesBuf::new();
        if let Some(why) = why.filter(|_| tells) {
            // Ours are shorter than what a string may have.
            let _ = reason.push(Property::ReasonString(why));
        }
        self.send(slot, |out, version| {
            let start = out.len();
            write(out, version, reason.as_properties());
            if out.len() - start > bytes_max && !reason.is_empty() {
                out.truncate(start);
                write(out, version, Properties::EMPTY);
            }
        });
    }

    /// Sends a PUBACK, PUBREC, PUBREL or PUBCOMP; an error with a Reason String.
    #[inline]
    pub(in crate::logic) fn send_ack(
        &mut self,
        slot: ConnectionSlot,
        packet_type: PacketType,
        packet_identifier: PacketIdentifier,
        reason: ReasonCode,
    ) {
        if !reason.is_error() {
            self.send(slot, |out, version| {
                mqtt::encode::ack(packet_type, packet_identifier, reason, version, out);
            });
            return;
        }
        let why = reason_string::of(packet_type, reason);
        self.send_explained(slot, why, |out, version, properties| {
            let ack = Ack {
                packet_identifier,
                reason,
                properties,
            };
            ack.encode(packet_type, version, out);
        });
    }

    /// Puts the connection into the shell's list.
    pub(in crate::logic) fn mark_dirty(&mut self, slot: ConnectionSlot) {
        if let Some(connection) = self.connections.get_mut(slot) {
            self.outputs.mark_dirty(slot, connection);
        }
    }

    /// Begins with the next message.
    pub(in crate::logic) fn begin_message(&mut self) {
        self.encodings.begin();
    }

    /// Begins with a message that is kept already.
    pub(in crate::logic) fn begin_stored(&mut self, stored: &StoredMessage) {
        self.encodings.begin();
        self.encodings.set_stored(stored.clone());
    }

    /// The message that was begun with, to be kept: one for all who keep it.
    pub(in crate::logic) fn kept(&mut self, message: &Message<'_>) -> StoredMessage {
        self.encodings.stored(self.now, message)
    }

    /// Makes a message one to be kept.
    pub(in crate::logic) fn store_message(&self, message: &Message<'_>) -> StoredMessage {
        StoredMessage::new(self.now, message, &mut Vec::new())
    }
}
