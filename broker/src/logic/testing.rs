//! Several shards in one thread, with a clock that only the test moves and clients that speak packets.
//!
//! Invariants: each shard works in the order of its own [`Turn`], and nothing is random, so the same calls give the
//! same packets. What a test does (bytes, a broken connection) falls between two turns. With [`Cluster::hold_batches`]
//! batches stay with the logic until they are released and clients are answered all the same, to try what happens while
//! shards do not know of one another.

mod remains;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use mqtt::packet::Connect;
use mqtt::property::Properties;
use mqtt::{Packet, ProtocolVersion};

pub use self::remains::Remains;
use super::{
    Batch, ConnectionId, FirstPacket, LostCause, Peer, Shard, ShardCounters, Timestamp, owner_shard,
    shard_counters,
};
use crate::auth::enhanced::Authenticated;
use crate::auth::{Policy, Verdict};
use crate::limits;
use crate::settings::{ListenerId, Settings};
use crate::turn::{Outcome, Step, Turn};

/// A client of a [`Cluster`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(usize);

/// One packet that a client received.
#[derive(Clone, Debug)]
pub struct Received {
    version: ProtocolVersion,
    bytes: Vec<u8>,
}

impl Received {
    /// The packet; `None` if the bytes are none in the client's version.
    #[must_use]
    pub fn packet(&self) -> Option<Packet<'_>> {
        let frame = mqtt::frame::split(&self.bytes, limits::PACKET_BYTES_MAX).ok()??;
        mqtt::decode::packet(&frame, self.version).ok()
    }

    /// The packet's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[derive(Debug)]
struct Connected {
    shard: usize,
    /// `None` before its CONNECT is whole.
    id: Option<ConnectionId>,
    pending: Option<Box<Pending>>,
    version: ProtocolVersion,
    /// Received and not taken by the test.
    received: Vec<u8>,
    /// Sent by the broker while the client does not read.
    unread: Vec<u8>,
    reads: bool,
    closed: bool,
}

/// A connection whose CONNECT has not come whole.
#[derive(Debug)]
struct Pending {
    peer: Peer,
    bytes: Vec<u8>,
}

/// Shards, their queues and their clients.
#[derive(Debug)]
pub struct Cluster {
    shards: Vec<Shard>,
    turns: Vec<Turn<()>>,
    counters: Arc<[ShardCounters]>,
    now: Timestamp,
    clients: Vec<Connected>,
    /// Batches on their way: to, from.
    on_the_way: Vec<Vec<VecDeque<Batch>>>,
    hold: bool,
    /// Where connections come from.
    listener: ListenerId,
    /// Who the next connection proved to be.
    authenticated: Option<Box<Authenticated>>,
}

impl Cluster {
    /// So many shards; `$SYS` is off unless the settings are the caller's own.
    #[must_use]
    pub fn new(shards: u16) -> Self {
        Self::with_settings(
            shards,
            Settings {
                sys_interval_s: 0,
                ..Settings::default()
            },
        )
    }

    /// So many shards with these settings.
    #[must_use]
    pub fn with_settings(shards: u16, settings: Settings) -> Self {
        let settings = Arc::new(settings);
        let counters = shard_counters(shards);
        let shard = |index| Shard::new(index, shards, Arc::clone(&settings), Arc::clone(&counters));
        let queues = || (0..shards).map(|_| VecDeque::new()).collect();
        Self {
            shards: (0..shards).map(shard).collect(),
            turns: (0..shards).map(|index| Turn::new(index, shards)).collect(),
            counters: Arc::clone(&counters),
            now: Timestamp(1_000_000_000),
            clients: Vec::new(),
            on_the_way: (0..shards).map(|_| queues()).collect(),
            hold: false,
            listener: ListenerId(0),
            authenticated: None,
        }
    }

    /// All shards take a policy.
    pub fn set_policy(&mut self, policy: &Arc<Policy>) {
        let now = self.now;
        for shard in &mut self.shards {
            shard.set_policy(now, Arc::clone(policy));
        }
        self.settle();
    }

    /// All shards take other settings.
    pub fn set_settings(&mut self, settings: &Arc<Settings>) {
        let now = self.now;
        for shard in &mut self.shards {
            shard.set_settings(now, Arc::clone(settings));
        }
        self.settle();
    }

    /// `memory_limit` is reached, or no longer.
    pub fn set_memory_full(&mut self, full: bool) {
        for shard in &mut self.shards {
            shard.set_memory_full(full);
        }
    }

