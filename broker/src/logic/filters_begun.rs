//! The progress of a SUBSCRIBE or UNSUBSCRIBE with many filters between two turns (`handle/filters.rs`).
//!
//! Invariants: none.

use crate::logic::retained_note::RetainedRequest;

/// The results so far of a packet with many filters.
#[derive(Debug, Default)]
pub(super) struct FiltersBegun {
    /// Bytes of the filters that were handled.
    pub(super) bytes: usize,
    /// The number of bytes that were handled when it was last continued.
    pub(super) bytes_before: usize,
    /// The reason codes of the filters that were handled so far.
    pub(super) reasons: Vec<u8>,
    /// Requests for retained messages, the last one first once the packet is answered.
    pub(super) requests: Vec<RetainedRequest>,
    pub(super) is_answered: bool,
    /// Whether the store has to record a part of it.
    pub(super) changed: bool,
}

impl FiltersBegun {
    /// Whether it may continue later from here: a packet with few filters does not stop, unless they are long.
    pub(super) fn may_stop(&self) -> bool {
        let is_much = self.bytes - self.bytes_before >= FILTERS_BYTES_AT_ONCE;
        !self.reasons.is_empty() && (is_much || self.reasons.len().is_multiple_of(FILTERS_AT_ONCE))
    }
}

/// Filters of a packet that are handled together.
pub(super) const FILTERS_AT_ONCE: usize = 8;

/// Bytes of filters that are handled together.
const FILTERS_BYTES_AT_ONCE: usize = 1024;
