//! Which deliveries the messages are that a session has after a start, and whether all that must be there are.
//!
//! Invariants: each is one delivery of before; one that was written at QoS 2 has its Packet Identifier.

use std::rc::Rc;

use mqtt::QoS;

use super::crash::KeptMessage;
use super::message::Message;
use super::session::{Awaits, Entry, Flight, State};
use super::waiting::comes_before;
use super::{Checked, Model, NEVER};

impl Model {
    /// The session goes on with what it has.
    pub(super) fn adopt_messages(&mut self, number: usize, kept: &[KeptMessage], now: u64) -> Checked {
        let mut taken: Vec<usize> = Vec::new();
        let (mut flights, mut waiting) = (Vec::new(), Vec::new());
        for message in kept {
            // One of which more is known rather than one that may look in several ways.
            let exact = self.find_kept(number, message, &taken, false);
            let found = exact.or_else(|| self.find_kept(number, message, &taken, true));
            let entry = found.or_else(|| self.add_routed(number, message));
            let client = &self.sessions[number].client;
            let entry = entry.ok_or_else(|| format!("{client} has {message:?}, which nobody sent it"))?;
            let published = self.entries[entry].published;
            if self
                .publishes
                .get(published)
                .is_some_and(|published| published.comes_again)
            {
                return Err(format!(
                    "{client} has {:?}, which its publisher sends again",
                    self.entries[entry].message
                ));
            }
            let is_later = |&&other: &&usize| {
                // What is retained may also have come by a request.
                entry < other
                    && !message.retain
                    && !self.entries[other].retain
                    && self.entries[entry].message.payload != self.entries[other].message.payload
                    && comes_before(&self.entries[entry], &self.entries[other])
            };
            if let Some(&other) = taken.iter().find(is_later) {
                return Err(format!(
                    "{client} has {:?} before {:?}",
                    self.entries[other].message, self.entries[entry].message
                ));
            }
            taken.push(entry);
            match message.packet_identifier {
                Some(packet_identifier) => flights.push(Flight {
                    packet_identifier,
                    entry,
                    awaits: match (&message.content, message.qos) {
                        (None, _) => Awaits::Completed,
                        (_, QoS::ExactlyOnce) => Awaits::Received,
                        _ => Awaits::Acknowledged,
                    },
                }),
                None => waiting.push(entry),
            }
        }
        self.check_kept(number, &taken, &flights, now)?;
        self.go_on(number, &taken, flights, waiting);
        Ok(())
    }

    fn go_on(&mut self, number: usize, taken: &[usize], flights: Vec<Flight>, waiting: Vec<usize>) {
        let session = &mut self.sessions[number];
        for &entry in &session.waiting {
            self.entries[entry].state = State::Dropped;
        }
        for entry in session.obligations.iter().filter(|entry| !taken.contains(entry)) {
            // It may have been lost on its way to the client.
            self.entries[*entry].owed = false;
        }
        for &entry in taken {
            // From now on it is a message as any other, but for its order; and which request brought it does not show.
            let entry = &mut self.entries[entry];
            entry.was_retained |= entry.request.take().is_some();
            entry.lenient |= entry.was_retained;
        }
        for flight in &flights {
            session
                .lasting
                .flown
                .push((flight.packet_identifier, flight.entry));
            let entry = &mut self.entries[flight.entry];
            entry.state = State::Sent;
            session.written.push(flight.entry);
        }
        for &entry in &waiting {
            let entry = &mut self.entries[entry];
            entry.state = State::Waiting;
            entry.owed = entry.qos != QoS::AtMostOnce;
        }
        session.lasting.released.clear();
        session.flights = flights;
        session.waiting = waiting;
    }

    /// The delivery that a message is: none that another one is already.
    fn find_kept(
        &self,
        number: usize,
        message: &KeptMessage,
        taken: &[usize],
        or_lenient: bool,
    ) -> Option<usize> {
        let session = &self.sessions[number];
        let is_free = |entry: &usize| !taken.contains(entry);
        let is_like = |&entry: &usize| self.is_like_kept(entry, message, or_lenient);
        if let Some(identifier) = message.packet_identifier {
            let flights = session
                .flights
                .iter()
                .map(|flight| (flight.packet_identifier, flight.entry));
            let flown = session.lasting.flown.iter().rev().copied();
            let mut flown = flights.chain(flown).filter(|&(other, _)| other == identifier);
            let flown = flown.find(|(_, entry)| is_free(entry) && is_like(entry));
            if let Some((_, entry)) = flown {
                return Some(entry);
            }
        }
        // Without the message it can only be what was written.
        message.content.as_ref()?;
        let waiting = session.waiting.iter().copied();
        let waiting = waiting.filter(|entry| is_free(entry) && is_like(entry));
        // Rather a message than the same one as a retained one: that is not owed.
        let first = waiting.min_by_key(|&entry| self.entries[entry].request.is_some());
        first.or_else(|| {
            // What was written may have been forgotten, but at QoS 2; and what nobody had to get may be there.
            let may_be_again = |&entry: &usize| {
                let entry = &self.entries[entry];
                entry.qos != QoS::ExactlyOnce || entry.state == State::Dropped
            };
            let entries = session.entries.iter().copied().filter(may_be_again);
            let mut entries = entries.filter(|entry| is_free(entry) && is_like(entry));
            entries.next()
        })
    }

