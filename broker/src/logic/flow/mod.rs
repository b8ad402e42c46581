//! Flow control: publishers that are faster than a consumer are not read from until it has caught up; nobody waits for
//! a slow one.
//!
//! Three things have watermarks: what waits for a client's socket, a session's queue, and all output of a shard. Who
//! makes one grow above its high-water mark is paused: a client is not read from, another shard is asked not to read
//! from its publishers to this one. A pause keeps its reasons (`pauses.rs`) and ends with the last of them: below the
//! low-water mark, or when the grace period of the consumer is over. Then it is slow (see
//! [`consumer_state`](crate::logic::consumer_state)), and for its quarantine nobody waits for it. Above the cap QoS 0
//! is dropped and counted; QoS 1 and 2 go to the queue, whose bounds are the operator's. Without the quarantine a
//! reader of 1 MB/s delayed each of nine bursts of 6 MB, 7 s apart, by 0.6 s, and one of nine with it.
//!
//! A consumer that takes nothing at all is no reason to pause publishers that are not fast: its high-water mark counts
//! once more for each [`limits::STANDSTILL_NS`] in which it took nothing. What such publishers send waits up to the
//! cap. Without this rule the p99 of those who read was 1 s instead of 10 ms in `slow-sub` of `loadgen`.
//!
//! What one consumer can hold, whatever it does, is its cap and what its queue takes beyond its bounds
//! ([`limits::CONSUMER_BYTES_MAX`]). What is on its way when publishers are paused finds room below the cap, or in the
//! queue's overrun: without that, messages at QoS 1 and 2 that were on their way would be lost
//! (`publishers_wait_for_acknowledgements_before_a_queue_is_full`).
//!
//! `output_bytes.rs` counts, `grace.rs` says how long a consumer is waited for, `pauses.rs` who is paused and why,
//! `pausing.rs` pauses and resumes, `events.rs` has what happens to consumers, `steps.rs` what comes of it; `shard.rs`
//! is what the shard calls before and after what publishes.
//!
//! Invariants: a client can delay others for its grace period and no longer; who is paused has a reason, and each
//! reason ends in a call of this module. A client whose acknowledgements are awaited does not wait for another one's
//! acknowledgements: two clients that publish to each other would wait for each other.

mod events;
mod grace;
mod output_bytes;
mod pauses;
mod pausing;
mod shard;
mod steps;

use std::collections::BTreeSet;

pub(in crate::logic) use self::events::FlowEvents;
use self::grace::GraceBudget;
use self::output_bytes::ShardOutput;
use self::pauses::Pauses;
pub(in crate::logic) use self::pauses::Reason;
use super::connection::{Connection, ConnectionId, ConnectionSlot};
use super::session::queue::{Bounds, Queue};
use crate::limits;
use crate::logic::consumer_state::{Cause, Event, State};
use crate::settings::Settings;
use crate::time::Timestamp;

/// Consumers and the publishers that wait for them.
#[derive(Debug)]
pub struct FlowControl {
    output: ShardOutput,
    pauses: Pauses,
    budget: GraceBudget,
    /// The bounds of a session's queue.
    bounds: Bounds,
    /// The time of the present call of the shard.
    now: Timestamp,
    /// What deliveries met since the last `FlowEvents::begin` that publishers have to wait for.
    met: BTreeSet<Reason>,
    /// Clients that have become backlogged, or for one cause more: their grace periods are to be begun.
    begun: Vec<ConnectionSlot>,
    /// Connections that are to be read from no more, or again.
    receive_changes: Vec<(ConnectionId, bool)>,
    /// Shards that are to be asked to pause their publishers, or to resume them.
    shard_changes: Vec<(u16, bool)>,
}

