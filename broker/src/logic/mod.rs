//! The broker's logic without any I/O: what decides is here, what waits is in the shell.
//!
//! One [`Shard`] a core. Bytes, batches of other shards and the time come in by its methods; bytes for connections,
//! batches and deadlines are fetched. [`Shard`] keeps the order of calls; what it has is owned by a few types, and a
//! method that is about one of them alone is that one's:
//!
//! - `delivery/` ([`Delivery`]): connections, sessions and the accounts of what is sent to them;
//! - `flow/`: consumers that are slow, and the publishers that wait for them;
//! - `routing/` ([`Routing`]): subscriptions, groups and other shards' interest: from a topic to those who get it;
//! - `outbox/` ([`Outboxes`]): batches for the other shards;
//! - `retained/`: retained messages, and what new subscriptions get of them.
//!
//! The way of a message: receive.rs and consume.rs (packets out of bytes, runs of QoS 0) -> handle/publish.rs ->
//! routing/route.rs (topic to targets, cached) -> publish.rs -> delivery/fan_out.rs -> delivery/deliver.rs (each
//! target's output, window or queue); for other shards publish.rs -> outbox/mod.rs -> inbox.rs ->
//! delivery/fan_out.rs; for groups of Shared Subscriptions publish.rs -> share/mod.rs.
//!
//! Beside that way: partial.rs (packets that have not come whole), connect_request.rs (a CONNECT that was parsed),
//! connection.rs, session/ and session_subscriptions.rs (what a client has), owner.rs (the shard of a session),
//! lookup.rs (what the shell asks), operator/ (what operators ask), teardown.rs and sliced_teardown.rs (how
//! connections and sessions end), tick.rs and timer.rs (what is due), policy.rs and mount_point.rs (what a client may
//! do, and where its topics are), message.rs (a message, and how it is kept), store.rs and recover.rs (what is kept
//! for good, and comes back), counters/, client_events.rs and sys.rs (figures), reason_string.rs, inconsistency.rs
//! (states that cannot be), resource_counts.rs (what tests compare), ids.rs, slots.rs and topic_tree/ (names and
//! containers).
//!
//! Invariants: no clock, socket or random source is read; nothing a peer sends panics or grows without a bound of
//! [`crate::limits`] or [`crate::settings`]; the same inputs give the same outputs. The order that makes the shards
//! agree: the shell pushes [`Shard::take_batches`] before it flushes connections, and gives batches to
//! [`Shard::receive_batch`] before bytes to [`Shard::receive`].

mod client_events;
mod connect_request;
mod connection;
mod consume;
mod counters;
mod delivery;
mod flow;
mod handle;
mod ids;
mod inbox;
mod inconsistency;
mod lookup;
mod message;
mod mount_point;
pub mod operator;
mod outbox;
mod owner;
mod partial;
mod policy;
mod publish;
mod reason_string;
mod receive;
pub mod recover;
mod resource_counts;
mod retained;
mod routing;
mod session;
mod session_subscriptions;
mod share;
mod sliced_teardown;
mod slots;
pub mod store;
mod sys;
mod teardown;
mod tick;
mod timer;
mod topic_tree;

use std::collections::VecDeque;
use std::sync::Arc;

use mqtt::property::PropertiesBuf;

pub use self::connect_request::{
    AuthenticationRequest, ConnectRequest, FirstPacket, MalformedConnect, WillRequest,
};
use self::connection::Connection;
pub use self::connection::{ConnectionId, ConnectionSlot, Peer};
pub use self::counters::{
    ClientEvent, ConnectRefusal, Counter, CounterKind, CounterLabel, CountersByCause, Denied,
    DisconnectCause, DropReason, EventKind, Events, Handshake, Histogram, PublicCounter, SHOWN,
    ShardCounters, shard_counters,
};
use self::delivery::Delivery;
pub use self::delivery::journal::FirstNumbers;
use self::handle::no_space::Unstored;
pub use self::lookup::TracedClient;
pub use self::message::{ForeignMessage, StoredMessage, subscription_identifiers};
use self::outbox::Outboxes;
pub use self::outbox::batch::{Batch, Control};
pub use self::outbox::{COST_BASE, COST_MAX};
pub use self::owner::owner_shard;
pub use self::resource_counts::ResourceCounts;
pub use self::retained::{FoundMessage, RequestId, RetainedNote, RetainedQuota, Ticket};
use self::retained::{RetainedBounds, RetainedMessages};
use self::routing::Routing;
pub use self::routing::subscription::group::MemberCounts;
use self::share::Unclaimed;
use self::sliced_teardown::Ending;
use self::sys::Sys;
pub use self::sys::sys_totals;
use self::timer::{Timer, Timers};
use crate::limits;
use crate::settings::Settings;
pub use crate::time::Timestamp;
use crate::turn::WorkBudget;

