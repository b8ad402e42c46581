//! The ledger of a subscriber: for each of its publishers, how many messages arrived, arrived twice, arrived late, or
//! never arrived.
//!
//! Invariants: `unique + lost = sent` for each pair of publisher and subscriber once the run has drained. The memory of
//! a pair is constant (the highest sequence number and a bitmap of those just below it), however much is lost. What
//! breaks them: a message older than the bitmap cannot be distinguished from a duplicate; it is counted as late as long
//! as the pair still misses messages older than the bitmap. The proptest compares the ledger with a model that keeps
//! everything.

/// The publishers that one subscriber receives from: `first`, `first + step`, ... (`count` of them).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublisherRange {
    /// The lowest number of a publisher.
    pub first: u32,
    /// Distance to the next; at least 1.
    pub step: u32,
    /// The number of publishers in the set.
    pub count: u32,
}

impl PublisherRange {
    /// Position of a publisher in the range.
    #[inline]
    pub fn position(&self, publisher: u32) -> Option<usize> {
        let distance = publisher.checked_sub(self.first)?;
        let position = match self.step {
            1 => distance,
            step if distance.is_multiple_of(step) => distance.checked_div(step)?,
            _ => return None,
        };
        (position < self.count).then_some(position as usize)
    }

    /// The publisher numbers, ascending.
    pub fn publishers(&self) -> impl Iterator<Item = u32> + use<> {
        let PublisherRange { first, step, count } = *self;
        (0..count).map(move |position| first + position * step)
    }
}

/// What a received message means for the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Received for the first time, in order.
    InOrder,
    /// Received for the first time, behind a later one.
    Reordered,
    /// Received before: a duplicate.
    Duplicate,
    /// From a publisher that this subscriber should not receive from.
    Foreign,
}

/// Counts of one or of many subscribers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Totals {
    /// Deliveries that the publishers' messages call for.
    pub expected: u64,
    /// Deliveries received, each counted once.
    pub received: u64,
    /// Deliveries that never came.
    pub lost: u64,
    /// Deliveries that came again.
    pub duplicate: u64,
    /// Deliveries that came behind a later one of the same publisher.
    pub reordered: u64,
    /// Messages that this run did not send, or not to this subscriber.
    pub foreign: u64,
}

impl Totals {
    /// Adds the counts of another subscriber.
    pub fn add(&mut self, other: &Totals) {
        self.expected += other.expected;
        self.received += other.received;
        self.lost += other.lost;
        self.duplicate += other.duplicate;
        self.reordered += other.reordered;
        self.foreign += other.foreign;
    }
}

/// The ledger of one subscriber.
#[derive(Clone, Debug)]
pub struct Ledger {
    publishers: PublisherRange,
    pairs: Box<[Pair]>,
    duplicate: u64,
    reordered: u64,
    foreign: u64,
    /// Messages that did not come although a later one of their publisher did.
    overtaken: u64,
}

impl Ledger {
    /// An empty ledger for these publishers.
    pub fn new(publishers: PublisherRange) -> Ledger {
        let pairs = vec![Pair::NEW; publishers.count as usize].into_boxed_slice();
        Ledger {
            publishers,
            pairs,
            duplicate: 0,
            reordered: 0,
            foreign: 0,
            overtaken: 0,
        }
    }

    /// Messages that did not come although a later one of their publisher did: they are no backlog, they are lost.
    #[inline]
    pub fn overtaken(&self) -> u64 {
        self.overtaken
    }

    /// Records a message that was received, and returns what it was.
    #[inline]
    pub fn enter(&mut self, publisher: u32, sequence: u32) -> Entry {
        let pair = self
            .publishers
            .position(publisher)
            .and_then(|position| self.pairs.get_mut(position));
        let overtaken = &mut self.overtaken;
        let entry = pair.map_or(Entry::Foreign, |pair| pair.enter(sequence, overtaken));
        match entry {
            Entry::InOrder => {}
            Entry::Reordered => self.reordered += 1,
            Entry::Duplicate => self.duplicate += 1,
            Entry::Foreign => self.foreign += 1,
        }
        entry
    }

    /// Counts a message that carries no stamp of this run.
    pub fn enter_foreign(&mut self) {
        self.foreign += 1;
    }

