//! A broker as naive as it can be, that says which deliveries are owed to each client and which are allowed.
//!
//! It has vectors and loops, no bytes, no indexes and no clock. Whoever drives it reports in which order each shard
//! handled what the clients sent, when what one shard sent another arrived, and what the broker wrote to each
//! connection; it answers with a violation if that is not what a broker does.
//!
//! What is owed does not follow from how shards notify one another of subscriptions, but from what a client can know:
//! who has read its SUBACK gets every message that is sent after that. What is allowed is what matches a subscription
//! when the message reaches the subscriber's shard.
//!
//! The model is the specification's, so it knows nothing of the broker's but these choices: full queues drop the newest
//! message; QoS 0 is not kept for clients that are away; a message that is too large for a client is dropped for it
//! alone.
//!
//! What happens: `connect.rs`, `deliver.rs`, `shared.rs`, `retained.rs`, `tick.rs` (time passes) and `flow.rs` (flow
//! control). What came of it: `observe.rs`, with `waiting.rs` and `assign.rs` (which delivery it was) and `reply.rs`.
//! What is kept: `session.rs` and `message.rs`. The broker ends and starts again: `shut_down.rs`, `crash.rs`,
//! `crash_messages.rs`, `crash_shares.rs`, `kept.rs`, `lasting.rs`.
//!
//! Invariants: none.

mod assign;
mod connect;
mod crash;
mod crash_messages;
mod crash_shares;
mod deliver;
mod flow;
mod kept;
mod lasting;
mod message;
mod observe;
mod reply;
mod retained;
mod session;
mod shared;
mod shut_down;
#[cfg(test)]
mod tests;
mod tick;
mod waiting;

use std::collections::VecDeque;
use std::rc::Rc;

use mqtt::ProtocolVersion;

use self::assign::Delivery;
use self::flow::Flow;
pub use self::flow::Marks;
pub use self::kept::{Kept, KeptContent, KeptMessage, KeptRetained, KeptSession};
use self::lasting::Published;
pub use self::message::{ConnectRequest, Message, Packet, WillRequest};
use self::reply::Reply;
use self::retained::{RetainedRequest, Write};
pub use self::session::{Entry, Session, State};
use self::shared::Share;

/// What was wrong, in one sentence.
pub type Checked<T = ()> = Result<T, String>;

/// Nanoseconds of a second.
pub const SECOND_NS: u64 = 1_000_000_000;

/// A time that never comes.
pub const NEVER: u64 = u64::MAX;

/// Bounds that the broker was given.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Messages in flight to one client at most.
    pub inflight_messages_max: u16,
    /// Messages queued for one session at most.
    pub queued_messages_max: usize,
    /// What may wait for one client's socket.
    pub client_output: Marks,
    /// What may wait for all sockets of a shard.
    pub shard_output: Marks,
    /// Nanoseconds that a client is left unread for others' sake, with the steps of the timers.
    pub grace_ns: u64,
    /// What promises something waits for a store: messages at QoS 0 and 1 pass it.
    pub is_stored: bool,
}

/// When something happens: the virtual time of the shard, and the step of the schedule that caused it.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Nanoseconds of the virtual clock of the shard.
    pub now: u64,
    /// The step at which whoever caused it did so: what a client had read before, it knew.
    pub cause: u64,
}

/// One connection, from its CONNECT on.
#[derive(Debug)]
pub struct ModelConnection {
    shard: usize,
    version: ProtocolVersion,
    client: String,
    /// The session, also after it was detached.
    session: Option<usize>,
    resumed: bool,
    /// Its session was to outlive it when it began.
    is_kept: bool,
    /// A session that it ended when it began.
    ended: Option<usize>,
    /// The broker is to end it, or did.
    closed: bool,
    /// Answers that the broker owes, in order.
    replies: VecDeque<Reply>,
    /// The subscriptions of each SUBACK that the client has not read.
    subacks: VecDeque<Vec<u64>>,
    keep_alive_s: u16,
    last_received: u64,
    packet_bytes_max: usize,
    /// Its socket is gone.
    lost: bool,
    flow: Flow,
}

/// A message on its way from one shard to another.
#[derive(Debug)]
struct Passing {
    number: u64,
    message: Rc<Message>,
    sent: Moment,
    published: usize,
    /// So many may come before it in any order.
    among: usize,
}

/// The naive broker: all that it knows of clients, messages and shards.
#[derive(Debug)]
pub struct Model {
    bounds: Bounds,
    shards: usize,
    connections: Vec<ModelConnection>,
    sessions: Vec<Session>,
    entries: Vec<Entry>,
    publishes: Vec<Published>,
    writes: Vec<Write>,
    requests: Vec<RetainedRequest>,
    /// Messages that each shard has published.
    published: Vec<u64>,
    /// How many messages of the second shard have arrived at the first one.
    arrived: Vec<Vec<u64>>,
    /// Messages on their way, from the first shard to the second one, with their numbers.
    on_the_way: Vec<Vec<VecDeque<Passing>>>,
    subscriptions_made: u64,
    /// Somebody of that shard has been above a high-water mark.
    was_above: Vec<bool>,
    /// The bytes that waited for all sockets of a shard when it last began to flush.
    sums: Vec<usize>,
    /// The bytes that waited for sockets of a shard that were closed since it last began to flush.
    ended_bytes: Vec<usize>,
    /// Counts what may let a paused connection go on.
    drained: u64,
    /// Messages for Shared Subscriptions, each for one member.
    shares: Vec<Share>,
    /// Deliveries that were such messages.
    deliveries: Vec<Delivery>,
    /// Counts what the messages for groups are ordered by.
    changes: u64,
    /// Sessions that end with this tick.
    ending: Option<Vec<usize>>,
    /// It ended in order, so a store has all.
    is_stopped: bool,
}

