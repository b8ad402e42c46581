//! When something happened, for people.
//!
//! Invariants: moments of one reading keep their distances, also if the wall clock is set meanwhile.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::origin;
use crate::time::Timestamp;

/// A reading of the monotonic and of the wall clock.
pub(super) struct TwoClocks {
    now: Timestamp,
    wall: DateTime<Utc>,
}

impl TwoClocks {
    /// Reads both at once.
    pub(super) fn now() -> Self {
        Self {
            now: origin::now(),
            wall: Utc::now(),
        }
    }

    /// A moment of before, as RFC 3339 writes it.
    pub(super) fn time_of(&self, at: Timestamp) -> String {
        let ago = TimeDelta::nanoseconds(self.now.since_ns(at).cast_signed());
        (self.wall - ago).to_rfc3339_opts(SecondsFormat::Millis, true)
    }
}
