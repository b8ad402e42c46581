//! Several shards in one thread, with a clock that only the test moves and clients that send packets.
//!
//! Invariants: each shard works in the order of its [`Turn`], and nothing is random, so the same calls give the same
//! packets. What a test does (bytes, a broken connection) happens between two turns. With [`Cluster::delay_batches`]
//! batches stay in the logic until they are released and clients are answered all the same, to test what happens while
//! shards do not know of one another.

mod received;
mod turns;
mod work;

use std::collections::VecDeque;
use std::sync::Arc;

use broker::auth::enhanced::Authenticated;
use broker::auth::{Policy, Verdict};
use broker::limits;
use broker::logic::{
    Batch, ConnectionId, FirstPacket, Peer, Shard, ShardCounters, Timestamp, owner_shard, shard_counters,
};
use broker::settings::{ListenerId, Settings};
use broker::turn::Turn;
use mqtt::ProtocolVersion;
use mqtt::packet::Connect;

pub use self::received::Received;
use crate::peer;

/// A client of a [`Cluster`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(usize);

#[derive(Debug)]
struct Connected {
    shard: usize,
    /// `None` before its CONNECT is complete.
    id: Option<ConnectionId>,
    pending: Option<Box<Pending>>,
    version: ProtocolVersion,
    /// Received, but not taken by the test.
    received: Vec<u8>,
    /// Sent by the broker while the client does not read.
    unread: Vec<u8>,
    /// Sent by the client but not taken by its shard, if turns are bounded.
    sent: Vec<u8>,
    reads: bool,
    closed: bool,
}

/// A connection whose CONNECT has not arrived completely.
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
    delays_batches: bool,
    /// Whether turns do a limited amount of work, and the largest amount so far.
    bounds_work: bool,
    most_work: u64,
    /// The address of new connections.
    listener: ListenerId,
    /// The authenticated user of the next connection.
    authenticated: Option<Box<Authenticated>>,
}

impl Cluster {
    /// This many shards; `$SYS` is off unless the caller sets it.
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

    /// This many shards with these settings.
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
            delays_batches: false,
            bounds_work: false,
            most_work: 0,
            listener: ListenerId(0),
            authenticated: None,
        }
    }

    /// Gives all shards a policy.
    pub fn set_policy(&mut self, policy: &Arc<Policy>) {
        let now = self.now;
        for shard in &mut self.shards {
            shard.set_policy(now, Arc::clone(policy));
        }
        self.run_until_idle();
    }

    /// Gives all shards other settings.
    pub fn set_settings(&mut self, settings: &Arc<Settings>) {
        let now = self.now;
        for shard in &mut self.shards {
            shard.set_settings(now, Arc::clone(settings));
        }
        self.run_until_idle();
    }

    /// Sets whether `memory_limit` is reached.
    pub fn set_memory_full(&mut self, full: bool) {
        for shard in &mut self.shards {
            shard.set_memory_full(full);
        }
    }

    /// Connections that are opened from now on use this listener.
    pub fn set_listener(&mut self, listener: ListenerId) {
        self.listener = listener;
    }

    /// The next connection has been authenticated in an exchange of AUTH packets.
    pub fn set_authenticated(&mut self, authenticated: Authenticated) {
        self.authenticated = Some(Box::new(authenticated));
    }

    /// The time of all shards.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// A sum over the counters of all shards.
    pub fn count(&self, read: impl Fn(&ShardCounters) -> u64) -> u64 {
        self.counters.iter().map(read).sum()
    }

    /// The shard with that number, to inspect its state.
    #[must_use]
    pub fn shard(&self, index: usize) -> Option<&Shard> {
        self.shards.get(index)
    }

    /// The shard of a client.
    #[must_use]
    pub fn shard_of(&self, client: Client) -> usize {
        self.clients.get(client.0).map_or(0, |client| client.shard)
    }

    /// Opens a connection at the owner of that client identifier, without a CONNECT.
    pub fn open(&mut self, client_identifier: &str, version: ProtocolVersion) -> Client {
        self.open_from(client_identifier, version, None)
    }

    /// The same with the user that a certificate names.
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
            sent: Vec::new(),
            reads: true,
            closed: false,
        });
        Client(self.clients.len() - 1)
    }

    /// A connection that has sent this CONNECT.
    pub fn connect(&mut self, connect: &Connect<'_>) -> Client {
        let client = self.open(connect.client_identifier, connect.version);
        let mut bytes = Vec::new();
        // A CONNECT that cannot be encoded sends nothing: then the test gets no CONNACK.
        let _ = connect.encode(&mut bytes);
        self.send(client, &bytes);
        client
    }

    /// The client sends bytes; all their effects happen, including those in other shards.
    pub fn send(&mut self, client: Client, bytes: &[u8]) {
        let Some(connected) = self.clients.get_mut(client.0) else {
            return;
        };
        let now = self.now;
        if let Some(shard) = self.shards.get_mut(connected.shard).filter(|_| !connected.closed) {
            if self.bounds_work && connected.id.is_some() {
                connected.sent.extend_from_slice(bytes);
            } else {
                connected.send(shard, now, bytes);
            }
        }
        self.run_until_idle();
    }

    /// Breaks the client's connection.
    pub fn cut(&mut self, client: Client) {
        let clients = self.clients.get_mut(client.0);
        let Some(connected) = clients.filter(|connected| !connected.closed) else {
            return;
        };
        connected.closed = true;
        let now = self.now;
        if let (Some(shard), Some(id)) = (self.shards.get_mut(connected.shard), connected.id) {
            shard.lost(now, id);
        }
        self.run_until_idle();
    }

    /// Sets whether the client reads what it is sent; what it does not read still counts in the broker.
    pub fn set_reading(&mut self, client: Client, reads: bool) {
        if let Some(connected) = self.clients.get_mut(client.0) {
            connected.reads = reads;
        }
        self.run_until_idle();
    }

    /// Sets whether batches between shards are delayed.
    pub fn delay_batches(&mut self, delay: bool) {
        self.delays_batches = delay;
        self.run_until_idle();
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
            self.run_until_idle();
        }
        self.now = until;
        self.run_until_idle();
    }

    /// Lets seconds pass, with a tick at each deadline.
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
        Some(Received::new(connected.version, bytes))
    }

    /// Bytes that the client received and that [`Self::next`] has not taken.
    #[must_use]
    pub fn received_bytes(&self, client: Client) -> usize {
        self.clients
            .get(client.0)
            .map_or(0, |connected| connected.received.len())
    }

    /// The protocol version that the client uses.
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
        id.zip(shard)
            .is_some_and(|(id, shard)| shard.clients().receive_paused(id))
    }

    /// Shuts down all shards.
    pub fn shut_down(&mut self) {
        let now = self.now;
        self.shards.iter_mut().for_each(|shard| shard.shut_down(now));
        self.run_until_idle();
    }

    /// Runs turns of every shard until nothing moves any more.
    pub fn run_until_idle(&mut self) {
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
}

impl Connected {
    /// Passes bytes to the logic once the CONNECT is complete.
    fn send(&mut self, shard: &mut Shard, now: Timestamp, bytes: &[u8]) {
        let Some(mut pending) = self.pending.take() else {
            // A turn without a limit of work takes everything.
            return self.id.iter().for_each(|&id| {
                shard.receive(now, id, bytes);
            });
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