    /// Connections that are opened from now on come by this listener.
    pub fn set_listener(&mut self, listener: ListenerId) {
        self.listener = listener;
    }

    /// The next connection has proved itself in an exchange of AUTH packets.
    pub fn set_authenticated(&mut self, authenticated: Authenticated) {
        self.authenticated = Some(Box::new(authenticated));
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// A sum over the counters of all shards.
    pub fn count(&self, read: impl Fn(&ShardCounters) -> u64) -> u64 {
        self.counters.iter().map(read).sum()
    }

    /// A shard.
    #[must_use]
    pub fn shard(&self, index: usize) -> Option<&Shard> {
        self.shards.get(index)
    }

    /// The shard of a client.
    #[must_use]
    pub fn shard_of(&self, client: Client) -> usize {
        self.clients.get(client.0).map_or(0, |client| client.shard)
    }

    /// A connection at the home of that client identifier, without a CONNECT.
    pub fn open(&mut self, client_identifier: &str, version: ProtocolVersion) -> Client {
        self.open_from(client_identifier, version, None)
    }

    /// The same with the user that a certificate proved.
    pub fn open_from(
        &mut self,
        client_identifier: &str,
        version: ProtocolVersion,
        user: Option<&str>,
    ) -> Client {
        self.open_with(client_identifier, version, user, Verdict::Unproved)
    }

    /// The same with a verdict on user name and password.
    pub fn open_with(
        &mut self,
        client_identifier: &str,
        version: ProtocolVersion,
        user: Option<&str>,
        verdict: Verdict,
    ) -> Client {
        let assigned = format!("auto-{}", self.clients.len());
        let identifier = if client_identifier.is_empty() {
            &assigned
        } else {
            client_identifier
        };
        let shards = u16::try_from(self.shards.len()).unwrap_or(1);
        let shard = usize::from(owner_shard(identifier, shards));
        let peer = Peer {
            listener: self.listener,
            assigned_client_identifier: Some(assigned.clone().into()),
            certificate_identity: user.map(Into::into),
            verdict,
            authenticated: self.authenticated.take(),
            ..peer()
        };
        let (received, unread) = (Vec::new(), Vec::new());
        self.clients.push(Connected {
            shard,
            id: None,
            pending: Some(Box::new(Pending {
                peer,
                bytes: Vec::new(),
            })),
            version,
            received,
            unread,
            reads: true,
            closed: false,
        });
        Client(self.clients.len() - 1)
    }

    /// A connection that has sent this CONNECT.
    pub fn connect(&mut self, connect: &Connect<'_>) -> Client {
        let client = self.open(connect.client_identifier, connect.version);
        let mut bytes = Vec::new();
        // One that cannot be encoded sends nothing: the test then misses its CONNACK.
        let _ = connect.encode(&mut bytes);
        self.send(client, &bytes);
        client
    }

    /// The client sends bytes; everything they cause happens, also in other shards.
    pub fn send(&mut self, client: Client, bytes: &[u8]) {
        let Some(connected) = self.clients.get_mut(client.0) else {
            return;
        };
        let now = self.now;
        if let Some(shard) = self.shards.get_mut(connected.shard).filter(|_| !connected.closed) {
            connected.send(shard, now, bytes);
        }
        self.settle();
    }

    /// The client's connection breaks.
    pub fn cut(&mut self, client: Client) {
        let clients = self.clients.get_mut(client.0);
        let Some(connected) = clients.filter(|connected| !connected.closed) else {
            return;
        };
        connected.closed = true;
        let now = self.now;
        if let (Some(shard), Some(id)) = (self.shards.get_mut(connected.shard), connected.id) {
            shard.lost(now, id, LostCause::EndOfStream);
        }
        self.settle();
    }

    /// Whether the client reads what it is sent; what it does not read stays in the broker's account.
    pub fn set_reading(&mut self, client: Client, reads: bool) {
        if let Some(connected) = self.clients.get_mut(client.0) {
            connected.reads = reads;
        }
        self.settle();
    }

    /// Whether batches between shards stay on their way.
    pub fn hold_batches(&mut self, hold: bool) {
        self.hold = hold;
        self.settle();
    }

    /// Lets time pass, with a tick at each deadline.
    pub fn advance_ms(&mut self, milliseconds: u64) {
        let until = self.now.plus_ns(milliseconds.saturating_mul(1_000_000));
        while let Some(next) = self
            .shards
            .iter()
            .filter_map(Shard::next_deadline)
            .min()
            .filter(|&next| next <= until)
        {
            self.now = self.now.max(next);
            self.settle();
        }
        self.now = until;
        self.settle();
    }

    /// Lets seconds pass.
    pub fn advance_s(&mut self, seconds: u64) {
        self.advance_ms(seconds.saturating_mul(1000));
    }

    /// The next packet that the client received.
    pub fn next(&mut self, client: Client) -> Option<Received> {
        let connected = self.clients.get_mut(client.0)?;
        let wire_bytes = mqtt::frame::split(&connected.received, limits::PACKET_BYTES_MAX)
            .ok()??
            .wire_bytes;
        let bytes = connected.received.drain(..wire_bytes).collect();
        Some(Received {
            version: connected.version,
            bytes,
        })
    }

    /// Bytes that the client received and that no [`Self::next`] took.
    #[must_use]
    pub fn received_bytes(&self, client: Client) -> usize {
        self.clients
            .get(client.0)
            .map_or(0, |connected| connected.received.len())
    }

    /// The client's version.
    #[must_use]
    pub fn version(&self, client: Client) -> ProtocolVersion {
        self.clients
            .get(client.0)
            .map_or(ProtocolVersion::V3_1_1, |connected| connected.version)
    }

    /// Whether the broker closed the connection.
    #[must_use]
    pub fn closed(&self, client: Client) -> bool {
        self.clients
            .get(client.0)
            .is_none_or(|connected| connected.closed)
    }

    /// Whether the shell would not read from the client now.
    #[must_use]
    pub fn paused(&self, client: Client) -> bool {
        let connected = self.clients.get(client.0);
        let shard = connected.and_then(|connected| self.shards.get(connected.shard));
        let id = connected.and_then(|connected| connected.id);
        id.zip(shard).is_some_and(|(id, shard)| shard.receive_paused(id))
    }

    /// The broker goes.
    pub fn shut_down(&mut self) {
        let now = self.now;
        self.shards.iter_mut().for_each(|shard| shard.shut_down(now));
        self.settle();
    }

    /// Lets every shard take turns until nothing moves any more.
    pub fn settle(&mut self) {
        loop {
            let mut moved = false;
            for index in 0..self.shards.len() {
                moved |= self.turn(index);
            }
            if !moved {
                return;
            }
        }
    }

    /// A turn of a shard; whether anything moved.
    fn turn(&mut self, index: usize) -> bool {
        let mut moved = false;
        while let Some(step) = self.turns.get(index).map(Turn::step) {
            let outcome = self.take_step(index, step, &mut moved);
            if let Some(turn) = self.turns.get_mut(index)
                && turn.advance(outcome) == Step::Wait
            {
                break;
            }
        }
        moved
    }

    fn take_step(&mut self, index: usize, step: Step, moved: &mut bool) -> Outcome {
        let now = self.now;
        let Some(shard) = self.shards.get_mut(index) else {
            return Outcome::Done;
        };
        match step {
            Step::Take { from, messages_max } => return self.take_from(index, from, messages_max, moved),
            Step::Handle => self.take_unread(index, moved),
            Step::RunTimers => {
                *moved |= shard.has_replays();
                shard.tick(now);
            }
            Step::Push => self.push(index, moved),
            Step::Flush => {
                self.flush(index, moved);
                self.take_unread(index, moved);
            }
            Step::ChangeReceiving => drop(shard.take_receive_changes()),
            // Connections are opened where their session lives, and closed when they are flushed.
            Step::Wait | Step::Adopt | Step::Close => {}
        }
        Outcome::Done
    }

    fn take_from(&mut self, index: usize, from: u16, messages_max: usize, moved: &mut bool) -> Outcome {
        let now = self.now;
        let queue = self
            .on_the_way
            .get_mut(index)
            .and_then(|queues| queues.get_mut(usize::from(from)));
        let (Some(queue), Some(shard)) = (queue, self.shards.get_mut(index)) else {
            return Outcome::Done;
        };
        for left in (0..queue.len().min(messages_max)).rev() {
            let Some(batch) = queue.pop_front() else { break };
            *moved = true;
            shard.receive_batch(now, from, &batch);
            shard.recycle_batch(batch);
            if shard.turn_is_full() {
                return Outcome::Full { left };
            }
        }
        Outcome::Done
    }

    fn push(&mut self, index: usize, moved: &mut bool) {
        let Some(shard) = self.shards.get_mut(index).filter(|_| !self.hold) else {
            return;
        };
        for (to, queues) in (0_u16..).zip(&mut self.on_the_way) {
            if let Some(queue) = queues.get_mut(index) {
                let waiting = queue.len();
                queue.extend(shard.take_batches(to));
                *moved |= queue.len() > waiting;
            }
        }
    }

    fn flush(&mut self, index: usize, moved: &mut bool) {
        let Some(shard) = self.shards.get_mut(index) else {
            return;
        };
        for id in shard.take_dirty() {
            *moved = true;
            let mut clients = self.clients.iter_mut();
            let connected = clients.find(|client| client.shard == index && client.id == Some(id));
            flush_one(shard, self.now, id, connected);
        }
    }

    /// Clients read what waits for them.
    fn take_unread(&mut self, index: usize, moved: &mut bool) {
        let is_read =
            |client: &&mut Connected| client.shard == index && client.reads && !client.unread.is_empty();
        for connected in self.clients.iter_mut().filter(is_read) {
            *moved = true;
            connected.received.append(&mut connected.unread);
            let shard = self.shards.get_mut(index).filter(|_| !connected.closed);
            if let (Some(shard), Some(id)) = (shard, connected.id) {
                shard.flushed(self.now, id, 0);
            }
        }
    }
}

impl Connected {
    /// Bytes go to the logic once the CONNECT is whole.
    fn send(&mut self, shard: &mut Shard, now: Timestamp, bytes: &[u8]) {
        let Some(mut pending) = self.pending.take() else {
            return self.id.iter().for_each(|&id| shard.receive(now, id, bytes));
        };
        pending.bytes.extend_from_slice(bytes);
        let opened = match FirstPacket::parse(&pending.bytes) {
            FirstPacket::Incomplete => {
                self.pending = Some(pending);
                return;
            }
            FirstPacket::Foreign(_) => {
                self.closed = true;
                return;
            }
            FirstPacket::Connect(connect) => Ok(connect),
            FirstPacket::Malformed(malformed) => Err(malformed),
        };
        let id = shard.open(now, pending.peer, opened.as_deref());
        self.id = Some(id);
        let behind = opened.map_or(usize::MAX, |connect| connect.wire_bytes as usize);
        if let Some(rest) = pending.bytes.get(behind..).filter(|rest| !rest.is_empty()) {
            shard.receive(now, id, rest);
        }
    }
}

fn flush_one(shard: &mut Shard, now: Timestamp, id: ConnectionId, connected: Option<&mut Connected>) {
    let Some(connected) = connected else { return };
    connected.unread.append(shard.out(id));
    if shard.closing(id) {
        connected.closed = true;
        connected.received.append(&mut connected.unread);
        shard.closed(now, id);
    } else if !connected.reads {
        shard.flushed(now, id, connected.unread.len());
    }
}

/// Where a connection comes from that has nothing particular about it.
#[must_use]
pub fn peer() -> Peer {
    Peer {
        address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000),
        listener: ListenerId(0),
        assigned_client_identifier: None,
        certificate_identity: None,
        verdict: Verdict::Unproved,
        authenticated: None,
    }
}

/// Opens a connection at a shard with the bytes that a client sends first: a whole CONNECT, and perhaps more.
///
/// # Panics
/// When they do not begin with a CONNECT.
pub fn open(shard: &mut Shard, now: Timestamp, peer: Peer, bytes: &[u8]) -> ConnectionId {
    let FirstPacket::Connect(connect) = FirstPacket::parse(bytes) else {
        panic!("no CONNECT: {bytes:?}");
    };
    let id = shard.open(now, peer, Ok(&connect));
    let rest = bytes.get(connect.wire_bytes as usize..).unwrap_or_default();
    if !rest.is_empty() {
        shard.receive(now, id, rest);
    }
    id
}

/// A CONNECT with nothing particular about it: Clean Start, no keep alive, no Will.
#[must_use]
pub fn connect(version: ProtocolVersion, client_identifier: &str) -> Connect<'_> {
    Connect {
        version,
        clean_start: true,
        keep_alive_s: 0,
        properties: Properties::EMPTY,
        client_identifier,
        will: None,
        user_name: None,
        password: None,
    }
}
