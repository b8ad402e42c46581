//! Connections from accept until their CONNECT is whole and their AUTH packets are exchanged: the TLS handshake, the upgrade
//! to WebSocket, and finding the home shard.
//!
//! Invariants: one receive at most is in flight and none once the CONNECT is known, so the descriptor can move to
//! another shard; at most [`limits::CONNECT_BYTES_MAX`] are kept for a client that has not said who it is, and nothing
//! is reserved for bytes that were only announced; the whole takes at most [`limits::GREETING_NS_MAX`] from accept.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use mqtt::{DecodeError, ReasonCode, decode, frame};
use slab::Slab;
use transport::socket::{self, Socket};
use transport::stream::SecureStream;
use transport::tls::IdentityKind;
use transport::websocket::handshake::Page;

use super::challenge::Challenged;
use super::proxy::Introduction;
use super::token::{Place, same_generation};
use crate::admission::Admission;
use crate::auth::enhanced::Authenticated;
use crate::config::ProxyProtocol;
use crate::in_effect::Upgrade;
use crate::limits;
use crate::settings::ListenerId;
use crate::time::Timestamp;

/// A connection that has not said who it is.
pub(crate) struct Greeting {
    pub(crate) generation: u32,
    pub(crate) socket: Socket,
    pub(crate) stream: SecureStream,
    pub(crate) admission: Admission,
    pub(crate) address: SocketAddr,
    pub(crate) listener: ListenerId,
    /// What of its certificate names the user, if something does.
    pub(crate) identity: Option<IdentityKind>,
    /// A load balancer is to introduce it first.
    pub(crate) proxy: Option<ProxyProtocol>,
    /// It is to ask for WebSocket first.
    pub(crate) upgrade: Option<Arc<Upgrade>>,
    /// What the load balancer said of it.
    pub(crate) introduction: Introduction,
    /// Plain bytes so far.
    pub(crate) plain: Vec<u8>,
    /// The CONNECT is whole and its password is being checked.
    pub(crate) is_being_checked: bool,
    /// The CONNECT is whole and the client is to prove who it is by AUTH.
    pub(super) challenged: Option<Box<Challenged>>,
    /// It has.
    pub(crate) authenticated: Option<Box<Authenticated>>,
}

impl Greeting {
    /// Ends it, in order if its TLS is established. A close alone would send nothing while the ring holds a receive.
    pub(crate) fn cut(mut self) {
        let mut goodbye = Vec::new();
        self.stream.close(&mut goodbye);
        if !goodbye.is_empty() {
            let _ = socket::send_now(self.socket.as_fd(), &goodbye);
        }
        socket::shut_down(self.socket.as_fd());
    }
}

/// All greetings of a shard.
#[derive(Default)]
pub(crate) struct Greetings {
    slots: Slab<Greeting>,
    /// In the order of accept, which is the order of the deadlines.
    deadlines: VecDeque<(Timestamp, Place)>,
    generation: u32,
}

/// What the bytes so far say.
#[derive(Debug)]
pub(crate) enum Heard {
    /// The CONNECT is not whole yet.
    Incomplete,
    /// It is; what follows it is for whoever asked for more.
    Connect,
    /// It is, but wrong: its home is here, where it gets its refusal.
    Malformed,
    /// It asks for a page, of this folder.
    Page(Page, Arc<Path>),
    /// Its TLS or WebSocket failed, which was logged.
    Failed,
    /// Not a client of ours: closed without an answer.
    Refused(&'static str),
}

impl Greetings {
    pub(crate) fn insert(&mut self, now: Timestamp, mut greeting: Greeting) -> Place {
        self.generation = self.generation.wrapping_add(1);
        greeting.generation = self.generation;
        let slot = self.slots.insert(greeting) as u32;
        let place = Place {
            slot,
            generation: self.generation,
        };
        self.deadlines
            .push_back((now.plus_ns(limits::GREETING_NS_MAX), place));
        place
    }

    pub(crate) fn get(&mut self, place: Place) -> Option<&mut Greeting> {
        let greeting = self.slots.get_mut(place.slot as usize)?;
        same_generation(greeting.generation, place.generation).then_some(greeting)
    }

    pub(crate) fn remove(&mut self, place: Place) -> Option<Greeting> {
        self.get(place)?;
        self.slots.try_remove(place.slot as usize)
    }

    /// The next greeting whose time is over.
    pub(crate) fn expired(&mut self, now: Timestamp) -> Option<Greeting> {
        while let Some((deadline, place)) = self.deadlines.front().copied() {
            if deadline > now && self.get(place).is_some() {
                return None;
            }
            self.deadlines.pop_front();
            if let Some(greeting) = self.remove(place) {
                return Some(greeting);
            }
        }
        None
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.front().map(|(deadline, _)| *deadline)
    }

    #[cfg(test)]
    pub(crate) fn begin_generations_at(&mut self, generation: u32) {
        self.generation = generation;
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Those whose CONNECT is whole.
    pub(crate) fn being_checked(&self) -> Vec<Place> {
        let places = self.deadlines.iter().map(|(_, place)| *place);
        let is_being_checked = |place: &Place| {
            let greeting = self.slots.get(place.slot as usize);
            greeting.is_some_and(|g| g.is_being_checked && same_generation(g.generation, place.generation))
        };
        places.filter(is_being_checked).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Ends all of them.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Greeting> {
        self.deadlines.clear();
        self.slots.drain()
    }
}

/// Reads what has come: the first packet has to be a CONNECT [MQTT-3.1.0-1].
pub(crate) fn hear(plain: &[u8]) -> Heard {
    match frame::split(plain, limits::CONNECT_BYTES_MAX) {
        Ok(None) => match plain.first() {
            Some(first) if first >> 4 != 1 => Heard::Refused("the first packet is not CONNECT"),
            _ => Heard::Incomplete,
        },
        Ok(Some(frame)) if frame.packet_type == frame::PacketType::Connect => heard(decode::connect(&frame)),
        Ok(Some(_)) => Heard::Refused("the first packet is not CONNECT"),
        Err(error) if error.reason() == ReasonCode::PacketTooLarge => {
            Heard::Refused("a CONNECT above 64 KiB")
        }
        Err(_) if plain.first() == Some(&0x10) => Heard::Malformed,
        Err(_) => Heard::Refused("the first packet is not MQTT"),
    }
}

fn heard(connect: Result<mqtt::packet::Connect<'_>, DecodeError>) -> Heard {
    match connect {
        Ok(_) => Heard::Connect,
        Err(_) => Heard::Malformed,
    }
}
