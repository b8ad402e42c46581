//! The time of the shards, and that for people.
//!
//! Invariants: moments of one reading keep their distances, also if the wall clock is set meanwhile.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use transport::clock::monotonic_ns;

use crate::time::Timestamp;

/// The present time, by the clock of the shards.
pub(super) fn now() -> Timestamp {
    Timestamp(monotonic_ns())
}

/// A reading of the monotonic and of the wall clock.
pub(super) struct TwoClocks {
    now: Timestamp,
    wall: DateTime<Utc>,
}

impl TwoClocks {
    /// Reads both at once.
    pub(super) fn now() -> Self {
        Self {
            now: now(),
            wall: Utc::now(),
        }
    }

    /// A moment of before, as RFC 3339 writes it.
    pub(super) fn time_of(&self, at: Timestamp) -> String {
        let ago = TimeDelta::nanoseconds(self.now.since_ns(at).cast_signed());
        (self.wall - ago).to_rfc3339_opts(SecondsFormat::Millis, true)
    }
}
