//! The time of the shards, and the wall clock time for people.
//!
//! Invariants: times of one reading keep their distances, even if the wall clock is set in between.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use transport::clock::monotonic_ns;

use crate::time::Timestamp;

/// The current time, by the clock of the shards.
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

    /// An earlier time, in the format of RFC 3339.
    pub(super) fn time_of(&self, at: Timestamp) -> String {
        let ago = TimeDelta::nanoseconds(self.now.since_ns(at).cast_signed());
        (self.wall - ago).to_rfc3339_opts(SecondsFormat::Millis, true)
    }
}
