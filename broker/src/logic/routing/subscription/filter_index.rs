//! A table of filters by their text, in several parts.
//!
//! A single table would be too slow when it grows: every entry is moved, and with a million entries all clients of the
//! shard wait for a fifth of a second. Each part grows separately.
//!
//! Invariant: a filter is in the part that its hash selects, once.

use hashbrown::HashTable;

use crate::logic::inconsistency::unreachable_state;
use crate::logic::routing::subscription::FilterSlot;
use crate::logic::slots::shrink_table;

/// Numbers of filters, in parts by their hashes.
#[derive(Debug)]
pub(super) struct FilterIndex {
    parts: Box<[HashTable<FilterSlot>]>,
}

const PARTS: usize = 64;

impl FilterIndex {
    pub(super) fn new() -> Self {
        Self {
            parts: (0..PARTS).map(|_| HashTable::new()).collect(),
        }
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(FilterSlot) -> bool) -> Option<FilterSlot> {
        let part = self.parts.get(part_of(hash))?;
        part.find(hash, |&filter| is_it(filter)).copied()
    }

    /// Inserts a number that is not in the table.
    pub(super) fn insert(&mut self, hash: u64, filter: FilterSlot, hash_of: impl Fn(FilterSlot) -> u64) {
        if let Some(part) = self.parts.get_mut(part_of(hash)) {
            part.insert_unique(hash, filter, |&filter| hash_of(filter));
        }
    }

    pub(super) fn remove(&mut self, hash: u64, filter: FilterSlot, hash_of: impl Fn(FilterSlot) -> u64) {
        let Some(part) = self.parts.get_mut(part_of(hash)) else {
            return unreachable_state("no part for a remainder");
        };
        if let Ok(entry) = part.find_entry(hash, |&other| other == filter) {
            entry.remove();
            shrink_table(part, |&filter| hash_of(filter));
        }
    }

    /// The number of filters.
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(HashTable::len).sum()
    }
}

/// Uses bits that a table uses neither for the place nor for the tag of an entry.
#[inline]
fn part_of(hash: u64) -> usize {
    (hash >> 40) as usize % PARTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::slots::Slot;

    #[test]
    fn each_is_found_until_it_is_removed_and_the_parts_are_alike() {
        let hash = |filter: FilterSlot| u64::from(filter.number().get()).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut names = FilterIndex::new();
        let filters = || (1..=64_000).map(FilterSlot::test);
        filters().for_each(|filter| names.insert(hash(filter), filter, hash));
        assert!(names.parts.iter().all(|part| (500..2000).contains(&part.len())));
        for filter in filters().step_by(2) {
            names.remove(hash(filter), filter, hash);
        }
        for filter in filters() {
            let expected = (filter.number().get() % 2 == 0).then_some(filter);
            assert_eq!(names.find(hash(filter), |other| other == filter), expected);
        }
        filters().for_each(|filter| names.remove(hash(filter), filter, hash));
        assert_eq!(names.len(), 0);
        assert!(names.parts.iter().all(|part| part.capacity() < 500));
    }
}
