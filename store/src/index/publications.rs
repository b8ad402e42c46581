//! Which publications are live, and where they are in the log.
//!
//! A publication is live while some shard has not marked it, or while a reference to it is open.
//!
//! Invariants: `open` is the number of references that are not released. While the log is read, copies may come before
//! the records that they belong to, so nothing is removed until everything is read. Later, a publication without a mark
//! or a reference is removed at the end of the commit, so references may follow it in the same batch. What is removed
//! has no expiry any more.

use hashbrown::HashMap;

use super::Place;
use super::table::PagedTable;
use crate::bytes::{COUNTER_BITS, COUNTER_MAX};

#[derive(Debug, Default)]
pub(super) struct Publications {
    /// By the upper bits of their numbers, so that the numbers in each table increase.
    tables: HashMap<u16, PagedTable<Publication>, foldhash::fast::RandomState>,
    /// Shards that have not marked a publication yet; there are few, and only for a short time.
    unmarked: HashMap<u64, Vec<u16>, foldhash::fast::RandomState>,
    /// The expiry times of messages that expire: wall clock, nanoseconds since 1970.
    expiries_ns: HashMap<u64, u64, foldhash::fast::RandomState>,
    /// Publications that may have become unneeded in this commit.
    suspects: Vec<u64>,
}

/// There is one for each waiting message, so it is small.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Publication {
    /// Empty if only references to it were seen.
    place: Place,
    open: u32,
}

impl Publication {
    /// Where it is; `None` if only references to it were seen.
    pub(super) fn place(&self) -> Option<Place> {
        (self.place.len > 0).then_some(self.place)
    }
}

impl Publications {
    pub(super) fn get(&self, id: u64) -> Option<&Publication> {
        let (shard, counter) = split(id);
        self.tables.get(&shard)?.get(counter)
    }

    /// When its message expires; `u64::MAX` means never.
    pub(super) fn expires_ns(&self, id: u64) -> u64 {
        self.expiries_ns.get(&id).copied().unwrap_or(u64::MAX)
    }

    pub(super) fn unmarked(&self, id: u64) -> &[u16] {
        self.unmarked.get(&id).map_or(&[], Vec::as_slice)
    }

    /// Publications that some shard has not marked.
    pub(super) fn all_unmarked(&self) -> impl Iterator<Item = u64> {
        self.unmarked.keys().copied()
    }

    /// Inserts or moves it; returns its previous place.
    pub(super) fn put(
        &mut self,
        id: u64,
        place: Place,
        expires_ns: u64,
        shards: impl Iterator<Item = u16>,
    ) -> Option<Place> {
        if expires_ns < u64::MAX {
            self.expiries_ns.insert(id, expires_ns);
        }
        let old = self.get_or_add(id).and_then(|publication| {
            let old = publication.place();
            publication.place = place;
            old
        });
        let shards: Vec<u16> = shards.collect();
        if shards.is_empty() {
            self.unmarked.remove(&id);
            self.suspects.push(id);
        } else {
            self.unmarked.insert(id, shards);
        }
        old
    }

    pub(super) fn mark(&mut self, id: u64, shard: u16) {
        if let Some(shards) = self.unmarked.get_mut(&id) {
            shards.retain(|unmarked| *unmarked != shard);
            if shards.is_empty() {
                self.unmarked.remove(&id);
                self.suspects.push(id);
            }
        }
    }

    /// Counts one more open reference to a publication.
    pub(super) fn open(&mut self, id: u64) {
        if let Some(publication) = self.get_or_add(id) {
            publication.open += 1;
        }
    }

    /// Counts one open reference less.
    pub(super) fn release(&mut self, id: u64) {
        let (shard, counter) = split(id);
        if let Some(publication) = self
            .tables
            .get_mut(&shard)
            .and_then(|table| table.get_mut(counter))
        {
            publication.open = publication.open.saturating_sub(1);
            if publication.open == 0 {
                self.suspects.push(id);
            }
        }
    }

    /// Removes the publications of this commit that nothing needs, and calls `freed` with their places.
    pub(super) fn remove_unneeded(&mut self, mut freed: impl FnMut(Place)) {
        while let Some(id) = self.suspects.pop() {
            let (shard, counter) = split(id);
            let Some(table) = self.tables.get_mut(&shard) else {
                continue;
            };
            let needed = |publication: &Publication| publication.open > 0 || self.unmarked.contains_key(&id);
            if table.get(counter).is_none_or(needed) {
                continue;
            }
            if !self.expiries_ns.is_empty() {
                self.expiries_ns.remove(&id);
            }
            if let Some(place) = table.remove(counter).and_then(|publication| publication.place()) {
                freed(place);
            }
        }
    }

    pub(super) fn forget_suspects(&mut self) {
        self.suspects.clear();
    }

    /// After everything was read: every publication without a reference may be unneeded.
    pub(super) fn suspect_all(&mut self) {
        let unneeded = self.iter().filter(|(_, publication)| publication.open == 0);
        self.suspects = unneeded.map(|(id, _)| id).collect();
        let Self { tables, unmarked, .. } = self;
        unmarked.retain(|id, _| {
            let (shard, counter) = split(*id);
            let publication = tables.get(&shard).and_then(|table| table.get(counter));
            publication.is_some_and(|publication| publication.place().is_some())
        });
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Publication)> {
        self.tables.iter().flat_map(|(shard, table)| {
            let shard = u64::from(*shard) << COUNTER_BITS;
            table
                .iter()
                .map(move |(counter, publication)| (shard | counter, publication))
        })
    }

    fn get_or_add(&mut self, id: u64) -> Option<&mut Publication> {
        let (shard, counter) = split(id);
        let table = self.tables.entry(shard).or_default();
        table.get_or_insert(counter)
    }
}

fn split(id: u64) -> (u16, u64) {
    (
        u16::try_from(id >> COUNTER_BITS).unwrap_or(u16::MAX),
        id & COUNTER_MAX,
    )
}
