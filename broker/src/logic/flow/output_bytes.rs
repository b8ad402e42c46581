//! The bytes that wait for all sockets of a shard: their sums, and the room that they leave for each connection.
//!
//! Invariants: the `counted_bytes` of all connections add up to `total`, and those of the slow ones to `slow_total`.
//! Both are updated when a connection is given to the shell and after it was flushed; bytes that were appended since
//! are in `written`. So a delivery costs one addition here.

use crate::limits::Watermarks;
use crate::logic::connection::Connection;
use crate::time::Timestamp;

use crate::logic::consumer_state::State;

/// The sums of all connections of a shard.
#[derive(Debug)]
pub(super) struct ShardOutput {
    client: Watermarks,
    shard: Watermarks,
    total: usize,
    slow_total: usize,
    /// Connections in the state [`State::Slow`].
    slow_count: u64,
    /// Bytes of messages since the last [`ShardOutput::begin_turn`].
    written: usize,
    /// What `written` was when it was last asked who makes it grow.
    seen: usize,
    /// Publishers wait for the sum, until then at most.
    pub(super) over_until: Option<Timestamp>,
    memory_full: bool,
    /// Bytes that may wait for a client, and for a slow one.
    cap: usize,
    slow_cap: usize,
}

impl ShardOutput {
    pub(super) fn new(client: Watermarks, shard: Watermarks) -> Self {
        Self {
            client,
            shard,
            total: 0,
            slow_total: 0,
            slow_count: 0,
            written: 0,
            seen: 0,
            over_until: None,
            memory_full: false,
            cap: client.cap,
            slow_cap: client.cap,
        }
    }

    pub(super) fn set_marks(&mut self, client: Watermarks, shard: Watermarks) {
        (self.client, self.shard) = (client, shard);
        self.set_caps();
    }

    /// The watermarks of one client's output.
    #[inline]
    pub(super) fn client(&self) -> &Watermarks {
        &self.client
    }

    /// Connections that do not keep up, so that nobody waits for them.
    #[inline]
    pub(super) fn slow_consumers(&self) -> u64 {
        self.slow_count
    }

    /// Whether `bytes` more may wait for a connection. One message that is larger than the cap goes to a client that
    /// keeps up.
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
        bytes > self.client.cap && waiting <= self.client.low && sum <= self.shard_marks().cap
    }

    /// So many bytes more wait for a connection.
    #[inline]
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
    }

    /// After a message went to its subscribers: whether more may be written in this turn.
    #[inline]
    pub(super) fn limit(&mut self) {
        if self.total + self.written > self.shard_marks().cap {
            (self.cap, self.slow_cap) = (0, 0);
        }
    }

    /// What was written goes to the shell: it is in the connections' own counts.
    pub(super) fn begin_turn(&mut self) {
        self.written = 0;
        self.seen = 0;
        self.set_caps();
    }

    /// Brings the count of a connection up to date.
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

    pub(super) fn set_memory_full(&mut self, full: bool) {
        if self.memory_full != full {
            self.memory_full = full;
            self.set_caps();
        }
    }

    /// Whether messages were written since the last call, and the sum is above its high-water mark.
    pub(super) fn grew_above_high(&mut self) -> bool {
        let grew = self.written > self.seen;
        self.seen = self.written;
        grew && self.waited_for() > self.shard_marks().high
    }

    /// Whether so little is left that publishers may go on.
    #[inline]
    pub(super) fn is_below_low(&self) -> bool {
        self.waited_for() <= self.shard_marks().low
    }

    /// The share of each of `connections`, if all have the same and the sum is at the low-water mark of the shard.
    pub(super) fn share(&self, connections: usize) -> usize {
        self.shard_marks().low / connections.max(1)
    }

    /// Bytes of slow clients that are to go: their connections end. None up to half of the cap, then all above the
    /// high-water mark.
    pub(super) fn slow_excess(&self) -> usize {
        let marks = self.shard_marks();
        if self.slow_total > marks.cap / 2 {
            self.slow_total.saturating_sub(marks.high)
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

    /// The bytes of all clients but the slow ones.
    fn waited_for(&self) -> usize {
        self.total() - self.slow_total
    }

    fn shard_marks(&self) -> Watermarks {
        if self.memory_full {
            self.shard.eighth()
        } else {
            self.shard
        }
    }

    fn set_caps(&mut self) {
        let marks = self.shard_marks();
        let full = self.total > marks.cap;
        let slow_full = full || self.slow_total > marks.high;
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
