//! The broker's logic without any I/O: decisions are made here, waiting is done in the shell.
//!
//! There is one [`Shard`] per core. Bytes, batches of other shards and the time are passed to its methods; bytes for
//! connections, batches and deadlines are fetched. [`Shard`] keeps the order of calls; its state is owned by a few
//! types, and a method that concerns only one of them belongs to that type:
//!
//! - clients.rs ([`Clients`]): connections, sessions, and the connection of each session;
//! - `delivery/` ([`Delivery`]): everything that is sent to them, with its accounts;
//! - `flow/` ([`FlowControl`]): slow consumers, and the publishers that wait for them;
//! - `routing/` ([`Routing`]): subscriptions, groups and other shards' interest: from a topic to its receivers;
//! - `outbox/` ([`Outboxes`]): batches for the other shards;
//! - `retained/`: retained messages, and their delivery to new subscriptions.
//!
//! The path of a message: receive.rs and consume.rs (packets out of bytes, runs of QoS 0) -> handle/publish.rs ->
//! routing/route.rs (topic to targets, cached) -> publish.rs -> delivery/fan_out.rs -> delivery/deliver.rs (each
//! target's output, window or queue); for other shards publish.rs -> outbox/mod.rs -> inbox.rs -> delivery/fan_out.rs;
//! for groups of Shared Subscriptions publish.rs -> share/mod.rs.
//!
//! Beside that way: shell_access.rs (the owners as the shell sees them), partial.rs (packets that have not come whole),
//! connect_request.rs (a CONNECT that was parsed), connection/, session/ and session_subscriptions.rs (what a client
//! has), aliases.rs, consumer_state.rs, filters_begun.rs and reauthentication.rs (parts of a connection),
//! owner_shard.rs (the shard of a session), lookup.rs (what the shell asks), operator/ (what operators ask),
//! teardown.rs, sliced_teardown.rs, token_end.rs and shut_down.rs (how connections and sessions end), tick.rs and
//! timer.rs (what is due), policy.rs and mount_point.rs (what a client may do, and where its topics are), message.rs
//! and via.rs (a
//! message, how it is kept, and by what it comes), unpublishable.rs (why one is not taken), retained_note.rs and
//! retained_quota.rs (what shards share of
//! retained messages), store.rs, storing.rs and recover.rs (what is kept for good, and comes back), counters/,
//! client_events.rs and sys.rs (figures), reason_string.rs, inconsistency.rs (states that cannot be),
//! resource_counts.rs (what tests compare), ids.rs, slots.rs and topic_tree/ (names and containers).
//!
//! Invariants: no clock, socket or random source is read; nothing that a peer sends panics or grows without a bound of
//! [`crate::limits`] or [`crate::settings`]; the same inputs give the same outputs. The order that keeps the shards
//! consistent: the shell pushes [`Shard::take_batches`] before it flushes connections, and passes batches to
//! [`Shard::receive_batch`] before bytes to [`Shard::receive`].

mod aliases;
mod client_events;
mod clients;
mod connect_request;
mod connection;
mod consume;
mod consumer_state;
mod counters;
mod delivery;
mod filters_begun;
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
mod owner_shard;
mod partial;
mod policy;
mod publish;
mod reason_string;
mod reauthentication;
mod receive;
pub mod recover;
mod resource_counts;
mod retained;
mod retained_note;
mod retained_quota;
mod routing;
mod session;
mod session_subscriptions;
mod share;
mod shell_access;
mod shut_down;
mod sliced_teardown;
mod slots;
pub mod store;
mod storing;
mod sys;
mod teardown;
mod tick;
mod timer;
mod token_end;
mod topic_tree;
mod unpublishable;
mod via;

use std::sync::Arc;