    /// Closes the ledger; `sent` returns how many messages a publisher sent.
    pub fn close(&self, sent: impl Fn(u32) -> u64) -> Totals {
        let mut totals = Totals {
            duplicate: self.duplicate,
            reordered: self.reordered,
            foreign: self.foreign,
            ..Totals::default()
        };
        for (publisher, pair) in self.publishers.publishers().zip(self.pairs.iter()) {
            let expected = sent(publisher);
            totals.expected += expected;
            totals.received += pair.unique;
            totals.lost += expected.saturating_sub(pair.unique);
        }
        totals
    }
}

/// One (subscriber, publisher) pair. Bit k of `seen` stands for the sequence `next - 1 - k`; sequences before the first
/// count as seen.
#[derive(Clone, Copy, Debug)]
struct Pair {
    seen: u128,
    unique: u64,
    /// Not yet received and too old for `seen`.
    missing_older: u32,
    next: u32,
}

const SEEN_BITS: u32 = u128::BITS;

impl Pair {
    const NEW: Pair = Pair {
        seen: u128::MAX,
        unique: 0,
        missing_older: 0,
        next: 0,
    };

    #[inline]
    fn enter(&mut self, sequence: u32, overtaken: &mut u64) -> Entry {
        if sequence == self.next && self.seen.leading_ones() > 0 {
            self.seen = self.seen << 1 | 1;
            self.next = self.next.wrapping_add(1);
            self.unique += 1;
            return Entry::InOrder;
        }
        let ahead = sequence.wrapping_sub(self.next) as i32;
        if ahead >= 0 {
            *overtaken += u64::from(ahead as u32);
            self.enter_ahead(ahead as u32)
        } else {
            let entry = self.enter_behind(ahead.unsigned_abs() - 1);
            *overtaken -= u64::from(entry == Entry::Reordered).min(*overtaken);
            entry
        }
    }

    fn enter_ahead(&mut self, skipped: u32) -> Entry {
        let advance = skipped + 1;
        let staying = SEEN_BITS - advance.min(SEEN_BITS);
        let leaving_missing = (self.seen >> staying).count_zeros() - staying;
        self.missing_older += leaving_missing + advance.saturating_sub(SEEN_BITS);
        self.seen = self.seen.checked_shl(advance).unwrap_or(0) | 1;
        self.next = self.next.wrapping_add(advance);
        self.unique += 1;
        Entry::InOrder
    }

