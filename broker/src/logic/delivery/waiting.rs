//! Messages that wait for a client, and how they continue: after a CONNECT, an acknowledgement, a flush.
//!
//! Invariants: messages that were in flight before are sent first, then the queue in order; at most half of the
//! low-water mark at once, so that a queue of any length takes no more memory in `out`. Messages that have expired or
//! are too large for the client are dropped as if they were completed [MQTT-3.1.2-25]; but a message that was sent at
//! QoS 2 does not expire any more, and is released if it is too large.

use mqtt::frame::PacketType;
use mqtt::property::PropertiesBuf;
use mqtt::publish_template::PublishTemplate;
use mqtt::{PacketIdentifier, ProtocolVersion, QoS, ReasonCode};

use crate::logic::aliases::{Aliases, Outgoing};
use crate::logic::connection::{Connection, ConnectionSlot};
use crate::logic::counters::DropReason;
use crate::logic::delivery::Delivery;
use crate::logic::delivery::deliver::belongs_to_group;
use crate::logic::delivery::flight::Flight;
use crate::logic::delivery::journal::SessionDelivery;
use crate::logic::delivery::outputs::Appended;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::message::Message;
use crate::logic::mount_point::{mount_point, without_mount_point};
use crate::logic::session::inflight::Awaits;
use crate::logic::session::queue::Queued;
use crate::logic::session::stored_queue::Loaded;
use crate::logic::session::{Session, SessionSlot};
use crate::logic::store::Record;
use crate::time::Timestamp;

impl Delivery {
    /// Puts a message into a session's queue, or returns why it is dropped.
    ///
    /// [MQTT3-3.1.2-5], [MQTT3-4.1.0-1], [MQTT3-4.5.0-1], [MQTT-4.5.0-1]
    pub(in crate::logic) fn enqueue(
        &mut self,
        slot: SessionSlot,
        mut queued: Queued,
    ) -> Result<(), DropReason> {
        if self.memory_full && !queued.retained {
            return Err(DropReason::MemoryFull);
        }
        let bounds = self.flow.bounds();
        let link = self.clients.link(slot);
        let overrun_bytes = self.flow.queue_overrun(self.clients.connections().get(link));
        let (connections, sessions) = self.clients.both();
        let Some(session) = sessions.get_mut(slot) else {
            unreachable_state("a message for a session that is gone");
            return Err(DropReason::QueueFull);
        };
        let (bytes, expires_at) = (queued.message.queue_bytes(), queued.message.expires_at());
        let (qos, retain) = (queued.qos, queued.retain);
        let keeps = session.is_stored();
        let via = queued.via.clone().filter(|_| keeps);
        if keeps {
            queued.order = session.next_order();
        }
        let (order, number) = (queued.order, session.number());
        let may_leave = keeps && self.journal.reads_back() && !queued.retained;
        let loaded = may_leave.then(|| Loaded::new(self.settings.loaded_queue, link.is_some()));
        let queue = session.queue_to_fill();
        if !queue.push(queued, bounds, overrun_bytes, loaded) {
            return Err(DropReason::QueueFull);
        }
        if let (Some(link), Some(connection)) = (link, connections.get_mut(link)) {
            connection.begin_waiting(qos);
            self.flow.queued(link, connection, queue);
        }
        if keeps {
            self.journal.take(SessionDelivery {
                session: number,
                order,
                qos,
                retain,
                packet_identifier: None,
                via,
            });
        }
        let counters = self.counters();
        counters.queued_messages.add(1);
        counters.queued_bytes.add(bytes);
        if expires_at != Timestamp::NEVER {
            self.watch_expiry(slot, expires_at);
        }
        Ok(())
    }

    /// Sends a session's waiting messages as far as window and socket allow: first those that must be resent, then the
    /// queue.
    ///
    /// [MQTT3-4.6.0-5], [MQTT3-4.6.0-6], [MQTT-4.6.0-5], [MQTT-4.6.0-6]
    pub(in crate::logic) fn send_waiting(&mut self, session: SessionSlot) {
        self.send_loaded(session);
        if self.clients.link(session).is_some() {
            self.ask_for_more(session);
        }
    }

    /// Sends what is in memory.
    fn send_loaded(&mut self, session: SessionSlot) {
        let Some(slot) = self.clients.link(session) else {
            // The client is disconnected: its next connection gets it.
            return;
        };
        self.resend(session, slot);
        loop {
            let Some(connection) = self.clients.connections().get(slot) else {
                return unreachable_state("a session of a connection that is gone");
            };
            let has_room = connection.waiting_bytes() < self.flow.fill_bytes();
            let Some(waiting) = self.clients.session(session) else {
                return unreachable_state("a queue of a session that is gone");
            };
            let Some(queue) = waiting.queue() else {
                break;
            };
            let Some(next) = queue.front() else {
                // The others are being read.
                return;
            };
            if !has_room || (next.qos != QoS::AtMostOnce && !waiting.window_is_open(self.inflight_bytes_max))
            {
                return;
            }
            self.send_first(session, slot);
        }
        let resends = self.clients.session(session).is_some_and(Session::resends);
        if let Some(connection) = self.clients.connection(slot) {
            // More may be in flight than the window of this connection allows at once.
            connection.end_waiting(resends);
        }
    }

