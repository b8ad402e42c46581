//! A slab that grows by chunks.
//!
//! Why not one vector: that doubles, so a million entries stand still while they are copied, and up to half of the memory
//! lies empty. Invariant: an entry never moves; a slot is used again only after it was removed; slots are dense from 0.

/// Values in numbered slots.
#[derive(Debug)]
pub(super) struct Slots<T> {
    chunks: Vec<Vec<Option<T>>>,
    free: Vec<u32>,
    len: usize,
}

const CHUNK: usize = 256;

impl<T> Slots<T> {
    pub(super) fn new() -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
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
        self.chunks.get(slot / CHUNK)?.get(slot % CHUNK)?.as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        let slot = slot as usize;
        self.chunks.get_mut(slot / CHUNK)?.get_mut(slot % CHUNK)?.as_mut()
    }

    /// Puts a value into a free slot; returns its number.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        self.len += 1;
        if let Some(slot) = self.free.pop() {
            let chunk = self.chunks.get_mut(slot as usize / CHUNK);
            if let Some(place) = chunk.and_then(|chunk| chunk.get_mut(slot as usize % CHUNK)) {
                *place = Some(value);
            }
            return slot;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let before = (self.chunks.len() - 1) * CHUNK;
        let within = self.chunks.last_mut().map_or(0, |chunk| {
            chunk.push(Some(value));
            chunk.len() - 1
        });
        // The bounds of what is kept in slots are far below 2^32.
        u32::try_from(before + within).unwrap_or(u32::MAX)
    }

    /// Takes a value out, if there is one.
    pub(super) fn remove(&mut self, slot: u32) -> Option<T> {
        let chunk = self.chunks.get_mut(slot as usize / CHUNK)?;
        let value = chunk.get_mut(slot as usize % CHUNK)?.take()?;
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
        let places = self.chunks.iter().flatten();
        (0..)
            .zip(places)
            .filter_map(|(slot, place)| Some((slot, place.as_ref()?)))
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
