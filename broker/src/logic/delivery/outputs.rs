//! The output buffers of connections and everything that is counted about them.
//!
//! Invariants: every byte that is appended to an `out` passes through [`Outputs::append`] (PUBLISH packets) or
//! [`Delivery::send`] (all others). So the connection is in the shell's list once, its bytes are in the shard's total,
//! and the copies are in the counters. An `out` that was emptied has no memory until something is appended again.

use crate::limits;
use crate::logic::connection::{Connection, ConnectionId, ConnectionSlot};
use crate::logic::delivery::Delivery;
use crate::logic::flow::FlowControl;

/// The connections that have output, and what was counted in the meantime.
#[derive(Debug, Default)]
pub struct Outputs {
    /// The shell's list: each connection once.
    dirty: Vec<ConnectionId>,
    /// Connections whose output depends on no other shard, and those that have moved to `dirty` since.
    independent: Vec<ConnectionId>,
    /// Emptied buffers for the next `out` that needs one.
    spare: Vec<Vec<u8>>,
    /// Copies of messages that were sent to clients and are not in the counters yet.
    copies_sent: u64,
    /// The buffer that is returned for a connection that is gone.
    nobodys: Vec<u8>,
}

/// What is appended, for the accounts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Appended {
    pub(super) bytes: usize,
    /// How many PUBLISH packets it is.
    pub(super) copies: u64,
    /// They come from the session's queue, so no publisher caused them.
    pub(super) waited: bool,
}

impl Appended {
    /// One PUBLISH that has just arrived.
    pub(super) fn one(bytes: usize) -> Self {
        Self {
            bytes,
            copies: 1,
            waited: false,
        }
    }
}

impl Outputs {
    /// Connections in the lists for the shell.
    pub(in crate::logic) fn dirty(&self) -> usize {
        self.dirty.len() + self.independent.len()
    }

