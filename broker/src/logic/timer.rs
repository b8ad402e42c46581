//! The deadlines of one shard, in steps of [`limits::TIMER_STEP_NS`].
//!
//! Invariant: an entry is a hint, not an order. What it is for may have gone or have a later deadline by then: whoever
//! gets it looks, and sets a new one if need be. So nothing is ever taken out before its time, and a connection has one
//! entry for its keep alive however often it sends.

use std::collections::BTreeMap;

use super::retained::Stamp;
use super::time::Timestamp;
use crate::limits;

/// What is to be looked at when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// The keep alive of a connection [MQTT-3.1.2-24].
    KeepAlive { slot: u32, generation: u32 },
    /// The end of a session without a connection.
    SessionExpiry { session: u32, generation: u32 },
    /// The Will of a session without a connection, held back by its Will Delay Interval.
    WillDelay { session: u32, generation: u32 },
    /// The expiry of a retained message, or the end of the mark of a deleted one.
    Retained { node: u32, stamp: Stamp },
    /// The next round of `$SYS`.
    Sys,
}

/// Timers in buckets of one step each.
#[derive(Debug, Default)]
pub(super) struct Timers {
    buckets: BTreeMap<u64, Vec<Timer>>,
}

impl Timers {
    /// `timer` comes up at `at` or at most one step later.
    pub(super) fn set(&mut self, at: Timestamp, timer: Timer) {
        let bucket = at.0.div_ceil(limits::TIMER_STEP_NS);
        self.buckets.entry(bucket).or_default().push(timer);
    }

    /// When the next timer comes up.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        let (bucket, _) = self.buckets.first_key_value()?;
        Some(Timestamp(bucket.saturating_mul(limits::TIMER_STEP_NS)))
    }

    /// The timers of one step that is due, if there is one.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Option<Vec<Timer>> {
        if self.next_deadline()? > now {
            return None;
        }
        self.buckets.pop_first().map(|(_, timers)| timers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_up_at_its_time_and_not_before() {
        let mut timers = Timers::default();
        timers.set(Timestamp(1), Timer::Sys);
        assert_eq!(timers.next_deadline(), Some(Timestamp(limits::TIMER_STEP_NS)));
        assert!(timers.take_due(Timestamp(1)).is_none());
        assert_eq!(
            timers.take_due(Timestamp(limits::TIMER_STEP_NS)),
            Some(vec![Timer::Sys])
        );
        assert!(timers.next_deadline().is_none());
    }

    #[test]
    fn never_does_not_overflow() {
        let mut timers = Timers::default();
        timers.set(Timestamp::NEVER.plus_s(u64::MAX), Timer::Sys);
        assert!(timers.next_deadline().is_some());
        assert!(timers.take_due(Timestamp(u64::MAX / 2)).is_none());
    }
}