    fn enter_behind(&mut self, distance: u32) -> Entry {
        let bit = 1_u128.checked_shl(distance).unwrap_or(0);
        if self.seen & bit != 0 || (bit == 0 && self.missing_older == 0) {
            return Entry::Duplicate;
        }
        self.seen |= bit;
        self.missing_older -= u32::from(bit == 0);
        self.unique += 1;
        Entry::Reordered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Entry::{Duplicate, Foreign, InOrder, Reordered};
    use proptest::prelude::*;
    use std::collections::HashSet;

    const ONE: PublisherRange = PublisherRange {
        first: 0,
        step: 1,
        count: 1,
    };

    fn entries(sequences: &[u32]) -> Vec<Entry> {
        let mut ledger = Ledger::new(ONE);
        sequences
            .iter()
            .map(|&sequence| ledger.enter(0, sequence))
            .collect()
    }

    #[test]
    fn table_of_entries() {
        let table: [(&[u32], &[Entry]); 6] = [
            (&[0, 1, 2], &[InOrder, InOrder, InOrder]),
            (&[0, 0, 1, 0], &[InOrder, Duplicate, InOrder, Duplicate]),
            (&[0, 2, 1, 3], &[InOrder, InOrder, Reordered, InOrder]),
            (&[0, 2, 1, 1], &[InOrder, InOrder, Reordered, Duplicate]),
            (&[5, 4, 4, 0], &[InOrder, Reordered, Duplicate, Reordered]),
            (
                &[0, 500, 1, 0, 2],
                &[InOrder, InOrder, Reordered, Reordered, Reordered],
            ),
        ];
        // The last row shows the documented limit: 0 came again, but 499 older messages are missing, so it counts as
        // one.
        for (sequences, expected) in table {
            assert_eq!(entries(sequences), expected, "{sequences:?}");
        }
    }

    #[test]
    fn a_very_old_message_is_a_duplicate_when_nothing_older_is_missing() {
        let mut ledger = Ledger::new(ONE);
        for sequence in 0..1_000 {
            assert_eq!(ledger.enter(0, sequence), InOrder);
        }
        assert_eq!(ledger.enter(0, 3), Duplicate);
        assert_eq!(
            ledger.close(|_| 1_000),
            Totals {
                expected: 1_000,
                received: 1_000,
                duplicate: 1,
                ..Totals::default()
            }
        );
    }

    #[test]
    fn what_never_came_is_lost_and_a_message_of_another_run_is_foreign() {
        let mut ledger = Ledger::new(PublisherRange {
            first: 2,
            step: 3,
            count: 2,
        });
        assert_eq!(ledger.enter(2, 0), InOrder);
        assert_eq!(ledger.enter(5, 7), InOrder);
        for publisher in [0, 1, 3, 4, 8] {
            assert_eq!(ledger.enter(publisher, 0), Foreign, "{publisher}");
        }
        let totals = ledger.close(|publisher| if publisher == 2 { 1 } else { 10 });
        assert_eq!(
            totals,
            Totals {
                expected: 11,
                received: 2,
                lost: 9,
                foreign: 5,
                ..Totals::default()
            }
        );
    }

    #[test]
    fn what_later_messages_overtook_is_known_before_the_end() {
        let mut ledger = Ledger::new(ONE);
        let overtaken = [0, 2, 5, 5, 3, 300, 4, 1, 301].map(|sequence| {
            ledger.enter(0, sequence);
            ledger.overtaken()
        });
        assert_eq!(overtaken, [0, 1, 3, 3, 2, 296, 295, 294, 294]);
        let lost = ledger.close(|_| 302).lost;
        assert_eq!(lost, 294, "and here nothing else is");
    }

    #[test]
    fn sequences_wrap() {
        let mut ledger = Ledger::new(ONE);
        if let Some(pair) = ledger.pairs.first_mut() {
            pair.next = u32::MAX;
        }
        assert_eq!(ledger.enter(0, u32::MAX), InOrder);
        assert_eq!(ledger.enter(0, 1), InOrder);
        assert_eq!(ledger.enter(0, 0), Reordered);
    }

    proptest! {
        /// Within the bitmap's reach the ledger agrees with a model that keeps every sequence.
        #[test]
        fn agrees_with_a_model_that_keeps_everything(
            steps in proptest::collection::vec((0_u32..4, 0_u32..120), 1..400),
        ) {
            let mut ledger = Ledger::new(ONE);
            let mut seen = HashSet::new();
            let mut highest: Option<u32> = None;
            for (kind, distance) in steps {
                let next = highest.map_or(0, |highest| highest + 1);
                let sequence = match kind {
                    0 => next.saturating_sub(distance),
                    1 => next + distance,
                    _ => next,
                };
                let expected = match (seen.insert(sequence), highest) {
                    (false, _) => Duplicate,
                    (true, Some(highest)) if sequence < highest => Reordered,
                    _ => InOrder,
                };
                highest = highest.max(Some(sequence));
                prop_assert_eq!(ledger.enter(0, sequence), expected);
                let missing = highest.map_or(0, u64::from) + 1 - seen.len() as u64;
                prop_assert_eq!(ledger.overtaken(), missing);
            }
            let sent = u64::from(highest.unwrap_or(0)) + 1;
            let totals = ledger.close(|_| sent);
            prop_assert_eq!(totals.received, seen.len() as u64);
            prop_assert_eq!(totals.received + totals.lost, sent);
        }

        /// However far apart the sequences are, each is counted once when each comes once.
        #[test]
        fn a_permutation_is_neither_lost_nor_duplicate(
            order in Just((0..2_000_u32).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let mut ledger = Ledger::new(ONE);
            for sequence in order {
                prop_assert_ne!(ledger.enter(0, sequence), Duplicate);
            }
            let totals = ledger.close(|_| 2_000);
            prop_assert_eq!((totals.received, totals.lost, totals.duplicate), (2_000, 0, 0));
        }
    }
}
