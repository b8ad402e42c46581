//! The retained messages: every shard holds all of them, the payloads shared.
//!
//! Invariants: the publishing shard stamps a change with a Lamport counter and its own number, and in every shard the highest
//! stamp of a topic wins, so all shards come to hold the same whatever order the changes arrive in. A deleted message
//! leaves a mark (a message without payload) that lives longer than any batch may wait, else an older change that comes
//! later would bring it back. What expires, marks too, has one timer, at its `expires_at`. Memory: about 110 bytes a message
//! besides topic and payload.

use std::collections::VecDeque;

use mqtt::QoS;
use mqtt::property::Properties;

use crate::auth::Policy;
use crate::auth::acl::Access;
use crate::limits;
use crate::logic::message::{Message, Publisher, StoredMessage};
use crate::logic::timer::{Timer, Timers};
use crate::logic::topic_tree::{NodeSlot, RemovedNode, TopicTree, Walk};
use crate::settings::{Settings, UNLIMITED};
use crate::time::Timestamp;

/// When a retained message was changed, in an order that all shards agree on: the counter, and below it the shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(u64);

const SHARD_BITS: u32 = 10;
const _: () = assert!(
    limits::SHARDS_MAX as u32 <= 1 << SHARD_BITS,
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
    /// There are other shards, so deletions leave marks.
    shared: bool,
    messages: u64,
    /// Topic and payload bytes of the messages.
    bytes: u64,
    /// The marks in the order that they were made in, with some that are none any more behind the first.
    marks: VecDeque<(NodeSlot, Stamp)>,
}

impl Retained {
    pub(super) fn new(seed: u64, shard: u16, shards: u16) -> Self {
        Self {
            topics: TopicTree::new(seed),
            counter: 0,
            shard,
            shared: shards > 1,
            messages: 0,
            bytes: 0,
            marks: VecDeque::new(),
        }
    }

    /// A stamp above all that this shard has seen.
    pub(super) fn next_stamp(&mut self) -> Stamp {
        self.counter += 1;
        Stamp(self.counter << SHARD_BITS | u64::from(self.shard))
    }

    /// Puts a message in place of the topic's last one [MQTT-3.3.1-5]; one without payload deletes it [MQTT-3.3.1-6]. False
    /// if a newer one is known.
    ///
    /// [MQTT3-3.1.2-7], [MQTT3-3.3.1-5], [MQTT3-3.3.1-7], [MQTT3-3.3.1-10], [MQTT3-3.3.1-11], [MQTT-3.3.1-7]
    pub(super) fn apply(
        &mut self,
        now: Timestamp,
        message: &StoredMessage,
        stamp: Stamp,
        source: &Access,
        timers: &mut Timers,
    ) -> bool {
        self.counter = self.counter.max(stamp.0 >> SHARD_BITS);
        let node = self.topics.node(message.topic());
        let timer = Timer::Retained { node };
        if let Some(kept) = self.topics.value(node) {
            if kept.stamp > stamp {
                return false;
            }
            timers.cancel(kept.message.expires_at(), timer);
            if !kept.is_mark() {
                self.messages -= 1;
                self.bytes -= kept.message.queue_bytes();
            }
        }
        if !message.payload().is_empty() {
            timers.set(message.expires_at(), timer);
            self.messages += 1;
            self.bytes += message.queue_bytes();
            self.topics.set(
                node,
                Kept {
                    message: message.clone(),
                    stamp,
                    source: source.clone(),
                },
            );
        } else if self.shared {
            let message = mark(now, message.topic());
            self.set_mark(node, message, stamp, timers);
        } else {
            self.topics.remove(node);
        }
        true
    }

    /// The node's timer came up: the message goes, and leaves a mark too, or a change that lost against it in one shard
    /// would be taken in where it comes after the end.
    pub(super) fn expire(&mut self, now: Timestamp, node: NodeSlot, timers: &mut Timers) {
        let Some(kept) = self
            .topics
            .value(node)
            .filter(|kept| kept.message.expires_at() <= now)
        else {
            return;
        };
        let (is_mark, stamp) = (kept.is_mark(), kept.stamp);
        if !is_mark {
            self.messages -= 1;
            self.bytes -= kept.message.queue_bytes();
        }
        if self.shared && !is_mark {
            let message = mark(now, kept.message.topic());
            self.set_mark(node, message, stamp, timers);
        } else {
            self.topics.remove(node);
            self.drop_past_marks();
        }
    }

