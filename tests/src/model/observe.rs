//! What the broker wrote, compared with what it owes.

use mqtt::packet::{Ack, Publish};
use mqtt::property::Property;
use mqtt::{Packet, ProtocolVersion, QoS};

use super::reply::Reply;
use super::session::{Awaits, Entry, Flight, State};
use super::{Checked, Model, NEVER, SECOND_NS, pop_front_if};

impl Model {
    /// The broker wrote a packet to a connection; returns the delivery that it is, if it is a PUBLISH.
    ///
    /// # Errors
    /// When a broker would not have written it.
    pub fn observe(&mut self, connection: usize, packet: &Packet<'_>, now: u64) -> Checked<Option<usize>> {
        let connected = &mut self.connections[connection];
        let awaits_connack = matches!(connected.replies.front(), Some(Reply::ConnAck { .. }));
        if let Packet::Publish(publish) = packet {
            if awaits_connack {
                return Err("a PUBLISH before CONNACK".to_owned());
            }
            return self.observe_publish(connection, publish, now).map(Some);
        }
        let version = connected.version;
        if pop_front_if(&mut connected.replies, |reply| reply.is(packet, version)).is_some() {
            return Ok(None);
        }
        if let Packet::PubRel(ack) = packet
            && !awaits_connack
            && self.observe_resent_pubrel(connection, ack, now)
        {
            return Ok(None);
        }
        Err(format!(
            "the broker wrote {packet:?}, owed is {:?}",
            self.connections[connection].replies.front()
        ))
    }

    fn observe_resent_pubrel(&mut self, connection: usize, ack: &Ack<'_>, now: u64) -> bool {
        let Some(number) = self.connections[connection].session else {
            return false;
        };
        self.give_up(number, Some(ack.packet_identifier.get()), now);
        let session = &mut self.sessions[number];
        let identifier = ack.packet_identifier.get();
        let awaits = session.flight(identifier).map(|flight| flight.awaits);
        awaits == Some(Awaits::PubComp)
            && pop_front_if(&mut session.resend, |resend| *resend == identifier).is_some()
    }

    fn observe_publish(&mut self, connection: usize, publish: &Publish<'_>, now: u64) -> Checked<usize> {
        let number = self.connections[connection]
            .session
            .ok_or("a PUBLISH without a session")?;
        let entry = match publish.packet_identifier.map(|identifier| identifier.get()) {
            Some(identifier) if publish.dup => self.observe_resent(number, identifier, now)?,
            identifier => {
                if identifier.is_some() {
                    self.give_up(number, None, now);
                }
                let entry = self.take_waiting(number, connection, publish, now)?;
                if let Some(identifier) = identifier {
                    self.take_off(number, identifier, entry)?;
                }
                entry
            }
        };
        let version = self.connections[connection].version;
        if self.entries[entry].lenient {
            return Ok(entry);
        }
        differs(&self.entries[entry], publish, version, now)
            .map_or(Ok(entry), |what| Err(format!("{what} differs in {publish:?}")))
    }

    /// A message sent again: the next one of those that are due, with its identifier.
    fn observe_resent(&mut self, number: usize, identifier: u16, now: u64) -> Checked<usize> {
        self.give_up(number, Some(identifier), now);
        let session = &mut self.sessions[number];
        let due = pop_front_if(&mut session.resend, |resend| *resend == identifier).is_some();
        match session.flight(identifier).filter(|_| due) {
            Some(flight) if flight.awaits != Awaits::PubComp => Ok(flight.entry),
            flight => Err(format!(
                "PUBLISH {identifier} sent again, which {}",
                if flight.is_some() {
                    "was received"
                } else {
                    "is not due"
                }
            )),
        }
    }

    /// What was to be sent again before `identifier`, or is next, and need not be, as it has expired or is too large.
    fn give_up(&mut self, number: usize, identifier: Option<u16>, now: u64) {
        while let Some(&next) = self.sessions[number].resend.front() {
            let flight = self.sessions[number].flight(next).copied();
            let Some(flight) = flight.filter(|_| Some(next) != identifier) else {
                return;
            };
            if flight.awaits == Awaits::PubComp || !self.may_give_up(flight.entry, now) {
                return;
            }
            self.entries[flight.entry].state = State::Dropped;
            self.sessions[number].finish(next, flight.awaits);
        }
    }