pub use self::clients::Clients;
pub use self::connect_request::{
    AuthenticationRequest, ConnectRequest, FirstPacket, MalformedConnect, WillRequest,
};
pub use self::connection::{ConnectionId, ConnectionSlot, Peer};
pub use self::counters::{
    ClientEvent, ConnectRefusal, Counter, CounterKind, CounterLabel, CountersByCause, Denied,
    DisconnectCause, DropReason, EventKind, Events, Handshake, Histogram, PublicCounter, SHOWN,
    ShardCounters, shard_counters,
};
pub(crate) use self::delivery::ShownIn;
pub use self::delivery::journal::FirstNumbers;
pub use self::delivery::{Delivery, Outputs, TraceLines};
pub use self::flow::FlowControl;
use self::handle::no_space::UnstoredPackets;
pub use self::lookup::TracedClient;
pub use self::message::{ForeignMessage, StoredMessage, subscription_identifiers};
pub use self::operator::ClientTimes;
pub use self::outbox::Outboxes;
pub use self::outbox::batch::{Batch, Control};
pub use self::outbox::{COST_BASE, COST_MAX};
pub use self::owner_shard::owner_shard;
use self::partial::PartialPackets;
pub use self::resource_counts::ResourceCounts;
use self::retained::RetainedMessages;
pub use self::retained::is_own_to_broker;
pub use self::retained_note::{FoundMessage, RequestId, RetainedNote};
use self::retained_quota::RetainedBounds;
pub use self::retained_quota::{RetainedQuota, Ticket};
use self::routing::Routing;
pub use self::routing::subscription::group::MemberCounts;
use self::share::UnclaimedMessages;
use self::shut_down::Disconnecting;
use self::sliced_teardown::Endings;
use self::sys::Sys;
pub use self::sys::{SYS_VERSION, SysFigures};
use self::timer::{Timer, Timers};
pub use self::unpublishable::Unpublishable;
use crate::auth::ControlMessage;
use crate::settings::Settings;
pub use crate::time::Timestamp;
use crate::turn::WorkBudget;

/// The logic of one shard: its connections, sessions, subscriptions and retained messages.
#[derive(Debug)]
pub struct Shard {
    index: u16,
    /// The time of the current call.
    now: Timestamp,
    /// The work that this turn may do, and has done so far.
    work: WorkBudget,
    delivery: Delivery,
    routing: Routing,
    outboxes: Outboxes,
    retained: RetainedMessages,
    timers: Timers,
    sys: Sys,
    /// CPU time by client, while it is measured.
    client_times: ClientTimes,
    generation: u32,
    /// Once the broker shuts down nobody may connect, and messages of members of groups are given to nobody.
    shut_down: Disconnecting,
    /// When the turn began, some batches had found no room in other shards' queues.
    is_blocked: bool,
    /// Sessions whose end takes more than one turn.
    endings: Endings,
    /// Messages of groups that had no member.
    unclaimed: UnclaimedMessages,
    /// Packets for which the store has no space.
    unstored: UnstoredPackets,
    /// Packets that are incomplete.
    partials: PartialPackets,
    /// Messages for the broker itself, until the shell takes them.
    control_messages: Vec<ControlMessage>,
    /// The number of published messages when spare memory was last dropped.
    published_before: u64,
}

