//! Whether the shards measure the CPU time that each client costs.
//!
//! Invariants: a shard compares one number a turn; nothing is measured unless an operator has asked in the last while.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits;
use crate::time::Timestamp;

/// Since when and until when it is measured; shared by the shards and those who ask.
#[derive(Debug, Default)]
pub(crate) struct ClientSampling {
    since_ns: AtomicU64,
    until_ns: AtomicU64,
}

impl ClientSampling {
    /// Somebody asks: it is measured for a while from now on. Since when that is so.
    pub(crate) fn extend(&self, now: Timestamp) -> Timestamp {
        if now.0 >= self.until_ns.load(Ordering::Acquire) {
            // Two who ask at once begin it at nearly the same time, and the shards begin anew with the second.
            self.since_ns.store(now.0, Ordering::Relaxed);
        }
        let until = now.plus_ns(limits::CLIENT_SAMPLING_NS);
        self.until_ns.fetch_max(until.0, Ordering::AcqRel);
        Timestamp(self.since_ns.load(Ordering::Relaxed))
    }

    /// Since when it is measured, if it is.
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
