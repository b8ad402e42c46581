//! The part of a queue that is only in the store: ranges of the session's order.
//!
//! Invariants: each message of a range waits in the store, and nothing else that waits for the session lies in one.
//! Each has as many messages, one at least, as it counts: only answers take some out. Retained messages are never here,
//! because they have a bound of their own: they wait in memory until what is here before them has been read, so the
//! session's order is kept. One request is under way at a time.

use std::collections::VecDeque;

use mqtt::QoS;
use store::WaitingRange;

use crate::limits::{self, LoadedQueue};

#[derive(Debug, Default)]
pub(super) struct StoredQueue {
    ranges: VecDeque<WaitingRange>,
    /// Whether the next message may be added to the last range.
    is_open: bool,
    /// Its part of the queue's overrun.
    overrun_bytes: u64,
    has_qos0: bool,
    /// Whether others get something of it when the session ends.
    has_shared: bool,
    is_asked: bool,
    /// Consecutive answers without any of the expected messages.
    empty_answers: u8,
}

/// How much of a queue is in memory.
#[derive(Clone, Copy, Debug)]
pub(in crate::logic) struct Loaded {
    messages_max: usize,
    bytes_max: u64,
}

/// The result of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::logic) struct Answered {
    /// Bytes that were counted too much: those of messages that were not read are approximate.
    pub(in crate::logic) bytes: u64,
    /// Messages that are given up.
    pub(in crate::logic) lost: u64,
}

impl Loaded {
    /// For a client that is connected, or is not.
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

    /// Whether as much is in memory as intended.
    pub(super) fn is_reached(&self, messages: usize, bytes: u64) -> bool {
        messages >= self.messages_max || bytes >= self.bytes_max
    }
}

impl StoredQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The range in front, which is requested next.
    pub(super) fn front(&self) -> Option<&WaitingRange> {
        self.ranges.front()
    }

    /// The places of the first message and the last one.
    pub(super) fn span(&self) -> Option<(u64, u64)> {
        Some((self.ranges.front()?.from, self.ranges.back()?.to))
    }

    /// Adds messages that a start did not read, of any QoS.
    pub(super) fn restore(&mut self, range: WaitingRange) {
        self.ranges.push_back(range);
        self.has_shared |= range.has_shared;
        self.has_qos0 = true;
        self.is_open = false;
    }

    /// Whether a request is under way.
    pub(super) fn is_asked(&self) -> bool {
        self.is_asked
    }

    pub(super) fn set_asked(&mut self, is_asked: bool) {
        self.is_asked = is_asked;
    }

    /// Its part of the queue's overrun.
    pub(super) fn overrun_bytes(&self) -> u64 {
        self.overrun_bytes
    }

    /// All messages of an answer were used. If some of the range in front are missing, they are requested again, a few
    /// times, and then given up.
    pub(super) fn answered(&mut self) -> Answered {
        self.is_asked = false;
        let mut answered = Answered::default();
        if let Some(range) = self.ranges.front()
            && (range.messages == 0 || self.empty_answers >= limits::EMPTY_ANSWERS_MAX)
        {
            answered = Answered {
                bytes: range.bytes,
                lost: range.messages,
            };
            self.ranges.pop_front();
            self.empty_answers = 0;
        }
        self.empty_answers = self.empty_answers.saturating_add(1);
        answered
    }

    pub(super) fn messages(&self) -> u64 {
        self.ranges.iter().map(|range| range.messages).sum()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.bytes).sum()
    }

    /// The position in the session's order of the first message that is only in the store.
    pub(super) fn first(&self) -> Option<u64> {
        self.ranges.front().map(|range| range.from)
    }

    pub(super) fn has_qos0(&self) -> bool {
        self.has_qos0
    }

    /// Whether something of it may belong to a group.
    pub(super) fn has_shared(&self) -> bool {
        self.has_shared
    }

    /// What comes next in the session's order is not in the store alone.
    pub(super) fn close_range(&mut self) {
        self.is_open = false;
    }

    /// A message of so many bytes is the last one of the order.
    pub(super) fn push(&mut self, order: u64, bytes: u64, overrun_bytes: u64, qos: QoS, is_shared: bool) {
        match self.ranges.back_mut().filter(|_| self.is_open) {
            Some(range) => {
                range.to = order;
                range.messages += 1;
                range.bytes += bytes;
                range.has_shared |= is_shared;
            }
            None => self.ranges.push_back(WaitingRange {
                from: order,
                to: order,
                messages: 1,
                bytes,
                has_shared: is_shared,
            }),
        }
        self.is_open = true;
        self.overrun_bytes += overrun_bytes;
        self.has_qos0 |= qos == QoS::AtMostOnce;
        self.has_shared |= is_shared;
    }

    /// The message at this place no longer waits, wherever it is. Returns the approximate number of its bytes; `None`
    /// if it is not here.
    pub(super) fn remove(&mut self, order: u64) -> Option<u64> {
        let at = self.ranges.partition_point(|range| range.to < order);
        let range = self.ranges.get_mut(at).filter(|range| range.from <= order)?;
        let bytes = range.bytes / range.messages.max(1);
        range.messages = range.messages.saturating_sub(1);
        range.bytes = range.bytes.saturating_sub(bytes);
        if range.messages == 0 {
            // The next message starts a separate range.
            self.is_open &= at + 1 < self.ranges.len();
            self.ranges.remove(at);
        }
        Some(bytes)
    }

    /// The first message of the range in front is no longer only in the store.
    pub(super) fn take(&mut self, order: u64, bytes: u64) {
        if let Some(range) = self.ranges.front_mut() {
            range.from = order.saturating_add(1);
            range.messages = range.messages.saturating_sub(1);
            range.bytes = range.bytes.saturating_sub(bytes);
            self.empty_answers = 0;
        }
    }
}