    /// Resends what was in flight on the previous connection: PUBLISH with DUP, or PUBREL [MQTT-4.4.0-1]; also
    /// messages of a group [MQTT-4.8.2-4].
    ///
    /// [MQTT3-3.3.1-1], [MQTT3-4.4.0-1], [MQTT3-4.6.0-1], [MQTT-3.3.1-1], [MQTT-4.3.3-6], [MQTT-4.3.3-7]
    fn resend(&mut self, session: SessionSlot, slot: ConnectionSlot) {
        let pour_bytes = self.flow.fill_bytes();
        let has_room = |connection: &Connection| connection.waiting_bytes() < pour_bytes;
        while self.clients.connections().get(slot).is_some_and(has_room)
            && let Some(waiting) = self.clients.session_mut(session)
            && let Some((identifier, entry)) = waiting.next_resend()
        {
            let qos = match entry.awaits {
                Awaits::PubAck => QoS::AtLeastOnce,
                Awaits::PubRec => QoS::ExactlyOnce,
                Awaits::PubComp | Awaits::Free => {
                    self.send(slot, |out, version| {
                        mqtt::encode::ack(PacketType::PubRel, identifier, ReasonCode::Success, version, out);
                    });
                    continue;
                }
            };
            let queued = entry.message.map(|message| Queued {
                message,
                via: entry.via,
                qos,
                retain: entry.retain,
                order: entry.order,
                retained: false,
                is_overrun: false,
            });
            let sent = queued.as_ref().map(|queued| {
                let sent = self.send_stored(slot, queued, Some(identifier), true);
                sent.map_err(|reason| (&queued.message, reason))
            });
            if let Some(Err((message, reason))) = sent {
                let (topic, bytes) = (message.topic(), message.payload().len());
                self.drop_of_size(session, topic, bytes, reason);
            }
            if !matches!(sent, Some(Ok(()))) {
                self.drop_in_flight(session, slot, identifier, entry.awaits);
            }
        }
    }

    /// Drops a message in flight that cannot be resent. At QoS 2 the client may have it: its next message with that
    /// identifier would count as the same one, so the identifier is free only after PUBREL and PUBCOMP.
    fn drop_in_flight(
        &mut self,
        session: SessionSlot,
        slot: ConnectionSlot,
        identifier: PacketIdentifier,
        awaits: Awaits,
    ) {
        if awaits == Awaits::PubRec {
            self.release(session, identifier);
            self.send_ack(slot, PacketType::PubRel, identifier, ReasonCode::Success);
        } else {
            self.finish(session, identifier, awaits);
        }
    }

