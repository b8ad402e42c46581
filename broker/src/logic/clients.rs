//! The connections and sessions of a shard, and how messages get to them.
//!
//! Invariants: what is appended to an `out` marks its connection dirty; a QoS 1 or 2 message never overtakes one that waits
//! in the session's queue; a message goes out at QoS 1 or 2 only inside the window. A session that ends with its
//! connection keeps no message in flight: only what is awaited is known.

use std::rc::Rc;
use std::sync::Arc;

use mqtt::property::PropertiesBuf;
use mqtt::publish_template::PublishTemplate;
use mqtt::{PacketIdentifier, ProtocolVersion, QoS};
use slab::Slab;

use super::connection::{Connection, ConnectionId, NONE, Stage};
use super::counters::ShardCounters;
use super::fan_out::FanOut;
use super::message::{Message, StoredMessage};
use super::route::Target;
use super::session::inflight::{Awaits, Entry};
use super::session::queue::{Bounds, Queued};
use super::session::{Session, Sessions};
use super::store::{Record, Store};
use super::time::Timestamp;
use crate::auth::Policy;
use crate::limits;
use crate::settings::Settings;

#[derive(Debug)]
pub(super) struct Clients {
    pub(super) connections: Slab<Connection>,
    pub(super) sessions: Sessions,
    pub(super) dirty: Vec<ConnectionId>,
    pub(super) settings: Arc<Settings>,
    /// Who may do what.
    pub(super) policy: Arc<Policy>,
    pub(super) store: Box<dyn Store>,
    counters: Arc<[ShardCounters]>,
    index: usize,
    template: PublishTemplate,
    properties: PropertiesBuf,
}

/// PUBLISH packets of one topic at QoS 0 that go on as they came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run<'a> {
    pub(super) packets: &'a [u8],
    /// Of 3.x or 5.0.
    pub(super) version: ProtocolVersion,
    pub(super) count: u32,
    /// Bytes of the largest packet.
    pub(super) packet_bytes_max: u32,
}

impl Clients {
    pub(super) fn new(
        index: u16,
        settings: Arc<Settings>,
        counters: Arc<[ShardCounters]>,
        store: Box<dyn Store>,
    ) -> Self {
        Self {
            connections: Slab::new(),
            sessions: Sessions::new(settings.hash_seed),
            dirty: Vec::new(),
            settings,
            policy: Arc::default(),
            store,
            counters,
            index: usize::from(index),
            template: PublishTemplate::new(),
            properties: PropertiesBuf::new(),
        }
    }

    /// The counters of this shard.
    #[inline]
    pub(super) fn counters(&self) -> &ShardCounters {
        static NOWHERE: std::sync::LazyLock<ShardCounters> = std::sync::LazyLock::new(ShardCounters::default);
        self.counters.get(self.index).unwrap_or(&NOWHERE)
    }

    /// The counters of all shards.
    pub(super) fn all_counters(&self) -> &[ShardCounters] {
        &self.counters
    }

    /// The connection in a slot.
    #[inline]
    pub(super) fn connection(&mut self, slot: u32) -> Option<&mut Connection> {
        self.connections.get_mut(slot as usize)
    }

    /// The connection of that slot and generation.
    pub(super) fn by_id(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(id.slot as usize)?;
        Some(connection).filter(|connection| connection.generation == id.generation)
    }

    /// Appends packets to the connection's `out` with `write`.
    pub(super) fn send(&mut self, slot: u32, write: impl FnOnce(&mut Vec<u8>, ProtocolVersion)) {
        let Some(connection) = self.connections.get_mut(slot as usize) else {
            return;
        };
        if connection.stage != Stage::Closing {
            write(&mut connection.out, connection.version);
            mark_dirty(slot, connection, &mut self.dirty);
            self.counters().packets_sent.add(1);
        }
    }

    /// Puts the connection into the shell's list.
    pub(super) fn mark_dirty(&mut self, slot: u32) {
        if let Some(connection) = self.connections.get_mut(slot as usize) {
            mark_dirty(slot, connection, &mut self.dirty);
        }
    }

