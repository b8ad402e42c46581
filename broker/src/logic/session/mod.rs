//! Sessions: the state of a client beyond its connection.
//!
//! `inflight.rs` has the messages in flight, `queue.rs` those that wait (in a `block_queue.rs`), `messages.rs` the
//! operations on both, `stored.rs` the session's identity in the store, `stored_queue.rs` the part of the queue that
//! is only in the store, `queue_loading.rs` how it leaves memory and comes back, `queue_expiry.rs` what expires in a
//! queue, `rights.rs` the rights of the client, `will.rs` its Will, `lists.rs` its subscriptions and groups,
//! `branches.rs` the cost of its filters for a walk, `ends.rs` why sessions end, and those that end over several
//! turns.
//!
//! Invariants: a client identifier has at most one session, always in the same shard, so a takeover is local. The link
//! of a session (see [`Sessions::link`]) is the slot of its connection, if it has one. `subscriptions` has for each
//! filter the session's position in the filter's list, and `shares` the same for groups; the code that moves an entry
//! there updates the session.

mod block_queue;
mod branches;
pub(super) mod ends;
pub(super) mod inflight;
mod lists;
pub(super) mod messages;
pub(super) mod queue;
mod queue_expiry;
mod queue_loading;
pub(super) mod rights;
mod stored;
pub(super) mod stored_queue;
pub(super) mod will;

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

pub(super) use self::branches::Branches;
use self::inflight::Inflight;
use self::queue::{Bounds, Queue};
use self::rights::Rights;
use self::will::Will;
use crate::auth::Policy;
use crate::auth::acl::Access;
use crate::logic::ids::ConnectionSlot;
pub(super) use crate::logic::ids::SessionSlot;
use crate::logic::ids::{FilterSlot, GroupSlot, Position, SessionPosition};
use crate::logic::routing::route::TopicAccess;
use crate::logic::slots::{Slot, Slots};
use crate::time::Timestamp;

/// The Session Expiry Interval of a session that never expires [MQTT 5.0, 3.1.2.11.2].
pub(super) const NEVER_EXPIRES: u32 = u32::MAX;

/// One subscription of a session: the filter, and the session's position in its list.
#[derive(Clone, Copy, Debug)]
pub(super) struct SessionSubscription {
    pub(super) filter: FilterSlot,
    pub(super) position: Position,
}

/// One Shared Subscription of a session: the group, and the session's position in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListedShare {
    pub(super) group: GroupSlot,
    pub(super) position: Position,
}

#[derive(Debug)]
pub(super) struct Session {
    inflight: Inflight,
    queue: Option<Box<Queue>>,
    /// Outbound window: the client's Receive Maximum or `max_inflight_messages`, whichever is smaller.
    window: u16,
    /// Its filters with wildcards, until [`RareSession::branches`] counts them.
    wildcards: u8,
    /// It has ended, and its slot is kept until nothing refers to it, see `sliced_teardown.rs` of the logic.
    ends: bool,
    /// Session Expiry Interval in seconds; 0 ends it with its connection.
    expiry_s: u32,
    subscriptions: Vec<SessionSubscription>,
    client_identifier: Box<str>,
    rare: Option<Box<RareSession>>,
    /// When its current connection began, or the last one ended.
    since: Timestamp,
    /// Its number in the store; 0 if it is not stored.
    number: u64,
    /// The number of messages that it got since it has a number.
    orders: u64,
}

/// Fields that most sessions do not need, in a separate allocation.
#[derive(Debug, Default)]
struct RareSession {
    /// Identifiers of inbound QoS 2 messages that await PUBREL [MQTT-4.3.3-10].
    unreleased: Vec<u16>,
    /// The number of entries in front that belong to earlier connections: this one's Receive Maximum does not count
    /// them.
    unreleased_before: usize,
    will: Option<Box<Will>>,
    /// The user that owns the session, if it was authenticated.
    user: Option<Box<str>>,
    /// The rights of its client, if there are rules.
    rights: Option<Rights>,
    /// When its connection ends, where the client's token says so.
    ends_at: Option<Timestamp>,
    /// The groups that it is in, with its positions there.
    shares: Vec<ListedShare>,
    /// The positions of groups that count the session as busy.
    busy_in: Vec<SessionPosition>,
    /// The contribution of its filters with wildcards to the branching of a walk, if they are not few.
    branches: Option<Box<Branches>>,
}

impl Session {
    /// The rare state, created if there is none.
    fn rare(&mut self) -> &mut RareSession {
        self.rare.get_or_insert_default()
    }

    pub(super) fn unreleased(&self) -> &[u16] {
        self.rare.as_ref().map_or(&[], |rare| &rare.unreleased)
    }

