//! The interface between the logic and a store: the logic reports what happened, the store writes it.
//!
//! Invariants: records are in the order of the events in this shard. They concern only sessions that outlive their
//! connections, messages for these sessions, and retained messages. The logic assigns the numbers of sessions, of
//! publications and, in each session, of deliveries, and never reuses one. The records of one [`Store::submit`] become
//! durable together or not at all. An acknowledgement that promises durability waits for the batch that is being
//! filled when the acknowledgement is written (`delivery/deferred.rs`).

use std::num::NonZeroU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use store::{
    ReadBack, ReadRequest, Record, Reference, ReferenceList, Session as SessionRecord, ShardList,
    Will as WillRecord,
};
use store::{ShardLog, Statistics};

use crate::limits;
use crate::time::Timestamp;

/// The bits of a session's or publication's number that are a counter; above them is the shard that assigned it.
pub(in crate::logic) const COUNT_BITS: u32 = 48;

/// How many its shard had assigned by then, over all starts: of two numbers of one shard the later one has the higher
/// count.
pub(crate) fn count_of(number: u64) -> u64 {
    number & ((1 << COUNT_BITS) - 1)
}

/// The number of a stored message, as it is passed from shard to shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicationId(NonZeroU64);

impl PublicationId {
    /// Makes the number of a publication; numbers begin at 1.
    pub(in crate::logic) fn new(number: u64) -> Self {
        Self(NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN))
    }

    pub(in crate::logic) fn to_u64(self) -> u64 {
        self.0.get()
    }
}

/// Stores records, in order.
pub trait Store: std::fmt::Debug {
    /// Adds a record to the batch that is being filled.
    fn append(&mut self, record: &Record<'_>);

    /// Submits the batch and returns its number. Batches are numbered from 1. If no record was appended, there is no
    /// new batch, and the number is that of the previous batch. Records for which no packet waits may be written a
    /// little later.
    fn submit(&mut self, is_awaited: bool) -> u64;

    /// All batches up to this number are durable.
    fn durable(&self) -> u64;

    /// Whether so much waits to be written that publishers have to be paused.
    fn is_backlogged(&self) -> bool {
        false
    }

    /// Whether there is no space for more than acknowledgements.
    fn is_full(&self) -> bool {
        false
    }

    /// Whether the store has failed, so that nothing becomes durable any more.
    fn has_failed(&self) -> bool {
        false
    }

    /// Whether [`Self::read_back`] is answered.
    fn reads_back(&self) -> bool {
        false
    }

    /// Requests messages of a session, including everything that was submitted.
    fn read_back(&mut self, _request: ReadRequest) {}

    /// The answers that have arrived.
    fn take_read_back(&mut self) -> Vec<ReadBack> {
        Vec::new()
    }

    /// The figures of the store, if it has some.
    fn statistics(&self) -> Option<Statistics> {
        None
    }
}

impl Store for ShardLog {
    fn append(&mut self, record: &Record<'_>) {
        Self::append(self, record);
    }

    fn submit(&mut self, is_awaited: bool) -> u64 {
        if is_awaited {
            Self::submit(self)
        } else {
            self.submit_unawaited()
        }
    }

    fn durable(&self) -> u64 {
        Self::durable(self)
    }

    fn is_backlogged(&self) -> bool {
        self.backlog_bytes() > limits::STORE_BACKLOG_BYTES_MAX
    }

    fn is_full(&self) -> bool {
        Self::is_full(self)
    }

    fn has_failed(&self) -> bool {
        Self::has_failed(self)
    }

    fn reads_back(&self) -> bool {
        true
    }

    fn read_back(&mut self, request: ReadRequest) {
        Self::read_back(self, request);
    }

    fn take_read_back(&mut self) -> Vec<ReadBack> {
        Self::take_read_back(self)
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(Self::statistics(self))
    }
}

/// The wall clock that corresponds to the monotonic one: stored times are read after a restart, when monotonic times
/// have another origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WallClock {
    /// Nanoseconds from the monotonic to the wall clock.
    offset_ns: u64,
}

impl WallClock {
    /// The wall clock shows `wall` at `now`.
    #[must_use]
    pub fn new(now: Timestamp, wall: SystemTime) -> Self {
        let since_epoch = wall.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let wall_ns = u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX);
        Self {
            offset_ns: wall_ns.saturating_sub(now.0),
        }
    }

    /// A time by the wall clock, in nanoseconds; never stays never.
    #[must_use]
    pub fn wall_ns(self, at: Timestamp) -> u64 {
        at.0.saturating_add(self.offset_ns)
    }

    /// A time by the monotonic clock; earlier times become its beginning.
    #[must_use]
    pub fn timestamp(self, wall_ns: u64) -> Timestamp {
        match wall_ns {
            u64::MAX => Timestamp::NEVER,
            wall_ns => Timestamp(wall_ns.saturating_sub(self.offset_ns)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_by_the_wall_clock_are_kept_over_a_restart() {
        let wall = |ns| UNIX_EPOCH + Duration::from_nanos(ns);
        let before = WallClock::new(Timestamp(5_000), wall(1_000_000));
        let after = WallClock::new(Timestamp(10), wall(1_500_000));
        let kept = before.wall_ns(Timestamp(905_000));
        assert_eq!(after.timestamp(kept), Timestamp(400_010));
        assert_eq!(
            after.timestamp(before.wall_ns(Timestamp(0))),
            Timestamp(0),
            "it was before"
        );
        assert_eq!(
            after.timestamp(before.wall_ns(Timestamp::NEVER)),
            Timestamp::NEVER
        );
    }
}
