//! The retained messages that this shard owns, by topic.
//!
//! Invariants: of the changes of a topic, the one with the latest ticket wins, in whatever order they arrive
//! ([MQTT-3.3.1-5], `removed.rs`). A message that expires has one timer, at its `expires_at`. Memory: about 110 bytes
//! per message beside topic and payload. A topic level that several messages share is stored once in each shard that
//! owns one of them.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::RetainedQuota;
use super::removed::RemovedTopics;
use super::{FoundMessage, RetainedChange, Ticket};
use crate::auth::Policy;
use crate::auth::acl::Access;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::message::StoredMessage;
use crate::logic::timer::{Timer, Timers};
use crate::logic::topic_tree::{NodeSlot, RemovedNode, TopicTree, Walk};
use crate::time::Timestamp;

#[derive(Debug)]
struct OwnedMessage {
    message: StoredMessage,
    ticket: Ticket,
    /// The rights of its publisher, for `check_retain_source`.
    source: Access,
}

/// The result of a walk.
pub(super) struct FoundInWalk<'a> {
    pub(super) messages: &'a mut Vec<FoundMessage>,
    /// Messages whose publishers may no longer publish there.
    pub(super) denied: &'a mut Vec<StoredMessage>,
}

#[derive(Debug)]
pub(super) struct OwnedMessages {
    topics: TopicTree<OwnedMessage>,
    hasher: FixedState,
    pub(super) removed: RemovedTopics,
    /// Other shards change these messages too.
    is_shared: bool,
    messages: u64,
    /// Topic and payload bytes of the messages.
    bytes: u64,
}

impl OwnedMessages {
    pub(super) fn new(seed: u64, shards: u16) -> Self {
        Self {
            topics: TopicTree::new(seed),
            hasher: FixedState::with_seed(seed),
            removed: RemovedTopics::new(seed),
            is_shared: shards > 1,
            messages: 0,
            bytes: 0,
        }
    }

    /// Replaces the topic's last message [MQTT-3.3.1-5]; a message without payload deletes it [MQTT-3.3.1-6]. False if
    /// a newer one is known.
    ///
    /// [MQTT3-3.1.2-7], [MQTT3-3.3.1-5], [MQTT3-3.3.1-7], [MQTT3-3.3.1-10], [MQTT3-3.3.1-11], [MQTT-3.3.1-7]
    pub(super) fn apply(
        &mut self,
        change: RetainedChange<'_>,
        quota: Option<&RetainedQuota>,
        timers: &mut Timers,
    ) -> bool {
        let RetainedChange {
            message,
            ticket,
            source,
            ..
        } = change;
        let topic = message.topic();
        if self.removed.is_older(topic, ticket) {
            return false;
        }
        let node = self.topics.node(topic);
        let timer = Timer::Retained { node };
        if let Some(owned) = self.topics.value(node) {
            if owned.ticket > ticket {
                return false;
            }
            timers.cancel(owned.message.expires_at(), timer);
            self.messages -= 1;
            self.bytes -= owned.message.queue_bytes();
        }
        let deletes = message.payload().is_empty();
        if let Some(quota) = quota {
            let bytes = (!deletes).then(|| message.queue_bytes());
            quota.applied(self.hasher.hash_one(topic), bytes, ticket);
        }
        if deletes {
            self.topics.remove(node);
            if self.is_shared {
                self.removed.insert(topic, ticket);
            }
        } else {
            timers.set(message.expires_at(), timer);
            self.messages += 1;
            self.bytes += message.queue_bytes();
            let (message, source) = (message.clone(), source.clone());
            self.topics.set(
                node,
                OwnedMessage {
                    message,
                    ticket,
                    source,
                },
            );
        }
        true
    }

    /// The node's timer is due: the message is removed.
    pub(super) fn expire(&mut self, now: Timestamp, node: NodeSlot, quota: Option<&RetainedQuota>) {
        let is_over = |owned: &&OwnedMessage| owned.message.expires_at() <= now;
        if self.topics.value(node).filter(is_over).is_none() {
            return;
        }
        let Some(owned) = self.topics.remove(node) else {
            return unreachable_state("a retained message that was just there");
        };
        self.messages -= 1;
        self.bytes -= owned.message.queue_bytes();
        let topic = owned.message.topic();
        if let Some(quota) = quota {
            quota.expired(self.hasher.hash_one(topic), owned.ticket);
        }
        if self.is_shared {
            // Otherwise an older change that is on its way would be applied.
            self.removed.insert(topic, owned.ticket);
        }
    }

