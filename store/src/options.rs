//! The options of a store.
//!
//! Invariants: none.

use std::time::Duration;

use crate::files::WriteWay;

/// When the appended records are made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// With each commit; acknowledgements wait for it.
    Sync,
    /// After this time at the latest; acknowledgements do not wait.
    Interval(Duration),
    /// When the system writes them; acknowledgements do not wait.
    None,
}

impl Durability {
    /// How commits are written: those that are synced together later are kept in the page cache until then.
    pub(crate) fn write_way(self) -> WriteWay {
        match self {
            Self::Sync => WriteWay::Durable,
            Self::Interval(_) | Self::None => WriteWay::Cached,
        }
    }
}

/// How a store is to behave.
#[derive(Clone, Debug)]
pub struct Options {
    /// When the appended records are made durable.
    pub durability: Durability,
    /// Number of shards that append; written into the log.
    pub shards: u16,
    /// Wall clock at the start, milliseconds since 1970; written into the log.
    pub started_ms: u64,
    /// Largest number of bytes of the store on the disk; `None`: as many as the disk has.
    pub size_max: Option<u64>,
    /// Number of messages waiting for a session to recover; the others are given as ranges of its order.
    pub waiting_max: usize,
    /// Whether what a message came by, as the broker encoded it, has a Shared Subscription.
    pub is_shared: fn(&[u8]) -> bool,
    /// Bytes of a segment: a multiple of 4,096. Tests make it small.
    pub segment_size: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::Sync,
            shards: 1,
            started_ms: 0,
            size_max: None,
            waiting_max: usize::MAX,
            is_shared: |_| false,
            segment_size: 32 << 20,
        }
    }
}

impl Options {
    /// Largest number of segments, including free ones.
    pub(crate) fn segments_max(&self) -> usize {
        let segments = self
            .size_max
            .map_or(u64::MAX, |size| size / u64::from(self.segment_size));
        usize::try_from(segments).unwrap_or(usize::MAX).max(SEGMENTS_MIN)
    }
}

/// With fewer segments there is no space to reclaim.
const SEGMENTS_MIN: usize = 4;
