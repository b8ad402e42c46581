//! Retained messages: only the shard that owns a topic (by a hash; shard 0 owns `$SYS`) has its message.
//!
//! **A PUBLISH with RETAIN** is a message to the subscribers like any other, and a change for the topic's owner: one
//! record to each shard with interest and to the owner, which share one allocation. Only the owner applies it.
//!
//! *Which of two changes wins.* The owner takes its queues one after the other, so it may see a change before an
//! earlier one: from a client that had the PUBACK, or the message itself from a shard whose queue was faster. So the
//! publisher's shard draws a ticket for each change from the owner's counter, which all shards share
//! ([`RetainedQuota`]), and the latest ticket wins (`owned.rs`). For a topic without a message the ticket is kept
//! until nothing older can arrive (`removed.rs`). No clock is used, no other shard learns of a change, and nothing of
//! this lives longer than a round between shards.
//!
//! **A SUBSCRIBE** asks the owners: one, if the filter has no wildcard, otherwise all (`requests.rs`). Each walks over
//! its messages (`walks.rs`), a bounded piece in each turn, and sends what it finds; while the outbox to the asking
//! shard is filled, the walk pauses. Messages that this shard owns are found without a request, by the same walks; for
//! a filter without wildcards by one look-up. With one shard nothing else happens.
//!
//! *What the answer contains.* The asking shard announces its interest, asks the owners, and sets a barrier
//! (`barriers.rs`); an owner answers when all other shards have reached it. Either a change was made before its shard
//! had the barrier: then the owner has it when it answers. Or it was made after: then its shard knew of the interest,
//! and the change came to the subscriber as a message. So a subscriber gets each change, or a later one of the topic,
//! in one of the two ways, whatever shards are involved. In particular, a client that has the PUBACK of a retained
//! message and then subscribes gets the message: the publisher's shard put it into its outbox before the PUBACK was
//! written, and passes the barrier on after it. A message that arrives in both ways arrives twice.
//!
//! *What it does not contain.* A message may overtake the answer of a third shard. The asking shard remembers the
//! tickets of messages that are published while its requests are open, and drops older messages of the answer: no
//! subscriber gets an older retained message after a newer one of the topic.
//!
//! **In the meantime** a session or a subscription may end: then the answer finds no request, or is no longer needed,
//! and the owners are asked to stop. Retain Handling and the subscription's QoS, No Local and identifier stay with the
//! asking shard [MQTT-3.3.1-9] to [MQTT-3.3.1-11]; the publisher's rights (`check_retain_source`) and the expiry of a
//! message stay with the owner. The store gets a change from the publisher's shard, with its ticket, so a PUBACK waits
//! for no other shard.
//!
//! `exchange.rs` has the messages between shards for this, `at_subscribe.rs` the messages to a session.
//!
//! Invariants: a shard has messages of topics that it owns and of no others. Requests are bounded by
//! [`crate::limits::RETAINED_FILTER_BYTES_MAX`] per session where they are made, and share their filters with the
//! owners; messages that a session has not taken are bounded by [`crate::limits::RETAINED_WAITING_MAX`].

mod at_subscribe;
mod barriers;
mod exchange;
mod owned;
mod removed;
mod requests;
mod walks;

use mqtt::property::PropertiesBuf;

use self::barriers::Barriers;
use self::owned::OwnedMessages;
use self::requests::Requests;
use self::walks::Walks;
use super::counters::ShardCounters;
use super::delivery::Delivery;
use super::message::StoredMessage;
use super::owner_shard::owner_shard;
use super::retained_note::{FoundMessage, RequestId, RetainedChange, RetainedNote};
use super::retained_quota::{RetainedBounds, RetainedQuota, Ticket};
use super::session::SessionSlot;
use super::timer::Timers;
use super::topic_tree::NodeSlot;
use super::unpublishable::Unpublishable;
use crate::auth::acl::Access;
use crate::time::Timestamp;

/// The shards that own the topics of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owners {
    One(u16),
    All,
}

/// The retained messages of a shard, for tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RetainedCounts {
    pub(super) nodes: usize,
    pub(super) messages: u64,
    /// Bytes of the messages and of the nodes.
    pub(super) bytes: u64,
    /// Requests, walks, and topics whose message was removed recently.
    pub(super) passing: usize,
}

/// The retained messages that a shard owns, and its part in finding those of others.
#[derive(Debug)]
pub(super) struct RetainedMessages {
    me: u16,
    shards: u16,
    bounds: RetainedBounds,
    owned: OwnedMessages,
    requests: Requests,
    walks: Walks,
    barriers: Barriers,
    /// The shards that the requests of this turn ask: a barrier is set after them.
    asked: Option<Owners>,
    /// Memory for the properties of a message that arrived.
    properties: PropertiesBuf,
}

impl RetainedMessages {
    pub(super) fn new(seed: u64, me: u16, shards: u16, bounds: RetainedBounds) -> Self {
        Self {
            me,
            shards,
            bounds,
            owned: OwnedMessages::new(seed, shards),
            requests: Requests::new(seed),
            walks: Walks::new(shards),
            barriers: Barriers::new(me, shards),
            asked: None,
            properties: PropertiesBuf::new(),
        }
    }

    /// The shard that owns a topic.
    #[inline]
    pub(super) fn owner(&self, topic: &str) -> u16 {
        if self.shards == 1 || is_own_to_broker(topic) {
            0
        } else {
            owner_shard(topic, self.shards)
        }
    }

