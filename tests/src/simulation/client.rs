//! The clients: what they do at random, and how they answer.
//!
//! A client keeps to the protocol, unless the profile says otherwise: it keeps its side of the session over
//! connections, sends again what was not acknowledged, and takes a QoS 2 message once.
//!
//! Invariants: none.

use std::rc::Rc;

use broker::logic::owner_shard;
use fastrand::Rng;
use mqtt::packet::SubscriptionOptions;
use mqtt::{ProtocolVersion, QoS};

use super::bytes::encode;
use super::connection::{Place, SimulatedConnection};
use super::draw::{FILTERS, SHARED, draw_options};
use super::profile::{chance, pick};
use super::turn::index_of;
use super::world::World;
use crate::model::{Checked, ConnectRequest, Message, Packet};

/// A message that was published and not acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) packet_identifier: u16,
    pub(super) message: Rc<Message>,
    /// PUBREC came: PUBREL is sent from then on.
    pub(super) released: bool,
}

impl Pending {
    /// What 3.x cannot say is not sent again.
    pub(super) fn strip(&mut self) {
        let message = Rc::make_mut(&mut self.message);
        message.properties.clear();
        message.expiry_s = None;
    }
}

/// A client with its side of the session.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) name: String,
    pub(super) connection: Option<usize>,
    /// CONNACK came on its connection.
    pub(super) connected: bool,
    pub(super) clean_start: bool,
    /// The session that its side belongs to.
    pub(super) session: Option<usize>,
    /// It asked for a clean start and does not know whether it was received: it asks again.
    pub(super) owes_clean_start: bool,
    pub(super) pending: Vec<Pending>,
    next_identifier: u16,
    /// QoS 2 messages that were taken and not released.
    pub(super) inbound: Vec<u16>,
    /// Acknowledgements that are delayed.
    pub(super) delayed: Vec<Packet>,
    pub(super) received: Vec<u8>,
    /// Payloads of retained messages that came, by topic.
    pub(super) retained: Vec<(String, String)>,
}

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
            delayed: Vec::new(),
            received: Vec::new(),
            retained: Vec::new(),
        }
    }

    pub(super) fn forget(&mut self) {
        self.pending.clear();
        self.inbound.clear();
        self.delayed.clear();
    }

    pub(super) fn identifier(&mut self) -> u16 {
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
        if chance(&mut self.rng, self.profile.bursts) {
            return self.burst(client);
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
        let packet = match self.rng.u32(0..7) {
            0 => Packet::Garbage,
            5 => match self.mismatched(client) {
                Some(packet) => packet,
                None => return self.read(client),
            },
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

    /// An acknowledgement of another kind than one of those that the client has delayed.
    fn mismatched(&mut self, client: usize) -> Option<Packet> {
        type Acknowledgement = fn(u16) -> Packet;
        let (identifier, others): (u16, [Acknowledgement; 2]) = match self.clients[client].delayed.first()? {
            Packet::PubAck(identifier) => (*identifier, [Packet::PubRec, Packet::PubComp]),
            Packet::PubRec(identifier) => (*identifier, [Packet::PubAck, Packet::PubComp]),
            Packet::PubComp(identifier) => (*identifier, [Packet::PubAck, Packet::PubAck]),
            _ => return None,
        };
        Some(others[self.rng.usize(0..2)](identifier))
    }

    /// Opens a connection; one that there is already is left to itself.
    pub(super) fn connect(&mut self, client: usize, request: ConnectRequest) -> Checked {
        self.ran.connections += 1;
        let owner = self.owner_of(client);
        let version = request.version;
        let mut connection = SimulatedConnection::new(client, version, owner);
        connection.aliases.maximum = request.topic_alias_max.unwrap_or(0);
        if !self.quiescing {
            connection.down_max = self.profile.socket_bytes;
        }
        let number = self.connections.len();
        self.connections.push(connection);
        let drawn = self.rng.usize(0..self.shards.len());
        // One that comes by the queue which its owner looks at next may overtake what is in those before.
        let accepted = self
            .next_queue(owner)
            .filter(|_| self.rng.bool())
            .unwrap_or(drawn);
        self.shards[accepted].pending.push(number);
        let connecting = &mut self.clients[client];
        connecting.connection = Some(number);
        connecting.connected = false;
        connecting.clean_start = request.clean_start;
        connecting.received.clear();
        connecting.delayed.clear();
        if request.clean_start {
            connecting.owes_clean_start = true;
            connecting.forget();
        }
        self.send(client, Packet::Connect(Box::new(request)), false)
    }

    /// The shard that owns a client's session.
    pub(super) fn owner_of(&self, client: usize) -> usize {
        usize::from(owner_shard(
            &self.clients[client].name,
            index_of(self.shards.len()),
        ))
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
        // What the shell has read of a connection that is transferred is lost no more.
        let read = if connection.place == Place::Transferred {
            connection.ready
        } else {
            0
        };
        let kept = self.rng.usize(read..=connection.up.len());
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

    pub(super) fn publish_message(&mut self, client: usize, message: Message) -> Checked {
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
        let (rng, shared) = (&mut self.rng, self.profile.shared);
        let draw = |rng: &mut Rng| {
            let options = draw_options(rng, v5);
            if !chance(rng, shared) {
                return (pick(rng, &FILTERS), options);
            }
            // [MQTT-3.8.3-4]; and with RETAIN a message would look like a retained one after SUBSCRIBE.
            let options = SubscriptionOptions {
                no_local: false,
                retain_as_published: false,
                ..options
            };
            (pick(rng, &SHARED), options)
        };
        let filters = (0..rng.usize(1..=3)).map(|_| draw(rng)).collect();
        let identifier = (v5 && rng.bool()).then(|| rng.u32(1..300));
        let packet_identifier = self.clients[client].identifier();
        let packet = Packet::Subscribe {
            packet_identifier,
            identifier,
            filters,
        };
        self.send(client, packet, false)
    }

    /// Many packets at once, among them such that cost much.
    fn burst(&mut self, client: usize) -> Checked {
        for _ in 0..self.rng.u32(3..12) {
            match self.rng.u32(0..4) {
                0 | 1 => self.subscribe(client)?,
                2 => self.publish(client)?,
                _ => self.send(client, Packet::Ping, false)?,
            }
        }
        Ok(())
    }

    fn unsubscribe(&mut self, client: usize) -> Checked {
        let session = self.model.session_of(&self.clients[client].name);
        let is_subscribed = |filter: &&str| session.is_none_or(|session| session.subscribes(filter));
        let all = FILTERS.iter().chain(&SHARED).copied();
        let subscribed: Vec<&'static str> = all.filter(is_subscribed).collect();
        if subscribed.is_empty() {
            return Ok(());
        }
        let packet = Packet::Unsubscribe {
            packet_identifier: self.clients[client].identifier(),
            filters: vec![pick(&mut self.rng, &subscribed)],
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
    pub(super) fn acknowledge(&mut self, client: usize) -> Checked {
        let delayed = &mut self.clients[client].delayed;
        if !delayed.is_empty() {
            let at = self.rng.usize(0..delayed.len());
            let packet = delayed.remove(at);
            self.send(client, packet, false)?;
        }
        Ok(())
    }

    pub(super) fn version_of(&self, client: usize) -> ProtocolVersion {
        self.clients[client]
            .connection
            .map_or(ProtocolVersion::V3_1_1, |number| self.connections[number].version)
    }
}
