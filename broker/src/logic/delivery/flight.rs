//! Messages at QoS 1 and 2 in flight, in both directions, and the effects of acknowledgements. The handlers of PUBACK,
//! PUBREC, PUBREL and PUBCOMP (`handle/ack.rs`) call it.
//!
//! Invariants: an acknowledgement whose Packet Identifier is not in use changes nothing. Every change of a session that
//! outlives its connection is recorded in the store.

use std::rc::Rc;

use mqtt::{PacketIdentifier, QoS};

use crate::logic::delivery::Delivery;
use crate::logic::delivery::journal::Journal;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::message::StoredMessage;
use crate::logic::session::inflight::{Acknowledged, Awaits, InflightEntry};
use crate::logic::session::{Session, SessionSlot};
use crate::logic::store::Record;
use crate::logic::via::Via;

impl Delivery {
    /// A QoS 2 message arrived from a client.
    pub(in crate::logic) fn receive_exactly_once(
        &mut self,
        session: SessionSlot,
        packet_identifier: PacketIdentifier,
        receive_max: u16,
    ) -> ExactlyOnceArrival {
        let Some(session) = self.clients.session_mut(session) else {
            unreachable_state("a client whose session is gone");
            return ExactlyOnceArrival::Again;
        };
        if session.unreleased().contains(&packet_identifier.get()) {
            return ExactlyOnceArrival::Again;
        }
        if session.unreleased_now() >= usize::from(receive_max) {
            return ExactlyOnceArrival::TooMany;
        }
        session.begin_release(packet_identifier.get());
        session.record(&mut self.journal, |session| Record::Received {
            session,
            packet_identifier: packet_identifier.get(),
        });
        ExactlyOnceArrival::New
    }

    /// PUBREL arrived for a QoS 2 message of a client. False if the identifier was not in use.
    pub(in crate::logic) fn release_received(
        &mut self,
        session: SessionSlot,
        packet_identifier: PacketIdentifier,
    ) -> bool {
        let Some(session) = self.clients.session_mut(session) else {
            unreachable_state("a client whose session is gone");
            return false;
        };
        let known = session.release(packet_identifier.get());
        if known {
            session.record(&mut self.journal, |session| Record::ReceivedReleased {
                session,
                packet_identifier: packet_identifier.get(),
            });
        }
        known
    }

    /// PUBREC arrived for a message in flight.
    pub(in crate::logic) fn release(
        &mut self,
        session: SessionSlot,
        packet_identifier: PacketIdentifier,
    ) -> Acknowledged {
        let Some(session) = self.clients.session_mut(session) else {
            unreachable_state("a client whose session is gone");
            return Acknowledged::Unknown;
        };
        let acknowledged = session.release_in_flight(packet_identifier);
        if acknowledged == Acknowledged::Awaited {
            session.record(&mut self.journal, |number| Record::Released {
                session: number,
                order: session.order_of(packet_identifier),
            });
        }
        acknowledged
    }

    /// Ends the flight of a message, if its acknowledgement is awaited.
    pub(in crate::logic) fn finish(
        &mut self,
        session: SessionSlot,
        packet_identifier: PacketIdentifier,
        awaited: Awaits,
    ) -> Acknowledged {
        let Some(session) = self.clients.session_mut(session) else {
            unreachable_state("a client whose session is gone");
            return Acknowledged::Unknown;
        };
        let order = if session.is_stored() {
            session.order_of(packet_identifier)
        } else {
            0
        };
        let finished = session.finish_in_flight(packet_identifier, awaited);
        if finished == Acknowledged::Awaited {
            session.record(&mut self.journal, |session| Record::Done { session, order });
        }
        finished
    }
}

/// Whether a QoS 2 message of a client is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logic) enum ExactlyOnceArrival {
    New,
    /// It arrived before, and is not published again [MQTT-4.3.3-10].
    Again,
    /// More than the broker's Receive Maximum await PUBREL.
    TooMany,
}

/// A message that is sent at QoS 1 or 2.
#[derive(Debug)]
pub(super) struct Flight<'a> {
    pub(super) qos: QoS,
    /// The RETAIN flag of this delivery.
    pub(super) retain: bool,
    /// Kept only if the session outlives its connection, or the message belongs to a group.
    pub(super) message: Option<StoredMessage>,
    pub(super) via: Option<&'a Rc<Via>>,
    pub(super) payload_bytes: usize,
}

impl Session {
    /// Receives the changes of a session that is in the store.
    #[inline]
    pub(super) fn record<'a>(&self, journal: &mut Journal, record: impl FnOnce(u64) -> Record<'a>) {
        if self.is_stored() {
            journal.append(&record(self.number()));
        }
    }

    /// Gives a message its identifier, and its place in the order of the session's messages if it has none.
    #[inline]
    pub(super) fn begin_flight(&mut self, flight: Flight<'_>, order: u64) -> PacketIdentifier {
        let Flight {
            qos,
            retain,
            message,
            via,
            payload_bytes,
        } = flight;
        let via = if message.is_some() { via.cloned() } else { None };
        let entry = InflightEntry::new(qos, retain, message, via);
        self.push_in_flight(entry.of_bytes(payload_bytes).of_order(order))
    }
}
