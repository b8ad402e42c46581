//! The part of a queue that is in the store alone: ranges of the session's order.
//!
//! Invariants: each message of a range waits in the store, and nothing else that waits for the session lies in one.
//! Each has exactly as many messages as it counts: only answers take some out. Messages of groups and retained messages
//! are never here, because others get them when the session ends, or because they have a bound of their own: they wait
//! in memory until what is here before them has been read, so the session's order is kept. One request is under way at
//! a time.

use std::collections::VecDeque;

use mqtt::QoS;
use store::{ReadRequest, WaitingRange};

use super::queue::{Queue, Queued};
use crate::limits::{self, LoadedQueue};

#[derive(Debug, Default)]
pub(super) struct StoredQueue {
    ranges: VecDeque<WaitingRange>,
    /// Whether the next message may be added to the last range.
    is_open: bool,
    /// What it has of the queue's overrun.
    overrun_bytes: u64,
    has_qos0: bool,
    is_asked: bool,
    /// Answers in a row that had nothing of what must be there.
    empty_answers: u8,
}

/// How much of a queue is to be in memory.
#[derive(Clone, Copy, Debug)]
pub(in crate::logic) struct Loaded {
    messages_max: usize,
    bytes_max: u64,
}

/// What an answer left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::logic) struct Answered {
    /// Bytes that were counted too much, as those of messages that were not read are about right only.
    pub(in crate::logic) bytes: u64,
    /// Messages that are given up.
    pub(in crate::logic) lost: u64,
}

impl Loaded {
    /// Of a client that is connected, or is not.
    pub(in crate::logic) fn new(limits: LoadedQueue, is_connected: bool) -> Self {
        let LoadedQueue {
            messages,
            bytes,
            away_messages,
            away_bytes,
            ..
        } = limits;
        let (messages_max, bytes_max) = if is_connected {
            (messages, bytes)
        } else {
            (away_messages, away_bytes)
        };
        Self {
            messages_max,
            bytes_max,
        }
    }
}

impl StoredQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub(super) fn messages(&self) -> u64 {
        self.ranges.iter().map(|range| range.messages).sum()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.bytes).sum()
    }

    /// The place in the session's order of the first message that is in the store alone.
    pub(super) fn first(&self) -> Option<u64> {
        self.ranges.front().map(|range| range.from)
    }

    pub(super) fn has_qos0(&self) -> bool {
        self.has_qos0
    }

    /// What comes next in the session's order is not in the store alone.
    pub(super) fn close_range(&mut self) {
        self.is_open = false;
    }

    /// The message is the last one of the order.
    fn push(&mut self, queued: &Queued, overrun_bytes: u64) {
        let bytes = queued.message.queue_bytes();
        match self.ranges.back_mut().filter(|_| self.is_open) {
            Some(range) => {
                range.to = queued.order;
                range.messages += 1;
                range.bytes += bytes;
            }
            None => self.ranges.push_back(WaitingRange {
                from: queued.order,
                to: queued.order,
                messages: 1,
                bytes,
            }),
        }
        self.is_open = true;
        self.overrun_bytes += overrun_bytes;
        self.has_qos0 |= queued.qos == QoS::AtMostOnce;
    }

    /// The first message of the range in front is not in the store alone any more.
    fn take(&mut self, order: u64, bytes: u64) {
        if let Some(range) = self.ranges.front_mut() {
            range.from = order.saturating_add(1);
            range.messages = range.messages.saturating_sub(1);
            range.bytes = range.bytes.saturating_sub(bytes);
            self.empty_answers = 0;
        }
    }
}

impl Queue {
    /// Whether a message that the store has is to be there alone.
    pub(super) fn is_loaded(&self, loaded: Loaded) -> bool {
        !self.stored.is_empty() || self.entries.len() >= loaded.messages_max || self.bytes >= loaded.bytes_max
    }

    /// The message is in the store alone from now on.
    pub(super) fn leave_in_store(&mut self, queued: &Queued) {
        let overrun_bytes = if queued.is_overrun {
            queued.overrun_bytes()
        } else {
            0
        };
        self.stored.push(queued, overrun_bytes);
    }

    /// Whether messages wait that are in the store alone.
    pub(in crate::logic) fn has_stored(&self) -> bool {
        !self.stored.is_empty()
    }

    /// Messages that a start did not read.
    pub(in crate::logic) fn restore_range(&mut self, range: WaitingRange) {
        self.messages += range.messages;
        self.bytes += range.bytes;
        self.stored.ranges.push_back(range);
        self.stored.has_qos0 = true;
        self.stored.is_open = false;
    }

    /// The request for more, if it is time for one.
    pub(in crate::logic) fn ask(
        &mut self,
        session: u64,
        tag: u32,
        limits: LoadedQueue,
    ) -> Option<ReadRequest> {
        let range = self.stored.ranges.front()?;
        if self.stored.is_asked || self.entries_before(range.from) >= limits.low_messages {
            return None;
        }
        self.stored.is_asked = true;
        Some(ReadRequest {
            session,
            tag,
            from: range.from,
            to: range.to,
            messages_max: limits.read_messages,
            bytes_max: limits.read_bytes,
        })
    }

    /// Whether what comes next is being read.
    pub(in crate::logic) fn is_being_read(&self) -> bool {
        self.stored.is_asked && self.front().is_none()
    }

    /// The answer is not used: it may be asked for again.
    pub(in crate::logic) fn ignore_answer(&mut self) {
        self.stored.is_asked = false;
    }

    /// A message came back from the store.
    pub(in crate::logic) fn load(&mut self, queued: Queued) {
        self.stored.take(queued.order, queued.message.queue_bytes());
        self.qos0 += usize::from(queued.qos == QoS::AtMostOnce);
        self.entries.insert(self.entries_before(queued.order), queued);
    }

    /// Messages in memory that stand before a place in the session's order.
    fn entries_before(&self, order: u64) -> usize {
        self.entries.partition_point(|queued| queued.order < order)
    }

    /// A message cannot be read from the store any more.
    pub(in crate::logic) fn lose(&mut self, order: u64) {
        self.stored.take(order, 0);
        self.messages = self.messages.saturating_sub(1);
    }

    /// All of an answer was used. What is missing of the range in front is asked for again, a few times; then it is
    /// given up.
    pub(in crate::logic) fn answered(&mut self) -> Answered {
        self.stored.is_asked = false;
        let mut answered = Answered::default();
        let empty_answers = self.stored.empty_answers;
        if let Some(range) = self.stored.ranges.front()
            && (range.messages == 0 || empty_answers >= limits::EMPTY_ANSWERS_MAX)
        {
            answered = Answered {
                bytes: range.bytes,
                lost: range.messages,
            };
            self.stored.ranges.pop_front();
            self.stored.empty_answers = 0;
        }
        self.stored.empty_answers = self.stored.empty_answers.saturating_add(1);
        self.messages = self.messages.saturating_sub(answered.lost);
        self.bytes = self.bytes.saturating_sub(answered.bytes);
        if self.stored.ranges.is_empty() {
            self.overrun_bytes = self.overrun_bytes.saturating_sub(self.stored.overrun_bytes);
            self.stored = StoredQueue::default();
        }
        answered
    }

    /// Nobody wants what is in the store alone; returns how many messages and bytes it was.
    pub(in crate::logic) fn drop_stored(&mut self) -> (u64, u64) {
        let dropped = (self.stored.messages(), self.stored.bytes());
        self.messages = self.messages.saturating_sub(dropped.0);
        self.bytes = self.bytes.saturating_sub(dropped.1);
        self.stored = StoredQueue::default();
        dropped
    }
}