    /// Gives a run of QoS 0 packets, which are not retained, to one subscriber as they are. False if it takes more than
    /// that: another form, a queue, one packet at a time.
    #[inline]
    pub(super) fn deliver_run(&mut self, target: &Target, run: &Run<'_>, fan_out: &mut FanOut) -> bool {
        let slot = self.sessions.link(target.session);
        let Some(connection) = self.connections.get_mut(slot as usize) else {
            return !self.settings.queue_qos0_messages;
        };
        let same_form = (connection.version == ProtocolVersion::V5) == (run.version == ProtocolVersion::V5);
        let plain = same_form && target.identifiers == NONE && !connection.qos0_waits;
        if !plain || run.packet_bytes_max > connection.packet_bytes_max {
            return false;
        }
        if !connection.has_room(run.packets.len()) {
            // The run may be larger than what is left: one at a time then, until it is full.
            if run.count > 1 && connection.has_room(run.packet_bytes_max as usize) {
                return false;
            }
            fan_out.dropped += u64::from(run.count);
            return true;
        }
        connection.out.extend_from_slice(run.packets);
        mark_dirty(slot, connection, &mut self.dirty);
        fan_out.sent += u64::from(run.count);
        true
    }

    /// Gives a message to one subscriber.
    #[inline]
    pub(super) fn deliver(
        &mut self,
        now: Timestamp,
        target: &Target,
        identifiers: Option<&Rc<PropertiesBuf>>,
        message: &Message<'_>,
        fan_out: &mut FanOut,
    ) {
        if target.no_local && target.session == message.publisher.session {
            // [MQTT-3.8.3-3]
            return;
        }
        let upgrade = self.settings.upgrade_outgoing_qos;
        let qos = if upgrade {
            target.qos
        } else {
            target.qos.min(message.qos)
        };
        let retain = target.retain_as_published && message.retain;
        let sent = match qos {
            QoS::AtMostOnce => self.deliver_qos0(target.session, retain, identifiers, message, fan_out),
            _ => self.deliver_in_window(now, target.session, qos, retain, identifiers, message, fan_out),
        };
        if !sent {
            let message = fan_out.stored(now, message);
            let identifiers = identifiers.cloned();
            let queued = Queued {
                message,
                identifiers,
                qos,
                retain,
                replay: false,
            };
            fan_out.dropped += u64::from(!self.enqueue(target.session, queued));
        }
    }

    /// False if it is to be queued.
    #[inline]
    fn deliver_qos0(
        &mut self,
        session: u32,
        retain: bool,
        identifiers: Option<&Rc<PropertiesBuf>>,
        message: &Message<'_>,
        fan_out: &mut FanOut,
    ) -> bool {
        let slot = self.sessions.link(session);
        let Some(connection) = self.connections.get_mut(slot as usize) else {
            return !self.settings.queue_qos0_messages;
        };
        if connection.qos0_waits {
            return false;
        }
        let identifiers = identifiers.map(|identifiers| &**identifiers);
        let template = fan_out.template(message, connection.version, QoS::AtMostOnce, retain, identifiers);
        match template {
            Some(template) if fits(connection, template) && connection.has_room(template.bytes()) => {
                template.append(&mut connection.out);
                mark_dirty(slot, connection, &mut self.dirty);
                fan_out.sent += 1;
            }
            _ => fan_out.dropped += 1,
        }
        true
    }

    /// False if it is to be queued.
    #[inline]
    #[allow(clippy::too_many_arguments, reason = "what a delivery is made of")]
    fn deliver_in_window(
        &mut self,
        now: Timestamp,
        session: u32,
        qos: QoS,
        retain: bool,
        identifiers: Option<&Rc<PropertiesBuf>>,
        message: &Message<'_>,
        fan_out: &mut FanOut,
    ) -> bool {
        let slot = self.sessions.link(session);
        let Some(connection) = self.connections.get_mut(slot as usize) else {
            return false;
        };
        let Some(session) = self.sessions.get_mut(session) else {
            return true;
        };
        if !session.window_is_open() || !session.queue_is_empty() {
            return false;
        }
        let kept = session
            .outlives_connection()
            .then(|| fan_out.stored(now, message));
        let template = fan_out.template(
            message,
            connection.version,
            qos,
            retain,
            identifiers.map(|identifiers| &**identifiers),
        );
        let Some(template) = template.filter(|template| fits(connection, template)) else {
            fan_out.dropped += 1;
            return true;
        };
        if !connection.has_room(template.bytes()) {
            return false;
        }
        let kept_identifiers = if kept.is_some() {
            identifiers.cloned()
        } else {
            None
        };
        let entry = Entry::new(qos, retain, kept, kept_identifiers);
        if let Some(message) = &entry.message {
            // The identifier that it is about to get is not known to the store before.
            let message = message.clone();
            let packet_identifier = session.inflight.push(entry);
            let client_identifier = &*session.client_identifier;
            self.store.append(Record::Sent {
                client_identifier,
                packet_identifier,
                message: &message,
                qos,
                retain,
            });
            template.append_with_identifier(packet_identifier, false, &mut connection.out);
        } else {
            let packet_identifier = session.inflight.push(entry);
            template.append_with_identifier(packet_identifier, false, &mut connection.out);
        }
        mark_dirty(slot, connection, &mut self.dirty);
        fan_out.sent += 1;
        true
    }

