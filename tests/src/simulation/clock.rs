//! Time: that passes between steps, and that work takes. Flushes and turns may have no time for all that there is, and
//! outputs go out in pieces.
//!
//! Invariants: how long work takes is drawn from numbers of its own, so a seed whose work takes none does the same as
//! before there was such a draw.

use broker::limits;
use broker::turn::TurnStep;
use fastrand::Rng;

use super::profile::{chance, pick};
use super::turn::SimulatedShard;
use super::world::World;

/// How long things take by the clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClockProfile {
    /// Percent of the connections with output that a flush has no time for.
    late_flushes: u32,
    /// Bytes that are given to one socket at once.
    pub(super) sent_at_once_bytes: usize,
    /// Percent of the pieces of work that take so long that they use up the turn's budget.
    long_pieces: u32,
    /// Percent of the newcomers, and of the connections that ended, that a turn has no time for.
    postponed: u32,
}

impl ClockProfile {
    /// No work takes long.
    pub(super) const UNTIMED: Self = Self {
        late_flushes: 0,
        sent_at_once_bytes: limits::SENT_AT_ONCE_BYTES,
        long_pieces: 0,
        postponed: 0,
    };

    pub(super) fn draw(rng: &mut Rng) -> Self {
        Self {
            late_flushes: pick(rng, &[0, 0, 10, 50]),
            sent_at_once_bytes: pick(rng, &[limits::SENT_AT_ONCE_BYTES, 300, 40, 7]),
            long_pieces: pick(rng, &[0, 0, 5, 30]),
            postponed: pick(rng, &[0, 0, 10, 50]),
        }
    }
}

impl World {
    /// Lets time pass, however long a batch waits.
    pub(super) fn jump(&mut self) {
        let turns = |shard: &SimulatedShard| shard.turn.step() != TurnStep::Wait;
        if self.store.is_some() && (self.waits_for_store() || self.shards.iter().any(turns)) {
            // What is written already keeps its Message Expiry Interval.
            return;
        }
        self.pass();
    }

    /// Lets a drawn time pass.
    pub(super) fn pass(&mut self) {
        let steps = match self.rng.u32(0..20) {
            0..=13 => self.rng.u64(1..20),
            14..=18 => self.rng.u64(20..200),
            _ => self.rng.u64(1_000..10_000),
        };
        let passes_ns = steps * CLOCK_STEP_NS;
        self.now = self.now.plus_ns(passes_ns);
        self.note(|| format!("{} ms pass", passes_ns / 1_000_000));
    }

    /// Whether a flush has no time for the next connection.
    pub(super) fn flush_is_over(&mut self) -> bool {
        self.is_late(self.profile.clock.late_flushes)
    }

    /// Whether a turn has no time for the next newcomer, or the next connection that ended.
    pub(super) fn turn_is_over(&mut self) -> bool {
        self.is_late(self.profile.clock.postponed)
    }

    /// What was handed to the logic may have taken so long that the turn is over.
    pub(super) fn charge_time(&mut self, shard: usize) {
        if chance(&mut self.clock, self.profile.clock.long_pieces) {
            let units = self.profile.work.turn;
            let work = self.shards[shard].logic.work();
            work.charge(work.spent_in_turn(), units);
            self.shards[shard].charged += units;
        }
    }

    fn is_late(&mut self, percent: u32) -> bool {
        let late = !self.quiescing && chance(&mut self.clock, percent);
        self.moved |= late;
        late
    }
}

/// The clock moves in steps of the timers, so that a deadline is met exactly.
const CLOCK_STEP_NS: u64 = limits::TIMER_STEP_NS;
