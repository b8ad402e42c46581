//! What the broker wrote, compared with what it owes.
//!
//! Invariants: none.

use mqtt::packet::{Ack, Publish};
use mqtt::{Packet, QoS};

use super::assign::Delivery;
use super::reply::Reply;
use super::session::{Awaits, Flight, State};
use super::waiting::differs;
use super::{Checked, Model, pop_front_if};

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
        if let Some(reply) = pop_front_if(&mut connected.replies, |reply| reply.is(packet, version)) {
            self.acknowledge(connection, &reply);
            return Ok(None);
        }
        if self.bounds.is_stored && self.observe_passing(connection, packet) {
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
        let identifier = ack.packet_identifier.get();
        let is_late = self.is_late(connection, number);
        if !is_late {
            self.give_up(number, Some(identifier), Some(Awaits::Completed), now);
        }
        self.release_unseen(number, identifier);
        let flight = self.sessions[number].flight(identifier).copied();
        let Some(flight) = flight.filter(|flight| flight.awaits != Awaits::Acknowledged) else {
            return false;
        };
        if flight.awaits == Awaits::Received && self.may_give_up(&flight, now) {
            self.sessions[number].give_up_exactly_once(identifier);
        }
        let session = &mut self.sessions[number];
        let given_up = session.pubrels.iter().position(|&other| other == identifier);
        let is_due = given_up.is_some() || is_late || self.pop_resend(number, identifier);
        let session = &mut self.sessions[number];
        given_up.map(|at| session.pubrels.remove(at));
        let is_released = session
            .flight(identifier)
            .is_some_and(|flight| flight.awaits == Awaits::Completed);
        if is_due && is_released {
            session.lasting.released.push(identifier);
        }
        is_due && is_released
    }

    /// PUBREL for a message that waited for the store, so that nobody saw it, and is too large to be sent now.
    fn release_unseen(&mut self, number: usize, identifier: u16) {
        if !self.was_unseen(number, identifier) {
            return;
        }
        let is_it = |&entry: &usize| {
            let entry = &self.entries[entry];
            entry.qos == QoS::ExactlyOnce && !entry.owed && entry.state != State::Sent
        };
        let own = self.sessions[number].entries.iter().copied().find(is_it);
        let Some(entry) = own.or_else(|| self.take_unseen_share(number)) else {
            return;
        };
        let session = &mut self.sessions[number];
        session.waiting.retain(|&other| other != entry);
        self.entries[entry].state = State::Dropped;
        session.flights.push(Flight {
            packet_identifier: identifier,
            entry,
            awaits: Awaits::Completed,
        });
        session.pubrels.push(identifier);
    }

    /// Whether the session has had a later connection: what waited for a store is seen only now.
    fn is_late(&self, connection: usize, number: usize) -> bool {
        self.bounds.is_stored && self.sessions[number].last_connection != Some(connection)
    }

    /// Takes the next one of those that are to be sent again, if it is the one. What waits for a store is passed by
    /// what does not: then each kind has an order of its own.
    fn pop_resend(&mut self, number: usize, identifier: u16) -> bool {
        let session = &mut self.sessions[number];
        let awaits = |identifier: u16| {
            let mut flights = session.flights.iter();
            let flight = flights.find(|flight| flight.packet_identifier == identifier);
            flight.map(|flight| flight.awaits)
        };
        let kind = awaits(identifier);
        let next = session
            .resend
            .iter()
            .position(|&resend| !self.bounds.is_stored || awaits(resend) == kind);
        let Some(at) = next.filter(|&at| session.resend[at] == identifier) else {
            return false;
        };
        session.resend.remove(at);
        true
    }

    fn observe_publish(&mut self, connection: usize, publish: &Publish<'_>, now: u64) -> Checked<usize> {
        let number = self.connections[connection]
            .session
            .ok_or("a PUBLISH without a session")?;
        let entry = match publish.packet_identifier.map(|identifier| identifier.get()) {
            Some(identifier) if publish.dup && !self.was_unseen(number, identifier) => {
                self.observe_resent(connection, number, identifier, now)?
            }
            identifier => {
                // An older connection says nothing of what the newer one has to send again.
                if identifier.is_some() && !self.is_late(connection, number) {
                    self.give_up(number, None, Some(awaited_at(publish.qos)), now);
                }
                let entry = self.take_new(number, connection, publish, now)?;
                if let Some(identifier) = identifier {
                    self.take_off(number, connection, identifier, entry)?;
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

    /// A message that is new to the session: by its own subscriptions, or by one that it shares.
    fn take_new(
        &mut self,
        number: usize,
        connection: usize,
        publish: &Publish<'_>,
        now: u64,
    ) -> Checked<usize> {
        let seen = (publish, self.connections[connection].version);
        if !self.sessions[number].shares() {
            return self.take_waiting(number, seen, now, false);
        }
        let own = self.own_like(number, seen, now);
        let is_owed = own.first().is_some_and(|&own| self.entries[own].is_owed(now));
        if !is_owed && let Some(entry) = self.take_share(number, seen, &own, now) {
            return Ok(entry);
        }
        let (may_be, _) = self.shares_like(number, seen, now);
        let own = [own, self.assigned_like(number, seen, now)].concat();
        match self.take_waiting(number, seen, now, !may_be.is_empty()) {
            Ok(entry) => {
                let delivery = Delivery::new(number, entry, may_be, own);
                self.deliveries.push(delivery.taken_for(entry));
                Ok(entry)
            }
            Err(what) => self.take_assigned(number, seen, now).ok_or(what),
        }
    }

    /// Whether a message that is sent again was written first where nobody saw it.
    fn was_unseen(&self, number: usize, identifier: u16) -> bool {
        let session = &self.sessions[number];
        let is_it = |flight: &Flight| flight.packet_identifier == identifier;
        session.lost_output && !session.flights.iter().any(is_it)
    }

    /// A message sent again: the next one of those that are due, with its identifier.
    fn observe_resent(
        &mut self,
        connection: usize,
        number: usize,
        identifier: u16,
        now: u64,
    ) -> Checked<usize> {
        let due = self.is_late(connection, number) || {
            let awaits = self.sessions[number]
                .flight(identifier)
                .map(|flight| flight.awaits);
            self.give_up(number, Some(identifier), awaits, now);
            self.pop_resend(number, identifier)
        };
        match self.sessions[number].flight(identifier).filter(|_| due) {
            Some(flight) if flight.awaits != Awaits::Completed => Ok(flight.entry),
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
    /// Where things wait for a store, only what awaits the same has to come before.
    fn give_up(&mut self, number: usize, identifier: Option<u16>, awaits: Option<Awaits>, now: u64) {
        for next in self.sessions[number].resend.clone() {
            let flight = self.sessions[number].flight(next).copied();
            let Some(flight) = flight.filter(|_| Some(next) != identifier) else {
                return;
            };
            if self.bounds.is_stored && Some(flight.awaits) != awaits {
                continue;
            }
            if !self.may_give_up(&flight, now) {
                return;
            }
            if flight.awaits == Awaits::Received {
                self.sessions[number].give_up_exactly_once(next);
                continue;
            }
            self.entries[flight.entry].state = State::Dropped;
            self.sessions[number].finish(next, flight.awaits);
        }
    }

    /// A new message takes off: in the window, behind those sent again, with a free identifier [MQTT-2.2.1-3].
    fn take_off(
        &mut self,
        number: usize,
        connection: usize,
        packet_identifier: u16,
        entry: usize,
    ) -> Checked {
        let awaits = awaited_at(self.entries[entry].qos);
        let is_late = self.is_late(connection, number);
        let session = &mut self.sessions[number];
        if session.flight(packet_identifier).is_some() {
            return Err(format!("packet identifier {packet_identifier} is in use"));
        }
        let resends = |&resend: &u16| {
            let mut flights = session.flights.iter();
            let flight = flights.find(|flight| flight.packet_identifier == resend);
            !self.bounds.is_stored || flight.is_some_and(|flight| flight.awaits == awaits)
        };
        if !is_late && session.resend.iter().any(resends) {
            return Err(format!(
                "a new message before {:?} was sent again",
                session.resend
            ));
        }
        if is_late {
            session.resend.push_back(packet_identifier);
        }
        session.written.push(entry);
        session.lasting.flown.push((packet_identifier, entry));
        session
            .lasting
            .released
            .retain(|&other| other != packet_identifier);
        session.flights.push(Flight {
            packet_identifier,
            entry,
            awaits,
        });
        if session.assigned() > session.window {
            return Err(format!(
                "{:?} in flight, {} allowed",
                session.flights, session.window
            ));
        }
        Ok(())
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
        let open = session.assigned() < session.window;
        let due = session.flights.iter().find(|flight| {
            let given_up = flight.awaits == Awaits::Acknowledged && self.may_give_up(flight, now);
            session.resend.contains(&flight.packet_identifier) && !given_up
        });
        let due = due.or_else(|| {
            let mut flights = session.flights.iter();
            flights.find(|flight| session.pubrels.contains(&flight.packet_identifier))
        });
        if let Some(resend) = due.filter(|_| open) {
            return Err(format!("{resend:?} was not sent again to {}", session.client));
        }
        // A queue is one line: what waits for the window holds up what is behind it, at QoS 0 too.
        let in_window = |&&entry: &&usize| self.entries[entry].qos != QoS::AtMostOnce;
        let in_line = session.shares() || session.waiting.iter().any(|entry| in_window(&entry));
        let is_blocked = !open && in_line;
        let stuck = session
            .waiting
            .iter()
            .find(|&&entry| !is_blocked && self.entries[entry].is_owed(now));
        match stuck {
            Some(&entry) => Err(format!(
                "{:?} is owed to {} and was not sent",
                self.entries[entry], session.client
            )),
            None if is_blocked || !open => Ok(()),
            None => self.check_retained(number, now),
        }
    }

    /// Deliveries at QoS 1 and 2 to sessions that live, which the clients should have by now.
    ///
    /// # Errors
    /// When there is one that was not received.
    pub fn check_received(&mut self, now: u64) -> Checked {
        for number in 0..self.sessions.len() {
            if self.sessions[number].alive {
                self.check_retained(number, now)?;
            }
        }
        for session in self.sessions.iter().filter(|session| session.alive) {
            for &entry in &session.obligations {
                let entry = &self.entries[entry];
                if entry.must_arrive(now) && entry.received == 0 {
                    return Err(format!("{entry:?} was not received by {}", session.client));
                }
            }
        }
        self.check_shares(now)
    }
}

/// What a message awaits first.
fn awaited_at(qos: QoS) -> Awaits {
    match qos {
        QoS::ExactlyOnce => Awaits::Received,
        _ => Awaits::Acknowledged,
    }
}
