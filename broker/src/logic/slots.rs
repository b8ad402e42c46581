//! A slab: values in numbered slots, in chunks that never move.
//!
//! A vector would double when it is full: with a million entries all clients would wait while they are copied, and up
//! to half of the memory would be unused.
//!
//! Invariants: a value never moves. A slot is reused only after its value was removed. Slots are numbered densely from
//! 1, so an `Option` of a slot is as small as a slot. Slot 0 is never assigned, and looking up `None` costs no branch.
//! A chunk without values has no memory, except for the first one, so that inserting and removing a single value costs
//! no allocation.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use std::num::NonZeroU32;

use hashbrown::HashTable;

/// The number of a slot in [`Slots`]. Each kind of value has its own slot type, made by [`slot_type!`].
pub(super) trait Slot: Copy {
    /// The slot with this number.
    fn from_number(number: NonZeroU32) -> Self;

    /// The number of the slot, from 1 on.
    fn number(self) -> NonZeroU32;
}

/// Makes a slot type for one kind of value: as large as a `u32`, and so is its `Option`.
macro_rules! slot_type {
    ($(#[$meta:meta])* $visibility:vis struct $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $visibility struct $name(std::num::NonZeroU32);

        impl $crate::logic::slots::Slot for $name {
            #[inline]
            fn from_number(number: std::num::NonZeroU32) -> Self {
                Self(number)
            }

            #[inline]
            fn number(self) -> std::num::NonZeroU32 {
                self.0
            }
        }

        #[allow(dead_code, reason = "not every kind of value has a special first one")]
        impl $name {
            /// The slot of the first value.
            pub(in crate::logic) const FIRST: Self = Self(std::num::NonZeroU32::MIN);
        }

        #[cfg(test)]
        #[allow(dead_code, reason = "not the tests of every kind of slot make their own")]
        impl $name {
            /// The slot with that number, which is not 0.
            pub(in crate::logic) fn test(number: u32) -> Self {
                Self(std::num::NonZeroU32::new(number).unwrap())
            }
        }
    };
}

pub(super) use slot_type;

/// Values in numbered slots.
#[derive(Debug)]
pub(super) struct Slots<S, T> {
    chunks: Vec<Chunk<T>>,
    free: Vec<S>,
    /// The highest slot that was ever used.
    last: u32,
    len: usize,
    slot: PhantomData<S>,
}

/// Slots for [`CHUNK`] values, as far as they were used.
#[derive(Debug)]
struct Chunk<T> {
    places: Vec<Option<T>>,
    len: usize,
}

const CHUNK: usize = 256;

impl<S: Slot, T> Slots<S, T> {
    pub(super) fn new() -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
            last: 0,
            len: 0,
            slot: PhantomData,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value in a slot; `None` if no slot is given.
    #[inline]
    pub(super) fn get(&self, slot: impl Into<Option<S>>) -> Option<&T> {
        let at = number_or_zero(slot.into());
        self.chunks.get(at / CHUNK)?.places.get(at % CHUNK)?.as_ref()
    }

    /// As [`Self::get`], mutable for changes.
    #[inline]
    pub(super) fn get_mut(&mut self, slot: impl Into<Option<S>>) -> Option<&mut T> {
        let at = number_or_zero(slot.into());
        let chunk = self.chunks.get_mut(at / CHUNK)?;
        chunk.places.get_mut(at % CHUNK)?.as_mut()
    }

    /// Puts a value into a free slot.
    pub(super) fn insert(&mut self, value: T) -> S {
        let slot = self.free.pop().unwrap_or_else(|| {
            // The bounds of the values kept in slots are far below 2^32.
            self.last = self.last.saturating_add(1);
            S::from_number(NonZeroU32::new(self.last).unwrap_or(NonZeroU32::MAX))
        });
        let at = number_or_zero(Some(slot));
        if at / CHUNK == self.chunks.len() {
            let places = Vec::new();
            self.chunks.push(Chunk { places, len: 0 });
        }
        if let Some(chunk) = self.chunks.get_mut(at / CHUNK) {
            chunk.put(at % CHUNK, value);
            self.len += 1;
        }
        slot
    }

    /// Removes a value, if there is one.
    pub(super) fn remove(&mut self, slot: S) -> Option<T> {
        let at = number_or_zero(Some(slot));
        let chunk = self.chunks.get_mut(at / CHUNK)?;
        let value = chunk.places.get_mut(at % CHUNK)?.take()?;
        chunk.len -= 1;
        if chunk.len == 0 && at >= CHUNK {
            chunk.places = Vec::new();
        }
        self.len -= 1;
        self.free.push(slot);
        if self.len == 0 && self.chunks.len() > 1 {
            self.clear();
        }
        Some(value)
    }

    /// Removes all values, and frees the memory.
    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }

    /// The values in slots from that number on, in order.
    pub(super) fn iter_from(&self, number: u32) -> impl Iterator<Item = (S, &T)> {
        let (chunk, at) = (number as usize / CHUNK, number as usize % CHUNK);
        let chunks = (0..).step_by(CHUNK).zip(&self.chunks).skip(chunk);
        let places = chunks.flat_map(|(first, chunk)| (first..).zip(&chunk.places));
        let skipped = if self
            .chunks
            .get(chunk)
            .is_some_and(|chunk| !chunk.places.is_empty())
        {
            at
        } else {
            0
        };
        places.skip(skipped).filter_map(|(number, place)| {
            let slot = S::from_number(NonZeroU32::new(number)?);
            Some((slot, place.as_ref()?))
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (S, &T)> {
        let chunks = (0..).step_by(CHUNK).zip(&self.chunks);
        let places = chunks.flat_map(|(first, chunk)| (first..).zip(&chunk.places));
        places.filter_map(|(number, place)| {
            let slot = S::from_number(NonZeroU32::new(number)?);
            Some((slot, place.as_ref()?))
        })
    }
}

/// The number of a slot: 0, which is never used, for `None`.
#[inline]
fn number_or_zero<S: Slot>(slot: Option<S>) -> usize {
    slot.map_or(0, |slot| slot.number().get()) as usize
}

impl<T> Chunk<T> {
    fn put(&mut self, at: usize, value: T) {
        if self.places.capacity() == 0 {
            self.places.reserve_exact(CHUNK);
        }
        if self.places.len() <= at {
            self.places.resize_with(at + 1, || None);
        }
        if let Some(place) = self.places.get_mut(at) {
            *place = Some(value);
            self.len += 1;
        }
    }
}

/// Frees memory of a table from which most entries were removed; to be called after each removal. A small table is
/// kept.
pub(super) fn shrink_table<T>(table: &mut HashTable<T>, hash: impl Fn(&T) -> u64) {
    if table.len() * 8 < table.capacity() && table.capacity() > SMALL {
        table.shrink_to(table.len() * 2, hash);
    }
}

/// The same for a standard library map.
pub(super) fn shrink_map<K: Eq + Hash, V, S: BuildHasher>(map: &mut HashMap<K, V, S>) {
    if map.len() * 8 < map.capacity() && map.capacity() > SMALL {
        map.shrink_to(map.len() * 2);
    }
}

const SMALL: usize = 100;

/// The same for a list, of which there may be many: also for a small one.
pub(super) fn shrink_list<T>(list: &mut Vec<T>) {
    if list.len() * 4 < list.capacity() {
        list.shrink_to(list.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    slot_type! {
        struct TestSlot
    }

    fn slot(number: u32) -> TestSlot {
        TestSlot::test(number)
    }

    #[test]
    fn slots_are_dense_and_used_again() {
        let mut slots = Slots::new();
        for number in 1..=1000_u32 {
            assert_eq!(slots.insert(number), slot(number));
        }
        let gone = slot(300);
        assert_eq!(
            (slots.remove(gone), slots.remove(gone), slots.get(gone)),
            (Some(300), None, None)
        );
        assert_eq!(slots.insert(7), gone);
        assert_eq!((slots.len(), slots.iter().count()), (1000, 1000));
        assert_eq!(slots.iter().map(|(slot, _)| slot).max(), Some(slot(1000)));
        assert_eq!((slots.get(slot(5000)), slots.get(slot(u32::MAX))), (None, None));
        assert!(slots.get(None::<TestSlot>).is_none() && slots.get_mut(None::<TestSlot>).is_none());
        assert_eq!(slots.remove(slot(u32::MAX)), None);
    }

    /// Whatever is inserted and removed, each value is in its slot, and chunks without values have no memory.
    #[test]
    fn chunks_without_values_give_their_memory_back() {
        let mut slots: Slots<TestSlot, u32> = Slots::new();
        for number in 1..=1000_u32 {
            slots.insert(number);
        }
        (256..=1000).for_each(|number| assert!(slots.remove(slot(number)).is_some()));
        let capacities = |slots: &Slots<TestSlot, u32>| {
            let chunks = slots.chunks.iter();
            chunks.map(|chunk| chunk.places.capacity()).collect::<Vec<_>>()
        };
        assert_eq!(capacities(&slots), [CHUNK, 0, 0, 0]);
        let again: Vec<_> = (0..800).map(|number| slots.insert(5000 + number)).collect();
        let mut used = again.clone();
        used.sort_unstable();
        assert_eq!(used, (256..1056).map(slot).collect::<Vec<_>>());
        for (number, &slot) in (5000..).zip(&again) {
            assert_eq!(slots.get(slot), Some(&number));
        }
        assert!(slots.iter().all(|(slot, number)| slots.get(slot) == Some(number)));
        assert_eq!((slots.len(), slots.iter().count()), (1055, 1055));
    }

    #[test]
    fn tables_and_lists_shrink_with_what_is_in_them() {
        let hash = |&number: &u64| number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut table = HashTable::new();
        let mut list: Vec<u64> = (0..10_000).collect();
        let mut map: HashMap<u64, ()> = list.iter().map(|&number| (number, ())).collect();
        for number in &list {
            table.insert_unique(hash(number), *number, hash);
        }
        while let Some(number) = list.pop() {
            shrink_list(&mut list);
            table
                .find_entry(hash(&number), |&other| other == number)
                .unwrap()
                .remove();
            shrink_table(&mut table, hash);
            map.remove(&number);
            shrink_map(&mut map);
            let left = number as usize;
            assert_eq!((list.len(), table.len(), map.len()), (left, left, left));
            assert!(list.capacity() <= 4 * left && table.capacity() <= SMALL.max(8 * left));
            // A small one has a few more than twice its entries.
            assert!(map.capacity() <= (2 * SMALL).max(8 * left));
        }
    }

    #[test]
    fn empty_slots_give_their_memory_back() {
        let mut slots: Slots<TestSlot, u32> = Slots::new();
        for number in 1..=1000 {
            slots.insert(number);
        }
        (1..=1000).for_each(|number| assert!(slots.remove(slot(number)).is_some()));
        assert!(slots.is_empty() && slots.chunks.is_empty() && slots.free.is_empty());
    }
}
