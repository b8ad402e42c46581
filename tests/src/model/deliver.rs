//! Messages: published, on their way between shards, and to whom they go.
//!
//! Invariants: none.

use std::rc::Rc;

use mqtt::packet::Publish;
use mqtt::property::{PropertiesBuf, Property};
use mqtt::{PacketIdentifier, ProtocolVersion, QoS};

use super::flow::entry_bytes_max;
use super::message::Message;
use super::reply::Reply;
use super::session::{Awaits, Entry, Flight, State, Subscription};
use super::shared::Share;
use super::{Model, Moment, NEVER, Passing, SECOND_NS, pop_front_if};

/// A message that reaches a shard.
struct Arrival<'a> {
    message: &'a Rc<Message>,
    published: usize,
    expires_at: (u64, u64),
    /// The step from which on all subscriptions that a client knows of count; `None` if all do.
    cause: Option<u64>,
    /// So many may come before it in any order.
    among: usize,
}

impl Model {
    /// A PUBLISH of a client.
    pub(super) fn publish_from(
        &mut self,
        connection: usize,
        message: &Rc<Message>,
        packet_identifier: u16,
        at: Moment,
    ) {
        let Some(session) = self.connections[connection].session else {
            return;
        };
        match message.qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.reply(connection, Reply::PubAck(packet_identifier)),
            QoS::ExactlyOnce => {
                self.reply(connection, Reply::PubRec(packet_identifier));
                let unreleased = &mut self.sessions[session].unreleased;
                if unreleased.contains(&packet_identifier) {
                    // [MQTT-4.3.3-10]
                    return;
                }
                unreleased.push(packet_identifier);
                self.note_received(session, packet_identifier, true);
            }
        }
        let by = Some((session, packet_identifier));
        self.publish_by(by, self.connections[connection].shard, message, at);
    }

    /// A message is published in a shard: it goes to the sessions there, and on its way to the others.
    pub(super) fn publish(&mut self, shard: usize, message: &Rc<Message>, at: Moment) {
        self.publish_by(None, shard, message, at);
    }

    fn publish_by(&mut self, by: Option<(usize, u16)>, shard: usize, message: &Rc<Message>, at: Moment) {
        let published = self.publish_of(by, message);
        self.published[shard] += 1;
        let number = self.published[shard];
        if message.retain {
            self.write_retained((shard, number), published, message, at);
        }
        let expires_at = message
            .expiry_s
            .map_or(NEVER, |s| at.now + u64::from(s) * SECOND_NS);
        // In a tick nothing shows which Will comes first.
        let among = self.ending.as_ref().map_or(0, |_| self.sessions.len());
        self.deliver(
            shard,
            &Arrival {
                message,
                published,
                expires_at: (expires_at, expires_at),
                cause: None,
                among,
            },
            at.now,
        );
        self.share(published, message, at);
        for to in (0..self.shards).filter(|&to| to != shard) {
            let message = Rc::clone(message);
            self.on_the_way[shard][to].push_back(Passing {
                number,
                message,
                sent: at,
                published,
                among,
            });
        }
    }

    /// What one shard had published until its message of that number has arrived at another one.
    pub fn arrive(&mut self, from: usize, to: usize, number: u64, now: u64) {
        self.arrived[to][from] = self.arrived[to][from].max(number);
        let queue = |model: &mut Self| {
            pop_front_if(&mut model.on_the_way[from][to], |passing| {
                passing.number <= number
            })
        };
        while let Some(Passing {
            message,
            sent,
            published,
            among,
            ..
        }) = queue(self)
        {
            let interval = message.expiry_s.map(|s| u64::from(s) * SECOND_NS);
            let ends = |since: u64| interval.map_or(NEVER, |interval| since + interval);
            let expires_at = (ends(now.min(sent.now)), ends(now.max(sent.now)));
            let cause = Some(sent.cause);
            self.deliver(
                to,
                &Arrival {
                    message: &message,
                    published,
                    expires_at,
                    cause,
                    among,
                },
                now,
            );
        }
    }

    fn deliver(&mut self, shard: usize, arrival: &Arrival<'_>, now: u64) {
        for number in 0..self.sessions.len() {
            let session = &self.sessions[number];
            if !session.alive || session.shard != shard {
                continue;
            }
            let topic = arrival.message.topic.as_str();
            let matching: Vec<&Subscription> = session
                .subscriptions
                .iter()
                .filter(|subscription| mqtt::topic::matches(subscription.filter, topic))
                .collect();
            if let Some(entry) = self.entry_for(number, &matching, arrival, now) {
                self.add(number, entry);
            }
        }
    }

    /// What a session gets by its subscriptions that match: one copy at the highest QoS [MQTT-3.3.4-2], with all
    /// Subscription Identifiers [MQTT-3.3.4-4].
    fn entry_for(
        &self,
        number: usize,
        matching: &[&Subscription],
        arrival: &Arrival<'_>,
        now: u64,
    ) -> Option<Entry> {
        let (session, message) = (&self.sessions[number], arrival.message);
        let own = message.publisher == session.client && !message.is_will;
        let silent = matching.iter().filter(|s| s.options.no_local).count();
        if own && silent == matching.len() {
            // [MQTT-3.8.3-3]
            return None;
        }
        let highest = matching
            .iter()
            .map(|subscription| subscription.options.qos)
            .max()?;
        let qos = highest.min(message.qos);
        let retain = message.retain && matching.iter().any(|s| s.options.retain_as_published);
        let mut identifiers: Vec<u32> = matching.iter().filter_map(|s| s.identifier).collect();
        identifiers.sort_unstable();
        let known = |cause: u64| matching.iter().any(|s| s.known_since < cause);
        let is_known = arrival.cause.is_none_or(known);
        let mut owed = is_known && now < arrival.expires_at.0;
        let published = |&&entry: &&usize| self.may_be_published(number, entry);
        let waiting = session.waiting.iter().filter(published).count() + arrival.among;
        // What waits there for a group does not show.
        let crowded = session.shares() && self.bounds.queued_messages_max < 1000;
        let mut at_qos0_to = None;
        match (qos, session.connection) {
            (QoS::AtMostOnce, None) => {
                if !session.unsettled {
                    return None;
                }
                owed = false;
            }
            (QoS::AtMostOnce, Some(connection)) => {
                let queues_full = waiting >= self.bounds.queued_messages_max || crowded;
                owed &= !queues_full && !session.unsettled;
                at_qos0_to = Some(connection);
            }
            // One that loses its connection in this tick may have been found too small before that.
            _ => owed &= waiting < self.bounds.queued_messages_max && !crowded && !session.unsettled,
        }
        let mut entry = Entry {
            message: Rc::clone(message),
            qos,
            state: State::Waiting,
            received: 0,
            published: arrival.published,
            retain,
            identifiers,
            owed,
            // Of a session that ends with its connection the store has nothing, and may not have that it is such a one.
            promised: is_known && session.expiry_s > 0,
            request: None,
            was_retained: false,
            lenient: own && silent > 0,
            expires_at: arrival.expires_at,
        };
        if let Some(connection) = at_qos0_to {
            let unknown = session.shares() && self.is_tight();
            entry.owed &= !unknown && !self.may_drop(connection, entry_bytes_max(&entry), waiting);
        }
        Some(entry)
    }

    /// Whether what waits counts in the queue: no retained message does, but one for which the message that was passed
    /// on may have been taken.
    fn may_be_published(&self, number: usize, waiting: usize) -> bool {
        let waiting = &self.entries[waiting];
        let is_twin = |&other: &usize| {
            let other = &self.entries[other];
            other.request.is_none()
                && other.retain
                && other.state == State::Sent
                && (&other.message.topic, &other.message.payload)
                    == (&waiting.message.topic, &waiting.message.payload)
        };
        waiting.request.is_none() || self.sessions[number].entries.iter().any(is_twin)
    }

    pub(super) fn add(&mut self, session: usize, entry: Entry) {
        let number = self.entries.len();
        if let Some(connection) = self.sessions[session].connection {
            let bytes = entry_bytes_max(&entry);
            self.connections[connection].flow.expect(bytes);
        }
        let queue_high = self.bounds.queued_messages_max / 2;
        if self.sessions[session].waiting.len() >= queue_high || self.sessions[session].shares() {
            self.was_above[self.sessions[session].shard] = true;
            if let Some(connection) = self.sessions[session].connection {
                self.connections[connection].flow.queue_grew_above();
            }
        }
        if entry.qos != QoS::AtMostOnce {
            self.sessions[session].obligations.push(number);
        }
        self.entries.push(entry);
        self.sessions[session].waiting.push(number);
        self.sessions[session].entries.push(number);
        self.waive_too_large(session);
    }

    /// Nothing above the client's Maximum Packet Size is sent to it [MQTT-3.1.2-24].
    pub(super) fn waive_too_large(&mut self, session: usize) {
        let session = &self.sessions[session];
        let Some(connection) = session.connection else {
            return;
        };
        let packet_bytes_max = self.connections[connection].packet_bytes_max;
        if packet_bytes_max == usize::MAX {
            return;
        }
        let flights = session.flights.iter().map(|flight| &flight.entry);
        for &entry in session.waiting.iter().chain(flights) {
            let entry = &mut self.entries[entry];
            // Which Subscription Identifiers are on it may not have shown.
            entry.owed &= !entry.lenient && packet_bytes(entry) <= packet_bytes_max;
        }
    }

    /// Whether a message in flight may be given up instead of being sent again.
    pub(super) fn may_give_up(&self, flight: &Flight, now: u64) -> bool {
        let entry = &self.entries[flight.entry];
        if flight.awaits != Awaits::Acknowledged {
            // [MQTT-4.3.3-7]: it does not expire any more.
            return flight.awaits == Awaits::Received && !entry.owed;
        }
        let is_like =
            |other: &Message| other.topic == entry.message.topic && other.payload == entry.message.payload;
        // It may be any of those that look alike, of which one has expired.
        let own = self
            .entries
            .iter()
            .map(|other| (&other.message, other.expires_at));
        let of_groups = self.shares.iter().map(Share::message_and_expiry);
        let mut twins = own.chain(of_groups);
        let twin_expired =
            |(message, expires_at): (&Rc<Message>, (u64, u64))| now >= expires_at.0 && is_like(message);
        !entry.owed || now >= entry.expires_at.0 || (entry.lenient && twins.any(twin_expired))
    }
}

/// Bytes of the PUBLISH of a delivery in 5.0.
pub(super) fn packet_bytes(entry: &Entry) -> usize {
    let mut properties = PropertiesBuf::new();
    let pushed = properties.extend_raw(entry.message.properties.as_properties());
    debug_assert!(pushed.is_ok());
    let extra = entry
        .identifiers
        .iter()
        .map(|&i| Property::SubscriptionIdentifier(i));
    let expiry = entry.message.expiry_s.map(Property::MessageExpiryInterval);
    for property in extra.chain(expiry) {
        let pushed = properties.push(property);
        debug_assert!(pushed.is_ok());
    }
    let publish = Publish {
        dup: false,
        qos: entry.qos,
        retain: entry.retain,
        topic: &entry.message.topic,
        packet_identifier: (entry.qos != QoS::AtMostOnce).then_some(PacketIdentifier::MIN),
        properties: properties.as_properties(),
        payload: entry.message.payload.as_bytes(),
    };
    let mut bytes = Vec::new();
    publish
        .encode(ProtocolVersion::V5, &mut bytes)
        .map_or(usize::MAX, |()| bytes.len())
}