impl FlowControl {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            output: ShardOutput::new(settings),
            pauses: Pauses::default(),
            budget: GraceBudget::default(),
            bounds: Bounds::of(settings),
            now: Timestamp(0),
            met: BTreeSet::new(),
            begun: Vec::new(),
            receive_changes: Vec::new(),
            shard_changes: Vec::new(),
        }
    }

    /// A call of the shard is made at that time.
    #[inline]
    pub(super) fn set_time(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// The marks and bounds of these settings hold from now on; `memory_full`: the process has reached `memory_limit`.
    pub(super) fn set_settings(&mut self, settings: &Settings, memory_full: bool) {
        self.output.set_marks(settings, memory_full);
        self.bounds = Bounds::of(settings);
    }

    /// The bounds of a session's queue.
    #[inline]
    pub(super) fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// What is being handled has met a reason for its publisher to wait.
    pub(in crate::logic) fn note_reason(&mut self, reason: Reason) {
        self.met.insert(reason);
    }

    /// The high-water mark of the bytes that wait for a client's socket.
    #[inline]
    pub(super) fn high(&self) -> usize {
        self.output.client().high
    }

    /// Whether `bytes` more may wait for the connection.
    #[inline]
    pub(super) fn has_room(&self, connection: &Connection, bytes: usize) -> bool {
        self.output.has_room(connection, bytes)
    }

    /// A message was appended to a subscriber's `out`.
    #[inline]
    pub(super) fn wrote(&mut self, slot: ConnectionSlot, connection: &mut Connection, bytes: usize) {
        self.output.wrote(bytes);
        if connection.waiting_bytes() > self.high() {
            self.output_grew(slot, connection);
        }
    }

    /// Counts a message of a session's queue that was appended to its client's `out`.
    #[inline]
    pub(super) fn output_filled(&mut self, bytes: usize) {
        self.output.wrote(bytes);
    }

    /// Bytes up to which a session's queue is moved to an empty `out` at once; the rest follows when they are gone.
    #[inline]
    pub(super) fn fill_bytes(&self) -> usize {
        self.output.client().low / 2
    }

    /// Copies of a message went to subscribers: its publisher waits for the sum of all output if that is above its
    /// high-water mark, and no more is written above the cap.
    #[inline]
    pub(super) fn sent_copies(&mut self) {
        if self.output.may_be_above_high() {
            self.sent_copies_above_high();
        }
    }

    #[cold]
    fn sent_copies_above_high(&mut self) {
        self.output.set_caps();
        if self.output.is_above_high() {
            self.met.insert(Reason::ShardOutput);
        }
    }

    /// Bytes that a session's queue takes beyond its bounds: what was on its way when its publishers were paused.
    pub(super) fn queue_overrun(&self, connection: Option<&Connection>) -> u64 {
        match connection {
            Some(connection) if !connection.is_slow() => limits::QUEUE_OVERRUN_BYTES,
            _ => 0,
        }
    }

    /// A message was put into the queue of a client that is connected.
    pub(super) fn queued(&mut self, slot: ConnectionSlot, connection: &mut Connection, queue: &Queue) {
        let bounds = self.bounds;
        if queue.len() == 1 {
            connection.note_progress(self.now);
        }
        if queue.is_above_high(bounds, 1) {
            let times = self.times_high(connection);
            self.mark_above_high_water(
                slot,
                connection,
                Cause::Queue,
                queue.is_above_high(bounds, times as u64),
            );
        }
    }

    /// Whether so much was written since the last flush that the next one is due.
    #[must_use]
    pub fn turn_is_full(&self) -> bool {
        self.output.written() > limits::TURN_OUT_BYTES_MAX
    }

    /// Bytes that wait for all sockets of the shard.
    #[must_use]
    pub fn output_bytes(&self) -> usize {
        self.output.total()
    }

    /// Clients that do not keep up, so that nobody waits for them.
    #[inline]
    pub(super) fn slow_consumers(&self) -> u64 {
        self.output.slow_consumers()
    }

    /// What was written goes to the shell; the connections were counted.
    pub(super) fn begin_turn(&mut self) {
        self.output.begin_turn();
    }

    /// Brings the count of a connection's bytes up to date.
    #[inline]
    pub(super) fn count(&mut self, connection: &mut Connection) {
        self.output.count(connection);
    }

    /// Connections that are not read from.
    pub(super) fn paused(&self) -> usize {
        self.pauses.publishers()
    }

    /// Connections that are to be read from no more (true), or again (false), since the last call.
    pub fn take_receive_changes(&mut self) -> Vec<(ConnectionId, bool)> {
        std::mem::take(&mut self.receive_changes)
    }

    #[cold]
    #[inline(never)]
    fn output_grew(&mut self, slot: ConnectionSlot, connection: &mut Connection) {
        let high = self.high();
        let times = self.times_high(connection);
        let waits = connection.waiting_bytes() > high.saturating_mul(times);
        self.mark_above_high_water(slot, connection, Cause::Output, waits);
    }

    /// A client is above its high-water mark, and `waits` says whether a publisher that made it so has to wait.
    fn mark_above_high_water(
        &mut self,
        slot: ConnectionSlot,
        connection: &mut Connection,
        cause: Cause,
        waits: bool,
    ) {
        let before = connection.consumer();
        if before == State::Flowing && self.budget.granted_ns(self.now).is_none() {
            return;
        }
        let after = before.after(Event::Above(cause));
        if after == State::Slow {
            return;
        }
        if after != before {
            connection.set_consumer(after);
            self.begun.push(slot);
        }
        if waits {
            self.met.insert(Reason::Client { slot, cause });
        }
    }

    /// How often a client's high-water mark counts: once, and once more the longer it has taken nothing.
    fn times_high(&self, connection: &Connection) -> usize {
        let steps = self.now.since_ns(connection.progress_at()) / limits::STANDSTILL_NS;
        usize::try_from(steps).unwrap_or(usize::MAX).saturating_add(1)
    }

    /// Whether publishers wait for the sum of all output.
    #[inline]
    pub(in crate::logic) fn is_output_waited_for(&self) -> bool {
        self.output.over_until.is_some()
    }

    /// Whether anybody waits for the client.
    fn is_waited_for(&self, slot: ConnectionSlot) -> bool {
        let is_reason = |cause| self.pauses.is_waited_for(Reason::Client { slot, cause });
        Cause::ALL.into_iter().any(is_reason)
    }
}