    /// Puts a message into a session's queue; false if it does not fit.
    pub(super) fn enqueue(&mut self, session: u32, queued: Queued) -> bool {
        let bounds = Bounds {
            messages_max: self.settings.queued_messages_max,
            bytes_max: self.settings.queued_bytes_max,
        };
        let slot = self.sessions.link(session);
        let Some(session) = self.sessions.get_mut(session) else {
            return false;
        };
        let bytes = queued.message.queue_bytes();
        let (qos, retain, message) = (queued.qos, queued.retain, queued.message.clone());
        if !session.queue.get_or_insert_default().push(queued, bounds) {
            return false;
        }
        if session.outlives_connection() {
            let client_identifier = &*session.client_identifier;
            self.store.append(Record::Queued {
                client_identifier,
                message: &message,
                qos,
                retain,
            });
        }
        if let Some(connection) = self.connections.get_mut(slot as usize) {
            connection.qos0_waits |= qos == QoS::AtMostOnce;
        }
        let counters = self.counters();
        counters.queued_messages.add(1);
        counters.queued_bytes.add(bytes);
        true
    }

    /// Sends what a session has waiting as far as window and socket let it: first what is to be sent again, then the queue.
    pub(super) fn pump(&mut self, now: Timestamp, session: u32) {
        let slot = self.sessions.link(session);
        self.resend(now, session, slot);
        loop {
            let Some(connection) = self.connections.get(slot as usize) else {
                return;
            };
            let has_room = connection.waiting_bytes() < limits::PUMP_BYTES;
            let Some(waiting) = self.sessions.get(session) else {
                return;
            };
            let Some(next) = waiting.queue.as_ref().and_then(|queue| queue.front()) else {
                break;
            };
            if !has_room || (next.qos != QoS::AtMostOnce && !waiting.window_is_open()) {
                return;
            }
            self.send_first(now, session, slot);
        }
        if let Some(connection) = self.connections.get_mut(slot as usize) {
            connection.qos0_waits = false;
        }
    }

    /// Sends again what was in flight on the connection before: PUBLISH with DUP, or PUBREL [MQTT-4.4.0-1].
    fn resend(&mut self, now: Timestamp, session: u32, slot: u32) {
        while let Some(waiting) = self.sessions.get_mut(session)
            && waiting.inflight.outstanding() < waiting.window
            && let Some((identifier, entry)) = waiting.inflight.next_resend()
        {
            let qos = match entry.awaits {
                Awaits::PubAck => QoS::AtLeastOnce,
                Awaits::PubRec => QoS::ExactlyOnce,
                Awaits::PubComp | Awaits::Free => {
                    self.send(slot, |out, version| {
                        mqtt::encode::ack(
                            mqtt::frame::PacketType::PubRel,
                            identifier,
                            mqtt::ReasonCode::Success,
                            version,
                            out,
                        );
                    });
                    continue;
                }
            };
            let queued = entry.message.map(|message| Queued {
                message,
                identifiers: entry.identifiers,
                qos,
                retain: entry.retain,
                replay: false,
            });
            let sent =
                queued.is_some_and(|queued| self.send_stored(now, slot, &queued, Some(identifier), true));
            if !sent {
                self.finish(session, identifier, entry.awaits);
            }
        }
    }

    /// Takes a message in flight off the books. False if it was not awaited.
    pub(super) fn finish(
        &mut self,
        session: u32,
        packet_identifier: PacketIdentifier,
        awaited: Awaits,
    ) -> bool {
        let Some(session) = self.sessions.get_mut(session) else {
            return false;
        };
        let finished = session.inflight.finish(packet_identifier, awaited);
        if finished && session.outlives_connection() {
            let client_identifier = &*session.client_identifier;
            self.store.append(Record::Completed {
                client_identifier,
                packet_identifier,
            });
        }
        finished
    }

