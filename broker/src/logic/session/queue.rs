//! Messages that wait for one client: it is away, its window is full, or its socket is behind.
//!
//! Invariant: what is published is bounded in messages and bytes (`max_queued_messages`, `max_queued_bytes`); full, the
//! newest is dropped and counted, as mosquitto does. Before that the publishers of a connected client wait for it
//! (`pressure.rs`), and what is on its way then goes in beyond the bound ([`Bounds::with_overrun`]). Retained messages on their
//! way after SUBSCRIBE are bounded on their own ([`crate::limits::RETAINED_REPLAY_MAX`]): they are shared, so each costs its
//! entry only. Order is kept over both.

use std::collections::VecDeque;
use std::rc::Rc;

use mqtt::QoS;

use crate::limits;
use crate::logic::message::StoredMessage;
use crate::logic::routing::subscription::group::Via;

/// One waiting message.
#[derive(Clone, Debug)]
pub(in crate::logic) struct Queued {
    pub(in crate::logic) message: StoredMessage,
    pub(in crate::logic) via: Option<Rc<Via>>,
    pub(in crate::logic) qos: QoS,
    /// The RETAIN flag of this delivery.
    pub(in crate::logic) retain: bool,
    /// A retained message after SUBSCRIBE, not one published since.
    pub(in crate::logic) replay: bool,
}

/// The queue of one session.
#[derive(Debug, Default)]
pub(in crate::logic) struct Queue {
    entries: VecDeque<Queued>,
    /// Published messages and their bytes: what the settings bound.
    messages: u64,
    bytes: u64,
    replays: usize,
    qos0: usize,
}

/// The bounds of a queue, from the settings.
#[derive(Clone, Copy, Debug)]
pub(in crate::logic) struct Bounds {
    pub(in crate::logic) messages_max: u64,
    pub(in crate::logic) bytes_max: u64,
}

/// What a queue holds above half of its bounds.
#[derive(Clone, Copy, Debug)]
pub(in crate::logic) struct Excess {
    pub(in crate::logic) messages: u64,
    pub(in crate::logic) bytes: u64,
}

impl Bounds {
    /// With room for what was on its way when the publishers were told to wait.
    pub(in crate::logic) fn with_overrun(self) -> Self {
        Self {
            messages_max: self.messages_max.saturating_add(limits::QUEUE_OVERRUN_MESSAGES),
            bytes_max: self.bytes_max.saturating_add(limits::QUEUE_OVERRUN_BYTES),
        }
    }
}

impl Queue {
    /// Takes the message in; false if it does not fit and is dropped.
    pub(in crate::logic) fn push(&mut self, queued: Queued, bounds: Bounds) -> bool {
        if queued.replay {
            if self.replays >= limits::RETAINED_REPLAY_MAX {
                return false;
            }
            self.replays += 1;
        } else {
            let bytes = self.bytes.saturating_add(queued.message.queue_bytes());
            if self.messages >= bounds.messages_max || bytes > bounds.bytes_max {
                return false;
            }
            self.messages += 1;
            self.bytes = bytes;
        }
        self.qos0 += usize::from(queued.qos == QoS::AtMostOnce);
        self.entries.push_back(queued);
        true
    }

    /// What it holds above half of the bounds; `None` if it is not above.
    pub(in crate::logic) fn excess(&self, bounds: Bounds) -> Option<Excess> {
        let bytes_max = (bounds.bytes_max / 2).min(limits::QUEUE_PRESSURE_BYTES);
        let excess = Excess {
            messages: self.messages.saturating_sub(bounds.messages_max / 2),
            bytes: self.bytes.saturating_sub(bytes_max),
        };
        (excess.messages > 0 || excess.bytes > 0).then_some(excess)
    }

    /// Whether more than a quarter is used: publishers that wait go on waiting.
    pub(in crate::logic) fn is_long(&self, bounds: Bounds) -> bool {
        self.messages > bounds.messages_max / 4
            || self.bytes > (bounds.bytes_max / 4).min(limits::QUEUE_PRESSURE_BYTES / 2)
    }

    /// Whether no more retained messages are taken in.
    pub(in crate::logic) fn is_full_of_replays(&self) -> bool {
        self.replays >= limits::RETAINED_REPLAY_MAX
    }

    pub(in crate::logic) fn front(&self) -> Option<&Queued> {
        self.entries.front()
    }

    pub(in crate::logic) fn pop(&mut self) -> Option<Queued> {
        let queued = self.entries.pop_front()?;
        if queued.replay {
            self.replays = self.replays.saturating_sub(1);
        } else {
            self.messages = self.messages.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(queued.message.queue_bytes());
        }
        self.qos0 = self
            .qos0
            .saturating_sub(usize::from(queued.qos == QoS::AtMostOnce));
        Some(queued)
    }

    /// The messages that belong to a group, in their order.
    pub(in crate::logic) fn into_shared(self) -> impl Iterator<Item = (StoredMessage, Rc<Via>)> {
        let of_group = |queued: Queued| {
            let via = queued.via.filter(|via| via.group.is_some())?;
            Some((queued.message, via))
        };
        self.entries.into_iter().filter_map(of_group)
    }

    pub(in crate::logic) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Published messages: what `max_queued_messages` bounds.
    pub(in crate::logic) fn messages(&self) -> u64 {
        self.messages
    }

    pub(in crate::logic) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Topic and payload bytes of all.
    pub(in crate::logic) fn bytes_all(&self) -> u64 {
        self.entries
            .iter()
            .map(|queued| queued.message.queue_bytes())
            .sum()
    }

    /// Whether QoS 0 messages wait: those published now go behind them.
    pub(in crate::logic) fn holds_qos0(&self) -> bool {
        self.qos0 > 0
    }
}