    /// Puts a mark in place of a message, and forgets the oldest one if there are too many.
    fn set_mark(&mut self, node: NodeSlot, message: StoredMessage, stamp: Stamp, timers: &mut Timers) {
        timers.set(message.expires_at(), Timer::Retained { node });
        let source = Access::default();
        self.topics.set(
            node,
            Kept {
                message,
                stamp,
                source,
            },
        );
        self.marks.push_back((node, stamp));
        if self.marks.len() <= limits::TOMBSTONES_MAX {
            return;
        }
        self.drop_past_marks();
        if self.marks.len() > limits::TOMBSTONES_MAX
            && let Some((node, stamp)) = self.marks.pop_front()
            && let Some(kept) = self.mark_at(node, stamp)
        {
            timers.cancel(kept.message.expires_at(), Timer::Retained { node });
            self.topics.remove(node);
        }
    }

    /// Takes those out of the front of the marks that are none any more.
    fn drop_past_marks(&mut self) {
        while let Some(&(node, stamp)) = self.marks.front()
            && self.mark_at(node, stamp).is_none()
        {
            self.marks.pop_front();
        }
    }

    fn mark_at(&self, node: NodeSlot, stamp: Stamp) -> Option<&Kept> {
        let kept = self.topics.value(node)?;
        Some(kept).filter(|kept| kept.is_mark() && kept.stamp == stamp)
    }

    /// The messages that match a filter and have not expired, into `found`; with `policy` only those whose publishers may
    /// still publish there. A piece of the walk, see [`TopicTree::match_filter`].
    pub(super) fn matching(
        &self,
        now: Timestamp,
        filter: &str,
        policy: Option<&Policy>,
        walk: &mut Walk,
        nodes_left: &mut usize,
        found: &mut Vec<StoredMessage>,
    ) -> bool {
        self.topics.match_filter(filter, walk, nodes_left, |kept| {
            let stands = |policy: &Policy| {
                kept.source.is_unrestricted() || policy.renewed(&kept.source).may_write(kept.message.topic())
            };
            if !kept.is_mark() && kept.message.expires_at() > now && policy.is_none_or(stands) {
                found.push(kept.message.clone());
            }
        })
    }

    /// Whether [`Self::take_removed`] is to know of topics that go from now on.
    pub(super) fn watch_removals(&mut self, watch: bool) {
        self.topics.watch_removals(watch);
    }

    /// See [`TopicTree::take_removed`].
    pub(super) fn take_removed(&mut self) -> Vec<RemovedNode> {
        self.topics.take_removed()
    }

    /// The message of exactly this topic.
    pub(super) fn get(&self, topic: &str) -> Option<&StoredMessage> {
        let kept = self.topics.value(self.topics.find(topic)?)?;
        Some(&kept.message).filter(|_| !kept.is_mark())
    }

    /// Nodes of the tree below its root.
    pub(super) fn nodes(&self) -> usize {
        self.topics.nodes()
    }

    /// Whether a message of so many bytes, topic and payload, is one too many.
    pub(super) fn is_full_for(&self, topic: &str, payload_bytes: usize, settings: &Settings) -> bool {
        let (messages_max, bytes_max) = (settings.retained_messages_max, settings.retained_bytes_max);
        if self.messages < messages_max && bytes_max == UNLIMITED {
            return false;
        }
        let before = self.get(topic).map(StoredMessage::queue_bytes);
        let bytes = (topic.len() + payload_bytes) as u64;
        let all_bytes = self
            .bytes
            .saturating_sub(before.unwrap_or(0))
            .saturating_add(bytes);
        (before.is_none() && self.messages >= messages_max) || all_bytes > bytes_max
    }

    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.messages
    }
}

