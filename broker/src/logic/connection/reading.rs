//! Whether a client is read from, and when it must have sent something.
//!
//! Invariants: the keep alive of a client that is not read from for the sake of others is suspended.

use crate::limits;
use crate::logic::connection::Connection;
use crate::logic::consumer_state::State;
use crate::time::Timestamp;

/// Whether the broker reads a client's bytes, and whether its keep alive is suspended: it is if at any time since it
/// was last looked at the client was not read from for the sake of others. It stays so if the client falls behind
/// itself after that, or is read again, as what it sent meanwhile may come only then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    Open,
    OpenSuspended,
    Paused,
    PausedSuspended,
}

impl Connection {
    /// Whether it is not read from.
    #[inline]
    pub(in crate::logic) fn is_paused(&self) -> bool {
        matches!(self.reading, Reading::Paused | Reading::PausedSuspended)
    }

    /// Whether flow control has to know that less waits for it: it is not read from, or does not keep up.
    #[inline]
    pub(in crate::logic) fn is_watched(&self) -> bool {
        self.is_paused() || self.consumer != State::Flowing
    }

    /// From now on it is not read from, or again. With more than `high` bytes waiting for it that is its own doing.
    pub(in crate::logic) fn set_paused(&mut self, paused: bool, high: usize) {
        self.reading = match (paused, self.keep_alive_is_suspended()) {
            (false, false) => Reading::Open,
            (false, true) => Reading::OpenSuspended,
            (true, false) => Reading::Paused,
            (true, true) => Reading::PausedSuspended,
        };
        self.suspend_keep_alive(high);
    }

    /// To be called whenever less may wait for it: if it is not read from all the same, that is for the sake of others.
    #[inline]
    pub(in crate::logic) fn suspend_keep_alive(&mut self, high: usize) {
        if self.reading == Reading::Paused && self.waiting_bytes() <= high {
            self.reading = Reading::PausedSuspended;
        }
    }

    /// Whether its silence is not its own.
    fn keep_alive_is_suspended(&self) -> bool {
        matches!(self.reading, Reading::OpenSuspended | Reading::PausedSuspended)
    }

    /// Its keep alive is looked at. A silence until now that was not its own is forgiven.
    pub(in crate::logic) fn look_at_keep_alive(&mut self, now: Timestamp, high: usize) {
        if self.keep_alive_is_suspended() {
            self.last_received = now;
        }
        self.reading = if self.is_paused() {
            Reading::Paused
        } else {
            Reading::Open
        };
        self.suspend_keep_alive(high);
    }

    /// Seconds of its Keep Alive; 0 if it has none.
    pub(in crate::logic) fn keep_alive_s(&self) -> u16 {
        self.keep_alive_s
    }

    /// It must send something at least once in so many seconds, and half of that beyond.
    pub(in crate::logic) fn set_keep_alive(&mut self, seconds: u16) {
        self.keep_alive_s = seconds;
    }

    /// It has sent a whole packet, or a good piece of a large one.
    #[inline]
    pub(in crate::logic) fn note_received(&mut self, now: Timestamp) {
        self.last_received = now;
    }

    /// When it last sent a whole packet, or a good piece of a large one.
    pub(in crate::logic) fn last_received(&self) -> Timestamp {
        self.last_received
    }

    /// When the client must have sent something: one and a half times the keep alive [MQTT-3.1.2-22], [MQTT3-3.1.2-24].
    pub(in crate::logic) fn keep_alive_deadline(&self) -> Timestamp {
        if self.keep_alive_s == 0 {
            return Timestamp::NEVER;
        }
        self.last_received
            .plus_ns(u64::from(self.keep_alive_s) * 1_500_000_000)
    }

    /// The timer of its keep alive is to be set to its present deadline; returns that.
    pub(in crate::logic) fn watch_keep_alive(&mut self) -> Timestamp {
        self.watched_until = self.keep_alive_deadline();
        self.watched_until
    }

    /// What the timer of its keep alive is set to.
    pub(in crate::logic) fn watched_until(&self) -> Timestamp {
        self.watched_until
    }

    /// The beginning of a packet whose rest has not come.
    #[inline]
    pub(in crate::logic) fn partial(&self) -> &[u8] {
        &self.partial
    }

    /// The memory that is kept for the beginning of a packet.
    #[inline]
    pub(in crate::logic) fn partial_capacity(&self) -> usize {
        self.partial.capacity()
    }

    /// Takes the beginning of a packet, with its memory.
    #[inline]
    pub(in crate::logic) fn take_partial(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.partial)
    }

    /// The beginning of a packet, or memory for one, that is kept until it is taken.
    #[inline]
    pub(in crate::logic) fn keep_partial(&mut self, partial: Vec<u8>) {
        self.partial = partial;
    }

    /// More of the packet has come. Much memory is not kept for nothing.
    #[inline]
    pub(in crate::logic) fn extend_partial(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        if self.partial.is_empty() && self.partial.capacity() > limits::PARTIAL_KEPT_BYTES_MAX {
            self.partial = Vec::new();
        }
    }
}
