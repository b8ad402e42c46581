//! The clients: what they do at random, and how they answer.
//!
//! A client keeps to the protocol, unless the profile says otherwise: it keeps its side of the session over connections,
//! sends again what was not acknowledged, and takes a QoS 2 message once.

use std::rc::Rc;

use broker::logic::home_shard;
use mqtt::packet::{RetainHandling, SubscriptionOptions};
use mqtt::property::{PropertiesBuf, Property};
use mqtt::{Packet as Wire, ProtocolVersion, QoS};

use super::bytes::encode;
use super::connection::Connection;
use super::profile::{chance, pick};
use super::turn::{SimulatedShard, index_of};
use super::world::World;
use crate::model::{Checked, ConnectRequest, Message, Packet, WillRequest};

/// A message that was published and not acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    packet_identifier: u16,
    message: Rc<Message>,
    /// PUBREC came.
    released: bool,
}

impl Pending {
    /// What 3.x cannot say is not sent again.
    fn strip(&mut self) {
        let message = Rc::make_mut(&mut self.message);
        message.properties.clear();
        message.expiry_s = None;
    }
}

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) name: String,
    pub(super) connection: Option<usize>,
    /// CONNACK came.
    pub(super) connected: bool,
    clean_start: bool,
    /// The session that its side belongs to.
    session: Option<usize>,
    /// It asked for a clean start and does not know whether it was heard: it asks again.
    pub(super) owes_clean_start: bool,
    pub(super) pending: Vec<Pending>,
    next_identifier: u16,
    /// QoS 2 messages that were taken and not released.
    inbound: Vec<u16>,
    /// Acknowledgements that are held back.
    held_back: Vec<Packet>,
    received: Vec<u8>,
    /// Payloads of retained messages that came, by topic.
    pub(super) retained: Vec<(String, String)>,
}

const TOPICS: [&str; 6] = ["a", "a/b", "a/c", "b/c", "a/b/c", "$x/y"];
const FILTERS: [&str; 11] = [
    "a", "a/b", "b/c", "a/+", "+/c", "#", "a/#", "+/+", "+", "$x/#", "w/#",
];
const VERSIONS: [ProtocolVersion; 4] = [
    ProtocolVersion::V3_1,
    ProtocolVersion::V3_1_1,
    ProtocolVersion::V5,
    ProtocolVersion::V5,
];
const LEVELS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

impl Client {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            connection: None,
            connected: false,
            clean_start: true,
            session: None,
            owes_clean_start: false,
            pending: Vec::new(),
            next_identifier: 1,
            inbound: Vec::new(),
            held_back: Vec::new(),
            received: Vec::new(),
            retained: Vec::new(),
        }
    }

    fn forget(&mut self) {
        self.pending.clear();
        self.inbound.clear();
        self.held_back.clear();
    }

    fn identifier(&mut self) -> u16 {
        loop {
            let identifier = self.next_identifier;
            self.next_identifier = identifier % 100 + 1;
            if !self
                .pending
                .iter()
                .any(|pending| pending.packet_identifier == identifier)
            {
                return identifier;
            }
        }
    }
}

impl World {
    /// The client does something.
    pub(super) fn act(&mut self, client: usize) -> Checked {
        let Some(connection) = self.clients[client].connection else {
            let request = self.draw_connect(client);
            return self.connect(client, request);
        };
        if self.connections[connection].is_gone() || chance(&mut self.rng, self.profile.cuts) {
            self.cut(client);
            return Ok(());
        }
        let pipelined = self.profile.pipelined && self.clients[client].clean_start;
        if !self.clients[client].connected && !pipelined {
            return Ok(());
        }
        match self.rng.u32(0..100) {
            0..=44 => self.publish(client),
            45..=64 => self.subscribe(client),
            65..=69 => self.unsubscribe(client),
            70..=85 => self.acknowledge(client),
            86..=88 => self.send(client, Packet::Ping, false),
            89..=92 => self.disconnect(client),
            93..=95 => {
                let request = self.draw_connect(client);
                self.connect(client, request)
            }
            _ if self.profile.rude => self.be_rude(client),
            _ => self.read(client),
        }
    }

    fn be_rude(&mut self, client: usize) -> Checked {
        let unknown = 60_000;
        let packet = match self.rng.u32(0..6) {
            0 => Packet::Garbage,
            1 => Packet::PubAck(unknown),
            2 => Packet::PubRec(unknown),
            3 => Packet::PubRel(unknown),
            4 => Packet::PubComp(unknown),
            _ => Packet::Unsubscribe {
                packet_identifier: unknown,
                filters: vec!["never/subscribed"],
            },
        };
        self.send(client, packet, false)
    }

