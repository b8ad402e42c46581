//! A point in time that the shell passes into the logic.
//!
//! Invariants: time is monotonic, so a change of the wall clock expires nothing.

/// Nanoseconds of a monotonic clock. All arithmetic saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

const NS_PER_S: u64 = 1_000_000_000;

impl Timestamp {
    /// The end of time: as a deadline it is never reached.
    pub const NEVER: Self = Self(u64::MAX);

    /// The time this many seconds later; at most [`Self::NEVER`].
    #[must_use]
    pub const fn plus_s(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(NS_PER_S)))
    }

    /// The time this many nanoseconds later; at most [`Self::NEVER`].
    #[must_use]
    pub const fn plus_ns(self, nanoseconds: u64) -> Self {
        Self(self.0.saturating_add(nanoseconds))
    }

    /// Nanoseconds since `earlier`; 0 if that is later.
    #[must_use]
    pub const fn since_ns(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whole seconds since `earlier`; 0 if that is later.
    #[must_use]
    pub const fn since_s(self, earlier: Self) -> u64 {
        self.since_ns(earlier) / NS_PER_S
    }
}
