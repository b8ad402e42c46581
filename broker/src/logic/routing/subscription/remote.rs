//! The interest of other shards in filters without wildcards.
//!
//! If only other shards are interested in a filter, this shard keeps eight bytes: a mark of 48 bits (a part of the
//! hash) and the shard. So with many shards a subscription does not cost its text in each of them. About once in many
//! millions two filters have the same mark. Then a message goes to a shard without interest, which drops it, as if its
//! last subscription had just ended.
//!
//! Invariant: a mark and a shard have as many entries as the shard has filters with that mark, so removing one does
//! not remove that of another filter. A shard announces each filter once, and its end once.

use hashbrown::HashTable;

use crate::logic::slots::shrink_table;

#[derive(Debug)]
pub(super) struct RemoteInterests {
    entries: HashTable<RemoteInterest>,
}

/// The mark of a filter, and below it a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RemoteInterest(u64);

impl RemoteInterest {
    fn new(filter_hash: u64, shard: u16) -> Self {
        Self(filter_hash & MARK | u64::from(shard))
    }

    fn mark(self) -> u64 {
        self.0 & MARK
    }

    fn shard(self) -> u16 {
        (self.0 & !MARK) as u16
    }

    /// The order of the table: the remaining part of the hash.
    fn hash(self) -> u64 {
        (self.0 >> 16).wrapping_mul(SPREAD)
    }
}

/// The bits of the mark in an entry; the lower 16 are the shard.
const MARK: u64 = !0xFFFF;

/// Odd, and with as many ones as zeros: spreads the lower bits over the upper ones.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

impl RemoteInterests {
    pub(super) fn new() -> Self {
        Self {
            entries: HashTable::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// A shard is interested in a filter with that hash.
    pub(super) fn add(&mut self, filter_hash: u64, shard: u16) {
        let entry = RemoteInterest::new(filter_hash, shard);
        let hash = |&entry: &RemoteInterest| entry.hash();
        self.entries.insert_unique(entry.hash(), entry, hash);
    }

    /// Removes one entry of the shard for the filter.
    pub(super) fn remove(&mut self, filter_hash: u64, shard: u16) {
        let entry = RemoteInterest::new(filter_hash, shard);
        let found = self.entries.find_entry(entry.hash(), |&other| other == entry);
        if let Ok(found) = found {
            found.remove();
            shrink_table(&mut self.entries, |&entry| entry.hash());
        }
    }

    /// The shards that are interested in a filter with that hash; one may occur twice.
    #[inline]
    pub(super) fn shards(&self, filter_hash: u64) -> impl Iterator<Item = u16> {
        let sought = RemoteInterest::new(filter_hash, 0);
        let entries = self.entries.iter_hash(sought.hash());
        entries
            .filter(move |entry| entry.mark() == sought.mark())
            .map(|entry| entry.shard())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(remote: &RemoteInterests, hash: u64) -> Vec<u16> {
        let mut shards: Vec<_> = remote.shards(hash).collect();
        shards.sort_unstable();
        shards
    }

    #[test]
    fn each_filter_has_the_shards_that_announced_it() {
        let mut remote = RemoteInterests::new();
        let hash = |number: u64| number.wrapping_mul(0xD6E8_FEB8_6659_FD93).rotate_left(17);
        for number in 0..10_000 {
            remote.add(hash(number), (number % 3) as u16);
            remote.add(hash(number), u16::MAX);
        }
        for number in (0..10_000).step_by(2) {
            remote.remove(hash(number), u16::MAX);
            remote.remove(hash(number), 7);
        }
        for number in 0..10_000 {
            let mut expected = vec![(number % 3) as u16];
            expected.extend((number % 2 == 1).then_some(u16::MAX));
            assert_eq!(shards(&remote, hash(number)), expected);
        }
        assert_eq!((remote.len(), shards(&remote, hash(10_000)).len()), (15_000, 0));
    }

    #[test]
    fn of_two_filters_of_one_mark_one_may_go() {
        let mut remote = RemoteInterests::new();
        for hash in [0x1234_0000, 0x1234_0001] {
            remote.add(hash, 5);
        }
        remote.remove(0x1234_0000, 5);
        assert_eq!(shards(&remote, 0x1234_0001), [5]);
        remote.remove(0x1234_0001, 5);
        assert_eq!(remote.len(), 0);
    }
}
