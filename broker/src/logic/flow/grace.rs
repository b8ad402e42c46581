//! How long publishers may be paused for clients that turn out to be slow: a time budget of the shard.
//!
//! Invariant: a pause for a client that catches up costs nothing. A pause for a client that becomes slow costs its
//! whole length, and the budget comes back slowly ([`limits::GRACE_BUDGET_SHARE`]). So new connections or client
//! identifiers do not get around the bound.

use crate::limits;
use crate::time::Timestamp;

#[derive(Debug)]
pub(super) struct GraceBudget {
    left_ns: u64,
    /// The time for which `left_ns` was computed.
    counted_at: Timestamp,
    /// Until then waiting in vain has been charged.
    charged_until: Timestamp,
}

impl Default for GraceBudget {
    fn default() -> Self {
        Self {
            left_ns: limits::GRACE_BUDGET_NS,
            counted_at: Timestamp(0),
            charged_until: Timestamp(0),
        }
    }
}

impl GraceBudget {
    /// Nanoseconds that publishers may wait for a client now; `None` if it is not worth a timer.
    pub(super) fn granted_ns(&mut self, now: Timestamp) -> Option<u64> {
        self.refill(now);
        Some(self.left_ns.min(limits::GRACE_NS)).filter(|&granted_ns| granted_ns >= limits::TIMER_STEP_NS)
    }

    /// Since then publishers waited for a client that did not catch up. Several that kept them waiting at the same time
    /// count once.
    pub(super) fn charge(&mut self, since: Timestamp, now: Timestamp) {
        self.refill(now);
        let waited_ns = now.since_ns(since.max(self.charged_until));
        self.left_ns = self.left_ns.saturating_sub(waited_ns);
        self.charged_until = now;
    }

    fn refill(&mut self, now: Timestamp) {
        let back_ns = now.since_ns(self.counted_at) / limits::GRACE_BUDGET_SHARE;
        self.left_ns = self.left_ns.saturating_add(back_ns).min(limits::GRACE_BUDGET_NS);
        self.counted_at = now;
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
            // Another one that kept them waiting at the same time.
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