    /// Writes the messages that match a filter and have not expired into `found`; with `policy`, those whose
    /// publishers may no longer publish there are separate. A piece of the walk, see [`TopicTree::match_filter`].
    pub(super) fn find(
        &self,
        now: Timestamp,
        filter: &str,
        policy: Option<&Policy>,
        walk: &mut Walk,
        nodes_left: &mut usize,
        found: FoundInWalk<'_>,
    ) -> bool {
        let FoundInWalk { messages, denied } = found;
        self.topics.match_filter(filter, walk, nodes_left, |owned| {
            messages.extend(owned.found(now, policy, denied));
        })
    }

    /// The message of exactly this topic, with the checks of [`Self::find`].
    pub(super) fn find_exact(
        &self,
        now: Timestamp,
        topic: &str,
        policy: Option<&Policy>,
        denied: &mut Vec<StoredMessage>,
    ) -> Option<FoundMessage> {
        self.owned(topic)?.found(now, policy, denied)
    }

    /// The message of exactly this topic.
    pub(super) fn get(&self, topic: &str) -> Option<&StoredMessage> {
        Some(&self.owned(topic)?.message)
    }

    /// The nodes in slots from that number on, with their messages.
    pub(super) fn messages_from(&self, number: u32) -> impl Iterator<Item = (u32, Option<&StoredMessage>)> {
        let nodes = self.topics.nodes_from(number);
        nodes.map(|(number, owned)| (number, owned.map(|owned| &owned.message)))
    }

    /// The hash of a topic: the same in every shard of a broker.
    pub(super) fn hash(&self, topic: &str) -> u64 {
        self.hasher.hash_one(topic)
    }

    /// Topics with their bytes, for [`RetainedQuota::set_bounds`].
    pub(super) fn all(&self) -> impl Iterator<Item = (u64, u64, Ticket)> {
        self.topics.values().map(|owned| {
            let hash = self.hasher.hash_one(owned.message.topic());
            (hash, owned.message.queue_bytes(), owned.ticket)
        })
    }

    /// Sets whether [`Self::take_removed_nodes`] must know of topics that are removed from now on.
    pub(super) fn watch_removals(&mut self, watch: bool) {
        self.topics.watch_removals(watch);
    }

    /// The nodes of the topics that were removed since the last call, for [`Walk::skip`].
    pub(super) fn take_removed_nodes(&mut self) -> Vec<RemovedNode> {
        self.topics.take_removed()
    }

    /// Nodes of the tree below its root.
    pub(super) fn nodes(&self) -> usize {
        self.topics.nodes()
    }

    /// Bytes of those nodes, each with the slot of its message.
    pub(super) fn node_bytes(&self) -> u64 {
        self.topics.nodes() as u64 * TopicTree::<OwnedMessage>::NODE_BYTES as u64
    }

    /// The number of messages, and their bytes.
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.messages, self.bytes)
    }

    fn owned(&self, topic: &str) -> Option<&OwnedMessage> {
        self.topics.value(self.topics.find(topic)?)
    }
}

impl OwnedMessage {
    /// The form for a subscriber, if there is one; if its publisher may no longer publish there, it is `denied`.
    fn found(
        &self,
        now: Timestamp,
        policy: Option<&Policy>,
        denied: &mut Vec<StoredMessage>,
    ) -> Option<FoundMessage> {
        let stands = |policy: &Policy| {
            self.source.is_unrestricted() || policy.renewed(&self.source).may_write(self.message.topic())
        };
        let is_there = self.message.expires_at() > now;
        let goes = is_there && policy.is_none_or(stands);
        if is_there && !goes {
            denied.push(self.message.clone());
        }
        goes.then(|| FoundMessage {
            ticket: self.ticket,
            message: self.message.clone(),
        })
    }
}
