//! A queue that grows by blocks. The queues of all disconnected sessions may have the same length, because they get
//! the same messages: if each doubled its memory when it is full, all of them would copy everything in the same turn.
//!
//! Invariants: no block except the first is empty; a message costs no more than a new block, however many wait
//! already, and entries that have left the queue take no memory for long.

use std::collections::VecDeque;

/// Entries of a block.
const BLOCK: usize = 64;

/// A queue of any length.
#[derive(Debug)]
pub(in crate::logic) struct BlockQueue<T> {
    first: VecDeque<T>,
    /// The blocks after the first one.
    more: VecDeque<VecDeque<T>>,
    len: usize,
    /// The block that [`Self::take_where`] checks next; the first one counts.
    next_block: usize,
}

impl<T> Default for BlockQueue<T> {
    fn default() -> Self {
        Self {
            first: VecDeque::new(),
            more: VecDeque::new(),
            len: 0,
            next_block: 0,
        }
    }
}

impl<T> BlockQueue<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub(super) fn front(&self) -> Option<&T> {
        self.first.front()
    }

    #[inline(always)]
    pub(super) fn push_back(&mut self, entry: T) {
        let last = self.more.back_mut().unwrap_or(&mut self.first);
        if last.len() < BLOCK {
            last.push_back(entry);
        } else {
            let mut block = VecDeque::with_capacity(BLOCK);
            block.push_back(entry);
            self.more.push_back(block);
        }
        self.len += 1;
    }

    #[inline(always)]
    pub(super) fn pop_front(&mut self) -> Option<T> {
        let entry = self.first.pop_front()?;
        self.len -= 1;
        if self.first.is_empty()
            && let Some(next) = self.more.pop_front()
        {
            self.first = next;
            self.next_block = self.next_block.saturating_sub(1);
        }
        Some(entry)
    }

    /// Removes the entries for which `is_taken` holds from the blocks after those that the previous call checked,
    /// until `entries_max` were checked. Returns the number of removed entries, and whether the last entry was
    /// checked; then the next call starts at the front again.
    pub(super) fn take_where(
        &mut self,
        entries_max: usize,
        taken: &mut Vec<T>,
        mut is_taken: impl FnMut(&T) -> bool,
    ) -> (usize, bool) {
        let mut looked_at = 0;
        while looked_at < entries_max {
            let block = match self.next_block.checked_sub(1) {
                None => Some(&mut self.first),
                Some(at) => self.more.get_mut(at),
            };
            let Some(block) = block else {
                self.next_block = 0;
                return (looked_at, true);
            };
            looked_at += block.len();
            let before = taken.len();
            let mut at = 0;
            while let Some(entry) = block.get(at) {
                if is_taken(entry) {
                    taken.extend(block.remove(at));
                } else {
                    at += 1;
                }
            }
            self.len -= taken.len() - before;
            self.leave_block();
        }
        (looked_at, false)
    }

    /// Moves to the next block; an empty one is removed.
    fn leave_block(&mut self) {
        match self.next_block.checked_sub(1) {
            None if self.first.is_empty() && !self.more.is_empty() => {
                self.first = self.more.pop_front().unwrap_or_default();
            }
            Some(at) if self.more.get(at).is_some_and(VecDeque::is_empty) => {
                self.more.remove(at);
            }
            _ => self.next_block += 1,
        }
    }

    /// Inserts an entry before the one at this place, or at the end. Its block may become longer than others.
    pub(super) fn insert(&mut self, at: usize, entry: T) {
        let mut left = at;
        for block in std::iter::once(&mut self.first).chain(&mut self.more) {
            if left <= block.len() {
                block.insert(left, entry);
                self.len += 1;
                return;
            }
            left -= block.len();
        }
        self.push_back(entry);
    }

    /// Number of entries at the front for which `is_before` is true; it must be false for all after them.
    pub(super) fn partition_point(&self, mut is_before: impl FnMut(&T) -> bool) -> usize {
        let mut before = 0;
        for block in std::iter::once(&self.first).chain(&self.more) {
            let count = block.partition_point(&mut is_before);
            before += count;
            if count < block.len() {
                break;
            }
        }
        before
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(self.more.iter().flatten())
    }

    pub(super) fn into_entries(self) -> impl Iterator<Item = T> {
        self.first.into_iter().chain(self.more.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_does_what_one_long_queue_does(steps in prop::collection::vec((0_u8..8, 0_usize..400), 0..2000)) {
            let (mut queue, mut long) = (BlockQueue::default(), VecDeque::new());
            for (step, number) in steps {
                match step {
                    7 => {
                        let mut taken = Vec::new();
                        let is_taken = |entry: &usize| entry % 3 == number % 3;
                        while !queue.take_where(64, &mut taken, is_taken).1 {}
                        // A call that continued in the middle has not checked everything.
                        while !queue.take_where(64, &mut taken, is_taken).1 {}
                        let all = long.iter().copied().filter(is_taken).collect::<Vec<_>>();
                        taken.sort_unstable();
                        let mut expected = all.clone();
                        expected.sort_unstable();
                        prop_assert_eq!(taken, expected);
                        long.retain(|entry| !is_taken(entry));
                    }
                    6 => {
                        let mut taken = Vec::new();
                        queue.take_where(1, &mut taken, |_| false);
                        prop_assert!(taken.is_empty());
                    }
                    0 => prop_assert_eq!(queue.pop_front(), long.pop_front()),
                    1 => {
                        let at = number.min(long.len());
                        queue.insert(at, number);
                        long.insert(at, number);
                    }
                    2 => for _ in 0..number {
                        prop_assert_eq!(queue.pop_front(), long.pop_front());
                    },
                    _ => for number in 0..number / 16 {
                        queue.push_back(number);
                        long.push_back(number);
                    },
                }
                prop_assert_eq!((queue.len(), queue.is_empty()), (long.len(), long.is_empty()));
                prop_assert_eq!(queue.front(), long.front());
                prop_assert!(queue.more.iter().all(|block| !block.is_empty()));
            }
            prop_assert!(queue.iter().eq(long.iter()));
            prop_assert!(queue.into_entries().eq(long));
        }

        #[test]
        fn places_are_found_in_any_block(count in 0_usize..300, at in 0_usize..310) {
            let mut queue = BlockQueue::default();
            (0..count).for_each(|number| queue.push_back(number));
            prop_assert_eq!(queue.partition_point(|&number| number < at), at.min(count));
        }
    }
}
