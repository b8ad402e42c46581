//! The work of a turn, counted: every operation that can be long checks here how long it may continue.
//!
//! A unit is about the cost of visiting a node that is not in the processor's cache: 50 to 150 nanoseconds. The logic
//! counts (nodes visited, packets handled, subscriptions added and removed), and work that has spent its share
//! continues later, behind all other work. No count is right for everything: the shell reads the clock and charges
//! more where something took longer than its units ([`WorkBudget::charge`]).
//!
//! Invariants: a share ends with its turn's budget, except for the few units that a quiet client always gets; a budget
//! that was never begun has no end, so that a driver without turns (a test, a bench) is never stopped.

/// How much work a turn may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkLimits {
    /// Units for bytes that clients sent, in one turn; half as many more for bytes that had to wait, and the same for
    /// bytes that new clients sent in earlier turns.
    pub turn: u64,
    /// Units for one connection before others have their turn.
    pub share: u64,
    /// Units for a client that has nothing waiting, even if the turn has spent its budget.
    pub quiet: u64,
    /// Units for work that no packet causes: sessions that end, timers.
    pub walk: u64,
}

/// The work that was spent, and when the current share and the current turn end.
#[derive(Clone, Copy, Debug)]
pub struct WorkBudget {
    spent: u64,
    turn_from: u64,
    turn_until: u64,
    share_until: u64,
}

impl Default for WorkBudget {
    fn default() -> Self {
        Self {
            spent: 0,
            turn_from: 0,
            turn_until: u64::MAX,
            share_until: u64::MAX,
        }
    }
}

impl WorkBudget {
    /// Begins a turn with a budget of `units`.
    pub fn begin_turn(&mut self, units: u64) {
        self.turn_from = self.spent;
        self.turn_until = self.spent.saturating_add(units);
        self.share_until = self.turn_until;
    }

    /// Raises the remaining budget of the turn to `units`, if it is less.
    pub fn extend_turn(&mut self, units: u64) {
        self.turn_until = self.turn_until.max(self.spent.saturating_add(units));
        self.share_until = self.turn_until;
    }

    /// Begins a share of `units`. It ends with the turn's budget, but not before `at_least` units.
    pub fn begin_share(&mut self, units: u64, at_least: u64) {
        let until = self.spent.saturating_add(units).min(self.turn_until);
        self.share_until = until.max(self.spent.saturating_add(at_least));
    }

    /// From this call on, the share is the whole remaining budget of the turn.
    pub fn end_share(&mut self) {
        self.share_until = self.turn_until;
    }

    /// Subtracts this many units of work from the budget.
    #[inline]
    pub fn spend(&mut self, units: u64) {
        self.spent = self.spent.saturating_add(units);
    }

    /// Counts the work since `before` units had been spent in this turn as `units`, if it was counted as less.
    #[inline]
    pub fn charge(&mut self, before: u64, units: u64) {
        let until = self.turn_from.saturating_add(before).saturating_add(units);
        self.spent = self.spent.max(until);
    }

    /// Whether the share is used up.
    #[inline]
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.spent >= self.share_until
    }

    /// Remaining units of the share.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.share_until.saturating_sub(self.spent)
    }

    /// Whether the share is only the allowance of a quiet client after the turn's budget is used up.
    #[inline]
    #[must_use]
    pub fn is_meager(&self) -> bool {
        self.share_until > self.turn_until
    }

    /// Whether the turn's budget is used up.
    #[must_use]
    pub fn turn_is_over(&self) -> bool {
        self.spent >= self.turn_until
    }

    /// Units that were spent since the turn began.
    #[must_use]
    pub fn spent_in_turn(&self) -> u64 {
        self.spent - self.turn_from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_ends_with_the_turn_and_a_quiet_client_gets_its_few_units() {
        let mut budget = WorkBudget::default();
        budget.spend(1 << 40);
        assert!(!budget.is_spent() && !budget.turn_is_over(), "no turn has begun");
        budget.begin_turn(100);
        budget.begin_share(60, 5);
        budget.spend(60);
        assert!(budget.is_spent() && !budget.turn_is_over());
        budget.begin_share(60, 5);
        assert_eq!(budget.left(), 40, "what the turn has");
        budget.spend(45);
        assert!(budget.is_spent() && budget.turn_is_over());
        budget.begin_share(60, 5);
        assert_eq!(budget.left(), 5);
        budget.extend_turn(30);
        assert_eq!((budget.left(), budget.spent_in_turn()), (30, 105));
        budget.begin_turn(100);
        assert_eq!((budget.left(), budget.spent_in_turn()), (100, 0));
    }

    #[test]
    fn what_took_longer_than_its_units_counts_as_more() {
        let mut budget = WorkBudget::default();
        budget.spend(7);
        budget.begin_turn(100);
        budget.spend(10);
        budget.charge(0, 5);
        assert_eq!(budget.spent_in_turn(), 10, "it was counted as more than that");
        budget.charge(10, 80);
        assert_eq!((budget.spent_in_turn(), budget.turn_is_over()), (90, false));
        budget.begin_share(5, 5);
        assert!(!budget.is_meager());
        budget.charge(90, 30);
        assert_eq!((budget.spent_in_turn(), budget.turn_is_over()), (120, true));
        budget.begin_share(60, 5);
        assert!(budget.is_meager() && budget.left() == 5);
        budget.begin_share(60, 0);
        assert!(budget.is_spent());
    }
}
