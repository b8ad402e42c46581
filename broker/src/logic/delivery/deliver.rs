//! Delivers a message to one session: appends it to the connection's output if it may be sent now, otherwise queues it
//! in the session.
//!
//! Invariants: a QoS 1 or 2 message never overtakes one that waits in the session's queue, and a QoS 0 message never
//! overtakes another QoS 0 message. A QoS 1 or 2 message is sent only while the window has room. For a session that
//! ends with its connection, only the awaited acknowledgements are kept and not the messages in flight, except for
//! those that would then go to another member of a group. Delivery at QoS 0 reads only the session's link and the
//! connection.

use std::rc::Rc;

use mqtt::property::PropertiesBuf;
use mqtt::publish_template::PublishTemplate;
use mqtt::{ProtocolVersion, QoS};

use crate::logic::aliases::Outgoing;
use crate::logic::connection::Connection;
use crate::logic::counters::DropReason;
use crate::logic::delivery::Delivery;
use crate::logic::delivery::encodings::Encodings;
use crate::logic::delivery::flight::Flight;
use crate::logic::delivery::journal::SessionDelivery;
use crate::logic::delivery::outputs::Appended;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::message::{Message, Run};
use crate::logic::mount_point::{mount_point, without_mount_point};
use crate::logic::routing::route::Target;
use crate::logic::session::SessionSlot;
use crate::logic::session::queue::Queued;
use crate::logic::via::Via;
use crate::settings::Settings;

impl Delivery {
    /// Delivers a run of QoS 0 packets, which are not retained, unchanged to one subscriber. False if the subscriber
    /// needs another form, a queue, or one packet at a time.
    #[inline]
    pub(in crate::logic) fn deliver_run(&mut self, target: &Target, run: &Run<'_>) -> bool {
        let link = self.clients.link(target.session);
        let (Some(slot), Some(connection)) = (link, self.clients.connection(link)) else {
            // The client is disconnected.
            return !self.settings.queue_qos0_messages;
        };
        let same_form = (connection.version() == ProtocolVersion::V5) == (run.version == ProtocolVersion::V5);
        let at_qos0 = target.qos == QoS::AtMostOnce || !self.upgrade;
        let plain = same_form
            && !connection.is_mounted()
            && !connection.is_aliased()
            && at_qos0
            && target.via.is_none()
            && !connection.qos0_waits();
        if !plain || run.packet_bytes_max > connection.packet_bytes_max() {
            return false;
        }
        if !self.flow.has_room(connection, run.packets.len()) {
            // The run may be larger than the remaining room: then packet by packet, until it is full.
            if run.count > 1 && self.flow.has_room(connection, run.packet_bytes_max as usize) {
                return false;
            }
            self.drop_run_for(target, run);
            return true;
        }
        let appended = Appended {
            bytes: run.packets.len(),
            copies: u64::from(run.count),
            waited: false,
        };
        self.outputs
            .append(&mut self.flow, slot, connection, appended, |out| {
                out.extend_from_slice(run.packets);
            });
        true
    }

    /// Delivers a message to one subscriber; false if it was dropped for this one.
    ///
    /// [MQTT3-3.8.4-6], [MQTT-3.3.1-12], [MQTT-3.3.1-13], [MQTT-3.8.4-8]
    #[inline]
    pub(in crate::logic) fn deliver(
        &mut self,
        target: &Target,
        via: Option<&Rc<Via>>,
        message: &Message<'_>,
    ) -> bool {
        match self.attempt(target, via, message) {
            Ok(()) => true,
            Err(reason) => {
                if let Some(reason) = reason {
                    self.drop_of_size(target.session, message.topic, message.payload.len(), reason);
                }
                false
            }
        }
    }