    /// An empty buffer, to be returned with [`Self::recycle`].
    #[inline]
    pub fn spare(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Frees the memory of unused buffers.
    pub(in crate::logic) fn drop_spare(&mut self) {
        self.spare = Vec::new();
        self.nobodys = Vec::new();
    }

    /// Takes a buffer for reuse as an `out`: so only connections with output have memory for it.
    #[inline]
    pub fn recycle(&mut self, mut buffer: Vec<u8>) {
        let kept = 1..=limits::SPARE_BUFFER_BYTES_MAX;
        if kept.contains(&buffer.capacity()) && self.spare.len() < limits::SPARE_BUFFERS_MAX {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// The path of every PUBLISH into an `out`. Always inlined: in a fan-out a call would cost more than the body.
    #[inline(always)]
    pub(super) fn append(
        &mut self,
        flow: &mut FlowControl,
        slot: ConnectionSlot,
        connection: &mut Connection,
        appended: Appended,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        self.open(connection);
        let out = connection.out();
        if out.capacity() - out.len() < appended.bytes {
            grow(slot, out, appended.bytes);
        }
        write(out);
        if let Some(aliases) = connection.outbound_aliases() {
            aliases.commit();
        }
        self.mark_dirty(slot, connection);
        if appended.waited {
            flow.output_filled(appended.bytes);
        } else {
            flow.wrote(slot, connection, appended.bytes);
        }
        self.copies_sent += appended.copies;
    }

    /// Counts a copy that is sent when the store has recorded its promise.
    #[inline]
    pub(super) fn count_deferred_copy(&mut self) {
        self.copies_sent += 1;
    }

    /// Adds the connection to the shell's list.
    #[inline]
    pub(super) fn mark_dirty(&mut self, slot: ConnectionSlot, connection: &mut Connection) {
        if connection.become_dependent() {
            self.dirty.push(connection.id(slot));
        }
    }

    /// Adds the connection to the shell's list of those whose output depends on no other shard, unless it has other
    /// output already.
    #[inline]
    pub(super) fn mark_independent(&mut self, slot: ConnectionSlot, connection: &mut Connection) {
        if connection.become_independent() {
            self.independent.push(connection.id(slot));
        }
    }

    /// Gives an `out` that has no memory one of the spare buffers.
    #[inline]
    pub(super) fn open(&mut self, connection: &mut Connection) {
        if connection.out().capacity() == 0
            && let Some(buffer) = self.spare.pop()
        {
            *connection.out() = buffer;
        }
    }
}

/// Makes room for `bytes` more. A large output grows by between half of its size and all of it, by a factor that
/// differs between connections: subscribers of one topic that do not read have outputs of the same size, and if all of
/// them doubled in the same turn, the kernel would have to clear hundreds of megabytes in it.
#[cold]
fn grow(slot: ConnectionSlot, out: &mut Vec<u8>, bytes: usize) {
    let length = out.len();
    if length < limits::OUT_BYTES_LARGE {
        out.reserve(bytes);
    } else {
        let factor = 64 + slot.to_u32() as usize % 64;
        let capacity = length + bytes.max(length / 128 * factor);
        out.reserve_exact(beside_tables(capacity) - length);
    }
}

/// A capacity that is not between a power of two and a quarter more. Large allocations that live as long as the
/// process (the runtime's queues) have a power of two of entries and a little more. The allocator keeps blocks of
/// about the same size together, and releases none of their memory while one of them is in use.
fn beside_tables(capacity: usize) -> usize {
    let power = 1_usize << capacity.checked_ilog2().unwrap_or(0);
    if capacity <= power + power / 4 {
        capacity + power / 4
    } else {
        capacity
    }
}

impl Delivery {
    /// Passes the connections with output to the shell, see [`crate::logic::Shard::swap_dirty`].
    pub(in crate::logic) fn swap_dirty(&mut self, taken: &mut Vec<ConnectionId>) {
        taken.clear();
        std::mem::swap(taken, &mut self.outputs.dirty);
        for &id in taken.iter() {
            if let Some(connection) = self.clients.by_id(id) {
                connection.taken_by_shell();
                self.flow.count(connection);
            }
        }
        self.take_independent(taken);
        self.flow.begin_turn();
    }

    /// Adds to `taken` the connections whose output depends on no other shard.
    #[inline]
    pub(in crate::logic) fn take_independent(&mut self, taken: &mut Vec<ConnectionId>) {
        for id in self.outputs.independent.drain(..) {
            if let Some(connection) = self.clients.by_id(id)
                && connection.is_independent()
            {
                connection.taken_by_shell();
                self.flow.count(connection);
                taken.push(id);
            }
        }
    }

    /// The socket has not accepted this many bytes of what was taken from a connection's `out`; returns the
    /// connection.
    #[inline]
    pub(in crate::logic) fn flushed(
        &mut self,
        id: ConnectionId,
        unsent_bytes: usize,
    ) -> Option<&mut Connection> {
        let connection = self.clients.by_id(id)?;
        connection.set_unsent(self.now, unsent_bytes);
        connection.suspend_keep_alive(self.flow.high());
        self.flow.count(connection);
        Some(connection)
    }

    /// Counts the output of all clients, and the clients that do not keep up.
    #[inline]
    pub(in crate::logic) fn count_output(&self) {
        let counters = self.counters();
        counters.output_bytes.set(self.flow.output_bytes() as u64);
        counters.slow_consumers.set(self.flow.slow_consumers());
    }

    /// The output of a connection; a buffer that is never sent if it is gone.
    pub fn out(&mut self, id: ConnectionId) -> &mut Vec<u8> {
        let connection = self.clients.by_id(id);
        match connection.filter(|connection| !connection.is_deferring_everything()) {
            Some(connection) => connection.out(),
            None => {
                self.outputs.nobodys.clear();
                &mut self.outputs.nobodys
            }
        }
    }

    /// Takes the output of a connection, and counts it as sent.
    #[inline]
    pub fn take_out(&mut self, id: ConnectionId) -> Vec<u8> {
        let out = std::mem::take(self.out(id));
        self.counters().bytes_sent.add(out.len() as u64);
        out
    }

    /// Updates the counters after a message, or messages of one size, were sent to subscribers.
    #[inline]
    pub(super) fn count_deliveries(&mut self, payload_bytes: impl FnOnce(u64) -> u64) {
        let sent = std::mem::take(&mut self.outputs.copies_sent);
        if sent > 0 {
            self.flow.sent_copies();
        }
        let counters = self.counters();
        counters.packets_sent.add(sent);
        counters.publishes_sent.add(sent);
        counters.publish_bytes_sent.add(payload_bytes(sent));
    }

    /// Counts copies of the current message that were sent to single sessions.
    pub(in crate::logic) fn count_copies(&mut self, payload_bytes: usize) {
        self.count_deliveries(|sent| sent * payload_bytes as u64);
    }
}
