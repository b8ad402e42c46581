//! The counters of the store, for metrics.
//!
//! Invariants: only the storage thread writes them; a reader sees each number as it was at the end of some commit.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::engine::segments::Segments;
use crate::index::Index;

/// The numbers of a store, shared between threads.
#[derive(Debug)]
pub(crate) struct Counters {
    commits: AtomicU64,
    bytes_written: AtomicU64,
    bytes_appended: AtomicU64,
    bytes_live: AtomicU64,
    bytes_total: AtomicU64,
    segments_used: AtomicU64,
    segment_oldest: AtomicU64,
    segment_newest: AtomicU64,
    ignored: AtomicU64,
    quarantined: AtomicU64,
    histograms: Mutex<Histograms>,
}

#[derive(Debug)]
struct Histograms {
    sync_us: Histogram<u64>,
    commit_bytes: Histogram<u64>,
}

/// A snapshot of the numbers of a store.
#[derive(Clone, Debug)]
pub struct Statistics {
    /// Commits that were written.
    pub commits: u64,
    /// Bytes that were written to the disk, padding included.
    pub bytes_written: u64,
    /// Bytes of records that were written.
    pub bytes_appended: u64,
    /// Bytes of records that are still needed.
    pub bytes_live: u64,
    /// Bytes of all segments on the disk.
    pub bytes_total: u64,
    /// Segments that contain commits.
    pub segments_used: u64,
    /// Sequence number of the oldest segment.
    pub segment_oldest: u64,
    /// Sequence number of the newest segment.
    pub segment_newest: u64,
    /// Records that referred to something that does not exist.
    pub ignored: u64,
    /// Commits and records that could not be read.
    pub quarantined: u64,
    /// Durations of syncs, microseconds.
    pub sync_us: Histogram<u64>,
    /// Sizes of commits, bytes of records.
    pub commit_bytes: Histogram<u64>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            commits: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
            bytes_appended: AtomicU64::new(0),
            bytes_live: AtomicU64::new(0),
            bytes_total: AtomicU64::new(0),
            segments_used: AtomicU64::new(0),
            segment_oldest: AtomicU64::new(0),
            segment_newest: AtomicU64::new(0),
            ignored: AtomicU64::new(0),
            quarantined: AtomicU64::new(0),
            histograms: Mutex::new(Histograms {
                sync_us: histogram(),
                commit_bytes: histogram(),
            }),
        }
    }
}

impl Counters {
    pub(crate) fn wrote(&self, bytes: usize, records: usize) {
        self.commits.fetch_add(1, Relaxed);
        self.bytes_written.fetch_add(bytes as u64, Relaxed);
        self.bytes_appended.fetch_add(records as u64, Relaxed);
        if let Ok(mut histograms) = self.histograms.lock() {
            histograms.commit_bytes.saturating_record(records as u64);
        }
    }

    pub(crate) fn synced(&self, took: Duration) {
        if took >= SLOW_SYNC {
            tracing::warn!("the disk took {} ms to make a commit durable", took.as_millis());
        }
        if let Ok(mut histograms) = self.histograms.lock() {
            let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            histograms.sync_us.saturating_record(us);
        }
    }

    pub(crate) fn committed(&self, index: &Index, segments: &Segments) {
        let sequence = |segment: Option<&crate::engine::segments::Segment>| {
            segment.map_or(0, |segment| u64::from(segment.sequence))
        };
        self.bytes_live.store(index.live_bytes(), Relaxed);
        self.bytes_total.store(segments.total_bytes(), Relaxed);
        self.segments_used.store(segments.used.len() as u64, Relaxed);
        self.segment_oldest
            .store(sequence(segments.used.front()), Relaxed);
        self.segment_newest.store(sequence(segments.used.back()), Relaxed);
        self.ignored.store(index.ignored(), Relaxed);
    }

    pub(crate) fn quarantined(&self, count: u64) {
        self.quarantined.fetch_add(count, Relaxed);
    }

    pub(crate) fn statistics(&self) -> Statistics {
        let (sync_us, commit_bytes) = match self.histograms.lock() {
            Ok(histograms) => (histograms.sync_us.clone(), histograms.commit_bytes.clone()),
            Err(_) => (histogram(), histogram()),
        };
        Statistics {
            commits: self.commits.load(Relaxed),
            bytes_written: self.bytes_written.load(Relaxed),
            bytes_appended: self.bytes_appended.load(Relaxed),
            bytes_live: self.bytes_live.load(Relaxed),
            bytes_total: self.bytes_total.load(Relaxed),
            segments_used: self.segments_used.load(Relaxed),
            segment_oldest: self.segment_oldest.load(Relaxed),
            segment_newest: self.segment_newest.load(Relaxed),
            ignored: self.ignored.load(Relaxed),
            quarantined: self.quarantined.load(Relaxed),
            sync_us,
            commit_bytes,
        }
    }
}

#[expect(clippy::expect_used, reason = "these bounds and digits are allowed")]
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, COUNTED_MAX, 2).expect("these bounds and digits are allowed")
}

/// Larger values, microseconds or bytes, are counted as this one.
const COUNTED_MAX: u64 = 1 << 32;
/// A sync that takes longer is logged.
const SLOW_SYNC: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_syncs_and_large_commits_are_counted_as_they_are() {
        let counters = Counters::default();
        counters.synced(Duration::from_millis(900));
        counters.wrote(8192, 8000);
        let found = counters.statistics();
        assert!(
            found.sync_us.max().abs_diff(900_000) < 10_000,
            "{}",
            found.sync_us.max()
        );
        assert!(
            found.commit_bytes.max().abs_diff(8000) < 100,
            "{}",
            found.commit_bytes.max()
        );
        assert_eq!(
            (found.commits, found.bytes_written, found.bytes_appended),
            (1, 8192, 8000)
        );
    }
}
