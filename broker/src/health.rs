//! Whether every shard still makes turns, and whether memory is left. The shards, the monitor and the operators'
//! interface share this state.
//!
//! Invariants: a shard counts as alive only if it has made a turn since it was asked. Asking wakes the shards that
//! sleep, and costs each shard the comparison of one number per turn.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The state of all shards; shared by the shards, the monitor and the operators' interface.
pub(crate) struct Health {
    /// The number of the last request.
    round: AtomicU64,
    /// The last request that each shard has answered, by making a turn.
    answered: Vec<AtomicU64>,
    memory_full: AtomicBool,
    /// Resident memory of the process when it was last read.
    resident_bytes: AtomicU64,
    /// How often the shards were asked to give freed memory back.
    give_backs: AtomicU64,
    /// The shards serve clients; before that they are not asked for turns.
    started: AtomicBool,
    wake_shards: Box<dyn Fn() + Send + Sync>,
}

impl Health {
    /// `wake_shards` makes every shard, including those that sleep, turn once.
    pub(crate) fn new(shards: u16, wake_shards: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            round: AtomicU64::new(0),
            answered: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            memory_full: AtomicBool::new(false),
            resident_bytes: AtomicU64::new(0),
            give_backs: AtomicU64::new(0),
            started: AtomicBool::new(false),
            wake_shards: Box::new(wake_shards),
        }
    }

    /// Records that the shard has made a turn since it was last asked. Each shard calls it once per turn.
    #[inline]
    pub(crate) fn turned(&self, shard: u16) {
        let round = self.round.load(Ordering::Relaxed);
        if let Some(answered) = self.answered.get(usize::from(shard))
            && answered.load(Ordering::Relaxed) != round
        {
            answered.store(round, Ordering::Relaxed);
        }
    }

    /// Asks every shard for a turn; returns the number for [`Self::have_turned`].
    pub(crate) fn ask(&self) -> u64 {
        let round = self.round.fetch_add(1, Ordering::Relaxed) + 1;
        (self.wake_shards)();
        round
    }

    /// Whether all shards have made a turn since this request.
    pub(crate) fn have_turned(&self, round: u64) -> bool {
        let mut shards = self.answered.iter();
        !self.has_started() || shards.all(|answered| answered.load(Ordering::Relaxed) >= round)
    }

    /// Records that the shards serve clients from now on.
    pub(crate) fn start(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    /// Whether the shards serve clients yet.
    pub(crate) fn has_started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }

    /// Whether the process uses as much memory as `memory_limit` allows.
    #[inline]
    pub(crate) fn memory_full(&self) -> bool {
        self.memory_full.load(Ordering::Relaxed)
    }

    /// Resident memory of the process when the monitor last read it.
    #[inline]
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.resident_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn set_resident_bytes(&self, bytes: u64) {
        self.resident_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Asks every shard to give back the memory that it does not need.
    pub(crate) fn ask_to_give_back(&self) {
        self.give_backs.fetch_add(1, Ordering::Relaxed);
        (self.wake_shards)();
    }

    /// How often shards were asked to give memory back: a changed number is a new request.
    #[inline]
    pub(crate) fn give_backs(&self) -> u64 {
        self.give_backs.load(Ordering::Relaxed)
    }

    /// Reports to every shard whether `memory_limit` is reached.
    pub(crate) fn set_memory_full(&self, full: bool) {
        self.memory_full.store(full, Ordering::Relaxed);
        (self.wake_shards)();
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health")
            .field("round", &self.round)
            .field("answered", &self.answered)
            .field("memory_full", &self.memory_full)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn one_shard_that_hangs_is_noticed() {
        let woken = Arc::new(AtomicU64::new(0));
        let wake = Arc::clone(&woken);
        let health = Health::new(2, move || {
            wake.fetch_add(1, Ordering::Relaxed);
        });
        assert!(health.have_turned(health.ask()), "they have not begun");
        health.start();
        let round = health.ask();
        assert!(!health.have_turned(round), "nobody has turned since");
        health.turned(0);
        assert!(!health.have_turned(round), "shard 1 has not turned");
        health.turned(1);
        assert!(health.have_turned(round));
        assert!(
            !health.have_turned(health.ask()),
            "turning once answers one question"
        );
        assert_eq!(
            woken.load(Ordering::Relaxed),
            3,
            "shards that sleep are woken to answer"
        );
    }
}
