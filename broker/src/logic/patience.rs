//! Who has used up the patience of publishers: so that a client does not get a new one by connecting again.
//!
//! A client identifier that was slow stays so for its minute, whatever becomes of its connections. And a shard's publishers
//! wait in vain for so long only ([`limits::PATIENCE_BUDGET_NS`], which comes back slowly): then nobody waits for clients that
//! have not shown before that they catch up, so that new identifiers are no way around it.
//!
//! Invariant: bounded, whatever clients do; waiting for a client that catches up costs nothing of the budget.

use std::collections::VecDeque;

use crate::limits;
use crate::time::Timestamp;

/// What a shard knows of clients that others waited for.
#[derive(Debug)]
pub(super) struct Patience {
    /// Hashes of the client identifiers of slow clients and until when they are: those that became so first in front.
    slow: VecDeque<(u64, Timestamp)>,
    left_ns: u64,
    /// When `left_ns` was right.
    counted_at: Timestamp,
    /// Until then waiting in vain has been charged.
    charged_until: Timestamp,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            slow: VecDeque::new(),
            left_ns: limits::PATIENCE_BUDGET_NS,
            counted_at: Timestamp(0),
            charged_until: Timestamp(0),
        }
    }
}

impl Patience {
    /// Nanoseconds that others may wait for a client now.
    pub(super) fn granted_ns(&mut self, now: Timestamp, caught_up_before: bool) -> u64 {
        self.refill(now);
        let granted_ns = self.left_ns.min(limits::PATIENCE_NS);
        if caught_up_before {
            granted_ns.max(limits::PATIENCE_NS / 2)
        } else {
            granted_ns
        }
    }

    /// A client that others waited for did not catch up. Several that kept them waiting at the same time count once.
    pub(super) fn waited_in_vain(&mut self, now: Timestamp) {
        self.refill(now);
        let waited_ns = now.since_ns(self.charged_until).min(limits::PATIENCE_NS);
        self.left_ns = self.left_ns.saturating_sub(waited_ns);
        self.charged_until = now;
    }

    /// The client is slow until then.
    pub(super) fn remember(&mut self, now: Timestamp, client: u64, until: Timestamp) {
        self.slow.retain(|&(other, until)| other != client && until > now);
        if self.slow.len() >= limits::SLOW_CLIENTS_MAX {
            self.slow.pop_front();
        }
        self.slow.push_back((client, until));
    }

    /// Until when a client is slow that connects again, if it is.
    pub(super) fn slow_until(&self, now: Timestamp, client: u64) -> Option<Timestamp> {
        let known = self.slow.iter().find(|(other, _)| *other == client);
        known.map(|(_, until)| *until).filter(|&until| until > now)
    }

    fn refill(&mut self, now: Timestamp) {
        let back_ns = now.since_ns(self.counted_at) / limits::PATIENCE_BUDGET_SHARE;
        self.left_ns = self
            .left_ns
            .saturating_add(back_ns)
            .min(limits::PATIENCE_BUDGET_NS);
        self.counted_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_in_vain_uses_the_budget_up_and_time_gives_it_back() {
        let mut patience = Patience::default();
        let mut now = Timestamp(10_000_000_000);
        let mut waited_ns = 0;
        for _ in 0..100 {
            let granted_ns = patience.granted_ns(now, false);
            waited_ns += granted_ns;
            now = now.plus_ns(granted_ns);
            patience.waited_in_vain(now);
            // Another one that kept them waiting at the same time.
            patience.waited_in_vain(now);
        }
        let budget_ns = limits::PATIENCE_BUDGET_NS;
        assert!(
            (budget_ns..budget_ns + budget_ns / 5).contains(&waited_ns),
            "{waited_ns}"
        );
        assert!(patience.granted_ns(now, false) < limits::PATIENCE_NS / 10);
        assert_eq!(patience.granted_ns(now, true), limits::PATIENCE_NS / 2);
        now = now.plus_ns(budget_ns * limits::PATIENCE_BUDGET_SHARE);
        assert_eq!(patience.granted_ns(now, false), limits::PATIENCE_NS);
    }

    #[test]
    fn slow_clients_are_remembered_up_to_the_bound() {
        let mut patience = Patience::default();
        let (now, until) = (Timestamp(0), Timestamp(0).plus_ns(limits::SLOW_NS));
        let clients = limits::SLOW_CLIENTS_MAX as u64 + 1;
        for client in 0..clients {
            patience.remember(now, client, until);
        }
        assert_eq!(patience.slow.len(), limits::SLOW_CLIENTS_MAX);
        assert_eq!(patience.slow_until(now, 0), None);
        assert_eq!(patience.slow_until(now, clients - 1), Some(until));
        assert_eq!(patience.slow_until(until, clients - 1), None);
        patience.remember(until, 7, until.plus_s(1));
        assert_eq!(patience.slow.len(), 1, "those whose time is over go");
    }
}