    /// A QoS 2 message arrived; its identifier must not be in [`Self::unreleased`].
    pub(super) fn begin_release(&mut self, packet_identifier: u16) {
        self.rare().unreleased.push(packet_identifier);
    }

    /// PUBREL arrived: returns whether the identifier was awaited.
    pub(super) fn release(&mut self, packet_identifier: u16) -> bool {
        let Some(rare) = self.rare.as_mut() else {
            return false;
        };
        let Some(at) = rare
            .unreleased
            .iter()
            .position(|&other| other == packet_identifier)
        else {
            return false;
        };
        rare.unreleased.remove(at);
        rare.unreleased_before -= usize::from(at < rare.unreleased_before);
        true
    }

    /// QoS 2 messages of this connection that await PUBREL: what its Receive Maximum counts.
    pub(super) fn unreleased_now(&self) -> usize {
        let count = |rare: &RareSession| rare.unreleased.len().saturating_sub(rare.unreleased_before);
        self.rare.as_deref().map_or(0, count)
    }

    /// A new connection, with that outbound window: in both directions the quota starts again [MQTT 5.0, 4.9].
    pub(super) fn reconnected(&mut self, window: u16) {
        self.window = window;
        self.inflight.reconnected();
        if let Some(rare) = &mut self.rare {
            rare.unreleased_before = rare.unreleased.len();
        }
    }

    /// The client identifier of the session.
    #[inline]
    pub(super) fn client_identifier(&self) -> &str {
        &self.client_identifier
    }

    /// Its Session Expiry Interval in seconds.
    pub(super) fn expiry_s(&self) -> u32 {
        self.expiry_s
    }

    /// Sets the seconds after which it ends without a connection.
    pub(super) fn set_expiry(&mut self, seconds: u32) {
        self.expiry_s = seconds;
    }

    /// When its current connection began, or the last one ended.
    pub(super) fn since(&self) -> Timestamp {
        self.since
    }

    /// A connection of it began or ended at that time.
    pub(super) fn set_since(&mut self, at: Timestamp) {
        self.since = at;
    }

    /// The authenticated user that owns the session.
    pub(super) fn user(&self) -> Option<&str> {
        self.rare.as_ref()?.user.as_deref()
    }

    /// The rights of its client, if there are rules.
    pub(super) fn rights(&self) -> Option<&Rights> {
        self.rare.as_ref()?.rights.as_ref()
    }

    /// Sets the rules; returns whether this may change deliveries.
    fn set_access(&mut self, access: &Access) -> bool {
        let rights = Rights::new(access.clone());
        // A session without rules before and after is the usual case.
        if rights.is_none() && self.rights().is_none() {
            return false;
        }
        self.rare().rights = rights;
        // The right of a group's member to read is checked at each message.
        !self.subscriptions.is_empty()
    }

    /// Whether it outlives its connection: then its messages are kept until they are acknowledged.
    #[inline]
    pub(super) fn outlives_connection(&self) -> bool {
        self.expiry_s > 0
    }

    /// When it expires if no connection follows.
    pub(super) fn expires_at(&self) -> Timestamp {
        match self.expiry_s {
            NEVER_EXPIRES => Timestamp::NEVER,
            expiry_s => self.since.plus_s(u64::from(expiry_s)),
        }
    }
}

/// The sessions of a shard.
#[derive(Debug)]
pub(super) struct Sessions {
    slots: Slots<SessionSlot, Session>,
    /// The connection of each session, kept separately because a delivery at QoS 0 needs nothing else.
    connection_slots: Vec<Option<ConnectionSlot>>,
    by_client_identifier: HashTable<SessionSlot>,
    hasher: FixedState,
    /// There is, or was, a session with rules.
    has_rules: bool,
    /// Sessions that end over several turns.
    ending: usize,
}