    /// Moves the first message of the queue to the socket. There is one, and it may go.
    fn send_first(&mut self, now: Timestamp, session_slot: u32, slot: u32) {
        let Some(session) = self.sessions.get_mut(session_slot) else {
            return;
        };
        let Some(queued) = session.queue.as_mut().and_then(|queue| queue.pop()) else {
            return;
        };
        session.queue.take_if(|queue| queue.is_empty());
        let outlives = session.outlives_connection();
        if outlives {
            self.store.append(Record::Dequeued {
                client_identifier: &session.client_identifier,
            });
        }
        let identifier = (queued.qos != QoS::AtMostOnce).then(|| session.begin_flight(&queued, outlives));
        if let (Some(packet_identifier), true) = (identifier, outlives) {
            let Queued {
                message, qos, retain, ..
            } = &queued;
            let client_identifier = &*session.client_identifier;
            let (qos, retain) = (*qos, *retain);
            self.store.append(Record::Sent {
                client_identifier,
                packet_identifier,
                message,
                qos,
                retain,
            });
        }
        let counters = self.counters();
        counters.queued_messages.sub(1);
        counters.queued_bytes.sub(queued.message.queue_bytes());
        if !self.send_stored(now, slot, &queued, identifier, false) {
            self.counters().publishes_dropped.add(1);
            if let Some(identifier) = identifier {
                let awaited = if queued.qos == QoS::ExactlyOnce {
                    Awaits::PubRec
                } else {
                    Awaits::PubAck
                };
                self.finish(session_slot, identifier, awaited);
            }
        }
    }

    /// Encodes a kept message to a connection; false if it has expired, is too large for the client or not for its eyes.
    fn send_stored(
        &mut self,
        now: Timestamp,
        slot: u32,
        queued: &Queued,
        identifier: Option<PacketIdentifier>,
        dup: bool,
    ) -> bool {
        let Self {
            connections,
            sessions,
            template,
            properties,
            dirty,
            ..
        } = self;
        let Some(connection) = connections.get_mut(slot as usize) else {
            return false;
        };
        // The rules may have changed while it waited.
        if connection.restricted && !sessions.may_read(connection.session, queued.message.topic()) {
            return false;
        }
        let Some(message) = queued.message.at(now, properties) else {
            return false;
        };
        let extra = queued
            .identifiers
            .as_ref()
            .map(|identifiers| identifiers.as_properties())
            .unwrap_or_default();
        let Message {
            topic,
            properties,
            payload,
            ..
        } = message;
        let encoded = template.encode(
            connection.version,
            queued.qos,
            queued.retain,
            topic,
            properties,
            extra,
            payload,
        );
        if encoded.is_err() || !fits(connection, template) {
            return false;
        }
        match identifier {
            Some(identifier) => template.append_with_identifier(identifier, dup, &mut connection.out),
            None => template.append(&mut connection.out),
        }
        mark_dirty(slot, connection, dirty);
        let payload_bytes = payload.len() as u64;
        let counters = self.counters();
        counters.packets_sent.add(1);
        counters.publishes_sent.add(1);
        counters.publish_bytes_sent.add(payload_bytes);
        true
    }

    /// Forgets the queue of a session that ends, in the counters.
    pub(super) fn forget_queue(&mut self, session: &Session) {
        if let Some(queue) = &session.queue {
            let counters = self.counters();
            counters.queued_messages.sub(queue.len() as u64);
            counters.queued_bytes.sub(queue.bytes_all());
        }
    }

    /// A kept message for a session: goes out now if it may, else waits.
    pub(super) fn replay(&mut self, session: u32, queued: Queued) {
        if !self.enqueue(session, queued) {
            self.counters().publishes_dropped.add(1);
        }
    }

    /// Makes a message one to be kept.
    pub(super) fn store_message(&self, now: Timestamp, message: &Message<'_>) -> StoredMessage {
        StoredMessage::new(now, message, &mut Vec::new())
    }
}

impl Session {
    fn begin_flight(&mut self, queued: &Queued, outlives: bool) -> PacketIdentifier {
        let kept = outlives.then(|| queued.message.clone());
        let identifiers = if outlives {
            queued.identifiers.clone()
        } else {
            None
        };
        self.inflight
            .push(Entry::new(queued.qos, queued.retain, kept, identifiers))
    }
}

/// Whether the client takes a packet of that size [MQTT-3.1.2-24].
#[inline]
fn fits(connection: &Connection, template: &PublishTemplate) -> bool {
    template.bytes() <= connection.packet_bytes_max as usize
}

#[inline]
fn mark_dirty(slot: u32, connection: &mut Connection, dirty: &mut Vec<ConnectionId>) {
    if !connection.dirty {
        connection.dirty = true;
        dirty.push(ConnectionId {
            slot,
            generation: connection.generation,
        });
    }
}