    fn draw_connect(&mut self, client: usize) -> ConnectRequest {
        let name = self.clients[client].name.clone();
        let rng = &mut self.rng;
        let clean_start = chance(rng, self.profile.clean) || self.clients[client].owes_clean_start;
        let version = pick(rng, &VERSIONS);
        let session_expiry_s = match rng.u32(0..10) {
            0..=1 => 0,
            2..=5 => rng.u32(1..30),
            _ => u32::MAX,
        };
        let receive_max = chance(rng, 30).then(|| rng.u16(1..4));
        let packet_bytes_max = chance(rng, 10).then(|| rng.u32(40..90));
        let keep_alive_s = if chance(rng, 40) { rng.u16(1..20) } else { 0 };
        let with_will = chance(rng, 30);
        ConnectRequest {
            version,
            client: name,
            clean_start,
            keep_alive_s,
            session_expiry_s,
            receive_max,
            packet_bytes_max,
            will: with_will.then(|| self.draw_will(client, version)),
        }
    }

    fn draw_will(&mut self, client: usize, version: ProtocolVersion) -> WillRequest {
        let mut message = self.draw_message(client, version, true);
        let delay_s = match version {
            ProtocolVersion::V5 if self.rng.bool() => self.rng.u32(1..15),
            _ => 0,
        };
        if message.retain {
            // Wills of one tick come in any order, so each has its own topic.
            message.topic = format!("w/{}", self.clients[client].name);
        }
        WillRequest {
            message: Rc::new(message),
            delay_s,
        }
    }

    fn draw_message(&mut self, client: usize, version: ProtocolVersion, is_will: bool) -> Message {
        self.ran.published += 1;
        let rng = &mut self.rng;
        let retain = chance(rng, 25);
        let mut properties = PropertiesBuf::new();
        let mut expiry_s = None;
        if version == ProtocolVersion::V5 {
            if chance(rng, 20) {
                expiry_s = Some(rng.u32(1..20));
            }
            if chance(rng, 20) {
                let pushed = properties.push(Property::UserProperty("n", "v"));
                debug_assert!(pushed.is_ok());
            }
        }
        let padding = pick(
            rng,
            &["", "", "", "...............................................", " "],
        );
        let payload = if retain && !is_will && chance(rng, 25) {
            String::new()
        } else {
            format!("m{}{padding}", self.ran.published)
        };
        Message {
            topic: pick(rng, &TOPICS).to_owned(),
            payload,
            qos: pick(rng, &LEVELS),
            retain,
            properties,
            expiry_s,
            publisher: self.clients[client].name.clone(),
            is_will,
        }
    }

    /// Opens a connection; one that there is already is left to itself.
    pub(super) fn connect(&mut self, client: usize, request: ConnectRequest) -> Checked {
        self.ran.connections += 1;
        let shards = index_of(self.shards.len());
        let home = usize::from(home_shard(&request.client, shards));
        let version = request.version;
        let mut connection = Connection::new(client, version, home);
        if !self.settling {
            connection.down_max = self.profile.socket_bytes;
            connection.counts_as_full = chance(&mut self.rng, self.profile.full_sockets);
        }
        let number = self.connections.len();
        self.connections.push(connection);
        let accepted = self.rng.usize(0..self.shards.len());
        self.shards[accepted].greetings.push(number);
        let connecting = &mut self.clients[client];
        connecting.connection = Some(number);
        connecting.connected = false;
        connecting.clean_start = request.clean_start;
        connecting.received.clear();
        connecting.held_back.clear();
        if request.clean_start {
            connecting.owes_clean_start = true;
            connecting.forget();
        }
        self.send(client, Packet::Connect(Box::new(request)), false)
    }

    /// Writes a packet to the client's connection.
    pub(super) fn send(&mut self, client: usize, packet: Packet, dup: bool) -> Checked {
        let Some(number) = self.clients[client].connection else {
            return Ok(());
        };
        let connection = &mut self.connections[number];
        let bytes = encode(&packet, dup, connection.version)?;
        let step = self.step;
        if let Some(trace) = &mut self.trace {
            trace.push(format!(
                "{step} c{client} writes to connection {number}: {packet:?}"
            ));
        }
        connection.write(&bytes, packet, step);
        self.moved = true;
        Ok(())
    }

