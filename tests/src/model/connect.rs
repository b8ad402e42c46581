//! Connections and sessions begin and end; subscriptions; acknowledgements.
//!
//! Invariants: none.

use mqtt::packet::{RetainHandling, SubscriptionOptions};
use mqtt::{ProtocolVersion, ReasonCode};

use super::message::ConnectRequest;
use super::reply::Reply;
use super::session::{Awaits, Session, Subscription};
use super::shared::is_shared;
use super::{Model, Moment, NEVER, SECOND_NS};

impl Model {
    pub(super) fn connect(&mut self, connection: usize, request: &ConnectRequest, at: Moment) {
        let older = self.alive(&request.client);
        if let Some(older) = older.and_then(|session| self.sessions[session].connection) {
            // [MQTT-3.1.4-3]
            self.owe_disconnect(older, Some(ReasonCode::SessionTakenOver));
            self.close(older, true, at);
        }
        if request.clean_start
            && let Some(older) = self.alive(&request.client)
        {
            self.connections[connection].ended = Some(older);
            self.end_session(older, at);
        }
        let resumed = self.alive(&request.client);
        let shard = self.connections[connection].shard;
        let number = resumed.unwrap_or_else(|| {
            self.sessions.push(Session::new(&request.client, shard));
            self.sessions.len() - 1
        });
        let v5 = request.version == ProtocolVersion::V5;
        let session = &mut self.sessions[number];
        session.connection = Some(connection);
        session.expiry_s = match (v5, request.clean_start) {
            (true, _) => request.session_expiry_s,
            (false, true) => 0,
            (false, false) => u32::MAX,
        };
        let expiry_s = session.expiry_s;
        session.last_connection = Some(connection);
        session.lasting.was_kept |= expiry_s > 0;
        session.lasting.is_certain &= expiry_s > 0;
        session.lasting.knows_will = false;
        session.lasting.older = (session.lasting.expiries_s.len(), session.lasting.went.len());
        session.lasting.expiries_s.push(expiry_s);
        session.lasting.wills.extend(request.will.clone());
        let receive_max = request.receive_max.filter(|_| v5).unwrap_or(u16::MAX);
        session.window = usize::from(receive_max.min(self.bounds.inflight_messages_max));
        session.will = request.will.clone();
        session.pubrels.clear();
        session.resend = session
            .flights
            .iter()
            .map(|flight| flight.packet_identifier)
            .collect();
        let connected = &mut self.connections[connection];
        connected.version = request.version;
        connected.client.clone_from(&request.client);
        connected.session = Some(number);
        connected.resumed = resumed.is_some();
        connected.is_kept = expiry_s > 0;
        connected.keep_alive_s = request.keep_alive_s;
        connected.packet_bytes_max = request
            .packet_bytes_max
            .filter(|_| v5)
            .map_or(usize::MAX, |bytes| bytes as usize);
        let is_small = connected.packet_bytes_max < usize::MAX;
        self.sessions[number].was_small |= is_small;
        self.reply(
            connection,
            Reply::ConnAck {
                session_present: resumed.is_some(),
            },
        );
        self.waive_too_large(number);
        self.watch_keep_alive(connection);
    }

    fn alive(&self, client: &str) -> Option<usize> {
        self.sessions
            .iter()
            .position(|session| session.alive && session.client == client)
    }

    /// In 5.0 the broker says why it closes.
    pub(super) fn owe_disconnect(&mut self, connection: usize, reason: Option<ReasonCode>) {
        let connected = &self.connections[connection];
        if connected.version == ProtocolVersion::V5 && connected.session.is_some() {
            self.reply(connection, Reply::Disconnect(reason));
        }
    }

    /// The connection ends; its session waits for another one, or ends too.
    pub(super) fn close(&mut self, connection: usize, with_will: bool, at: Moment) {
        if std::mem::replace(&mut self.connections[connection].closed, true) {
            return;
        }
        self.drained += 1;
        let Some(number) = self.connections[connection].session else {
            return;
        };
        let session = &mut self.sessions[number];
        session.connection = None;
        session.disconnected_at = at.now;
        session.lasting.went.push(at.now);
        // What waits for the store is gone with it.
        session.lost_output |= self.bounds.is_stored;
        for &entry in &session.waiting {
            // What waits at QoS 0 may be kept or not.
            let entry = &mut self.entries[entry];
            entry.owed &= entry.qos != mqtt::QoS::AtMostOnce;
        }
        if !with_will {
            session.will = None;
        }
        let ends = session.expiry_s == 0;
        if let Some(will) = session.will.take_if(|will| ends || will.delay_s == 0) {
            self.publish(self.connections[connection].shard, &will.message, at);
        }
        match &mut self.ending {
            _ if !ends => {}
            Some(ending) => ending.push(number),
            None => self.end_session(number, at),
        }
    }

    pub(super) fn end_session(&mut self, number: usize, at: Moment) {
        let session = &mut self.sessions[number];
        session.alive = false;
        session.subscriptions.clear();
        let shard = session.shard;
        self.leave_all(number);
        let session = &mut self.sessions[number];
        if let Some(will) = session.will.take() {
            self.publish(shard, &will.message, at);
        }
    }

    pub(super) fn disconnect(
        &mut self,
        connection: usize,
        with_will: bool,
        session_expiry_s: Option<u32>,
        at: Moment,
    ) {
        let session = self.connections[connection].session;
        if let (Some(number), Some(expiry_s)) = (session, session_expiry_s) {
            if self.sessions[number].expiry_s == 0 && expiry_s > 0 {
                self.owe_disconnect(connection, Some(ReasonCode::ProtocolError));
                return self.close(connection, true, at);
            }
            let session = &mut self.sessions[number];
            session.expiry_s = expiry_s;
            session.lasting.expiries_s.push(expiry_s);
        }
        self.close(connection, with_will, at);
    }