    /// A new message takes off: in the window, behind those sent again, with a free identifier [MQTT-2.2.1-3].
    fn take_off(&mut self, number: usize, packet_identifier: u16, entry: usize) -> Checked {
        let awaits = match self.entries[entry].qos {
            QoS::ExactlyOnce => Awaits::PubRec,
            _ => Awaits::PubAck,
        };
        let session = &mut self.sessions[number];
        if session.flight(packet_identifier).is_some() {
            return Err(format!("packet identifier {packet_identifier} is in use"));
        }
        if !session.resend.is_empty() {
            return Err(format!(
                "a new message before {:?} was sent again",
                session.resend
            ));
        }
        session.flights.push(Flight {
            packet_identifier,
            entry,
            awaits,
        });
        if session.outstanding() > session.window {
            return Err(format!(
                "{:?} in flight, {} allowed",
                session.flights, session.window
            ));
        }
        Ok(())
    }

    /// The delivery that a PUBLISH is; what it overtook must not have been owed.
    fn take_waiting(
        &mut self,
        number: usize,
        connection: usize,
        publish: &Publish<'_>,
        now: u64,
    ) -> Checked<usize> {
        let version = self.connections[connection].version;
        let waiting = &self.sessions[number].waiting;
        let is_it = |&entry: &usize| differs(&self.entries[entry], publish, version, now).is_none();
        let is_own = |&entry: &usize| {
            let entry = &self.entries[entry];
            let message = &entry.message;
            entry.lenient && message.topic == publish.topic && message.payload.as_bytes() == publish.payload
        };
        let exact = waiting.iter().position(is_it);
        let Some(at) = exact.or_else(|| waiting.iter().position(is_own)) else {
            let similar = waiting.iter().find(|&&entry| {
                let message = &self.entries[entry].message;
                message.payload.as_bytes() == publish.payload && message.topic == publish.topic
            });
            let what = match similar {
                Some(&entry) => differs(&self.entries[entry], publish, version, now),
                None => Some("no delivery like it is owed or allowed; all"),
            };
            return Err(format!(
                "{}: {} differs in {publish:?}",
                self.sessions[number].client,
                what.unwrap_or("nothing")
            ));
        };
        let taken = waiting[at];
        let twins: Vec<usize> = waiting[at..]
            .iter()
            .copied()
            .filter(|entry| is_it(entry))
            .collect();
        if twins.len() > 1 && version != ProtocolVersion::V5 {
            // 3.x does not show which of them it is, so it may be the one that expires first or last.
            let all = || twins.iter().map(|&twin| self.entries[twin].expires_at);
            let first = all().map(|(lo, _)| lo).min().unwrap_or(NEVER);
            let last = all().map(|(_, hi)| hi).max().unwrap_or(NEVER);
            for &twin in &twins {
                self.entries[twin].expires_at = (first, last);
            }
        }
        let waiting = &self.sessions[number].waiting;
        let is_it = |&entry: &usize| differs(&self.entries[entry], publish, version, now).is_none();
        let owed_too = |entry: &usize| self.entries[*entry].is_owed(now) && is_it(entry);
        let twin = waiting[at + 1..].iter().copied().find(owed_too);
        if let Some(twin) = twin.filter(|_| !self.entries[taken].is_owed(now)) {
            // Nobody can tell the two apart.
            self.entries[taken].expires_at = self.entries[twin].expires_at;
            self.entries[twin].owed = false;
        }
        let waiting = &self.sessions[number].waiting;
        let overtaken: Vec<usize> = waiting[..at]
            .iter()
            .copied()
            .filter(|&entry| comes_before(&self.entries[entry], &self.entries[taken]))
            .collect();
        for entry in overtaken {
            if self.entries[entry].is_owed(now) {
                return Err(format!(
                    "{}: {:?} was overtaken by or lost before {:?}",
                    self.sessions[number].client,
                    self.entries[entry].message.payload,
                    self.entries[taken].message.payload
                ));
            }
            self.entries[entry].state = State::Dropped;
        }
        self.entries[taken].state = State::Sent;
        self.entries[taken].qos = publish.qos;
        // Now it is there, whether it had to come or not.
        self.entries[taken].owed = true;
        // What 3.x does not show may be of another delivery that is like it else.
        self.entries[taken].lenient |= version != ProtocolVersion::V5;
        let entries = &self.entries;
        self.sessions[number]
            .waiting
            .retain(|&entry| entries[entry].state == State::Waiting);
        Ok(taken)
    }