    /// The connection breaks, and what is on its way is lost from some byte on.
    pub(super) fn cut(&mut self, client: usize) {
        let Some(number) = self.clients[client].connection.take() else {
            return;
        };
        self.clients[client].connected = false;
        let connection = &mut self.connections[number];
        let kept = self.rng.usize(0..=connection.up.len());
        connection.ready = connection.ready.min(kept);
        connection.cut(kept, self.step);
        self.moved = true;
        self.note(|| format!("c{client} cuts connection {number}, {kept} bytes are kept"));
    }

    fn publish(&mut self, client: usize) -> Checked {
        let version = self.version_of(client);
        let message = self.draw_message(client, version, false);
        self.publish_message(client, message)
    }

    fn publish_message(&mut self, client: usize, message: Message) -> Checked {
        let message = Rc::new(message);
        let mut packet_identifier = 0;
        if message.qos != QoS::AtMostOnce {
            let publishing = &mut self.clients[client];
            if publishing.pending.len() >= usize::from(self.profile.inflight_messages_max) {
                return Ok(());
            }
            packet_identifier = publishing.identifier();
            publishing.pending.push(Pending {
                packet_identifier,
                message: Rc::clone(&message),
                released: false,
            });
        }
        let packet = Packet::Publish {
            message,
            packet_identifier,
        };
        self.send(client, packet, false)
    }

    fn subscribe(&mut self, client: usize) -> Checked {
        let v5 = self.version_of(client) == ProtocolVersion::V5;
        let rng = &mut self.rng;
        let filters = (0..rng.usize(1..=3))
            .map(|_| (pick(rng, &FILTERS), draw_options(rng, v5)))
            .collect();
        let identifier = (v5 && rng.bool()).then(|| rng.u32(1..300));
        let packet_identifier = self.clients[client].identifier();
        let packet = Packet::Subscribe {
            packet_identifier,
            identifier,
            filters,
        };
        self.send(client, packet, false)
    }

    fn unsubscribe(&mut self, client: usize) -> Checked {
        let held = self.model.session_of(&self.clients[client].name);
        let is_held = |filter: &&str| held.is_none_or(|session| session.subscribes(filter));
        let held: Vec<&'static str> = FILTERS.iter().copied().filter(is_held).collect();
        if held.is_empty() {
            return Ok(());
        }
        let packet = Packet::Unsubscribe {
            packet_identifier: self.clients[client].identifier(),
            filters: vec![pick(&mut self.rng, &held)],
        };
        self.send(client, packet, false)
    }

    fn disconnect(&mut self, client: usize) -> Checked {
        let v5 = self.version_of(client) == ProtocolVersion::V5;
        let packet = Packet::Disconnect {
            with_will: v5 && chance(&mut self.rng, 30),
            session_expiry_s: (v5 && chance(&mut self.rng, 30)).then(|| self.rng.u32(0..20)),
        };
        self.leave(client, packet)
    }

    /// Sends a DISCONNECT and ends the stream.
    pub(super) fn leave(&mut self, client: usize, packet: Packet) -> Checked {
        self.send(client, packet, false)?;
        if let Some(number) = self.clients[client].connection.take() {
            let connection = &mut self.connections[number];
            let all = connection.up.len();
            connection.cut(all, self.step);
            self.clients[client].connected = false;
        }
        Ok(())
    }

    /// Sends some of the acknowledgements that were held back.
    fn acknowledge(&mut self, client: usize) -> Checked {
        let held_back = &mut self.clients[client].held_back;
        if !held_back.is_empty() {
            let at = self.rng.usize(0..held_back.len());
            let packet = held_back.remove(at);
            self.send(client, packet, false)?;
        }
        Ok(())
    }

    fn version_of(&self, client: usize) -> ProtocolVersion {
        self.clients[client]
            .connection
            .map_or(ProtocolVersion::V3_1_1, |number| self.connections[number].version)
    }

    /// The client reads some of what there is.
    pub(super) fn read(&mut self, client: usize) -> Checked {
        let Some(number) = self.clients[client].connection else {
            return Ok(());
        };
        let there = self.connections[number].down.len();
        let bytes = if self.rng.bool() {
            there
        } else {
            self.rng.usize(0..=there)
        };
        self.read_bytes(client, number, bytes)
    }

