//! The part of a queue that is in the store alone: ranges of the session's order.
//!
//! Invariants: each message of a range waits in the store, and nothing else that waits for the session lies in one.
//! What is in memory goes first. Messages of groups and retained messages are never here, because others get them when
//! the session ends, or because they have a bound of their own: they may overtake what is here, which is of other
//! subscriptions. One request is under way at a time.

use std::collections::VecDeque;

use mqtt::QoS;
use store::{ReadRequest, WaitingRange};

use super::queue::{Queue, Queued};
use crate::limits;

#[derive(Debug, Default)]
pub(super) struct StoredQueue {
    ranges: VecDeque<WaitingRange>,
    /// Whether the next message may be added to the last range.
    is_open: bool,
    /// What it has of the queue's overrun.
    overrun_bytes: u64,
    has_qos0: bool,
    is_asked: bool,
}

/// How much of a queue is to be in memory.
#[derive(Clone, Copy, Debug)]
pub(in crate::logic) struct Loaded {
    messages_max: usize,
    bytes_max: u64,
}

impl Loaded {
    /// Of a client that is connected, or is not.
    pub(in crate::logic) fn new(is_connected: bool) -> Self {
        if is_connected {
            Self {
                messages_max: limits::QUEUE_LOADED_MAX,
                bytes_max: limits::QUEUE_LOADED_BYTES_MAX,
            }
        } else {
            Self {
                messages_max: limits::QUEUE_LOADED_AWAY_MAX,
                bytes_max: limits::QUEUE_LOADED_AWAY_BYTES_MAX,
            }
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
}

impl Queue {
    /// Whether a message that the store has is to be there alone.
    pub(super) fn is_loaded(&self, loaded: Loaded) -> bool {
        let bytes = self.bytes.saturating_sub(self.stored.bytes());
        !self.stored.is_empty() || self.entries.len() >= loaded.messages_max || bytes >= loaded.bytes_max
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
    pub(in crate::logic) fn ask(&mut self, session: u64, tag: u32) -> Option<ReadRequest> {
        let range = self.stored.ranges.front()?;
        if self.stored.is_asked || self.entries.len() >= limits::QUEUE_LOADED_LOW {
            return None;
        }
        self.stored.is_asked = true;
        Some(ReadRequest {
            session,
            tag,
            from: range.from,
            to: range.to,
            messages_max: limits::READ_BACK_MAX,
            bytes_max: limits::READ_BACK_BYTES_MAX,
        })
    }

    /// The answer is not used: it may be asked for again.
    pub(in crate::logic) fn ignore_answer(&mut self) {
        self.stored.is_asked = false;
    }

    /// A message came back from the store.
    pub(in crate::logic) fn load(&mut self, queued: Queued) {
        if let Some(range) = self.stored.ranges.front_mut() {
            range.messages = range.messages.saturating_sub(1);
            range.bytes = range.bytes.saturating_sub(queued.message.queue_bytes());
        }
        self.qos0 += usize::from(queued.qos == QoS::AtMostOnce);
        self.entries.push_back(queued);
    }

    /// All of an answer was used: what waits from this place on is still in the store. Returns how many messages, and
    /// bytes, of those before it were not there.
    pub(in crate::logic) fn answered(&mut self, next: u64) -> (u64, u64) {
        self.stored.is_asked = false;
        let mut missing = (0, 0);
        match self.stored.ranges.front_mut() {
            Some(range) if next <= range.to => range.from = next,
            Some(range) => {
                missing = (range.messages, range.bytes);
                self.stored.ranges.pop_front();
            }
            None => {}
        }
        self.messages = self.messages.saturating_sub(missing.0);
        self.bytes = self.bytes.saturating_sub(missing.1);
        if self.stored.ranges.is_empty() {
            self.overrun_bytes = self.overrun_bytes.saturating_sub(self.stored.overrun_bytes);
            self.stored = StoredQueue::default();
        }
        missing
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