    /// Draws the ticket of a change.
    pub(super) fn draw_ticket(&self, message: &StoredMessage, all: &[ShardCounters]) -> Ticket {
        if self.shards == 1 {
            return Ticket(0);
        }
        let owner = all.get(usize::from(self.owner(message.topic())));
        owner.map_or(Ticket(0), |owner| {
            if !self.bounds.are_set() {
                return owner.retained_quota.draw();
            }
            let bytes = (!message.payload().is_empty()).then(|| message.queue_bytes());
            let hash = self.owned.hash(message.topic());
            owner.retained_quota.draw_for(hash, bytes)
        })
    }

    /// Whether there is room for one more message, or why there is none.
    pub(super) fn check(
        &self,
        delivery: &Delivery,
        topic: &str,
        payload: &[u8],
    ) -> Result<(), Unpublishable> {
        let bytes = payload.len();
        match bytes {
            0 => Ok(()),
            _ if delivery.is_memory_full() => Err(Unpublishable::MemoryFull { bytes }),
            _ => self.check_bounds(topic, bytes, delivery.all_counters()),
        }
    }

    /// Whether a message with this many payload bytes would exceed the bounds.
    fn check_bounds(
        &self,
        topic: &str,
        payload_bytes: usize,
        all: &[ShardCounters],
    ) -> Result<(), Unpublishable> {
        if !self.bounds.are_set() {
            return Ok(());
        }
        let new = (topic.len() + payload_bytes) as u64;
        if self.shards == 1 {
            let (messages, bytes) = self.owned.totals();
            let before = self.owned.get(topic).map(StoredMessage::queue_bytes);
            return self.bounds.check(messages, bytes, before, new);
        }
        let totals = all.iter().map(|shard| shard.retained_quota.totals());
        let (messages, bytes) = totals.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        if self.bounds.check(messages, bytes, None, new).is_ok() {
            return Ok(());
        }
        let owner = all.get(usize::from(self.owner(topic)));
        let before = owner.and_then(|owner| owner.retained_quota.bytes_of(self.owned.hash(topic)));
        self.bounds.check(messages, bytes, before, new)
    }

    /// Applies a change of a topic that this shard owns; false if there is a later one.
    pub(super) fn apply(
        &mut self,
        change: RetainedChange<'_>,
        counters: &ShardCounters,
        timers: &mut Timers,
    ) -> bool {
        let quota = self.quota(counters);
        let applied = self.owned.apply(change, quota, timers);
        self.count(counters);
        applied
    }

    /// Takes this shard's part of the stored messages.
    pub(super) fn restore(
        &mut self,
        messages: &[StoredMessage],
        counters: &ShardCounters,
        timers: &mut Timers,
    ) {
        let source = Access::default();
        for message in messages {
            if self.owner(message.topic()) == self.me {
                let change = RetainedChange {
                    message,
                    ticket: Ticket::default(),
                    publication: None,
                    source: &source,
                };
                self.apply(change, counters, timers);
            }
        }
    }

    /// The timer of a node is due.
    pub(super) fn expire(&mut self, now: Timestamp, node: NodeSlot, counters: &ShardCounters) {
        let quota = self.quota(counters);
        self.owned.expire(now, node, quota);
        self.count(counters);
    }

    /// The message of exactly this topic, if this shard owns it.
    pub(super) fn get(&self, topic: &str) -> Option<&StoredMessage> {
        self.owned.get(topic)
    }

    /// Slots from that number on, with the messages of this shard in them.
    pub(super) fn messages_from(&self, number: u32) -> impl Iterator<Item = (u32, Option<&StoredMessage>)> {
        self.owned.messages_from(number)
    }

    /// Sets the bounds for all retained messages.
    pub(super) fn set_bounds(&mut self, bounds: RetainedBounds, counters: &ShardCounters) {
        self.bounds = bounds;
        if self.shards > 1 {
            counters.retained_quota.set_bounds(bounds, self.owned.all());
        }
    }

    /// A request of a session that is not answered yet.
    pub(super) fn request_of(&self, session: SessionSlot) -> Option<RequestId> {
        self.requests.first_of_session(session)
    }

    /// Whether the next turn has work to do.
    pub(super) fn has_work(&self) -> bool {
        !self.walks.is_empty()
            || self.walks.more_ready
            || self.asked.is_some()
            || self.owned.removed.wants_barrier()
    }

    /// The remaining resources: nodes, messages, and everything that is remembered or waited for.
    pub(super) fn resource_counts(&self) -> RetainedCounts {
        let (messages, bytes) = self.owned.totals();
        RetainedCounts {
            nodes: self.owned.nodes(),
            messages,
            bytes: bytes + self.owned.node_bytes(),
            passing: self.requests.len() + self.walks.len() + self.owned.removed.len(),
        }
    }

    fn owners(&self, filter: &str) -> Owners {
        if self.shards == 1 || is_own_to_broker(filter) {
            Owners::One(0)
        } else if has_wildcard(filter) {
            Owners::All
        } else {
            Owners::One(self.owner(filter))
        }
    }

    fn quota<'a>(&self, counters: &'a ShardCounters) -> Option<&'a RetainedQuota> {
        (self.shards > 1 && self.bounds.are_set()).then_some(&counters.retained_quota)
    }

    fn count(&self, counters: &ShardCounters) {
        let (messages, bytes) = self.owned.totals();
        counters.retained.set(messages);
        counters.retained_bytes.set(bytes);
    }
}

/// Whether a topic belongs to the broker, or a filter matches only such topics.
#[must_use]
pub fn is_own_to_broker(topic: &str) -> bool {
    let rest = topic.strip_prefix("$SYS");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn has_wildcard(filter: &str) -> bool {
    filter.bytes().any(|byte| matches!(byte, b'+' | b'#'))
}

#[cfg(test)]
mod tests;