    /// What a connection with an idle socket has not been sent and should have been.
    ///
    /// # Errors
    /// When there is something.
    pub fn check_idle(&mut self, connection: usize, now: u64) -> Checked {
        let connected = &self.connections[connection];
        let Some(number) = connected.session.filter(|_| !connected.closed) else {
            return Ok(());
        };
        if let Some(reply) = connected.replies.front() {
            return Err(format!(
                "{reply:?} is owed to {} and was not sent",
                connected.client
            ));
        }
        let session = &self.sessions[number];
        let open = session.outstanding() < session.window;
        let due = session.flights.iter().find(|flight| {
            let given_up = flight.awaits != Awaits::PubComp && self.may_give_up(flight.entry, now);
            session.resend.contains(&flight.packet_identifier) && !given_up
        });
        if let Some(resend) = due.filter(|_| open) {
            return Err(format!("{resend:?} was not sent again to {}", session.client));
        }
        // A queue is one line: what waits for the window holds up what is behind it, at QoS 0 too.
        let in_window = |&&entry: &&usize| self.entries[entry].qos != QoS::AtMostOnce;
        let held_up = !open && session.waiting.iter().any(|entry| in_window(&entry));
        let stuck = session
            .waiting
            .iter()
            .find(|&&entry| !held_up && self.entries[entry].is_owed(now));
        match stuck {
            Some(&entry) => Err(format!(
                "{:?} is owed to {} and was not sent",
                self.entries[entry], session.client
            )),
            None => Ok(()),
        }
    }

    /// Deliveries at QoS 1 and 2 to sessions that live, which the clients should have by now.
    ///
    /// # Errors
    /// When there is one that was not received.
    pub fn check_received(&self, now: u64) -> Checked {
        for session in self.sessions.iter().filter(|session| session.alive) {
            for &entry in &session.obligations {
                let entry = &self.entries[entry];
                if entry.must_arrive(now) && entry.received == 0 {
                    return Err(format!("{entry:?} was not received by {}", session.client));
                }
            }
        }
        Ok(())
    }
}

/// Whether the first must be sent before the second: one publisher, topic and QoS [MQTT-4.6.0-6].
fn comes_before(earlier: &Entry, later: &Entry) -> bool {
    !earlier.replay
        && !later.replay
        && earlier.qos == later.qos
        && earlier.message.topic == later.message.topic
        && earlier.message.publisher == later.message.publisher
}

/// What of a PUBLISH is not as the delivery says.
fn differs(entry: &Entry, publish: &Publish<'_>, version: ProtocolVersion, now: u64) -> Option<&'static str> {
    let message = &entry.message;
    if message.topic != publish.topic {
        return Some("the topic");
    }
    if message.payload.as_bytes() != publish.payload {
        return Some("the payload");
    }
    if entry.qos != publish.qos {
        return Some("the QoS");
    }
    if entry.retain != publish.retain {
        return Some("RETAIN");
    }
    if now >= entry.expires_at.1 {
        return Some("that it has expired");
    }
    if version != ProtocolVersion::V5 {
        return None;
    }
    let (mut identifiers, mut expiry_s, mut others) = (Vec::new(), None, Vec::new());
    for property in publish.properties.iter() {
        match property {
            Property::SubscriptionIdentifier(identifier) => identifiers.push(identifier),
            Property::MessageExpiryInterval(seconds) => expiry_s = Some(u64::from(seconds)),
            other => others.push(other),
        }
    }
    identifiers.sort_unstable();
    if identifiers != entry.identifiers {
        return Some("the list of Subscription Identifiers");
    }
    if !message.properties.as_properties().iter().eq(others) {
        return Some("a property");
    }
    let (lo, hi) = entry.expires_at;
    let left = |at: u64| at.saturating_sub(now);
    let fits = match expiry_s {
        None => message.expiry_s.is_none(),
        Some(seconds) => {
            message.expiry_s.is_some()
                && (left(lo) / SECOND_NS..=left(hi).div_ceil(SECOND_NS)).contains(&seconds)
                && left(hi) > 0
        }
    };
    (!fits).then_some("the Message Expiry Interval")
}
