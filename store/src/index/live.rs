//! How many live bytes there are, in total and in each segment.
//!
//! Invariants: a place is added once and freed once. References have no place, so they count only in the total.

use std::collections::VecDeque;

use super::Place;

#[derive(Debug, Default)]
pub(super) struct LiveBytes {
    total: u64,
    /// Live bytes of the segments with increasing sequence numbers, from `first`.
    segments: VecDeque<u64>,
    first: u32,
}

impl LiveBytes {
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn of_segment(&self, sequence: u32) -> u64 {
        let place = sequence.checked_sub(self.first);
        place
            .and_then(|place| self.segments.get(place as usize))
            .copied()
            .unwrap_or_default()
    }

    pub(super) fn add(&mut self, place: Place) {
        self.total += u64::from(place.len);
        if self.segments.is_empty() {
            self.first = place.location.sequence;
        }
        while place.location.sequence < self.first {
            self.first -= 1;
            self.segments.push_front(0);
        }
        let number = (place.location.sequence - self.first) as usize;
        if self.segments.len() <= number {
            self.segments.resize(number + 1, 0);
        }
        if let Some(live) = self.segments.get_mut(number) {
            *live += u64::from(place.len);
        }
    }

    pub(super) fn free(&mut self, place: Place) {
        self.total = self.total.saturating_sub(place.len.into());
        let number = place.location.sequence.checked_sub(self.first);
        if let Some(live) = number.and_then(|number| self.segments.get_mut(number as usize)) {
            *live = live.saturating_sub(place.len.into());
        }
        while self.segments.front() == Some(&0) && self.segments.len() > 1 {
            self.segments.pop_front();
            self.first += 1;
        }
    }

    pub(super) fn add_reference(&mut self) {
        self.total += REFERENCE_BYTES;
    }

    pub(super) fn free_references(&mut self, count: usize) {
        self.total = self.total.saturating_sub(count as u64 * REFERENCE_BYTES);
    }
}

/// The number of bytes for which a reference counts.
const REFERENCE_BYTES: u64 = 24;