    /// The client reads all that there is, and sends all acknowledgements if everything is to settle.
    pub(super) fn read_all(&mut self, client: usize) -> Checked {
        let Some(number) = self.clients[client].connection else {
            return Ok(());
        };
        let there = self.connections[number].down.len();
        self.read_bytes(client, number, there)?;
        while self.settling && !self.clients[client].held_back.is_empty() {
            self.acknowledge(client)?;
        }
        Ok(())
    }

    fn read_bytes(&mut self, client: usize, number: usize, bytes: usize) -> Checked {
        let connection = &mut self.connections[number];
        self.moved |= bytes > 0;
        let reading = &mut self.clients[client];
        reading.received.extend(connection.down.drain(..bytes));
        let received = std::mem::take(&mut reading.received);
        let mut rest = received.as_slice();
        while let Some(frame) = mqtt::frame::split(rest, u32::MAX).map_err(|error| error.to_string())? {
            rest = &rest[frame.wire_bytes..];
            let version = self.connections[number].version;
            let packet = mqtt::decode::packet(&frame, version).map_err(|error| error.to_string())?;
            self.take(client, number, &packet)?;
            if self.clients[client].connection != Some(number) {
                return Ok(());
            }
        }
        self.clients[client].received = rest.to_vec();
        let connection = &self.connections[number];
        if connection.is_gone() && connection.down.is_empty() && self.clients[client].connection.is_some() {
            self.clients[client].connection = None;
            self.clients[client].connected = false;
        }
        Ok(())
    }

    fn take(&mut self, client: usize, number: usize, packet: &Wire<'_>) -> Checked {
        match packet {
            Wire::ConnAck(_) => self.take_connack(client, number),
            Wire::Publish(publish) => {
                let identifier = publish.packet_identifier.map_or(0, |identifier| identifier.get());
                self.take_publish(client, number, publish.qos, identifier)
            }
            Wire::PubRel(ack) => {
                let identifier = ack.packet_identifier.get();
                self.clients[client].inbound.retain(|&other| other != identifier);
                self.answer(client, Packet::PubComp(identifier))
            }
            Wire::PubAck(ack) => self.take_acknowledgement(client, ack.packet_identifier.get(), true),
            Wire::PubComp(ack) => self.take_acknowledgement(client, ack.packet_identifier.get(), true),
            Wire::PubRec(ack) => {
                let identifier = ack.packet_identifier.get();
                self.take_acknowledgement(client, identifier, false)?;
                self.send(client, Packet::PubRel(identifier), false)
            }
            Wire::SubAck(_) => {
                let filter = self.model.suback_read(self.connections[number].model, self.step);
                filter.map_or(Ok(()), |filter| self.tell_of_subscription(client, filter))
            }
            _ => Ok(()),
        }
    }

    /// Resumes the client's side of the session, or forgets it.
    fn take_connack(&mut self, client: usize, number: usize) -> Checked {
        // Session Present alone does not tell that it is the session of before: a CONNACK may have got lost in between.
        let session = self.model.session_number(self.connections[number].model);
        let connecting = &mut self.clients[client];
        let resumed = connecting.session == session;
        connecting.session = session;
        if !resumed && !connecting.clean_start && self.model.was_resumed(self.connections[number].model) {
            // A session that an older connection of this client made behind its back.
            connecting.forget();
            connecting.owes_clean_start = true;
            self.cut(client);
            return Ok(());
        }
        connecting.connected = true;
        connecting.owes_clean_start = false;
        if connecting.clean_start {
            return Ok(());
        }
        if !resumed {
            connecting.forget();
            return Ok(());
        }
        if self.connections[number].version != ProtocolVersion::V5 {
            connecting.pending.iter_mut().for_each(Pending::strip);
        }
        for pending in connecting.pending.clone() {
            let packet_identifier = pending.packet_identifier;
            let packet = if pending.released {
                Packet::PubRel(packet_identifier)
            } else {
                let message = pending.message;
                Packet::Publish {
                    message,
                    packet_identifier,
                }
            };
            self.send(client, packet, true)?;
        }
        Ok(())
    }

    fn take_publish(&mut self, client: usize, number: usize, qos: QoS, identifier: u16) -> Checked {
        let entry = self.connections[number]
            .entries
            .pop_front()
            .ok_or("a PUBLISH that nobody saw")?;
        let taking = &mut self.clients[client];
        let is_new = qos != QoS::ExactlyOnce || !taking.inbound.contains(&identifier);
        if is_new {
            self.ran.received += 1;
            let entry = self.model.take(entry)?;
            if entry.is_retained() {
                let message = &entry.message;
                taking
                    .retained
                    .push((message.topic.clone(), message.payload.clone()));
            }
        }
        match qos {
            QoS::AtMostOnce => Ok(()),
            QoS::AtLeastOnce => self.answer(client, Packet::PubAck(identifier)),
            QoS::ExactlyOnce => {
                if is_new {
                    taking.inbound.push(identifier);
                }
                self.answer(client, Packet::PubRec(identifier))
            }
        }
    }

