//! Reads the clock after each piece of work: no count of units is right for everything that a client may send, and for
//! all machines.
//!
//! Invariants: a piece that took longer than its units ([`limits::UNIT_NS`]) is charged more before the next one
//! begins, so a budget is exceeded by at most one piece, and by the small shares of quiet clients. A step restarts the
//! clock, so it is not charged for what was done before.

use transport::clock::monotonic_ns;

use super::ShardLoop;
use crate::limits;
use crate::turn::WorkBudget;

/// When the current piece of work began, and what had been spent in the turn by then.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WorkClock {
    at_ns: u64,
    spent: u64,
}

impl WorkClock {
    /// A piece of work begins.
    #[inline]
    pub(super) fn begin(&mut self, work: &WorkBudget) {
        self.at_ns = monotonic_ns();
        self.spent = work.spent_in_turn();
    }

    /// A piece of work is done, and the next one begins.
    #[inline]
    pub(super) fn charge(&mut self, work: &mut WorkBudget) {
        let now_ns = monotonic_ns();
        work.charge(self.spent, now_ns.saturating_sub(self.at_ns) / limits::UNIT_NS);
        self.at_ns = now_ns;
        self.spent = work.spent_in_turn();
    }
}

impl ShardLoop {
    /// Begins work within the turn's budget.
    pub(super) fn begin_clock(&mut self) {
        self.connections.work_clock.begin(self.logic.work());
    }

    /// A piece of work is done, and the next one begins.
    #[inline]
    pub(super) fn charge_time(&mut self) {
        self.connections.work_clock.charge(self.logic.work());
    }

    /// Begins work with its own budget of `units`, whatever was spent before.
    pub(super) fn begin_budget(&mut self, units: u64) {
        self.begin_clock();
        self.logic.work().extend_turn(units);
    }
}
