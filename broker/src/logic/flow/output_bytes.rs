//! The bytes of all output of a shard: their sums, and the room that they leave for each connection.
//!
//! Invariants: the `counted_bytes` of all connections add up to `total`, and those of the slow ones to `slow_total`.
//! Both are updated when a connection is passed to the shell and after it was flushed; bytes that were appended since
//! are in `written`. So a delivery costs one addition here.
//!
//! The sum has watermarks like the bytes of one client. The part of slow clients is counted separately, because no
//! publisher waits for it:
//! - They get nothing more while they have more than the high-water mark together. With 200 that had stopped reading
//!   50 messages of 16 KiB a second, the process took 59 MiB with this rule, and 241 MiB without.
//! - Some are disconnected while they have more than half of the cap. At the cap the other subscribers would lose
//!   messages: `v35_slow_clients_that_hold_too_much_are_disconnected`.
//! - When publishers have waited for the sum for a grace period, clients with more than an even share become slow.
//!   Otherwise none would, with each below its own high-water mark, and publishers would wait again and again: with
//!   2,000 that had stopped reading, a pair at 200 messages a second got no message through.

use crate::limits::Watermarks;
use crate::logic::connection::Connection;
use crate::logic::consumer_state::State;
use crate::settings::Settings;
use crate::time::Timestamp;

/// The sums of all connections of a shard.
#[derive(Debug)]
pub(super) struct ShardOutput {
    /// The marks of one client's output.
    client: Watermarks,
    /// The marks of the sums.
    shard: Watermarks,
    total: usize,
    slow_total: usize,
    /// Connections in the state [`State::Slow`].
    slow_count: u64,
    /// Bytes of messages since the last [`ShardOutput::begin_turn`].
    written: usize,
    /// Publishers wait for the sum, at most until then.
    pub(super) over_until: Option<Timestamp>,
    /// Bytes that may wait for a client, and for a slow one.
    cap: usize,
    slow_cap: usize,
}

impl ShardOutput {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            client: settings.client_output,
            shard: settings.shard_output,
            total: 0,
            slow_total: 0,
            slow_count: 0,
            written: 0,
            over_until: None,
            cap: settings.client_output.cap,
            slow_cap: settings.client_output.cap,
        }
    }

    /// Sets the marks; an eighth for the sums while the process has reached `memory_limit`.
    pub(super) fn set_marks(&mut self, settings: &Settings, memory_full: bool) {
        self.client = settings.client_output;
        self.shard = if memory_full {
            settings.shard_output.eighth()
        } else {
            settings.shard_output
        };
        self.set_caps();
    }

    /// The watermarks of one client's output.
    #[inline]
    pub(super) fn client(&self) -> &Watermarks {
        &self.client
    }

    /// Connections that do not keep up, so that no publisher waits for them.
    #[inline]
    pub(super) fn slow_consumers(&self) -> u64 {
        self.slow_count
    }

    /// Whether `bytes` more may wait for a connection. One message that is larger than the cap is sent to a client
    /// that keeps up.
    #[inline(always)]
    pub(super) fn has_room(&self, connection: &Connection, bytes: usize) -> bool {
        let waiting = connection.waiting_bytes();
        let cap = if connection.is_slow() {
            self.slow_cap
        } else {
            self.cap
        };
        waiting.saturating_add(bytes) <= cap || self.takes_large(waiting, bytes)
    }

    #[cold]
    fn takes_large(&self, waiting: usize, bytes: usize) -> bool {
        let sum = self.total().saturating_add(bytes);
        bytes > self.client.cap && waiting <= self.client.low && sum <= self.shard.cap
    }

    /// This many more bytes wait for a connection.
    #[inline]
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
    }

    /// The output is passed to the shell: it is counted in the connections from now on.
    pub(super) fn begin_turn(&mut self) {
        self.written = 0;
        self.set_caps();
    }

    /// Updates the count of a connection.
    #[inline]
    pub(super) fn count(&mut self, connection: &mut Connection) {
        let bytes = u32::try_from(connection.waiting_bytes()).unwrap_or(u32::MAX);
        self.recount(connection, bytes);
    }

    /// Subtracts the bytes of a connection that is gone.
    pub(super) fn forget(&mut self, connection: &mut Connection) {
        self.recount(connection, 0);
    }

    /// Sets the state of a client and moves its bytes between the sums.
    pub(super) fn set_state(&mut self, connection: &mut Connection, state: State) {
        self.slow_count += u64::from(state == State::Slow);
        self.slow_count -= u64::from(connection.is_slow());
        let counted = connection.replace_counted_bytes(0);
        self.uncount(connection.consumer(), counted);
        connection.set_consumer(state);
        self.recount(connection, counted);
    }

    /// False if the sum is not above its high-water mark, regardless of the part of slow clients.
    #[inline]
    pub(super) fn may_be_above_high(&self) -> bool {
        self.total() > self.shard.high
    }

    /// Whether the sum is above its high-water mark.
    pub(super) fn is_above_high(&self) -> bool {
        self.waited_for() > self.shard.high
    }

    /// Whether the sum is low enough for publishers to be resumed.
    #[inline]
    pub(super) fn is_below_low(&self) -> bool {
        self.waited_for() <= self.shard.low
    }

    /// The share of each of `connections`, if all have the same amount and the sum is at the low-water mark of the
    /// shard.
    pub(super) fn share(&self, connections: usize) -> usize {
        self.shard.low / connections.max(1)
    }

    /// Bytes of slow clients that must go: their connections are closed. None up to half of the cap, then all above
    /// the high-water mark.
    pub(super) fn slow_excess(&self) -> usize {
        if self.slow_total > self.shard.cap / 2 {
            self.slow_total.saturating_sub(self.shard.high)
        } else {
            0
        }
    }

    /// Bytes written since the last flush.
    pub(super) fn written(&self) -> usize {
        self.written
    }

    /// Bytes that wait for all sockets of the shard.
    pub(super) fn total(&self) -> usize {
        self.total + self.written
    }

    /// The bytes of all clients except the slow ones.
    fn waited_for(&self) -> usize {
        self.total() - self.slow_total
    }

    /// Updates the bounds of a client's output from the sums.
    pub(super) fn set_caps(&mut self) {
        let full = self.total() > self.shard.cap;
        let slow_full = full || self.slow_total > self.shard.high;
        self.cap = if full { 0 } else { self.client.cap };
        self.slow_cap = if slow_full { 0 } else { self.client.cap };
    }

    #[inline]
    fn recount(&mut self, connection: &mut Connection, bytes: u32) {
        let counted = connection.replace_counted_bytes(bytes);
        if counted != bytes {
            self.uncount(connection.consumer(), counted);
            self.total += bytes as usize;
            if connection.is_slow() {
                self.slow_total += bytes as usize;
            }
        }
    }

    #[inline]
    fn uncount(&mut self, state: State, counted: u32) {
        self.total = self.total.saturating_sub(counted as usize);
        if state == State::Slow {
            self.slow_total = self.slow_total.saturating_sub(counted as usize);
        }
    }
}