    /// Moves the first message of the queue to the socket. There is one, and it may be sent.
    ///
    /// [MQTT-3.3.2-5], [MQTT-4.9.0-1]
    fn send_first(&mut self, session_slot: SessionSlot, slot: ConnectionSlot) {
        let Some(session) = self.clients.session_mut(session_slot) else {
            return unreachable_state("a queue of a session that is gone");
        };
        let Some(queued) = session.pop_queued() else {
            return unreachable_state("a queue that is empty after all");
        };
        let outlives = session.keeps_messages();
        let order = queued.order;
        let keeps = session.is_stored() && order > 0;
        if keeps && queued.qos == QoS::AtMostOnce {
            session.record(&mut self.journal, |session| Record::Done { session, order });
        }
        let identifier = (queued.qos != QoS::AtMostOnce).then(|| {
            let via = queued.via.as_ref();
            let keeps = outlives || belongs_to_group(via, queued.qos);
            let flight = Flight {
                qos: queued.qos,
                retain: queued.retain,
                message: keeps.then(|| queued.message.clone()),
                via,
                payload_bytes: queued.message.payload().len(),
            };
            session.begin_flight(flight, order)
        });
        if keeps && let Some(identifier) = identifier {
            let packet_identifier = identifier.get();
            session.record(&mut self.journal, |session| Record::InFlight {
                session,
                order,
                packet_identifier,
                released: false,
            });
        }
        let counters = self.counters();
        counters.queued_messages.sub(1);
        counters.queued_bytes.sub(queued.message.queue_bytes());
        if let Err(reason) = self.send_stored(slot, &queued, identifier, false) {
            let (topic, bytes) = (queued.message.topic(), queued.message.payload().len());
            self.drop_of_size(session_slot, topic, bytes, reason);
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

    /// Encodes a stored message to a connection, or returns why the client does not get it.
    fn send_stored(
        &mut self,
        slot: ConnectionSlot,
        queued: &Queued,
        identifier: Option<PacketIdentifier>,
        dup: bool,
    ) -> Result<(), DropReason> {
        let template = &mut self.template;
        let (connections, sessions) = self.clients.both();
        let Some(connection) = connections.get_mut(slot) else {
            unreachable_state("a session of a connection that is gone");
            return Err(DropReason::NotAllowed);
        };
        // The rules may have changed while it waited.
        if connection.is_restricted()
            && let Some(session) = connection.session()
            && !sessions.may_read(session, queued.message.topic())
        {
            return Err(DropReason::NotAllowed);
        }
        let Some(message) = message_to_send(queued, dup, self.now, &mut self.properties) else {
            return Err(DropReason::Expired);
        };
        let Some(topic) = without_mount_point(message.topic, mount_point(connection, &self.settings)) else {
            // Its topic is outside the mount point.
            return Err(DropReason::NotAllowed);
        };
        let (version, bytes_max) = (connection.version(), connection.packet_bytes_max());
        let outgoing = Outgoing {
            qos: queued.qos,
            retain: queued.retain,
            topic,
            properties: message.properties,
            identifiers: queued.identifiers(),
            payload: message.payload,
        };
        let is_stored = sessions.get(connection.session()).is_some_and(Session::is_stored);
        let batch = self
            .journal
            .batch_before(queued.qos, is_stored, queued.via.as_ref(), true);
        let batch = batch.filter(|_| !dup && (queued.order > 0 || !is_stored));
        let aliases = connection.outbound_aliases().filter(|_| batch.is_none());
        if !encode(&outgoing, version, bytes_max, aliases, template) {
            return Err(DropReason::TooLarge);
        }
        let payload_bytes = message.payload.len();
        let write = |out: &mut Vec<u8>| match identifier {
            Some(identifier) => template.append_with_identifier(identifier, dup, out),
            None => template.append(out),
        };
        if let Some(batch) = batch {
            self.deferred.push(batch, slot, connection, |out, _| write(out));
            self.outputs.count_deferred_copy();
        } else {
            let one = Appended::one(template.bytes());
            let appended = Appended { waited: true, ..one };
            self.outputs
                .append(&mut self.flow, slot, connection, appended, write);
        }
        self.count_copies(payload_bytes);
        self.counters().count_sent_from_queue(queued.qos);
        Ok(())
    }

    /// Subtracts the queue of a session that ends from the counters.
    pub(in crate::logic) fn forget_queue(&mut self, session: &Session) {
        let (messages, bytes) = session.queued_totals();
        if messages > 0 {
            let counters = self.counters();
            counters.queued_messages.sub(messages);
            counters.queued_bytes.sub(bytes);
        }
    }

    /// A stored message for a session: sent now if possible, otherwise queued.
    ///
    /// [MQTT3-3.3.1-6], [MQTT3-3.3.1-8]
    pub(in crate::logic) fn send_retained(&mut self, session: SessionSlot, queued: Queued) {
        let message = queued.message.clone();
        if let Err(reason) = self.enqueue(session, queued) {
            self.drop_for(session, message.topic(), reason);
        }
        if self.journal.is_open() {
            self.journal.begin(None);
            self.note_delivered_to_all_of(&message);
        }
    }
}

/// A stored message as it is now; `None` if it has expired. A message that was sent at QoS 2 does not expire
/// [MQTT-4.3.3-7].
fn message_to_send<'a>(
    queued: &'a Queued,
    dup: bool,
    now: Timestamp,
    properties: &'a mut PropertiesBuf,
) -> Option<Message<'a>> {
    if dup && queued.qos == QoS::ExactlyOnce {
        queued.message.at_whether_expired(now, properties)
    } else {
        queued.message.at(now, properties)
    }
}

/// Encodes a message for one client, with a Topic Alias if it has one; false if it is too large for the client.
fn encode(
    outgoing: &Outgoing<'_>,
    version: ProtocolVersion,
    bytes_max: u32,
    aliases: Option<&mut Aliases>,
    template: &mut PublishTemplate,
) -> bool {
    if aliases.is_some_and(|aliases| aliases.encode(outgoing, bytes_max, template)) {
        return true;
    }
    let Outgoing {
        qos,
        retain,
        topic,
        properties,
        identifiers,
        payload,
    } = *outgoing;
    let encoded = template.encode(version, qos, retain, topic, properties, identifiers, payload);
    encoded.is_ok() && template.bytes() <= bytes_max as usize
}
