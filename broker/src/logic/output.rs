//! The bytes that wait for all sockets of a shard: their sum, and what happens when it is over its bound.
//!
//! Over [`limits::SHARD_OUT_PRESSURE_BYTES`] whoever makes it grow is not read from (`pressure.rs`), until half of it is gone.
//! If that takes longer than [`limits::PATIENCE_NS`], whoever has more than a small share of it is slow, and slow clients do
//! not count any more: they have a bound of their own.
//!
//! Invariants: `counted_bytes` of the connections add up to `total`, those of the slow ones to `slow_total`. They are brought
//! up to date when a connection is handed to the shell and when it was flushed; what was written since is in `written`.
//! So a delivery adds one number and nothing else.

use mqtt::ReasonCode;

use crate::limits;
use crate::logic::Shard;
use crate::logic::connection::{Connection, ConnectionSlot};
use crate::logic::timer::Timer;
use crate::time::Timestamp;

/// The bounds of one connection's bytes as the sum over the shard leaves them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caps {
    pub(super) bytes: usize,
    /// Of a slow client.
    pub(super) slow_bytes: usize,
}

/// The sum over a shard.
#[derive(Debug)]
pub(super) struct Output {
    total: usize,
    slow_total: usize,
    /// Bytes of messages since the last [`Output::begin_turn`].
    written: usize,
    /// What `written` was when it was last asked who makes it grow.
    settled: usize,
    /// Publishers wait for the sum, until then at most.
    pub(super) over_until: Option<Timestamp>,
    /// `memory_limit` is reached.
    memory_full: bool,
    pub(super) caps: Caps,
}

impl Default for Output {
    fn default() -> Self {
        Self {
            total: 0,
            slow_total: 0,
            written: 0,
            settled: 0,
            over_until: None,
            memory_full: false,
            caps: Caps {
                bytes: limits::OUT_BYTES_MAX,
                slow_bytes: limits::OUT_SLOW_BYTES_MAX,
            },
        }
    }
}

impl Output {
    /// So many bytes more wait for a connection.
    #[inline]
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
    }

    /// After a message went to its subscribers: what may wait for each of them from now on.
    #[inline]
    pub(super) fn limit(&mut self) {
        if self.total + self.written > self.bytes_max() {
            self.caps = Caps {
                bytes: 0,
                slow_bytes: 0,
            };
        }
    }

    /// What was written goes to the shell: it is in the connections' own counts.
    pub(super) fn begin_turn(&mut self) {
        self.written = 0;
        self.settled = 0;
        self.set_caps();
    }

    /// Brings the count of a connection up to date.
    #[inline]
    pub(super) fn count(&mut self, connection: &mut Connection) {
        let bytes = u32::try_from(connection.waiting_bytes()).unwrap_or(u32::MAX);
        self.recount(connection, bytes);
    }

    /// The connection is gone.
    pub(super) fn forget(&mut self, connection: &mut Connection) {
        self.recount(connection, 0);
    }

    /// Whether the client is slow from now on.
    pub(super) fn set_slow(&mut self, connection: &mut Connection, slow: bool) {
        if connection.slow != slow {
            let counted = std::mem::take(&mut connection.counted_bytes);
            self.take_off(connection.slow, counted);
            connection.slow = slow;
            self.recount(connection, counted);
        }
    }

    pub(super) fn set_memory_full(&mut self, full: bool) {
        if self.memory_full != full {
            self.memory_full = full;
            self.set_caps();
        }
    }

    /// Whether messages were written since the last call, and the sum is over its bound.
    pub(super) fn presses(&mut self) -> bool {
        let grew = self.written > self.settled;
        self.settled = self.written;
        grew && self.waited_for() > self.pressure_bytes()
    }

    /// Whether so little is left that publishers may go on.
    #[inline]
    pub(super) fn has_drained(&self) -> bool {
        self.waited_for() <= self.pressure_bytes() / 2
    }

    /// Bytes written since the last flush.
    pub(super) fn written(&self) -> usize {
        self.written
    }

    /// All bytes that wait.
    pub(super) fn total(&self) -> usize {
        self.total + self.written
    }

    fn waited_for(&self) -> usize {
        self.total() - self.slow_total
    }

    fn pressure_bytes(&self) -> usize {
        if self.memory_full {
            limits::SHARD_OUT_PRESSURE_BYTES_LOW
        } else {
            limits::SHARD_OUT_PRESSURE_BYTES
        }
    }

    fn bytes_max(&self) -> usize {
        if self.memory_full {
            limits::SHARD_OUT_PRESSURE_BYTES
        } else {
            limits::SHARD_OUT_BYTES_MAX
        }
    }

    fn set_caps(&mut self) {
        let full = self.total > self.bytes_max();
        let slow_full = full || self.slow_total > limits::SHARD_OUT_SLOW_BYTES_MAX;
        self.caps = Caps {
            bytes: if full { 0 } else { limits::OUT_BYTES_MAX },
            slow_bytes: if slow_full { 0 } else { limits::OUT_SLOW_BYTES_MAX },
        };
    }

    #[inline]
    fn recount(&mut self, connection: &mut Connection, bytes: u32) {
        let counted = std::mem::replace(&mut connection.counted_bytes, bytes);
        if counted != bytes {
            self.take_off(connection.slow, counted);
            self.total += bytes as usize;
            if connection.slow {
                self.slow_total += bytes as usize;
            }
        }
    }

    #[inline]
    fn take_off(&mut self, slow: bool, counted: u32) {
        self.total = self.total.saturating_sub(counted as usize);
        if slow {
            self.slow_total = self.slow_total.saturating_sub(counted as usize);
        }
    }
}