    pub(super) fn subscribe(
        &mut self,
        connection: usize,
        packet_identifier: u16,
        identifier: Option<u32>,
        filters: &[(&'static str, SubscriptionOptions)],
        at: Moment,
    ) {
        let Some(number) = self.connections[connection].session else {
            return;
        };
        let codes = filters.iter().map(|(_, options)| options.qos as u8).collect();
        self.reply(connection, Reply::SubAck(packet_identifier, codes));
        let mut numbers = Vec::new();
        for &(filter, options) in filters {
            self.subscriptions_made += 1;
            let mut made = Subscription {
                number: self.subscriptions_made,
                filter,
                options,
                identifier,
                was_no_local: options.no_local,
                lowest_qos: options.qos,
                known_since: NEVER,
            };
            let subscriptions = &mut self.sessions[number].subscriptions;
            let older = subscriptions.iter_mut().find(|older| older.filter == filter);
            let is_new = older.is_none();
            match older {
                Some(older) => {
                    made.number = older.number;
                    made.known_since = older.known_since;
                    made.was_no_local |= older.was_no_local;
                    made.lowest_qos = made.lowest_qos.min(older.lowest_qos);
                    numbers.push(made.number);
                    *older = made.clone();
                }
                None => {
                    numbers.push(made.number);
                    subscriptions.push(made.clone());
                }
            }
            self.note_subscription(number, filter, Some(made.clone()), packet_identifier);
            if is_shared(filter) {
                self.join(number, filter, options, identifier);
            }
            let sends = match options.retain_handling {
                // [MQTT 5.0, 4.8.2]
                _ if is_shared(filter) => false,
                RetainHandling::SendAtSubscribe => true,
                RetainHandling::SendIfNew => is_new,
                RetainHandling::DoNotSend => false,
            };
            if sends {
                self.request_retained(number, &made, at);
            }
        }
        self.connections[connection].subacks.push_back(numbers);
    }

    /// The client has read the next SUBACK: all that is sent after `step` is owed to those subscriptions. Returns a
    /// filter of theirs.
    pub fn suback_read(&mut self, connection: usize, step: u64) -> Option<&'static str> {
        let connected = &mut self.connections[connection];
        let (session, numbers) = connected.session.zip(connected.subacks.pop_front())?;
        let mut filter = None;
        for subscription in &mut self.sessions[session].subscriptions {
            if numbers.contains(&subscription.number) {
                subscription.known_since = subscription.known_since.min(step);
                filter = Some(subscription.filter);
            }
        }
        filter
    }

    pub(super) fn unsubscribe(
        &mut self,
        connection: usize,
        packet_identifier: u16,
        filters: &[&'static str],
    ) {
        let Some(number) = self.connections[connection].session else {
            return;
        };
        let mut codes = Vec::new();
        for filter in filters {
            self.leave(number, filter);
            let subscriptions = &mut self.sessions[number].subscriptions;
            let known = subscriptions.len();
            subscriptions.retain(|subscription| subscription.filter != *filter);
            let is_known = subscriptions.len() < known;
            if is_known {
                self.note_subscription(number, filter, None, packet_identifier);
            }
            let reason = if is_known {
                ReasonCode::Success
            } else {
                ReasonCode::NoSubscriptionExisted
            };
            codes.push(reason as u8);
        }
        self.reply(connection, Reply::UnsubAck(packet_identifier, codes));
    }

    pub(super) fn puback(&mut self, connection: usize, identifier: u16, at: Moment) {
        self.complete(connection, identifier, Awaits::Acknowledged, at);
    }

    pub(super) fn pubrec(&mut self, connection: usize, identifier: u16, at: Moment) {
        let Some(session) = self.connections[connection].session else {
            return;
        };
        let known = match self.sessions[session].flight(identifier) {
            Some(flight) if flight.awaits == Awaits::Acknowledged => {
                return self.break_protocol(connection, at);
            }
            Some(flight) => {
                flight.awaits = Awaits::Completed;
                true
            }
            None => false,
        };
        self.reply(connection, Reply::PubRel(identifier, known));
    }

    pub(super) fn pubrel(&mut self, connection: usize, identifier: u16) {
        let Some(session) = self.connections[connection].session else {
            return;
        };
        let unreleased = &mut self.sessions[session].unreleased;
        let known = unreleased.contains(&identifier);
        unreleased.retain(|&other| other != identifier);
        if known {
            self.note_received(session, identifier, false);
        }
        self.reply(connection, Reply::PubComp(identifier, known));
    }

    pub(super) fn pubcomp(&mut self, connection: usize, identifier: u16, at: Moment) {
        self.complete(connection, identifier, Awaits::Completed, at);
    }

    /// An acknowledgement that ends a flight; one of another kind than the flight awaits ends the connection.
    fn complete(&mut self, connection: usize, identifier: u16, awaited: Awaits, at: Moment) {
        let Some(session) = self.connections[connection].session else {
            return;
        };
        let session = &mut self.sessions[session];
        if !session.finish(identifier, awaited) && session.flight(identifier).is_some() {
            self.break_protocol(connection, at);
        }
    }

    fn break_protocol(&mut self, connection: usize, at: Moment) {
        self.owe_disconnect(connection, Some(ReasonCode::ProtocolError));
        self.close(connection, true, at);
    }

    /// When the client of a connection must have sent something.
    pub(super) fn keep_alive_deadline(&self, connection: usize) -> u64 {
        let connected = &self.connections[connection];
        if connected.keep_alive_s == 0 {
            return NEVER;
        }
        connected.last_received + u64::from(connected.keep_alive_s) * 3 * SECOND_NS / 2
    }
}
