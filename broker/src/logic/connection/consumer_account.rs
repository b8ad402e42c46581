//! The data that flow control keeps about a connection as a consumer.
//!
//! Invariants: those of `flow/`, which is the only code that changes this data: `counted_bytes` is the connection's
//! part of the sums over the shard, and its timer is set in every state except [`State::Flowing`].

use crate::logic::connection::Connection;
use crate::logic::consumer_state::{Cause, State};
use crate::time::Timestamp;

impl Connection {
    /// Its state as a consumer.
    #[inline]
    pub(in crate::logic) fn consumer(&self) -> State {
        self.consumer
    }

    /// Changes its state as a consumer.
    #[inline]
    pub(in crate::logic) fn set_consumer(&mut self, state: State) {
        self.consumer = state;
    }

    /// Whether it keeps up with its messages.
    #[inline]
    pub(in crate::logic) fn keeps_up(&self) -> bool {
        self.consumer == State::Flowing
    }

    /// Whether it has not caught up, and no publisher waits for it.
    #[inline]
    pub(in crate::logic) fn is_slow(&self) -> bool {
        self.consumer == State::Slow
    }

    /// Whether publishers wait for it because of that cause.
    #[inline]
    pub(in crate::logic) fn is_backlogged_by(&self, cause: Cause) -> bool {
        self.consumer.has(cause)
    }

    /// Its part of the sums over the shard, in bytes.
    #[inline]
    pub(in crate::logic) fn counted_bytes(&self) -> u32 {
        self.counted_bytes
    }

    /// Replaces its part of the sums over the shard; returns the previous one.
    #[inline]
    pub(in crate::logic) fn replace_counted_bytes(&mut self, bytes: u32) -> u32 {
        std::mem::replace(&mut self.counted_bytes, bytes)
    }

    /// When it last made progress with its output, or when it last got output after having none.
    pub(in crate::logic) fn progress_at(&self) -> Timestamp {
        self.progress_at
    }

    /// It made progress, or has output again.
    #[inline]
    pub(in crate::logic) fn note_progress(&mut self, now: Timestamp) {
        self.progress_at = now;
    }

    /// The time of the timer of its grace period or quarantine.
    pub(in crate::logic) fn flow_timer(&self) -> Timestamp {
        self.flow_timer
    }

    /// Changes the time of that timer; returns the previous one.
    pub(in crate::logic) fn replace_flow_timer(&mut self, at: Timestamp) -> Timestamp {
        std::mem::replace(&mut self.flow_timer, at)
    }
}
