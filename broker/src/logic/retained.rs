//! The retained messages: every shard holds all of them, the payloads shared.
//!
//! Invariants: the publishing shard stamps a change with a Lamport counter and its own number, and in every shard the highest
//! stamp of a topic wins, so all shards come to hold the same whatever order the changes arrive in. A deleted message
//! leaves a mark (a message without payload) that lives longer than any batch may wait, else an older change that comes
//! later would bring it back. Memory: about 110 bytes a message besides topic and payload.

use super::connection::NONE;
use super::message::StoredMessage;
use super::subscription::tree::TopicTree;
use super::time::Timestamp;
use crate::auth::Policy;
use crate::auth::acl::Access;

/// When a retained message was changed, in an order that all shards agree on: the counter, and below it the shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(u64);

const SHARD_BITS: u32 = 10;
const _: () = assert!(
    crate::limits::SHARDS_MAX as u32 <= 1 << SHARD_BITS,
    "a stamp has room for the shard"
);

#[derive(Debug)]
struct Kept {
    message: StoredMessage,
    stamp: Stamp,
    /// What its publisher may do, for `check_retain_source`.
    source: Access,
}

impl Kept {
    fn is_mark(&self) -> bool {
        self.message.payload().is_empty()
    }
}

#[derive(Debug)]
pub(super) struct Retained {
    topics: TopicTree<Kept>,
    /// The highest counter seen.
    counter: u64,
    shard: u16,
    messages: u64,
}

/// What a change came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A newer one is known.
    Older,
    /// It is in place at this node.
    Applied { node: u32, deleted: bool },
}

impl Retained {
    pub(super) fn new(seed: u64, shard: u16) -> Self {
        Self {
            topics: TopicTree::new(seed),
            counter: 0,
            shard,
            messages: 0,
        }
    }

    /// A stamp above all that this shard has seen.
    pub(super) fn next_stamp(&mut self) -> Stamp {
        self.counter += 1;
        Stamp(self.counter << SHARD_BITS | u64::from(self.shard))
    }

    /// Puts a message in place of the topic's last one; one without payload deletes it [MQTT-3.3.1-6].
    pub(super) fn apply(&mut self, message: StoredMessage, stamp: Stamp, source: Access) -> Change {
        self.counter = self.counter.max(stamp.0 >> SHARD_BITS);
        let known = self.topics.find(message.topic());
        if let Some(kept) = known.and_then(|node| self.topics.value(node)) {
            if kept.stamp > stamp {
                return Change::Older;
            }
            self.messages -= u64::from(!kept.is_mark());
        }
        let kept = Kept {
            message,
            stamp,
            source,
        };
        let deleted = kept.is_mark();
        self.messages += u64::from(!deleted);
        let topic = kept.message.clone();
        Change::Applied {
            node: self.topics.insert(topic.topic(), kept),
            deleted,
        }
    }

    /// Takes the node's message away if it has expired at `now`, or if it is a mark and `marks_too`.
    pub(super) fn sweep(&mut self, now: Timestamp, node: u32, marks_too: bool) -> Option<StoredMessage> {
        let kept = self.topics.value(node)?;
        let expired = kept.message.expires_at() <= now && !kept.is_mark();
        if !expired && !(kept.is_mark() && marks_too) {
            return None;
        }
        self.messages -= u64::from(expired);
        self.topics.remove(node).map(|kept| kept.message)
    }

    /// The node's stamp, to see whether it is still what a timer was set for.
    pub(super) fn stamp(&self, node: u32) -> Option<Stamp> {
        self.topics.value(node).map(|kept| kept.stamp)
    }

    /// The messages that match a filter and have not expired, into `found`; with `policy` only those whose publishers may
    /// still publish there.
    pub(super) fn matching(
        &mut self,
        now: Timestamp,
        filter: &str,
        policy: Option<&Policy>,
        found: &mut Vec<StoredMessage>,
    ) {
        self.topics.match_filter(filter, |_, kept| {
            let stands = |policy: &Policy| {
                kept.source.is_unrestricted() || policy.renewed(&kept.source).may_write(kept.message.topic())
            };
            if !kept.is_mark() && kept.message.expires_at() > now && policy.is_none_or(stands) {
                found.push(kept.message.clone());
            }
        });
    }

    /// The message of exactly this topic.
    pub(super) fn get(&self, topic: &str) -> Option<&StoredMessage> {
        let kept = self.topics.value(self.topics.find(topic).unwrap_or(NONE))?;
        Some(&kept.message).filter(|_| !kept.is_mark())
    }

    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.messages
    }
}
