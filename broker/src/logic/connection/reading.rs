//! Whether a client is read, and when it must have sent something.
//!
//! Invariants: the Keep Alive of a client that is paused because of other clients is suspended.

use crate::limits;
use crate::logic::connection::Connection;
use crate::logic::consumer_state::State;
use crate::time::Timestamp;

/// Whether the broker reads a client's bytes, and whether its Keep Alive is suspended: it is if the client was paused
/// because of other clients at any time since the last check. It stays suspended if the client becomes backlogged
/// itself after that, or is read again, because what it sent in the meantime may arrive only then.
/// itself after that, or is read again, as what it sent meanwhile may come only then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    Open,
    OpenSuspended,
    Paused,
    PausedSuspended,
}

impl Connection {
    /// Whether it is paused.
    #[inline]
    pub(in crate::logic) fn is_paused(&self) -> bool {
        matches!(self.reading, Reading::Paused | Reading::PausedSuspended)
    }

    /// Whether flow control must be notified when its output shrinks: it is paused, or does not keep up.
    #[inline]
    pub(in crate::logic) fn is_watched(&self) -> bool {
        self.is_paused() || self.consumer != State::Flowing
    }

    /// Pauses or resumes it. If more than `high` bytes wait for it, the pause is its own fault.
    pub(in crate::logic) fn set_paused(&mut self, paused: bool, high: usize) {
        self.reading = match (paused, self.keep_alive_is_suspended()) {
            (false, false) => Reading::Open,
            (false, true) => Reading::OpenSuspended,
            (true, false) => Reading::Paused,
            (true, true) => Reading::PausedSuspended,
        };
        self.suspend_keep_alive(high);
    }

    /// To be called whenever its output may have shrunk: if it is still paused, that is because of other clients.
    #[inline]
    pub(in crate::logic) fn suspend_keep_alive(&mut self, high: usize) {
        if self.reading == Reading::Paused && self.waiting_bytes() <= high {
            self.reading = Reading::PausedSuspended;
        }
    }

    /// Whether its silence is not its own fault.
    fn keep_alive_is_suspended(&self) -> bool {
        matches!(self.reading, Reading::OpenSuspended | Reading::PausedSuspended)
    }

    /// Its Keep Alive is checked. A silence until now that was not its own fault is excluded.
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

    /// It must send something at least once in this many seconds, plus half of that.
    pub(in crate::logic) fn set_keep_alive(&mut self, seconds: u16) {
        self.keep_alive_s = seconds;
    }

    /// It has sent a complete packet, or a large enough piece of one.
    #[inline]
    pub(in crate::logic) fn note_received(&mut self, now: Timestamp) {
        self.last_received = now;
    }

    /// When it last sent a complete packet, or a large enough piece of one.
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

    /// Records that the Keep Alive timer is set to the current deadline; returns that.
    pub(in crate::logic) fn watch_keep_alive(&mut self) -> Timestamp {
        self.watched_until = self.keep_alive_deadline();
        self.watched_until
    }

    /// The time of the Keep Alive timer.
    pub(in crate::logic) fn watched_until(&self) -> Timestamp {
        self.watched_until
    }

    /// The beginning of an incomplete packet.
    #[inline]
    pub(in crate::logic) fn partial(&self) -> &[u8] {
        &self.partial
    }

    /// The capacity of the memory for the beginning of a packet.
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

    /// Appends more of the packet. Unused memory is bounded.
    #[inline]
    pub(in crate::logic) fn extend_partial(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        if self.partial.is_empty() && self.partial.capacity() > limits::PARTIAL_KEPT_BYTES_MAX {
            self.partial = Vec::new();
        }
    }
}