impl Shard {
    /// The shard with that index out of `count`. Its state does not survive the process, unless it is given a store by
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
            client_times: ClientTimes::default(),
            generation: 0,
            shut_down: Disconnecting::default(),
            is_blocked: false,
            endings: Endings::default(),
            unclaimed: UnclaimedMessages::default(),
            unstored: UnstoredPackets::default(),
            partials: PartialPackets::default(),
            control_messages: Vec::new(),
            published_before: 0,
        }
    }

    /// Begins a turn: its work is counted from here on. Without such calls the budget has no end.
    pub fn begin_turn(&mut self) {
        let limits = self.delivery.settings().work;
        self.work.begin_turn(limits.turn);
        self.is_blocked = self.outboxes.len() > 0;
        self.routing.begin_turn();
    }

    /// The work budget of the turn.
    pub fn work(&mut self) -> &mut WorkBudget {
        &mut self.work
    }

    /// Ends the turn, and counts what is left.
    #[inline]
    pub fn end_turn(&mut self) {
        self.delivery.count_output();
    }

    /// When [`Self::tick`] has something to do next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        // A timer is never due before the next turn. Output that a flush has released is submitted in that turn.
        if self.has_walks() || self.delivery.journal.has_records() || self.delivery.journal.is_reading() {
            return Some(Timestamp(0));
        }
        let delivery = &self.delivery;
        let times = [
            self.timers.next_deadline(),
            delivery.undelivered_due(),
            delivery.next_expiry(),
        ];
        times.into_iter().flatten().min()
    }

    /// Connections that have output or are to be closed: each once. `taken` is swapped with the list.
    pub fn swap_dirty(&mut self, taken: &mut Vec<ConnectionId>) {
        self.delivery.swap_dirty(taken);
        self.flow_events().output_counted();
    }

    /// As [`Self::swap_dirty`], only for those whose output may be sent while batches wait for other shards' queues.
    pub fn swap_independent(&mut self, taken: &mut Vec<ConnectionId>) {
        taken.clear();
        self.delivery.take_independent(taken);
        self.flow_events().output_counted();
    }

    /// Whether [`Self::swap_dirty`] would return connections.
    #[must_use]
    pub fn has_dirty(&self) -> bool {
        self.delivery.outputs.dirty() > 0
    }

    /// As [`Self::swap_dirty`], into a new list.
    pub fn take_dirty(&mut self) -> Vec<ConnectionId> {
        let mut taken = Vec::new();
        self.swap_dirty(&mut taken);
        taken
    }

    /// To be called after each flush of a connection, also a complete one: the socket has not accepted `unsent_bytes`
    /// of the bytes that were taken from `out`. They count in the caps. When they become fewer, messages of the
    /// session's queue are sent, and the connection may become dirty again.
    #[inline]
    pub fn flushed(&mut self, now: Timestamp, id: ConnectionId, unsent_bytes: usize) {
        self.begin(now);
        let pour_bytes = self.delivery.flow.fill_bytes();
        let Some(connection) = self.delivery.flushed(id, unsent_bytes) else {
            // Its last output was taken when it was gone.
            return;
        };
        let busy_in_group = connection.is_busy_in_group();
        let mut is_watched = connection.is_watched();
        if connection.waits()
            && connection.waiting_bytes() < pour_bytes
            && let Some(session) = connection.session()
        {
            self.delivery.send_waiting(session);
            is_watched = true;
        }
        if is_watched || busy_in_group || self.delivery.flow.is_output_waited_for() {
            self.drained(id.slot, is_watched, busy_in_group);
        }
    }

    /// The output of a connection has become smaller, and publishers may have waited for that.
    #[cold]
    pub(super) fn drained(&mut self, slot: ConnectionSlot, is_watched: bool, busy_in_group: bool) {
        self.flow_events().output_counted();
        if is_watched {
            self.flow_events().output_drained(slot);
        }
        if busy_in_group {
            self.routing
                .offer_again(&mut self.delivery, &mut self.outboxes, slot);
        }
    }

    /// Replaces the settings, also for connected clients: windows and Keep Alives that were negotiated stay. The seed
    /// of the hash tables, the listeners' numbers and their mount points must be the same as before.
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

    /// Sets whether the process has reached `memory_limit`: while it has, nothing is queued or retained, and no
    /// session is created.
    pub fn set_memory_full(&mut self, full: bool) {
        self.delivery.set_memory_full(full);
        if full {
            self.outboxes.drop_spare();
        }
    }

    /// Frees the memory that is kept for reuse.
    pub fn drop_spare(&mut self) {
        self.delivery.drop_spare();
        self.outboxes.drop_spare();
        let counters = self.delivery.counters();
        let published = counters.publishes_received.get() + counters.publishes_sent.get();
        // While nothing is published, the cache of routes is not worth its memory.
        if std::mem::replace(&mut self.published_before, published) == published {
            self.routing.drop_routes();
        }
    }

    /// Begins a call at that time.
    #[inline]
    fn begin(&mut self, now: Timestamp) {
        self.now = now;
        self.delivery.begin(now);
    }
}

#[cfg(test)]
impl Shard {
    /// Begins as if this many connections had existed before.
    pub(crate) fn begin_generations_at(&mut self, generation: u32) {
        self.generation = generation;
    }
}
