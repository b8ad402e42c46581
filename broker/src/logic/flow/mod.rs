//! Flow control: publishers that are faster than a consumer are not read until it has caught up; no publisher waits
//! for a slow consumer.
//!
//! Three things have watermarks: the output for a client's socket, a session's queue, and all output of a shard. A
//! publisher that raises one of them above its high-water mark is paused: a client is not read, and another shard is
//! asked not to read from its publishers to this one. A pause keeps its reasons (`pauses.rs`) and ends with the last
//! of them: below the low-water mark, or when the grace period of the consumer is over. The consumer is then slow (see
//! [`consumer_state`](crate::logic::consumer_state)), and for its quarantine no publisher waits for it. Above the cap
//! QoS 0 is dropped and counted; QoS 1 and 2 go to the queue, whose bounds are the operator's. Without the quarantine
//! a reader of 1 MB/s delayed each of nine bursts of 6 MB, 7 s apart, by 0.6 s, and with it only one of nine.
//!
//! A consumer that reads nothing at all is no reason to pause publishers that are not fast: its high-water mark counts
//! once more for each [`limits::STANDSTILL_NS`] without progress. Messages of such publishers wait up to the cap.
//! Without this rule the p99 of the other subscribers was 1 s instead of 10 ms in `slow-sub` of `loadgen`.
//!
//! The memory that one consumer can occupy is its cap and the overrun of its queue ([`limits::CONSUMER_BYTES_MAX`]).
//! What is on its way when publishers are paused fits below the cap, or into the queue's overrun: otherwise messages
//! at QoS 1 and 2 that were on their way would be lost
//! (`publishers_wait_for_acknowledgements_before_a_queue_is_full`).
//!
//! `output_bytes.rs` counts, `grace.rs` decides how long publishers wait for a consumer, `pauses.rs` has the pauses and
//! their reasons, `rates.rs` counts what clients send, `pausing.rs` pauses and resumes, `events.rs` has the events of
//! consumers, `steps.rs` their effects; `shard.rs` is has the shard's calls before and after everything that publishes.
//!
//! Invariants: a client can delay others for its grace period and no longer; every paused waiter has a reason, and
//! each reason ends in a call of this module. A client whose acknowledgements are awaited does not wait for the
//! acknowledgements of another client: otherwise two clients that publish to each other would wait for each other.

mod events;
mod grace;
mod output_bytes;
mod pauses;
mod pausing;
mod rates;
mod shard;
mod steps;

use std::collections::BTreeSet;

pub(in crate::logic) use self::events::FlowEvents;
use self::grace::GraceBudget;
use self::output_bytes::ShardOutput;
use self::pauses::Pauses;
pub(in crate::logic) use self::pauses::Reason;
use self::rates::Rates;
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
    rates: Rates,
    /// The bounds of a session's queue.
    bounds: Bounds,
    /// The time of the current call of the shard.
    now: Timestamp,
    /// Reasons that deliveries met since the last `FlowEvents::begin`, for which publishers have to wait.
    met: BTreeSet<Reason>,
    /// Clients that have become backlogged, or for one cause more: their grace periods begin next.
    begun: Vec<ConnectionSlot>,
    /// Connections to pause, or to resume.
    receive_changes: Vec<(ConnectionId, bool)>,
    /// Shards to ask to pause their publishers, or to resume them.
    shard_changes: Vec<(u16, bool)>,
}

impl FlowControl {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            output: ShardOutput::new(settings),
            pauses: Pauses::default(),
            budget: GraceBudget::default(),
            rates: Rates::of(settings),
            bounds: Bounds::of(settings),
            now: Timestamp(0),
            met: BTreeSet::new(),
            begun: Vec::new(),
            receive_changes: Vec::new(),
            shard_changes: Vec::new(),
        }
    }

    /// Sets the time of the current call of the shard.
    #[inline]
    pub(super) fn set_time(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// Sets the marks and bounds of these settings; `memory_full`: the process has reached `memory_limit`.
    pub(super) fn set_settings(&mut self, settings: &Settings, memory_full: bool) {
        self.output.set_marks(settings, memory_full);
        self.bounds = Bounds::of(settings);
        self.rates.set_settings(settings);
    }

    /// Whether what clients send is to be charged.
    #[inline]
    pub(super) fn has_rates(&self) -> bool {
        self.rates.is_on()
    }

    /// The bounds of a session's queue.
    #[inline]
    pub(super) fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// The current delivery has met a reason for its publisher to wait.
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

    /// Bytes up to which a session's queue is moved to an empty `out` at once; the rest follows when they are sent.
    #[inline]
    pub(super) fn fill_bytes(&self) -> usize {
        self.output.client().low / 2
    }

    /// Copies of a message were sent to subscribers: its publisher waits for the sum of all output if that is above
    /// its high-water mark, and no more is written above the cap.
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

    /// Bytes that a session's queue accepts beyond its bounds: what was on its way when its publishers were paused.
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

    /// Clients that do not keep up, so that no publisher waits for them.
    #[inline]
    pub(super) fn slow_consumers(&self) -> u64 {
        self.output.slow_consumers()
    }

    /// The output is passed to the shell; the connections were counted.
    pub(super) fn begin_turn(&mut self) {
        self.output.begin_turn();
    }

    /// Updates the count of a connection's bytes.
    #[inline]
    pub(super) fn count(&mut self, connection: &mut Connection) {
        self.output.count(connection);
    }

    /// Number of paused connections.
    pub(super) fn paused(&self) -> usize {
        self.pauses.publishers()
    }

    /// Connections to pause (true), or to resume (false), since the last call.
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

    /// A client is above its high-water mark; `waits` says whether its publisher has to wait.
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

    /// The factor of a client's high-water mark: one, and one more for each period without progress.
    fn times_high(&self, connection: &Connection) -> usize {
        let steps = self.now.since_ns(connection.progress_at()) / limits::STANDSTILL_NS;
        usize::try_from(steps).unwrap_or(usize::MAX).saturating_add(1)
    }

    /// Whether publishers wait for the sum of all output.
    #[inline]
    pub(in crate::logic) fn is_output_waited_for(&self) -> bool {
        self.output.over_until.is_some()
    }

    /// Whether any publisher waits for the client.
    fn is_waited_for(&self, slot: ConnectionSlot) -> bool {
        let is_reason = |cause| self.pauses.is_waited_for(Reason::Client { slot, cause });
        Cause::ALL.into_iter().any(is_reason)
    }
}
