//! Whether the shards measure the CPU time of each client.
//!
//! Invariants: a shard compares one number per turn; nothing is measured unless an operator has asked recently.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits;
use crate::time::Timestamp;

/// The period of the measurement; shared by the shards and those who ask.
#[derive(Debug, Default)]
pub(crate) struct ClientSampling {
    since_ns: AtomicU64,
    until_ns: AtomicU64,
}

impl ClientSampling {
    /// Extends the measurement for a while from now on; returns when it began.
    pub(crate) fn extend(&self, now: Timestamp) -> Timestamp {
        if now.0 >= self.until_ns.load(Ordering::Acquire) {
            // If two ask at once, both begin it at nearly the same time, and the shards start again with the second.
            self.since_ns.store(now.0, Ordering::Relaxed);
        }
        let until = now.plus_ns(limits::CLIENT_SAMPLING_NS);
        self.until_ns.fetch_max(until.0, Ordering::AcqRel);
        Timestamp(self.since_ns.load(Ordering::Relaxed))
    }

    /// When the current measurement began, if there is one.
    #[inline]
    pub(crate) fn since(&self, now: Timestamp) -> Option<Timestamp> {
        let is_on = now.0 < self.until_ns.load(Ordering::Acquire);
        is_on.then(|| Timestamp(self.since_ns.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_by_itself() {
        let sampling = ClientSampling::default();
        assert_eq!(sampling.since(Timestamp(5)), None);
        assert_eq!(sampling.extend(Timestamp(10)), Timestamp(10));
        assert_eq!(sampling.extend(Timestamp(20)), Timestamp(10), "it goes on");
        let end = 20 + limits::CLIENT_SAMPLING_NS;
        assert_eq!(sampling.since(Timestamp(end - 1)), Some(Timestamp(10)));
        assert_eq!(sampling.since(Timestamp(end)), None);
        assert_eq!(sampling.extend(Timestamp(end)), Timestamp(end), "it begins anew");
    }
}
