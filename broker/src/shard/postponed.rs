//! Events of new clients that came when a turn had spent its budget: accepted connections, and bytes before a CONNACK.
//!
//! Clients that send little are handled before those that send much: a CONNECT of 100,000 bytes costs as much as
//! hundreds of others. The same holds for those that found no receive buffer: a client that has sent little or nothing
//! yet does not wait for the others, however many these are.
//!
//! Invariants: a new client's bytes stay in order, because it has at most one receive in flight. The receive buffers
//! are given back at once, so that clients find some. The bytes count as kept by pending connections, and are bounded
//! with them; bytes of connections that are gone are dropped before they exceed [`limits::PENDING_BYTES_MAX`]. A few
//! new clients that found no buffer ask for one again in each turn; those that have sent much only do so while not
//! much waits here.

use std::collections::VecDeque;

use transport::ring::Completion;

use super::ShardLoop;
use super::token::{PendingId, Subject};
use crate::limits;

/// Events to be handled in later turns.
#[derive(Default)]
pub(super) struct Postponed {
    /// Connections, ends of connections, and few bytes.
    small: VecDeque<PostponedEvent>,
    /// If there is no time for more, one of these is handled in each turn.
    large: VecDeque<PostponedEvent>,
    bytes: usize,
    /// New clients that found no receive buffer and have sent little.
    small_without_buffer: VecDeque<PendingId>,
    /// New clients that found no receive buffer and have sent much.
    large_without_buffer: VecDeque<PendingId>,
}

enum PostponedEvent {
    Bytes(PendingId, Vec<u8>),
    Other(Completion),
}

impl Postponed {
    pub(super) fn is_empty(&self) -> bool {
        self.small.is_empty()
            && self.large.is_empty()
            && self.small_without_buffer.is_empty()
            && self.large_without_buffer.is_empty()
    }

    fn push(&mut self, waiting: PostponedEvent) {
        match &waiting {
            PostponedEvent::Bytes(_, bytes) if bytes.len() > limits::SMALL_CONNECT_BYTES => {
                self.large.push_back(waiting);
            }
            _ => self.small.push_back(waiting),
        }
    }

    /// Drops the bytes of connections that are gone.
    fn forget(&mut self, mut is_gone: impl FnMut(PendingId) -> bool) {
        let bytes = &mut self.bytes;
        for events in [&mut self.small, &mut self.large] {
            events.retain(|event| match event {
                PostponedEvent::Bytes(id, dropped) if is_gone(*id) => {
                    *bytes -= dropped.len();
                    false
                }
                _ => true,
            });
        }
    }
}

impl ShardLoop {
    /// A new client has to ask for a receive buffer again.
    pub(super) fn newcomer_found_no_buffer(&mut self, id: PendingId) {
        let Some(pending) = self.pending.get(id) else {
            // It was closed while its receive ended.
            return;
        };
        let is_small = pending.kept_bytes() <= limits::SMALL_CONNECT_BYTES;
        let waiting = match is_small {
            true => &mut self.postponed.small_without_buffer,
            false => &mut self.postponed.large_without_buffer,
        };
        waiting.push_back(id);
    }

    /// Keeps an event of a new client for a later turn.
    pub(super) fn postpone(&mut self, completion: Completion) {
        let waiting = match completion {
            Completion::Received { token, buffer, more } => match Subject::of(token) {
                Subject::Pending(id) => {
                    let bytes = self.ring.bytes(&buffer).to_vec();
                    self.ring.recycle(buffer);
                    if !self.pending_postponed(id, bytes.len()) {
                        return;
                    }
                    self.postponed.bytes += bytes.len();
                    PostponedEvent::Bytes(id, bytes)
                }
                _ => PostponedEvent::Other(Completion::Received { token, buffer, more }),
            },
            other => PostponedEvent::Other(other),
        };
        self.postponed.push(waiting);
        if self.postponed.bytes > limits::PENDING_BYTES_MAX {
            self.postponed.forget(|id| self.pending.get(id).is_none());
        }
    }

    /// Continues with what earlier turns had no time for, within the budget of this turn.
    pub(super) fn handle_postponed(&mut self, units: u64, bytes_max: usize) {
        if self.postponed.is_empty() {
            return;
        }
        self.begin_budget(units);
        while !self.is_full(bytes_max)
            && !self.logic.work().turn_is_over()
            && let Some(waiting) = self.postponed.small.pop_front()
        {
            self.handle_waiting(waiting);
        }
        let mut is_first = true;
        while (is_first || !self.is_full(bytes_max) && !self.logic.work().turn_is_over())
            && let Some(waiting) = self.postponed.large.pop_front()
        {
            self.handle_waiting(waiting);
            is_first = false;
        }
        // One that finds none again is queued behind the others, and asks in a later turn.
        for _ in 0..self
            .postponed
            .small_without_buffer
            .len()
            .min(limits::RECEIVES_AGAIN_MAX)
        {
            if let Some(id) = self.postponed.small_without_buffer.pop_front() {
                self.receive_pending(id);
            }
        }
        if self.postponed.bytes > limits::POSTPONED_BYTES_MANY {
            return;
        }
        for _ in 0..self
            .postponed
            .large_without_buffer
            .len()
            .min(limits::RECEIVES_AGAIN_MAX)
        {
            if let Some(id) = self.postponed.large_without_buffer.pop_front() {
                self.receive_pending(id);
            }
        }
    }

    fn handle_waiting(&mut self, waiting: PostponedEvent) {
        match waiting {
            PostponedEvent::Bytes(id, bytes) => {
                self.postponed.bytes -= bytes.len();
                self.pending_received_before(id, &bytes);
            }
            PostponedEvent::Other(completion) => self.handle(completion),
        }
        self.charge_time();
    }
}
