//! Which deliveries the messages are that a session has after a start, and whether all that must be there are.
//!
//! Invariants: each is one delivery of before; one that was written at QoS 2 has its Packet Identifier.

use std::rc::Rc;

use mqtt::QoS;

use super::kept::KeptMessage;
use super::message::Message;
use super::session::{Awaits, Entry, Flight, State};
use super::waiting::comes_before;
use super::{Checked, Model, NEVER};

impl Model {
    /// The session goes on with what it has.
    pub(super) fn adopt_messages(&mut self, number: usize, kept: &[KeptMessage], now: u64) -> Checked {
        let mut taken: Vec<usize> = Vec::new();
        let (mut flights, mut waiting, mut by_shares) = (Vec::new(), Vec::new(), Vec::new());
        for message in kept {
            if let Some(filter) = &message.share {
                let flight = self.adopt_share(number, message, filter)?;
                // It may have been taken for a delivery by the session's own subscriptions.
                by_shares.extend(flight.as_ref().map(|flight| flight.entry));
                flights.extend(flight);
                continue;
            }
            let flown = self.find_flown(number, message, &taken);
            let found = flown.or_else(|| self.find_kept(number, message, &taken, now));
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
                // What is retained may also have come by a request; those without payload look alike.
                let mut both = [entry, other].into_iter();
                self.last_alike(number, entry) < self.first_alike(number, other)
                    && !both.any(|entry| self.entries[entry].message.payload.is_empty())
                    && !message.retain
                    && !self.entries[other].retain
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
        taken.extend(by_shares);
        self.check_kept(number, &taken, &flights, now)?;
        self.go_on(number, &taken, flights, waiting);
        Ok(())
    }

    /// Whether two deliveries are of the same message: its publisher may have sent it again.
    fn are_alike(&self, entry: usize, other: usize) -> bool {
        let (entry, other) = (&self.entries[entry].message, &self.entries[other].message);
        (&entry.topic, &entry.payload) == (&other.topic, &other.payload)
    }

    fn first_alike(&self, number: usize, entry: usize) -> Option<usize> {
        let mut entries = self.sessions[number].entries.iter().copied();
        entries.find(|&other| self.are_alike(entry, other))
    }

    fn last_alike(&self, number: usize, entry: usize) -> Option<usize> {
        let mut entries = self.sessions[number].entries.iter().copied();
        entries.rfind(|&other| self.are_alike(entry, other))
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
            entry.promised = true;
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

    /// The delivery that went out with the Packet Identifier of a message: none that another one is already.
    pub(super) fn find_flown(&self, number: usize, message: &KeptMessage, taken: &[usize]) -> Option<usize> {
        let (session, identifier) = (&self.sessions[number], message.packet_identifier?);
        let flights = session
            .flights
            .iter()
            .map(|flight| (flight.packet_identifier, flight.entry));
        let flown = flights.chain(session.lasting.flown.iter().rev().copied());
        let flown = flown.filter(|&(other, entry)| other == identifier && !taken.contains(&entry));
        let flown: Vec<usize> = flown.map(|(_, entry)| entry).collect();
        // One of which more is known rather than one that may look in several ways.
        [false, true].into_iter().find_map(|or_lenient| {
            let mut flown = flown.iter().copied();
            flown.find(|&entry| self.is_like_kept(entry, message, or_lenient))
        })
    }

    /// The delivery that a message is if it did not go out, or nobody knows of it any more.
    fn find_kept(&self, number: usize, message: &KeptMessage, taken: &[usize], now: u64) -> Option<usize> {
        // Without the message it can only be what was written.
        message.content.as_ref()?;
        // What was written may have been forgotten, but at QoS 2; and what nobody had to get may be there.
        let may_be_again = |entry: usize| {
            let entry = &self.entries[entry];
            entry.qos != QoS::ExactlyOnce || entry.state != State::Sent
        };
        let is_exact = |entry: usize| self.is_like_kept(entry, message, false);
        let entries = self.sessions[number].entries.iter().copied();
        // What was written to a 3.x client may have been another one that looks like it there.
        let is_twin = |entry: usize| {
            let of = &self.entries[entry];
            let mut sent = entries
                .clone()
                .filter(|&other| self.are_alike(entry, other) && is_exact(other));
            sent.any(|other| {
                let other = &self.entries[other];
                other.lenient
                    && other.state == State::Sent
                    && (other.qos, other.retain) == (of.qos, of.retain)
            })
        };
        let like = entries.clone().filter(|&entry| {
            let is_like = is_exact(entry) || self.is_like_kept(entry, message, true) || is_twin(entry);
            is_like && may_be_again(entry) && !taken.contains(&entry)
        });
        // Rather what must be there, then what waits, and rather a message than the same one as a retained one.
        like.min_by_key(|&entry| {
            let at = &self.entries[entry];
            (
                !is_exact(entry),
                !self.is_promised(number, entry, now),
                at.state != State::Waiting,
                at.request.is_some(),
            )
        })
    }

    /// A message that was on its way when the session was not to get it, and is now by what came back.
    fn add_routed(&mut self, number: usize, kept: &KeptMessage) -> Option<usize> {
        let content = kept
            .content
            .as_ref()
            .filter(|_| kept.packet_identifier.is_none())?;
        let is_it = |message: &Message| {
            message.topic == content.topic && message.payload.as_bytes() == content.payload
        };
        let session = &self.sessions[number];
        let mut subscriptions = session.subscriptions.iter();
        // What was sent at QoS 2 is there since before that. Anything else may come again by the subscriptions that
        // came back, as those that it came by may be lost with it.
        let is_new = !session.entries.iter().any(|&entry| {
            let entry = &self.entries[entry];
            is_it(&entry.message) && entry.qos == QoS::ExactlyOnce && entry.state == State::Sent
        });
        let matches =
            subscriptions.any(|subscription| mqtt::topic::matches(subscription.filter, &content.topic));
        let published = self.publishes.iter().rposition(|other| is_it(&other.message));
        let published = published.filter(|_| is_new && matches)?;
        let message = Rc::clone(&self.publishes[published].message);
        let entry = self.entries.len();
        self.entries.push(Entry {
            // At some time, which what came back says.
            expires_at: message.expiry_s.map_or((NEVER, NEVER), |_| (0, NEVER - 1)),
            message,
            qos: kept.qos,
            state: State::Waiting,
            received: 0,
            published,
            retain: kept.retain,
            identifiers: kept.identifiers.clone(),
            owed: true,
            promised: true,
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
        self.entries[entry].is_like_kept(kept, or_lenient)
    }

    /// All that must be there is there.
    fn check_kept(&self, number: usize, taken: &[usize], flights: &[Flight], now: u64) -> Checked {
        let session = &self.sessions[number];
        for before in &session.flights {
            let entry = &self.entries[before.entry];
            if entry.qos != QoS::ExactlyOnce || before.is_kept_by(flights) {
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
        // Of two that look alike the one may have been taken for the other, by a group or not: what is there with its
        // Packet Identifier is it.
        let is_there = |entry: usize| {
            let mut before = session.flights.iter().filter(|before| before.entry == entry);
            before.any(|before| {
                let mut same = flights
                    .iter()
                    .filter(|flight| flight.packet_identifier == before.packet_identifier);
                same.any(|flight| self.are_alike(entry, flight.entry))
            })
        };
        let mut obligations = session.obligations.iter();
        let missing = obligations.find(|&&entry| {
            !taken.contains(&entry) && !is_there(entry) && self.is_promised(number, entry, now)
        });
        missing.map_or(Ok(()), |&entry| {
            let entry = &self.entries[entry];
            Err(format!("{entry:?} of {} is lost", session.client))
        })
    }

    /// Whether a delivery must be there: somebody has the acknowledgement of the message, and it was to come by a
    /// subscription of which the same holds.
    fn is_promised(&self, number: usize, entry: usize, now: u64) -> bool {
        let published = self.publishes.get(self.entries[entry].published);
        let is_acknowledged = published.is_some_and(|published| published.acknowledged);
        is_acknowledged && self.entries[entry].promised && self.must_be_kept(number, entry, now)
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

impl Entry {
    /// Whether a message is this delivery; of a lenient one less is known.
    pub(super) fn is_like_kept(&self, kept: &KeptMessage, or_lenient: bool) -> bool {
        let Some(content) = &kept.content else {
            return self.qos == QoS::ExactlyOnce;
        };
        let is_lenient = self.lenient && or_lenient;
        let mut identifiers = kept.identifiers.clone();
        identifiers.sort_unstable();
        let (message, (first, last)) = (&self.message, self.expires_at);
        let is_same = (self.qos, self.retain) == (kept.qos, kept.retain)
            && self.identifiers == identifiers
            && message.properties.as_properties() == content.properties.as_properties()
            && (first..=last).contains(&content.expires_at);
        message.topic == content.topic
            && message.payload.as_bytes() == content.payload
            && (is_lenient || is_same)
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
