//! What flow control keeps of a connection as a consumer.
//!
//! Invariants: those of `flow/`, which alone changes what is here: `counted_bytes` is what the sums over the shard have
//! of the connection, and its timer is set in every state but [`State::Flowing`].

use crate::logic::connection::Connection;
use crate::logic::consumer_state::{Cause, State};
use crate::time::Timestamp;

impl Connection {
    /// How it takes what it is sent.
    #[inline]
    pub(in crate::logic) fn consumer(&self) -> State {
        self.consumer
    }

    /// It takes what it is sent in another way from now on.
    #[inline]
    pub(in crate::logic) fn set_consumer(&mut self, state: State) {
        self.consumer = state;
    }

    /// Whether it takes what it is sent.
    #[inline]
    pub(in crate::logic) fn keeps_up(&self) -> bool {
        self.consumer == State::Flowing
    }

    /// Whether it did not catch up, and nobody waits for it.
    #[inline]
    pub(in crate::logic) fn is_slow(&self) -> bool {
        self.consumer == State::Slow
    }

    /// Whether publishers wait for it, for that cause.
    #[inline]
    pub(in crate::logic) fn is_backlogged_by(&self, cause: Cause) -> bool {
        self.consumer.has(cause)
    }

    /// Its bytes in the sums over the shard.
    #[inline]
    pub(in crate::logic) fn counted_bytes(&self) -> u32 {
        self.counted_bytes
    }

    /// The sums over the shard have so many bytes of it from now on; how many they had.
    #[inline]
    pub(in crate::logic) fn replace_counted_bytes(&mut self, bytes: u32) -> u32 {
        std::mem::replace(&mut self.counted_bytes, bytes)
    }

    /// When it last took something of what waits for it, or when something began to wait.
    pub(in crate::logic) fn progress_at(&self) -> Timestamp {
        self.progress_at
    }

    /// It took something, or something begins to wait for it.
    #[inline]
    pub(in crate::logic) fn note_progress(&mut self, now: Timestamp) {
        self.progress_at = now;
    }

    /// What the timer of its grace period or quarantine is set to.
    pub(in crate::logic) fn flow_timer(&self) -> Timestamp {
        self.flow_timer
    }

    /// That timer is to be set to another time; what it was set to.
    pub(in crate::logic) fn replace_flow_timer(&mut self, at: Timestamp) -> Timestamp {
        std::mem::replace(&mut self.flow_timer, at)
    }
}
