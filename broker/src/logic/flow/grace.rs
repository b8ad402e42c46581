//! How long publishers may be paused for clients that turn out to be slow: a time budget of the shard.
//!
//! Invariant: a pause for a client that catches up costs nothing. A pause for a client that becomes slow costs its
//! whole length, and the budget is restored slowly ([`limits::GRACE_BUDGET_SHARE`]).
//!
//! Without the budget a client could delay publishers for a grace period each time that it reconnects, or uses another
//! client identifier: beside one that reconnected every 0.7 s, four pairs flooded at 85,000 to 123,000 messages a
//! second without it, and at 250,000 to 482,000 with it.

use crate::limits;
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct GraceBudget {
    /// When the whole budget is restored, if nothing more is charged.
    full_at: Timestamp,
    /// Waiting without effect has been charged until this time.
    charged_until: Timestamp,
}

impl GraceBudget {
    /// Nanoseconds that publishers may wait for a client now; `None` if it is not worth a timer.
    pub(super) fn granted_ns(&self, now: Timestamp) -> Option<u64> {
        let spent_ns = self.full_at.since_ns(now) / limits::GRACE_BUDGET_SHARE;
        let left_ns = limits::GRACE_BUDGET_NS.saturating_sub(spent_ns);
        Some(left_ns.min(limits::GRACE_NS)).filter(|&granted_ns| granted_ns >= limits::TIMER_STEP_NS)
    }

    /// Publishers have waited since then for a client that did not catch up. Several clients that delayed them at the
    /// same time are charged once.
    pub(super) fn charge(&mut self, since: Timestamp, now: Timestamp) {
        let waited_ns = now.since_ns(since.max(self.charged_until));
        let full_at = self
            .full_at
            .max(now)
            .plus_ns(waited_ns.saturating_mul(limits::GRACE_BUDGET_SHARE));
        let all_spent = now.plus_ns(limits::GRACE_BUDGET_NS * limits::GRACE_BUDGET_SHARE);
        self.full_at = full_at.min(all_spent);
        self.charged_until = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_in_vain_uses_the_budget_up_and_time_gives_it_back() {
        let mut budget = GraceBudget::default();
        let mut now = Timestamp(10_000_000_000);
        let mut waited_ns = 0;
        for _ in 0..100 {
            let granted_ns = budget.granted_ns(now).unwrap_or(0);
            waited_ns += granted_ns;
            let since = now;
            now = now.plus_ns(granted_ns);
            budget.charge(since, now);
            // Another client that delayed them at the same time.
            budget.charge(since, now);
        }
        let budget_ns = limits::GRACE_BUDGET_NS;
        assert!(
            (budget_ns - limits::GRACE_NS..budget_ns + budget_ns / 5).contains(&waited_ns),
            "{waited_ns}"
        );
        assert_eq!(budget.granted_ns(now), None);
        now = now.plus_ns(budget_ns * limits::GRACE_BUDGET_SHARE);
        assert_eq!(budget.granted_ns(now), Some(limits::GRACE_NS));
    }
}