    fn answer(&mut self, client: usize, packet: Packet) -> Checked {
        if !self.settling && chance(&mut self.rng, self.profile.late_acknowledgements) {
            self.clients[client].held_back.push(packet);
            return Ok(());
        }
        self.send(client, packet, false)
    }

    /// PUBACK, PUBREC or PUBCOMP came for what this client published.
    fn take_acknowledgement(&mut self, client: usize, identifier: u16, done: bool) -> Checked {
        let pending = &mut self.clients[client].pending;
        let Some(at) = pending.iter().position(|p| p.packet_identifier == identifier) else {
            return Ok(());
        };
        let message = Rc::clone(&pending[at].message);
        if done {
            pending.remove(at);
        } else {
            pending[at].released = true;
        }
        self.model.puback_read(&message, self.step);
        if message.retain {
            return self.tell_of_retained(client, &message.topic);
        }
        Ok(())
    }

    /// Another client hears of a subscription and publishes what it matches.
    fn tell_of_subscription(&mut self, client: usize, filter: &str) -> Checked {
        let Some(other) = self.somebody_told(client)? else {
            return Ok(());
        };
        let mut message = self.draw_message(other, self.version_of(other), false);
        if let Some(topic) = TOPICS.iter().find(|topic| mqtt::topic::matches(filter, topic)) {
            message.topic = (*topic).to_owned();
        }
        self.publish_message(other, message)?;
        self.hurry(other)
    }

    /// Another client hears of a retained message and subscribes to it.
    fn tell_of_retained(&mut self, client: usize, topic: &str) -> Checked {
        let Some(other) = self.somebody_told(client)? else {
            return Ok(());
        };
        let filters: Vec<&'static str> = FILTERS
            .iter()
            .copied()
            .filter(|filter| mqtt::topic::matches(filter, topic))
            .collect();
        if filters.is_empty() {
            return Ok(());
        }
        let filter = pick(&mut self.rng, &filters);
        let v5 = self.version_of(other) == ProtocolVersion::V5;
        let options = draw_options(&mut self.rng, v5);
        let packet = Packet::Subscribe {
            packet_identifier: self.clients[other].identifier(),
            identifier: None,
            filters: vec![(filter, options)],
        };
        self.send(other, packet, false)?;
        self.hurry(other)
    }

    /// A client that may act on what another one just read: connected, or newly connecting.
    fn somebody_told(&mut self, client: usize) -> Checked<Option<usize>> {
        if self.settling || self.profile.calm || !chance(&mut self.rng, self.profile.gossip) {
            return Ok(None);
        }
        self.step += 1;
        let other = self.rng.usize(0..self.clients.len());
        if other == client {
            return Ok(None);
        }
        if self.clients[other].connection.is_none() {
            let mut request = self.draw_connect(other);
            request.clean_start = true;
            self.connect(other, request)?;
            return Ok(Some(other));
        }
        Ok(Some(other).filter(|&other| self.clients[other].connected))
    }

    /// The shards that have a client's connection turn now, or not.
    fn hurry(&mut self, client: usize) -> Checked {
        let Some(number) = self.clients[client].connection.filter(|_| self.rng.bool()) else {
            return Ok(());
        };
        let greets = |shard: &SimulatedShard| shard.greetings.contains(&number);
        if let Some(accepted) = self.shards.iter().position(greets) {
            self.run_turn(accepted)?;
        }
        let home = self.connections[number].home;
        self.run_turn(home)?;
        self.run_turn(home)
    }
}

fn draw_options(rng: &mut fastrand::Rng, v5: bool) -> SubscriptionOptions {
    let handling = [
        RetainHandling::SendAtSubscribe,
        RetainHandling::SendIfNew,
        RetainHandling::DoNotSend,
    ];
    SubscriptionOptions {
        qos: pick(rng, &LEVELS),
        no_local: v5 && chance(rng, 20),
        retain_as_published: v5 && chance(rng, 30),
        retain_handling: if v5 { pick(rng, &handling) } else { handling[0] },
    }
}
