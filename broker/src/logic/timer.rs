//! The deadlines of one shard, in steps of [`limits::TIMER_STEP_NS`].
//!
//! Invariants: an owner has at most one entry for each of its deadlines. The entry is removed when its owner is
//! removed or the deadline changes: setting a deadline cancels the previous one. So timers take no more memory than
//! their owners. Keep Alive is an exception: packets do not move its entry; when it is due, the time of the last
//! packet is checked.

use std::collections::BTreeSet;

use crate::limits;
use crate::logic::ids::ConnectionSlot;
use crate::logic::ids::SessionSlot;
use crate::logic::topic_tree::NodeSlot;
use crate::time::Timestamp;

/// The object to check when the time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The Keep Alive of the connection in a slot [MQTT-3.1.2-22].
    KeepAlive { slot: ConnectionSlot },
    /// The end of a session without a connection.
    SessionExpiry { session: SessionSlot },
    /// The Will of a session without a connection, delayed by its Will Delay Interval.
    WillDelay { session: SessionSlot },
    /// The end of the token by which the client of a session was let in.
    TokenEnd { session: SessionSlot },
    /// The expiry of a retained message.
    Retained { node: NodeSlot },
    /// The end of a client's grace period or quarantine.
    Flow { slot: ConnectionSlot },
    /// The end of the time that a client waits which sent more than its rate.
    Rate { slot: ConnectionSlot },
    /// Messages of groups that no member has taken.
    Unclaimed,
    /// The end of the time for which publishers wait for the sum over all sockets.
    Output,
    /// The next check whether the store has caught up.
    Store,
    /// The next check whether there is space for packets that wait for it.
    Unstored,
    /// The next round of `$SYS`.
    Sys,
}

/// Timers; those of one step are together.
#[derive(Debug, Default)]
pub(super) struct Timers {
    entries: BTreeSet<(u64, Timer)>,
}

impl Timers {
    /// `timer` is due at `at` or at most one step later; never, if that is [`Timestamp::NEVER`].
    pub(super) fn set(&mut self, at: Timestamp, timer: Timer) {
        if at != Timestamp::NEVER {
            self.entries.insert((step(at), timer));
        }
    }

    /// Cancels a timer that [`Self::set`] has set; does nothing otherwise.
    pub(super) fn cancel(&mut self, at: Timestamp, timer: Timer) {
        self.entries.remove(&(step(at), timer));
    }

    /// Number of timers that are set.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// When the next timer is due.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        let (step, _) = self.entries.first()?;
        Some(Timestamp(step.saturating_mul(limits::TIMER_STEP_NS)))
    }

    /// A timer that is due, if there is one.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Option<Timer> {
        if self.next_deadline()? > now {
            return None;
        }
        self.entries.pop_first().map(|(_, timer)| timer)
    }
}

fn step(at: Timestamp) -> u64 {
    at.0.div_ceil(limits::TIMER_STEP_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_up_at_its_time_and_not_before() {
        let mut timers = Timers::default();
        timers.set(Timestamp(1), Timer::Sys);
        assert_eq!(timers.next_deadline(), Some(Timestamp(limits::TIMER_STEP_NS)));
        assert_eq!(timers.take_due(Timestamp(1)), None);
        assert_eq!(
            timers.take_due(Timestamp(limits::TIMER_STEP_NS)),
            Some(Timer::Sys)
        );
        assert_eq!(timers.next_deadline(), None);
    }

    #[test]
    fn cancelled_does_not_come_up() {
        let mut timers = Timers::default();
        timers.set(
            Timestamp(5),
            Timer::KeepAlive {
                slot: ConnectionSlot::test(1),
            },
        );
        timers.set(
            Timestamp(5),
            Timer::KeepAlive {
                slot: ConnectionSlot::test(2),
            },
        );
        timers.cancel(
            Timestamp(5),
            Timer::KeepAlive {
                slot: ConnectionSlot::test(1),
            },
        );
        assert_eq!(
            timers.take_due(Timestamp(u64::MAX)),
            Some(Timer::KeepAlive {
                slot: ConnectionSlot::test(2)
            })
        );
        assert_eq!(timers.len(), 0);
    }

    #[test]
    fn far_away_does_not_overflow() {
        let mut timers = Timers::default();
        timers.set(Timestamp(u64::MAX - 1), Timer::Sys);
        assert_eq!(timers.take_due(Timestamp(u64::MAX / 2)), None);
        assert_eq!(timers.len(), 1);
        timers.set(Timestamp::NEVER.plus_s(1), Timer::Sys);
        assert_eq!(timers.len(), 1);
    }
}