    /// Delivers a message to one subscriber without counting a drop; the reason is `None` if this is not a drop,
    /// because the client is disconnected and the message is not to be queued.
    #[inline]
    fn attempt(
        &mut self,
        target: &Target,
        via: Option<&Rc<Via>>,
        message: &Message<'_>,
    ) -> Result<(), Option<DropReason>> {
        if target.no_local && Some(target.session) == message.publisher.session {
            // [MQTT-3.8.3-3]
            return Ok(());
        }
        let qos = if self.upgrade {
            target.qos
        } else {
            target.qos.min(message.qos)
        };
        let retain = target.retain_as_published && message.retain;
        let delivered = match qos {
            QoS::AtMostOnce => self.deliver_qos0(target.session, retain, via, message),
            _ => self.deliver_in_window(target.session, qos, retain, via, message),
        };
        match delivered {
            Delivered::Sent => Ok(()),
            Delivered::NotQueued => Err(None),
            Delivered::Dropped(reason) => Err(Some(reason)),
            Delivered::Waits => {
                let queued = Queued {
                    message: self.encodings.stored(self.now, message),
                    via: via.cloned(),
                    qos,
                    retain,
                    order: 0,
                    retained: false,
                    is_overrun: false,
                };
                self.enqueue(target.session, queued).map_err(Some)
            }
        }
    }

    /// Offers a message of a group to one member; false if it has to be offered to another one.
    pub(in crate::logic) fn try_deliver(
        &mut self,
        target: &Target,
        via: Option<&Rc<Via>>,
        message: &Message<'_>,
    ) -> bool {
        self.attempt(target, via, message).is_ok()
    }

    /// Whether a session accepts a message at once, at any QoS: it is connected, keeps up, and its window is open.
    pub(in crate::logic) fn takes_at_once(&self, session: SessionSlot) -> bool {
        let Some(connection) = self.clients.connections().get(self.clients.link(session)) else {
            return false;
        };
        let keeps_up = connection.keeps_up() && !connection.waits();
        let session = self.clients.session(session).filter(|_| keeps_up);
        session.is_some_and(|session| {
            session.queue_is_empty() && session.window_is_open(self.inflight_bytes_max)
        })
    }

    // [MQTT3-4.3.1-1], [MQTT-3.3.4-10]
    #[inline]
    fn deliver_qos0(
        &mut self,
        session: SessionSlot,
        retain: bool,
        via: Option<&Rc<Via>>,
        message: &Message<'_>,
    ) -> Delivered {
        let link = self.clients.link(session);
        let (Some(slot), Some(connection)) = (link, self.clients.connection(link)) else {
            return if self.settings.queue_qos0_messages {
                Delivered::Waits
            } else {
                Delivered::NotQueued
            };
        };
        if connection.qos0_waits() {
            return Delivered::Waits;
        }
        let template = encoded(
            &mut self.encodings,
            connection,
            &self.settings,
            message,
            QoS::AtMostOnce,
            retain,
            via,
        );
        match template {
            Some(template)
                if is_within_packet_size(connection, template)
                    && self.flow.has_room(connection, template.bytes()) =>
            {
                let appended = Appended::one(template.bytes());
                self.outputs
                    .append(&mut self.flow, slot, connection, appended, |out| {
                        template.append(out);
                    });
                Delivered::Sent
            }
            Some(template) if is_within_packet_size(connection, template) => {
                Delivered::Dropped(DropReason::SlowConsumer)
            }
            _ => Delivered::Dropped(DropReason::TooLarge),
        }
    }

