//! A queue that grows by blocks. The queues of all sessions that are away may have one length, because they get the
//! same messages: if each doubled its memory when it is full, all of them would copy everything in the same turn.
//!
//! Invariants: no block but the first is empty; a message costs no more than a new block, whatever waits already, and
//! what has left the queue takes no memory for long.

use std::collections::VecDeque;

/// Entries of a block.
const BLOCK: usize = 64;

/// A queue of any length.
#[derive(Debug)]
pub(in crate::logic) struct BlockQueue<T> {
    first: VecDeque<T>,
    /// The blocks behind the first one.
    more: VecDeque<VecDeque<T>>,
    len: usize,
}

impl<T> Default for BlockQueue<T> {
    fn default() -> Self {
        Self {
            first: VecDeque::new(),
            more: VecDeque::new(),
            len: 0,
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
        }
        Some(entry)
    }

    /// Puts an entry before the one at this place, or at the end. Its block may become longer than others.
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

    /// How many entries are at the front for which `is_before` holds; it holds for none behind them.
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