/// The logic of one shard: its connections, sessions, subscriptions and retained messages.
#[derive(Debug)]
pub struct Shard {
    index: u16,
    /// When the call that is being handled was made.
    now: Timestamp,
    /// The work that this turn may do, and has done so far.
    work: WorkBudget,
    delivery: Delivery,
    routing: Routing,
    outboxes: Outboxes,
    retained: RetainedMessages,
    timers: Timers,
    sys: Sys,
    generation: u32,
    /// What the store was given when what is handled now began.
    journal_before: u64,
    /// The broker shuts down: nobody may connect, and what members of groups leave behind goes to nobody.
    shuts_down: bool,
    /// When the turn began, batches had found no room in other shards' queues.
    is_blocked: bool,
    /// Sessions whose end takes more than one turn.
    endings: VecDeque<Ending>,
    /// Messages of groups that had no member.
    unclaimed: Vec<Unclaimed>,
    /// Packets for which the store has no space.
    unstored: VecDeque<Unstored>,
    /// Memory of packets that have not come whole.
    partial_bytes: usize,
    /// Messages that had come and gone when spare memory was last dropped.
    published_before: u64,
    properties: PropertiesBuf,
}

impl Shard {
    /// The shard of that index out of `count`. Nothing of it survives the process, unless it is given a store by
    /// [`Self::open_store`].
    #[must_use]
    pub fn new(index: u16, count: u16, settings: Arc<Settings>, counters: Arc<[ShardCounters]>) -> Self {
        let seed = settings.hash_seed;
        let mut timers = Timers::default();
        if index == 0 && settings.sys_interval_s > 0 {
            timers.set(Timestamp(0), Timer::Sys);
        }
        let bounds = RetainedBounds::of(&settings);
        let mut retained = RetainedMessages::new(seed, index, count, bounds);
        if let Some(counters) = counters.get(usize::from(index)) {
            retained.set_bounds(bounds, counters);
        }
        Self {
            index,
            now: Timestamp(0),
            work: WorkBudget::default(),
            routing: Routing::new(seed, settings.topic_levels_max),
            outboxes: Outboxes::new(index, count),
            retained,
            delivery: Delivery::new(index, settings, counters),
            timers,
            sys: Sys::default(),
            generation: 0,
            journal_before: 0,
            shuts_down: false,
            is_blocked: false,
            endings: VecDeque::new(),
            unclaimed: Vec::new(),
            unstored: VecDeque::new(),
            partial_bytes: 0,
            published_before: 0,
            properties: PropertiesBuf::new(),
        }
    }

    /// A turn begins: its work is counted from here on. Without such calls there is no end to it.
    pub fn begin_turn(&mut self) {
        let limits = self.delivery.settings().work;
        self.work.begin_turn(limits.turn);
        self.delivery.begin_turn();
        self.is_blocked = self.outboxes.len() > 0;
        self.routing.begin_turn();
    }

    /// How much work the turn may hold, and how much it has held.
    pub fn work(&mut self) -> &mut WorkBudget {
        &mut self.work
    }

    /// The connection's socket is gone: the Will is published if one is due, the session stays or ends, the slot is
    /// free.
    pub fn lost(&mut self, now: Timestamp, id: ConnectionId) {
        self.lost_by(now, id, DisconnectCause::Closed);
    }

    /// As [`Self::lost`], with another cause than that the client has closed the stream.
    pub fn lost_by(&mut self, now: Timestamp, id: ConnectionId, cause: DisconnectCause) {
        self.begin(now);
        self.work.spend(limits::CONNECTION_WORK);
        if self.delivery.by_id(id).is_some() {
            let client = self.count_disconnect(id.slot, cause);
            self.detach(id.slot, true);
            self.publish_disconnected(client, cause, None);
            self.end_flow(id);
            self.drop_partial(id.slot);
            self.delivery.remove_connection(id.slot);
        }
    }

    /// The shell closed a connection that was [`Self::closing`]: the slot is free.
    pub fn closed(&mut self, now: Timestamp, id: ConnectionId) {
        self.lost(now, id);
    }

    /// The turn is over: what it leaves is counted.
    #[inline]
    pub fn end_turn(&mut self) {
        self.delivery.count_output();
    }