    // [MQTT3-2.3.1-4], [MQTT3-4.3.2-1], [MQTT3-4.3.3-1], [MQTT-4.3.2-1], [MQTT-4.3.2-2], [MQTT-4.3.3-1],
    // [MQTT-4.3.3-2], [MQTT-4.9.0-2]
    #[inline]
    #[allow(clippy::too_many_arguments, reason = "the parts of a delivery")]
    fn deliver_in_window(
        &mut self,
        session: SessionSlot,
        qos: QoS,
        retain: bool,
        via: Option<&Rc<Via>>,
        message: &Message<'_>,
    ) -> Delivered {
        let (connections, sessions) = self.clients.both();
        let link = sessions.link(session);
        let (Some(slot), Some(connection)) = (link, connections.get_mut(link)) else {
            // The client is disconnected.
            return Delivered::Waits;
        };
        let Some(session) = sessions.get_mut(session) else {
            unreachable_state("a target whose session is gone");
            return Delivered::NotQueued;
        };
        if !session.window_is_open(self.inflight_bytes_max) || !session.queue_is_empty() {
            return Delivered::Waits;
        }
        let kept = (session.keeps_messages() || belongs_to_group(via, qos))
            .then(|| self.encodings.stored(self.now, message));
        let is_stored = session.is_stored();
        // If it waits for the store, others may overtake it, so it contains its topic.
        let waits_for = self.journal.batch_before(qos, is_stored, via, false);
        let (encodings, settings) = (&mut self.encodings, &*self.settings);
        let template = if waits_for.is_some() {
            encoded_whole(encodings, connection, settings, message, qos, retain, via)
        } else {
            encoded(encodings, connection, settings, message, qos, retain, via)
        };
        let Some(template) = template.filter(|template| is_within_packet_size(connection, template)) else {
            return Delivered::Dropped(DropReason::TooLarge);
        };
        if !self.flow.has_room(connection, template.bytes()) {
            if connection.waiting_bytes() < self.flow.fill_bytes() {
                // The shard has no room. Nothing of this client is in flight that would bring it back here.
                self.outputs.mark_dirty(slot, connection);
            }
            return Delivered::Waits;
        }
        let flight = Flight {
            qos,
            retain,
            message: kept,
            via,
            payload_bytes: message.payload.len(),
        };
        let order = session.next_order();
        let identifier = session.begin_flight(flight, order);
        if is_stored {
            let taken = SessionDelivery::sent(session.number(), order, qos, retain, identifier, via);
            self.journal.take(taken);
        }
        if let Some(number) = waits_for {
            self.deferred.push(number, slot, connection, |out, _| {
                template.append_with_identifier(identifier, false, out);
            });
            self.outputs.count_deferred_copy();
        } else {
            let appended = Appended::one(template.bytes());
            self.outputs
                .append(&mut self.flow, slot, connection, appended, |out| {
                    template.append_with_identifier(identifier, false, out);
                });
        }
        self.counters().count_sent_at(qos);
        Delivered::Sent
    }
}

/// The result of a delivery to one subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivered {
    Sent,
    /// The message has to be queued in the session.
    Waits,
    /// The client is disconnected, and the message is not queued for it.
    NotQueued,
    Dropped(DropReason),
}

/// Whether a message in flight goes to another member of its group when the session ends: only at QoS 1
/// [MQTT-4.8.2-5].
#[inline]
pub(in crate::logic) fn belongs_to_group(via: Option<&Rc<Via>>, qos: QoS) -> bool {
    qos == QoS::AtLeastOnce && via.is_some_and(|via| via.group.is_some())
}

/// The encoded message for a connection; `None` if it cannot be encoded. The result must be passed to
/// `Outputs::append`.
#[inline]
fn encoded<'a>(
    encodings: &'a mut Encodings,
    connection: &mut Connection,
    settings: &Settings,
    message: &Message<'_>,
    qos: QoS,
    retain: bool,
    via: Option<&Rc<Via>>,
) -> Option<&'a PublishTemplate> {
    let mount_point = mount_point(connection, settings);
    let bytes_max = connection.packet_bytes_max();
    let identifiers = via.map(|via| &via.identifiers);
    if let Some(aliases) = connection.outbound_aliases() {
        let outgoing = Outgoing {
            qos,
            retain,
            topic: without_mount_point(message.topic, mount_point)?,
            properties: message.properties,
            identifiers: identifiers.map(PropertiesBuf::as_properties).unwrap_or_default(),
            payload: message.payload,
        };
        if aliases.encode(&outgoing, bytes_max, encodings.own_template()) {
            return Some(encodings.own_template());
        }
    }
    encoded_whole(encodings, connection, settings, message, qos, retain, via)
}

/// The same, always with its topic.
#[inline]
fn encoded_whole<'a>(
    encodings: &'a mut Encodings,
    connection: &mut Connection,
    settings: &Settings,
    message: &Message<'_>,
    qos: QoS,
    retain: bool,
    via: Option<&Rc<Via>>,
) -> Option<&'a PublishTemplate> {
    let (version, mount_point) = (connection.version(), mount_point(connection, settings));
    let identifiers = via.map(|via| &via.identifiers);
    encodings.template(message, version, qos, retain, identifiers, mount_point)
}

/// Whether the client accepts a packet of that size [MQTT-3.1.2-24].
#[inline]
pub(in crate::logic) fn is_within_packet_size(connection: &Connection, template: &PublishTemplate) -> bool {
    template.bytes() <= connection.packet_bytes_max() as usize
}
