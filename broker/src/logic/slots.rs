//! A slab that grows by chunks.
//!
//! Why not one vector: that doubles, so a million entries stand still while they are copied, and up to half of the memory
//! lies empty. Invariant: an entry never moves; a slot is used again only after it was removed; slots are dense from 0;
//! a chunk without values has no memory, but for the first one, so that one value that comes and goes costs nothing.

use hashbrown::HashTable;

/// Values in numbered slots.
#[derive(Debug)]
pub(super) struct Slots<T> {
    chunks: Vec<Chunk<T>>,
    free: Vec<u32>,
    /// The first slot that was never used.
    end: u32,
    len: usize,
}

/// Places for [`CHUNK`] values, as far as they were used.
#[derive(Debug)]
struct Chunk<T> {
    places: Vec<Option<T>>,
    len: usize,
}

const CHUNK: usize = 256;

impl<T> Slots<T> {
    pub(super) fn new() -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
            end: 0,
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub(super) fn get(&self, slot: u32) -> Option<&T> {
        let slot = slot as usize;
        self.chunks.get(slot / CHUNK)?.places.get(slot % CHUNK)?.as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        let slot = slot as usize;
        let chunk = self.chunks.get_mut(slot / CHUNK)?;
        chunk.places.get_mut(slot % CHUNK)?.as_mut()
    }

    /// Puts a value into a free slot; returns its number.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            // The bounds of what is kept in slots are far below 2^32.
            let slot = self.end;
            self.end = slot.saturating_add(1);
            slot
        });
        let (at, within) = (slot as usize / CHUNK, slot as usize % CHUNK);
        if at == self.chunks.len() {
            let places = Vec::new();
            self.chunks.push(Chunk { places, len: 0 });
        }
        if let Some(chunk) = self.chunks.get_mut(at) {
            chunk.put(within, value);
            self.len += 1;
        }
        slot
    }

    /// Takes a value out, if there is one.
    pub(super) fn remove(&mut self, slot: u32) -> Option<T> {
        let chunk = self.chunks.get_mut(slot as usize / CHUNK)?;
        let value = chunk.places.get_mut(slot as usize % CHUNK)?.take()?;
        chunk.len -= 1;
        if chunk.len == 0 && slot as usize >= CHUNK {
            chunk.places = Vec::new();
        }
        self.len -= 1;
        self.free.push(slot);
        if self.len == 0 && self.chunks.len() > 1 {
            self.clear();
        }
        Some(value)
    }

    /// Takes all out, and gives the memory back.
    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let chunks = (0..).step_by(CHUNK).zip(&self.chunks);
        let places = chunks.flat_map(|(first, chunk)| (first..).zip(&chunk.places));
        places.filter_map(|(slot, place)| Some((slot, place.as_ref()?)))
    }
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

/// Gives memory back of a table out of which most was taken; to be called after each time. A small one stays as it is.
pub(super) fn shrink_table<T>(table: &mut HashTable<T>, hash: impl Fn(&T) -> u64) {
    if table.len() * 8 < table.capacity() && table.capacity() > SMALL {
        table.shrink_to(table.len() * 2, hash);
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

    #[test]
    fn slots_are_dense_and_used_again() {
        let mut slots = Slots::new();
        for number in 0..1000_u32 {
            assert_eq!(slots.insert(number), number);
        }
        assert_eq!(
            (slots.remove(300), slots.remove(300), slots.get(300)),
            (Some(300), None, None)
        );
        assert_eq!(slots.insert(7), 300);
        assert_eq!((slots.len(), slots.iter().count()), (1000, 1000));
        assert_eq!(slots.iter().map(|(slot, _)| slot).max(), Some(999));
        assert_eq!((slots.get(5000), slots.get(u32::MAX)), (None, None));
        assert_eq!(slots.remove(u32::MAX), None);
    }

    /// Whatever comes and goes, each value is where it was put, and chunks without values have no memory.
    #[test]
    fn chunks_without_values_give_their_memory_back() {
        let mut slots = Slots::new();
        for number in 0..1000_u32 {
            slots.insert(number);
        }
        (256..1000).for_each(|slot| assert!(slots.remove(slot).is_some()));
        let capacities = |slots: &Slots<u32>| {
            let chunks = slots.chunks.iter();
            chunks.map(|chunk| chunk.places.capacity()).collect::<Vec<_>>()
        };
        assert_eq!(capacities(&slots), [CHUNK, 0, 0, 0]);
        let again: Vec<u32> = (0..800).map(|number| slots.insert(5000 + number)).collect();
        let mut used = again.clone();
        used.sort_unstable();
        assert_eq!(used, (256..1056).collect::<Vec<_>>());
        for (number, &slot) in (5000..).zip(&again) {
            assert_eq!(slots.get(slot), Some(&number));
        }
        assert!(slots.iter().all(|(slot, number)| slots.get(slot) == Some(number)));
        assert_eq!((slots.len(), slots.iter().count()), (1056, 1056));
    }

    #[test]
    fn tables_and_lists_shrink_with_what_is_in_them() {
        let hash = |&number: &u64| number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut table = HashTable::new();
        let mut list: Vec<u64> = (0..10_000).collect();
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
            assert_eq!((list.len(), table.len()), (number as usize, number as usize));
            assert!(list.capacity() <= 4 * list.len() && table.capacity() <= SMALL.max(8 * table.len()));
        }
    }

    #[test]
    fn empty_slots_give_their_memory_back() {
        let mut slots = Slots::new();
        for number in 0..1000 {
            slots.insert(number);
        }
        (0..1000).for_each(|slot| assert!(slots.remove(slot).is_some()));
        assert!(slots.is_empty() && slots.chunks.is_empty() && slots.free.is_empty());
    }
}