    /// A message that was on its way when the session was not to get it, and is now by what came back.
    fn add_routed(&mut self, number: usize, kept: &KeptMessage) -> Option<usize> {
        let (topic, payload) = kept
            .content
            .as_ref()
            .filter(|_| kept.packet_identifier.is_none())?;
        let is_it = |message: &Message| message.topic == *topic && message.payload.as_bytes() == payload;
        let session = &self.sessions[number];
        let mut subscriptions = session.subscriptions.iter();
        let is_new = !session
            .entries
            .iter()
            .any(|&entry| is_it(&self.entries[entry].message));
        let matches = subscriptions.any(|subscription| mqtt::topic::matches(subscription.filter, topic));
        let published = self.publishes.iter().rposition(|other| is_it(&other.message));
        let published = published.filter(|_| is_new && matches)?;
        let message = Rc::clone(&self.publishes[published].message);
        let entry = self.entries.len();
        self.entries.push(Entry {
            expires_at: message.expiry_s.map_or((NEVER, NEVER), |_| (0, NEVER)),
            message,
            qos: kept.qos,
            state: State::Waiting,
            received: 0,
            published,
            retain: kept.retain,
            identifiers: kept.identifiers.clone(),
            owed: true,
            request: None,
            was_retained: false,
            lenient: false,
        });
        let session = &mut self.sessions[number];
        session.entries.push(entry);
        session.obligations.push(entry);
        Some(entry)
    }

    fn is_like_kept(&self, entry: usize, kept: &KeptMessage, or_lenient: bool) -> bool {
        let entry = &self.entries[entry];
        let Some((topic, payload)) = &kept.content else {
            return entry.qos == QoS::ExactlyOnce;
        };
        let is_lenient = entry.lenient && or_lenient;
        let mut identifiers = kept.identifiers.clone();
        identifiers.sort_unstable();
        entry.message.topic == *topic
            && entry.message.payload.as_bytes() == payload
            && (is_lenient || (entry.qos, entry.retain) == (kept.qos, kept.retain))
            && (is_lenient || entry.identifiers == identifiers)
    }

    /// All that must be there is there.
    fn check_kept(&self, number: usize, taken: &[usize], flights: &[Flight], now: u64) -> Checked {
        let session = &self.sessions[number];
        for before in &session.flights {
            let entry = &self.entries[before.entry];
            if entry.qos != QoS::ExactlyOnce
                || before.is_kept_by(flights)
                || self.may_give_up(before.entry, now)
            {
                continue;
            }
            return Err(format!(
                "{:?}, which was written to {} as {}, is lost",
                entry.message, session.client, before.packet_identifier
            ));
        }
        for released in &session.lasting.released {
            let flight = flights
                .iter()
                .find(|flight| flight.packet_identifier == *released);
            if flight.is_some_and(|flight| flight.awaits != Awaits::Completed) {
                return Err(format!("{}: {released} is to be published again", session.client));
            }
        }
        let missing = session.obligations.iter().find(|&&entry| {
            let is_acknowledged = self.publishes.get(self.entries[entry].published);
            !taken.contains(&entry)
                && is_acknowledged.is_some_and(|published| published.acknowledged)
                && self.must_be_kept(number, entry, now)
        });
        missing.map_or(Ok(()), |&entry| {
            let entry = &self.entries[entry];
            Err(format!("{entry:?} of {} is lost", session.client))
        })
    }

    fn must_be_kept(&self, number: usize, at: usize, now: u64) -> bool {
        let entry: &Entry = &self.entries[at];
        let mut flights = self.sessions[number].flights.iter();
        let is_open = match entry.state {
            State::Waiting => true,
            State::Sent => flights.any(|flight| flight.entry == at && flight.awaits != Awaits::Completed),
            State::Dropped => false,
        };
        is_open && entry.must_arrive(now)
    }
}

impl Flight {
    /// Whether it is among those: a later PUBREL is as good.
    fn is_kept_by(&self, flights: &[Self]) -> bool {
        let mut alike = flights
            .iter()
            .filter(|flight| flight.packet_identifier == self.packet_identifier);
        alike.any(|flight| flight.awaits == Awaits::Completed || flight.entry == self.entry)
    }
}
