//! Sessions: subscriptions, deliveries, and what is in flight.
//!
//! Invariants: none.

use std::collections::VecDeque;
use std::rc::Rc;

use mqtt::QoS;
use mqtt::packet::SubscriptionOptions;

use super::lasting::Lasting;
use super::message::{Message, WillRequest};
use super::shared::Membership;
use super::{NEVER, SECOND_NS};

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not yet written to a connection.
    Waiting,
    /// Written to a connection of the session.
    Sent,
    /// Not to be written any more: a newer one was, where that was allowed.
    Dropped,
}

/// One delivery of a message to a session.
#[derive(Debug)]
pub struct Entry {
    /// The message that is delivered.
    pub message: Rc<Message>,
    /// QoS of the delivery.
    pub qos: QoS,
    /// What became of it.
    pub state: State,
    /// How often the client took it.
    pub received: u32,
    /// Which publish it is of, see [`super::lasting::Published`]; none for what is retained.
    pub(super) published: usize,
    pub(super) retain: bool,
    pub(super) identifiers: Vec<u32>,
    /// It must come; otherwise it may.
    pub(super) owed: bool,
    /// Who publishes it gets the acknowledgement when a store keeps it for this session.
    pub(super) promised: bool,
    /// A retained message after SUBSCRIBE: that one of the model's requests.
    pub(super) request: Option<usize>,
    /// It was one before the broker ended.
    pub(super) was_retained: bool,
    /// Overlapping subscriptions of which some are No Local, for an own message: QoS, flags and identifiers are a
    /// matter of taste.
    pub(super) lenient: bool,
    /// It expires not before the first, and not after the second.
    pub(super) expires_at: (u64, u64),
}

impl Entry {
    /// Whether it is a retained message after SUBSCRIBE.
    #[must_use]
    pub fn is_retained(&self) -> bool {
        self.request.is_some()
    }

    /// Whether it must still be written.
    #[must_use]
    pub fn is_owed(&self, now: u64) -> bool {
        self.state == State::Waiting && self.must_arrive(now)
    }

    /// Whether the client must get it if it has not.
    pub(super) fn must_arrive(&self, now: u64) -> bool {
        self.owed && self.state != State::Dropped && now < self.expires_at.0
    }
}

/// A subscription of one session.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    /// Distinguishes it from an earlier one to the same filter.
    pub(super) number: u64,
    pub(super) filter: &'static str,
    pub(super) options: SubscriptionOptions,
    pub(super) identifier: Option<u32>,
    /// It was a No Local one at some time.
    pub(super) was_no_local: bool,
    /// The lowest QoS that it has had.
    pub(super) lowest_qos: QoS,
    /// The step at which the client read the SUBACK.
    pub(super) known_since: u64,
}

/// What is awaited from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaits {
    /// PUBACK, for QoS 1.
    Acknowledged,
    /// PUBREC, the first answer of QoS 2.
    Received,
    /// PUBCOMP, the last answer of QoS 2.
    Completed,
}

/// A message in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    pub(super) packet_identifier: u16,
    pub(super) entry: usize,
    pub(super) awaits: Awaits,
}

/// What is kept of a client.
#[derive(Debug)]
pub struct Session {
    /// Client Identifier that owns it.
    pub client: String,
    /// False once it ended.
    pub alive: bool,
    pub(super) shard: usize,
    pub(super) connection: Option<usize>,
    pub(super) expiry_s: u32,
    pub(super) window: usize,
    pub(super) subscriptions: Vec<Subscription>,
    /// Deliveries by its own subscriptions.
    pub(super) entries: Vec<usize>,
    /// Deliveries not yet written, in order.
    pub(super) waiting: Vec<usize>,
    pub(super) flights: Vec<Flight>,
    /// Packet Identifiers that are to be sent again on this connection before anything new.
    pub(super) resend: VecDeque<u16>,
    /// Those at QoS 2 that cannot be sent again: PUBREL is to come for each on this connection, in any order.
    pub(super) pubrels: Vec<u16>,
    pub(super) unreleased: Vec<u16>,
    pub(super) will: Option<WillRequest>,
    pub(super) disconnected_at: u64,
    /// What was written to one of its connections was given up before anybody saw it: a message sent again may be one
    /// of those.
    pub(super) lost_output: bool,
    /// It loses its connection in this tick, before or after what else happens in it.
    pub(super) unsettled: bool,
    /// The groups that it is in, and was.
    pub(super) memberships: Vec<Membership>,
    /// It had a connection with a Maximum Packet Size.
    pub(super) was_small: bool,
    /// Every delivery that was sent to it at QoS 1 and 2.
    pub(super) written: Vec<usize>,
    /// Every delivery of its life at QoS 1 and 2, those of groups not counted.
    pub(super) obligations: Vec<usize>,
    /// The last connection that it had.
    pub(super) last_connection: Option<usize>,
    /// What a store keeps of it.
    pub(super) lasting: Lasting,
}

impl Session {
    pub(super) fn new(client: &str, shard: usize) -> Self {
        Self {
            client: client.to_owned(),
            alive: true,
            shard,
            connection: None,
            expiry_s: 0,
            window: 0,
            subscriptions: Vec::new(),
            entries: Vec::new(),
            waiting: Vec::new(),
            flights: Vec::new(),
            resend: VecDeque::new(),
            pubrels: Vec::new(),
            unreleased: Vec::new(),
            will: None,
            disconnected_at: 0,
            lost_output: false,
            unsettled: false,
            memberships: Vec::new(),
            was_small: false,
            written: Vec::new(),
            obligations: Vec::new(),
            last_connection: None,
            lasting: Lasting::default(),
        }
    }

    /// When it ends without a connection.
    pub(super) fn expires_at(&self) -> u64 {
        if self.expiry_s == u32::MAX {
            return NEVER;
        }
        self.disconnected_at
            .saturating_add(u64::from(self.expiry_s) * SECOND_NS)
    }

    /// Messages sent on this connection and not acknowledged.
    pub(super) fn assigned(&self) -> usize {
        self.flights.len().saturating_sub(self.resend.len())
    }

    pub(super) fn flight(&mut self, packet_identifier: u16) -> Option<&mut Flight> {
        self.flights
            .iter_mut()
            .find(|flight| flight.packet_identifier == packet_identifier)
    }

    /// Forgets a flight; false if it awaited something else.
    pub(super) fn finish(&mut self, packet_identifier: u16, awaited: Awaits) -> bool {
        let is_it =
            |flight: &Flight| flight.packet_identifier == packet_identifier && flight.awaits == awaited;
        let Some(at) = self.flights.iter().position(is_it) else {
            return false;
        };
        self.flights.remove(at);
        self.resend.retain(|&resend| resend != packet_identifier);
        self.pubrels.retain(|&other| other != packet_identifier);
        true
    }

    /// A message in flight at QoS 2 that cannot be sent again: the client may have it, so it is released.
    pub(super) fn give_up_exactly_once(&mut self, packet_identifier: u16) {
        if let Some(flight) = self.flight(packet_identifier) {
            flight.awaits = Awaits::Completed;
        }
        self.resend.retain(|&resend| resend != packet_identifier);
        self.pubrels.push(packet_identifier);
    }

    /// Whether it has a subscription to exactly that filter.
    #[must_use]
    pub fn subscribes(&self, filter: &str) -> bool {
        self.subscriptions
            .iter()
            .any(|subscription| subscription.filter == filter)
    }
}