impl Model {
    /// A broker with no clients.
    #[must_use]
    pub fn new(shards: usize, bounds: Bounds) -> Self {
        let on_the_way = || (0..shards).map(|_| VecDeque::new()).collect();
        Self {
            bounds,
            shards,
            connections: Vec::new(),
            sessions: Vec::new(),
            entries: Vec::new(),
            publishes: Vec::new(),
            writes: Vec::new(),
            requests: Vec::new(),
            published: vec![0; shards],
            arrived: vec![vec![0; shards]; shards],
            on_the_way: (0..shards).map(|_| on_the_way()).collect(),
            subscriptions_made: 0,
            was_above: vec![false; shards],
            sums: vec![0; shards],
            ended_bytes: vec![0; shards],
            drained: 0,
            shares: Vec::new(),
            deliveries: Vec::new(),
            changes: 0,
            ending: None,
            is_stopped: false,
        }
    }

    /// A connection that reached its shard; returns its number.
    pub fn open(&mut self, shard: usize, now: u64) -> usize {
        self.connections.push(ModelConnection {
            shard,
            version: ProtocolVersion::V3_1_1,
            client: String::new(),
            session: None,
            resumed: false,
            is_kept: false,
            ended: None,
            closed: false,
            replies: VecDeque::new(),
            subacks: VecDeque::new(),
            keep_alive_s: 0,
            last_received: now,
            packet_bytes_max: usize::MAX,
            lost: false,
            flow: Flow::new(),
        });
        self.connections.len() - 1
    }

    /// The broker read a whole packet of a connection.
    pub fn received(&mut self, connection: usize, now: u64) {
        let connected = &mut self.connections[connection];
        connected.last_received = now;
        connected.flow.was_read(now);
    }

    /// The broker handled a packet.
    pub fn handle(&mut self, connection: usize, packet: &Packet, at: Moment) {
        if self.connections[connection].closed {
            return;
        }
        self.drained += u64::from(packet.acknowledges());
        match packet {
            Packet::Connect(request) => self.connect(connection, request, at),
            Packet::Publish {
                message,
                packet_identifier,
            } => self.publish_from(connection, message, *packet_identifier, at),
            Packet::Subscribe {
                packet_identifier,
                identifier,
                filters,
            } => self.subscribe(connection, *packet_identifier, *identifier, filters, at),
            Packet::Unsubscribe {
                packet_identifier,
                filters,
            } => self.unsubscribe(connection, *packet_identifier, filters),
            Packet::PubAck(identifier) => self.puback(connection, *identifier, at),
            Packet::PubRec(identifier) => self.pubrec(connection, *identifier, at),
            Packet::PubRel(identifier) => self.pubrel(connection, *identifier),
            Packet::PubComp(identifier) => self.pubcomp(connection, *identifier, at),
            Packet::Ping => self.reply(connection, Reply::PingResp),
            Packet::Disconnect {
                with_will,
                session_expiry_s,
            } => self.disconnect(connection, *with_will, *session_expiry_s, at),
            Packet::Garbage => {
                self.owe_disconnect(connection, None);
                self.close(connection, true, at);
            }
        }
    }

    /// The connection's socket is gone.
    pub fn lost(&mut self, connection: usize, at: Moment) {
        self.gone(connection);
        self.close(connection, true, at);
    }

    /// Whether the broker is to close the connection.
    #[must_use]
    pub fn is_closed(&self, connection: usize) -> bool {
        self.connections[connection].closed
    }

    /// How many messages a shard has published: what the others will know when all that it sent until now has arrived.
    #[must_use]
    pub fn published(&self, shard: usize) -> u64 {
        self.published[shard]
    }

    /// The session of a client, if it has one.
    #[must_use]
    pub fn session_of(&self, client: &str) -> Option<&Session> {
        self.sessions
            .iter()
            .find(|session| session.alive && session.client == client)
    }

    /// The client takes a delivery.
    ///
    /// # Errors
    /// When it is the second time at QoS 2.
    pub fn take(&mut self, entry: usize) -> Checked<&Entry> {
        let entry = &mut self.entries[entry];
        entry.received += 1;
        if entry.qos == mqtt::QoS::ExactlyOnce && entry.received > 1 {
            return Err(format!("{entry:?} came twice"));
        }
        Ok(entry)
    }

    /// Which session the connection has or had: no two sessions have the same number.
    #[must_use]
    pub fn session_number(&self, connection: usize) -> Option<usize> {
        self.connections[connection].session
    }

    /// Whether the connection resumed a session.
    #[must_use]
    pub fn was_resumed(&self, connection: usize) -> bool {
        self.connections[connection].resumed
    }

    fn reply(&mut self, connection: usize, reply: Reply) {
        self.connections[connection].flow.expect(flow::REPLY_BYTES_MAX);
        self.connections[connection].replies.push_back(reply);
    }
}

/// Takes the first element if it is the one.
fn pop_front_if<T>(queue: &mut VecDeque<T>, is_it: impl FnOnce(&T) -> bool) -> Option<T> {
    if is_it(queue.front()?) {
        queue.pop_front()
    } else {
        None
    }
}