    /// When [`Self::tick`] has something to do next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        // A timer's time never comes before that of the next turn. What a flush let flow on is handed over in that.
        if self.has_walks() || self.delivery.journal.has_records() || self.delivery.journal.is_reading() {
            return Some(Timestamp(0));
        }
        self.timers.next_deadline()
    }

    /// Bytes wait to be sent on these connections, or they are to be closed: each once. `taken` is swapped with the
    /// list, so that both are used again.
    pub fn swap_dirty(&mut self, taken: &mut Vec<ConnectionId>) {
        self.delivery.swap_dirty(taken);
        self.output_counted();
    }

    /// As [`Self::swap_dirty`], of those connections alone whose output may be sent while batches wait for room in
    /// other shards' queues.
    pub fn swap_independent(&mut self, taken: &mut Vec<ConnectionId>) {
        taken.clear();
        self.delivery.take_independent(taken);
        self.output_counted();
    }

    /// Whether [`Self::swap_dirty`] has something to give.
    #[must_use]
    pub fn has_dirty(&self) -> bool {
        self.delivery.dirty() > 0
    }

    /// As [`Self::swap_dirty`], into a new list.
    pub fn take_dirty(&mut self) -> Vec<ConnectionId> {
        let mut taken = Vec::new();
        self.swap_dirty(&mut taken);
        taken
    }

    /// What is to be sent on a connection; the shell takes it and may leave an empty buffer of its pool. For a
    /// connection that is gone it is an empty buffer that nobody reads.
    pub fn out(&mut self, id: ConnectionId) -> &mut Vec<u8> {
        self.delivery.out(id)
    }

    /// An empty buffer for the shell's own use, to be given back by [`Self::recycle_out`].
    #[inline]
    pub fn spare_out(&mut self) -> Vec<u8> {
        self.delivery.spare_out()
    }

    /// Takes an emptied buffer, to be the `out` of a connection again: so that only those that have something to send
    /// have memory for it.
    #[inline]
    pub fn recycle_out(&mut self, buffer: Vec<u8>) {
        self.delivery.recycle_out(buffer);
    }

    /// To be called after each flush of a connection, also a complete one: the socket has not taken `unsent_bytes` of
    /// the bytes that were taken from `out`. They count in the caps. As they become fewer, messages of the session's
    /// queue are sent, and the connection may become dirty again.
    #[inline]
    pub fn flushed(&mut self, now: Timestamp, id: ConnectionId, unsent_bytes: usize) {
        self.begin(now);
        let pour_bytes = self.delivery.flow.fill_bytes();
        let Some(connection) = self.delivery.flushed(id, unsent_bytes) else {
            // What was sent last was taken when it was gone.
            return;
        };
        let busy_in_group = connection.busy_in_group;
        if connection.waits
            && connection.waiting_bytes() < pour_bytes
            && let Some(session) = connection.session
        {
            self.delivery.send_waiting(session);
        }
        self.output_drained(id.slot);
        if busy_in_group {
            self.offer_again(id.slot);
        }
    }

    /// Whether the shell is not to read from the connection for now: it publishes to a shard that is behind.
    #[must_use]
    pub fn receive_paused(&self, id: ConnectionId) -> bool {
        let connection = self.delivery.connection_by_id(id);
        connection.is_some_and(Connection::is_paused)
    }

    /// Whether the connection has sent a packet that is handled in part, and goes on when [`Self::receive`] is called,
    /// also without bytes.
    #[must_use]
    pub fn is_unfinished(&self, id: ConnectionId) -> bool {
        let connection = self.delivery.connection_by_id(id);
        connection.is_some_and(|connection| receive::is_whole(&connection.partial))
    }

    /// Connections whose [`Self::receive_paused`] changed, with its new value, since the last call.
    pub fn take_receive_changes(&mut self) -> Vec<(ConnectionId, bool)> {
        self.delivery.flow.take_receive_changes()
    }

    /// The counters of this shard.
    #[must_use]
    pub fn counters(&self) -> &ShardCounters {
        self.delivery.counters()
    }

    /// From now on these settings hold, for clients that are connected too: windows and keep alives that were agreed
    /// on stay. The seed of the hash tables, the listeners' numbers and their mount points must be the same as
    /// before.
    pub fn set_settings(&mut self, now: Timestamp, settings: Arc<Settings>) {
        self.begin(now);
        let sys_changed = settings.sys_interval_s != self.delivery.settings().sys_interval_s;
        let bounds = RetainedBounds::of(&settings);
        self.retained.set_bounds(bounds, self.delivery.counters());
        self.delivery.set_settings(settings);
        if self.index == 0 && sys_changed {
            self.timers.cancel(self.sys.due_at, Timer::Sys);
            self.sys.due_at = now;
            self.timers.set(now, Timer::Sys);
        }
    }

    /// Whether the process has reached `memory_limit`: while it has, nothing is queued or retained, and no session is
    /// made.
    pub fn set_memory_full(&mut self, full: bool) {
        self.delivery.set_memory_full(full);
        if full {
            self.outboxes.drop_spare();
        }
    }

    /// Frees the memory that is kept for use again.
    pub fn drop_spare(&mut self) {
        self.delivery.drop_spare_outs();
        self.outboxes.drop_spare();
        let counters = self.delivery.counters();
        let published = counters.publishes_received.get() + counters.publishes_sent.get();
        // While nothing is published, what topics lead to is worth no memory.
        if std::mem::replace(&mut self.published_before, published) == published {
            self.routing.drop_routes();
        }
    }

    /// A call is made at that time.
    #[inline]
    fn begin(&mut self, now: Timestamp) {
        self.now = now;
        self.delivery.begin(now);
    }

    /// The settings of this shard.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        self.delivery.settings()
    }
}

#[cfg(test)]
impl Shard {
    /// Begins as if this many connections had existed before.
    pub(crate) fn begin_generations_at(&mut self, generation: u32) {
        self.generation = generation;
    }
}