impl Sessions {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            slots: Slots::new(),
            connection_slots: Vec::new(),
            by_client_identifier: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            has_rules: false,
            ending: 0,
        }
    }

    #[inline]
    pub(super) fn get(&self, slot: impl Into<Option<SessionSlot>>) -> Option<&Session> {
        self.slots.get(slot)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, slot: impl Into<Option<SessionSlot>>) -> Option<&mut Session> {
        self.slots.get_mut(slot)
    }

    /// The slot of the session's connection, if it has one.
    #[inline]
    pub(super) fn link(&self, slot: SessionSlot) -> Option<ConnectionSlot> {
        self.connection_slots.get(link_at(slot)).copied().flatten()
    }

    pub(super) fn set_link(&mut self, slot: SessionSlot, connection: Option<ConnectionSlot>) {
        if let Some(link) = self.connection_slots.get_mut(link_at(slot)) {
            *link = connection;
        }
    }

    /// Whether a message of that topic may be delivered to the session.
    #[inline]
    pub(super) fn may_read(&self, slot: SessionSlot, topic: &str) -> bool {
        if !self.has_rules {
            return true;
        }
        let rights = self.get(slot).and_then(Session::rights);
        rights.is_none_or(|rights| rights.access().may_read(topic))
    }

    /// How a message is handled that its client publishes to the topic.
    pub(super) fn access_to(&mut self, slot: SessionSlot, topic: &str) -> TopicAccess {
        let rights = self
            .get_mut(slot)
            .and_then(|session| session.rare.as_mut()?.rights.as_mut());
        rights.map_or(TopicAccess::Allowed, |rights| rights.access_to(topic))
    }

    /// Sets the rights of the client of a session; returns whether this may change deliveries.
    pub(super) fn set_access(&mut self, slot: SessionSlot, access: &Access) -> bool {
        self.has_rules |= !access.is_unrestricted();
        self.get_mut(slot)
            .is_some_and(|session| session.set_access(access))
    }

    /// Updates the rules of all sessions; returns those whose rules of dynamic security have changed.
    pub(super) fn renew_access(&mut self, policy: &Policy) -> Vec<SessionSlot> {
        let renewed = |(slot, session): (SessionSlot, &Session)| {
            let before = session.rights()?.access();
            let access = policy.renewed(before);
            let has_changed = access.is_dynamic() && !access.is_same_dynamic(before);
            Some((slot, access, has_changed))
        };
        let renewed: Vec<(SessionSlot, Access, bool)> = self.slots.iter().filter_map(renewed).collect();
        for (slot, access, _) in &renewed {
            self.set_access(*slot, access);
        }
        let changed = renewed.into_iter().filter(|(.., has_changed)| *has_changed);
        changed.map(|(slot, ..)| slot).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The sessions in slots from that number on, except those that end.
    pub(super) fn iter_from(&self, number: u32) -> impl Iterator<Item = (SessionSlot, &Session)> {
        self.slots.iter_from(number).filter(|(_, session)| !session.ends)
    }

    /// Number of client identifiers with a session.
    pub(super) fn client_identifiers(&self) -> usize {
        self.by_client_identifier.len()
    }

    /// Whether a session's queue is above its low-water mark.
    pub(super) fn queue_is_above_low(&self, slot: Option<SessionSlot>, bounds: Bounds) -> bool {
        let queue = self.get(slot).and_then(|session| session.queue.as_ref());
        queue.is_some_and(|queue| queue.is_above_low(bounds))
    }

    /// Number of published messages in the longest queue.
    pub(super) fn longest_queue(&self) -> u64 {
        let queues = self
            .slots
            .iter()
            .filter_map(|(_, session)| session.queue.as_ref());
        queues.map(|queue| queue.messages()).max().unwrap_or(0)
    }

    pub(super) fn find(&self, client_identifier: &str) -> Option<SessionSlot> {
        let hash = self.identity(client_identifier);
        let is_it = |&slot: &SessionSlot| {
            self.get(slot)
                .is_some_and(|session| &*session.client_identifier == client_identifier)
        };
        self.by_client_identifier.find(hash, is_it).copied()
    }

    /// A hash of a client identifier.
    fn identity(&self, client_identifier: &str) -> u64 {
        self.hasher.hash_one(client_identifier)
    }

    /// A new session; there must be none with that client identifier.
    pub(super) fn insert(&mut self, client_identifier: &str, user: Option<Box<str>>) -> SessionSlot {
        let mut session = Session {
            inflight: Inflight::default(),
            queue: None,
            window: 0,
            wildcards: 0,
            ends: false,
            expiry_s: 0,
            subscriptions: Vec::new(),
            client_identifier: client_identifier.into(),
            rare: None,
            since: Timestamp::default(),
            number: 0,
            orders: 0,
        };
        if user.is_some() {
            session.rare().user = user;
        }
        let slot = self.slots.insert(session);
        if self.connection_slots.len() <= link_at(slot) {
            self.connection_slots.resize(link_at(slot) + 1, None);
        }
        self.set_link(slot, None);
        let (slots, hasher) = (&self.slots, &self.hasher);
        let hash = |&slot: &SessionSlot| {
            slots
                .get(slot)
                .map_or(0, |other| hasher.hash_one(&*other.client_identifier))
        };
        self.by_client_identifier
            .insert_unique(hasher.hash_one(client_identifier), slot, hash);
        slot
    }

    pub(super) fn remove(&mut self, slot: SessionSlot) -> Option<Session> {
        self.forget_client_identifier(slot);
        self.set_link(slot, None);
        self.slots.remove(slot)
    }
}

#[inline]
fn link_at(slot: SessionSlot) -> usize {
    slot.number().get() as usize
}

const _: () = assert!(size_of::<Session>() <= 144, "an idle session is to stay small");