impl Shard {
    /// Whether so much was written since the last flush that the next one is due.
    #[must_use]
    pub fn turn_is_full(&self) -> bool {
        self.delivery.output.written() > limits::TURN_OUT_BYTES_MAX
    }

    /// Bytes that wait for all sockets of the shard.
    #[must_use]
    pub fn output_bytes(&self) -> usize {
        self.delivery.output.total()
    }

    /// Whether whoever was just handled made the sum grow while it is over its bound.
    pub(super) fn settle_output(&mut self, now: Timestamp) -> bool {
        let presses = self.delivery.output.presses();
        if presses && self.delivery.output.over_until.is_none() {
            let until = now.plus_ns(limits::PATIENCE_NS);
            self.delivery.output.over_until = Some(until);
            self.timers.set(until, Timer::Output);
        }
        presses
    }

    /// Something was taken by a socket: publishers that wait for the sum may go on, perhaps.
    #[inline]
    pub(super) fn relieve_output(&mut self) {
        if let Some(until) = self.delivery.output.over_until
            && self.delivery.output.has_drained()
        {
            self.delivery.output.over_until = None;
            self.timers.cancel(until, Timer::Output);
            self.let_go();
        }
    }

    /// Publishers have waited for the sum for long enough: who has the most of it is slow.
    pub(super) fn output_patience_ended(&mut self, now: Timestamp) {
        self.delivery.output.over_until = None;
        if !self.delivery.output.has_drained() {
            let has_too_much = |connection: &Connection| {
                !connection.slow && connection.waiting_bytes() > limits::OUT_SHARE_BYTES
            };
            let slots: Vec<ConnectionSlot> = self.slots_where(has_too_much);
            for slot in slots {
                self.judge_slow(now, slot);
            }
            self.delivery.patience.waited_in_vain(now);
        }
        if self.delivery.output.total() > limits::SHARD_OUT_BYTES_MAX / 2 {
            self.disconnect_the_worst();
        }
        self.let_go();
    }

    /// Ends connections of slow clients, those with the most waiting first.
    fn disconnect_the_worst(&mut self) {
        let mut slots = self.slots_where(|connection| connection.slow);
        let connections = &self.delivery.connections;
        let waiting = |slot: ConnectionSlot| connections.get(slot).map_or(0, Connection::waiting_bytes);
        slots.sort_by_cached_key(|&slot| std::cmp::Reverse(waiting(slot)));
        let mut left = self.delivery.output.total();
        for slot in slots {
            if left <= limits::SHARD_OUT_BYTES_MAX / 4 {
                return;
            }
            let why = "it does not read, and the memory for output is full";
            self.disconnect(slot, ReasonCode::QuotaExceeded, why);
            if let Some(connection) = self.delivery.connections.get_mut(slot) {
                left = left.saturating_sub(connection.waiting_bytes());
                // What is with the kernel's ring goes with the socket.
                connection.out = Vec::new();
                self.delivery.output.count(connection);
            }
        }
    }

    fn slots_where(&self, is_it: impl Fn(&Connection) -> bool) -> Vec<ConnectionSlot> {
        let connections = self.delivery.connections.iter();
        connections
            .filter(|(_, connection)| is_it(connection))
            .map(|(slot, _)| slot)
            .collect()
    }
}
