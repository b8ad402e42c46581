//! A map from growing numbers to small values, in pages of 64.
//!
//! Invariants: pages are in the order of their numbers and none is empty; a page's values are those of the set bits of
//! its map, in their order. Numbers that are inserted in order and removed in about the same order cost constant time;
//! a number in the middle costs a search, and the removal of its page moves the shorter side of the pages.

use std::collections::VecDeque;

/// A map from growing numbers to values.
#[derive(Debug)]
pub(crate) struct PagedTable<T> {
    pages: VecDeque<Page<T>>,
    len: usize,
}

#[derive(Debug)]
struct Page<T> {
    /// The number of the page: the numbers of its values without their lowest bits.
    number: u64,
    /// One bit for each value that exists.
    present: u64,
    values: Vec<T>,
}

impl<T> Default for PagedTable<T> {
    fn default() -> Self {
        Self {
            pages: VecDeque::new(),
            len: 0,
        }
    }
}

impl<T> PagedTable<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        let page = self.pages.get(self.find(number >> PAGE_BITS).ok()?)?;
        page.values.get(page.rank_of(number)?)
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let place = self.find(number >> PAGE_BITS).ok()?;
        let page = self.pages.get_mut(place)?;
        let rank = page.rank_of(number)?;
        page.values.get_mut(rank)
    }

    /// Inserts a value; returns the previous one.
    #[cfg(test)]
    pub(crate) fn insert(&mut self, number: u64, value: T) -> Option<T>
    where
        T: Copy + Default,
    {
        let is_new = self.get(number).is_none();
        let old = std::mem::replace(self.get_or_insert(number).unwrap(), value);
        (!is_new).then_some(old)
    }

    /// The value of a number; the default value if there was none.
    pub(crate) fn get_or_insert(&mut self, number: u64) -> Option<&mut T>
    where
        T: Default,
    {
        let page_number = number >> PAGE_BITS;
        let place = self.find(page_number).unwrap_or_else(|place| {
            // If the numbers have no gaps, the next page will be full as well.
            let follows_full_page =
                place == self.pages.len() && self.pages.back().is_some_and(|page| page.present == u64::MAX);
            let page = Page {
                number: page_number,
                present: 0,
                values: Vec::with_capacity(if follows_full_page { PAGE_LEN as usize } else { 0 }),
            };
            self.pages.insert(place, page);
            place
        });
        let page = self.pages.get_mut(place)?;
        let rank = page.values_below(number);
        if page.present & bit(number) == 0 {
            page.values.insert(rank, T::default());
            page.present |= bit(number);
            self.len += 1;
        }
        page.values.get_mut(rank)
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<T> {
        let place = self.find(number >> PAGE_BITS).ok()?;
        let page = self.pages.get_mut(place)?;
        let rank = page.rank_of(number)?;
        let value = page.values.remove(rank);
        page.present &= !bit(number);
        self.len -= 1;
        if page.present == 0 {
            self.pages.remove(place);
        } else if page.values.len() * 4 <= page.values.capacity() {
            page.values.shrink_to(page.values.len() * 2);
        }
        Some(value)
    }

    /// All values in the order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.pages.iter().flat_map(Page::iter)
    }

    /// The values from a number on, in the order of their numbers.
    pub(crate) fn iter_from(&self, number: u64) -> impl Iterator<Item = (u64, &T)> {
        let (Ok(first) | Err(first)) = self.find(number >> PAGE_BITS);
        let pages = self.pages.range(first.min(self.pages.len())..);
        pages
            .flat_map(Page::iter)
            .skip_while(move |(other, _)| *other < number)
    }

    /// Where the page is, or belongs. The first and the last page are requested most often; if no page is missing, the
    /// distance of the others from the first one is that of their numbers.
    fn find(&self, page_number: u64) -> Result<usize, usize> {
        let (Some(front), Some(back)) = (self.pages.front(), self.pages.back()) else {
            return Err(0);
        };
        if back.number == page_number {
            return Ok(self.pages.len() - 1);
        }
        if back.number < page_number {
            return Err(self.pages.len());
        }
        let guess = usize::try_from(page_number.saturating_sub(front.number)).unwrap_or(usize::MAX);
        let guessed = self.pages.get(guess).map(|page| page.number);
        if guessed == Some(page_number) {
            return Ok(guess);
        }
        self.pages.binary_search_by_key(&page_number, |page| page.number)
    }
}

impl<T> Page<T> {
    fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let numbers = (0..PAGE_LEN).filter(|place| self.present & bit(*place) != 0);
        numbers
            .map(|place| self.number << PAGE_BITS | place)
            .zip(&self.values)
    }

    fn rank_of(&self, number: u64) -> Option<usize> {
        (self.present & bit(number) != 0).then(|| self.values_below(number))
    }

    fn values_below(&self, number: u64) -> usize {
        (self.present & (bit(number) - 1)).count_ones() as usize
    }
}

fn bit(number: u64) -> u64 {
    1 << (number & (PAGE_LEN - 1))
}

const PAGE_BITS: u32 = 6;
const PAGE_LEN: u64 = 1 << PAGE_BITS;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn it_does_what_a_map_does() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut table = PagedTable::default();
        let mut map = BTreeMap::new();
        for step in 0..20_000_u64 {
            let number = match random.u8(0..4) {
                0 => random.u64(..) >> random.u32(0..60),
                1 => random.u64(0..300),
                _ => step,
            };
            if random.bool() {
                assert_eq!(table.insert(number, step), map.insert(number, step));
            } else {
                let number = map.range(number..).next().map_or(number, |(number, _)| *number);
                assert_eq!(table.remove(number), map.remove(&number));
            }
            assert_eq!(table.get(number).copied(), map.get(&number).copied());
            assert_eq!(table.len(), map.len());
            if step % 100 == 0 {
                let from = number.saturating_sub(random.u64(0..200));
                let expected = map.range(from..).map(|(number, value)| (*number, value));
                assert!(table.iter_from(from).eq(expected));
            }
        }
        assert!(
            table
                .iter()
                .eq(map.iter().map(|(number, value)| (*number, value)))
        );
    }
}