/// What stays of a deleted message.
fn mark(now: Timestamp, topic: &str) -> StoredMessage {
    let message = Message {
        topic,
        qos: QoS::AtMostOnce,
        retain: true,
        properties: Properties::EMPTY,
        payload: &[],
        publisher: Publisher::REMOTE,
    };
    StoredMessage::new(now, &message, &mut Vec::new()).expiring(now.plus_s(limits::TOMBSTONE_S))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(payload: &str) -> StoredMessage {
        let message = Message {
            topic: "a/b",
            qos: QoS::AtMostOnce,
            retain: true,
            properties: Properties::EMPTY,
            payload: payload.as_bytes(),
            publisher: Publisher::REMOTE,
        };
        StoredMessage::new(Timestamp(0), &message, &mut Vec::new())
    }

    #[test]
    fn any_order_of_changes_ends_the_same() {
        let changes: Vec<_> = ["one", "", "two", "", "three"].into_iter().zip(1..).collect();
        for last in 1..=changes.len() {
            for turn in 0..last {
                let mut order = changes[..last].to_vec();
                order.rotate_left(turn);
                for reverse in [false, true] {
                    if reverse {
                        order.reverse();
                    }
                    let mut retained = Retained::new(0, 1, 2);
                    let mut timers = Timers::default();
                    for &(payload, counter) in &order {
                        let stamp = Stamp(counter << SHARD_BITS);
                        retained.apply(
                            Timestamp(0),
                            &message(payload),
                            stamp,
                            &Access::default(),
                            &mut timers,
                        );
                    }
                    let expected = Some(changes[last - 1].0).filter(|payload| !payload.is_empty());
                    assert_eq!(
                        retained.get("a/b").map(StoredMessage::payload),
                        expected.map(str::as_bytes)
                    );
                    assert_eq!(retained.len(), u64::from(expected.is_some()));
                    assert!(timers.len() <= 1, "one timer a topic");
                }
            }
        }
    }

    #[test]
    fn the_same_counter_from_two_shards_is_decided_by_the_shard() {
        let (mut one, mut two) = (Retained::new(0, 0, 2), Retained::new(0, 1, 2));
        let (first, second) = (one.next_stamp(), two.next_stamp());
        assert!(first < second);
        assert!(one.apply(
            Timestamp(0),
            &message("x"),
            second,
            &Access::default(),
            &mut Timers::default()
        ));
        assert!(!one.apply(
            Timestamp(0),
            &message("y"),
            first,
            &Access::default(),
            &mut Timers::default()
        ));
        assert!(one.next_stamp() > second, "later than all it has seen");
    }

    fn apply(retained: &mut Retained, topic: &str, payload: &str, timers: &mut Timers) {
        let message = Message {
            topic,
            qos: QoS::AtMostOnce,
            retain: true,
            properties: Properties::EMPTY,
            payload: payload.as_bytes(),
            publisher: Publisher::REMOTE,
        };
        let message = StoredMessage::new(Timestamp(0), &message, &mut Vec::new());
        let stamp = retained.next_stamp();
        retained.apply(Timestamp(0), &message, stamp, &Access::default(), timers);
    }

    #[test]
    fn marks_are_bounded() {
        let mut retained = Retained::new(0, 0, 2);
        let mut timers = Timers::default();
        apply(&mut retained, "kept", "x", &mut timers);
        for number in 0..limits::TOMBSTONES_MAX + 1000 {
            apply(&mut retained, &number.to_string(), "", &mut timers);
        }
        assert_eq!(retained.marks.len(), limits::TOMBSTONES_MAX);
        assert_eq!(retained.nodes(), limits::TOMBSTONES_MAX + 1, "the oldest went");
        assert_eq!(timers.len(), limits::TOMBSTONES_MAX);
        assert_eq!((retained.len(), retained.bytes), (1, 5));
        // One topic that comes and goes takes one place at most.
        for _ in 0..1000 {
            apply(&mut retained, "kept", "", &mut timers);
            apply(&mut retained, "kept", "x", &mut timers);
        }
        assert!(retained.marks.len() <= limits::TOMBSTONES_MAX);
        while let Some(Timer::Retained { node }) = timers.take_due(Timestamp(u64::MAX)) {
            retained.expire(Timestamp(u64::MAX), node, &mut timers);
        }
        assert_eq!((retained.marks.len(), retained.nodes()), (0, 1));
    }

    #[test]
    fn marks_go_after_their_time() {
        let mut retained = Retained::new(0, 0, 2);
        let mut timers = Timers::default();
        let (first, second) = (retained.next_stamp(), retained.next_stamp());
        retained.apply(
            Timestamp(0),
            &message("x"),
            first,
            &Access::default(),
            &mut timers,
        );
        retained.apply(
            Timestamp(0),
            &message(""),
            second,
            &Access::default(),
            &mut timers,
        );
        let end = Timestamp(0).plus_s(limits::TOMBSTONE_S);
        assert_eq!(timers.next_deadline(), Some(end));
        let Some(Timer::Retained { node }) = timers.take_due(end) else {
            panic!("no timer")
        };
        retained.expire(end, node, &mut timers);
        assert!(retained.topics.is_empty());
    }
}
