//! The ledger of a subscriber: for each of its publishers, how many messages arrived, arrived twice, arrived late, or
//! never arrived.
//!
//! Invariants: `unique + lost + unowed = sent` for each pair of publisher and subscriber once the run has drained. A
//! message is unowed, and not lost, if the subscriber was disconnected or the publisher's connection broke. The memory
//! of a pair is constant (the highest sequence number and a bitmap of those just below it), however many messages are
//! lost. What breaks them: a message older than the bitmap cannot be distinguished from a duplicate; it is counted as
//! late as long as the pair still misses messages older than the bitmap. The proptest compares the ledger with a model
//! that keeps everything.

use std::ops::Range;

/// The publishers from which one subscriber receives: `first`, `first + step`, ... (`count` of them).
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

/// The result of recording a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Received for the first time, in order.
    InOrder,
    /// Received for the first time, after a later one.
    Reordered,
    /// Received before: a duplicate.
    Duplicate,
    /// From a publisher that this subscriber should not receive from.
    Foreign,
}

/// Counts of one or of many subscribers.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, schemars::JsonSchema, serde::Serialize, serde::Deserialize,
)]
pub struct Totals {
    /// Deliveries that the publishers' messages should cause, without unowed ones.
    pub expected: u64,
    /// Deliveries received, without duplicates.
    pub received: u64,
    /// Deliveries that never arrived.
    pub lost: u64,
    /// Unowed deliveries that never arrived: the subscriber was disconnected, or the publisher's connection broke.
    #[serde(default)]
    pub unowed: u64,
    /// Deliveries that arrived again.
    pub duplicate: u64,
    /// Deliveries that arrived after a later one of the same publisher.
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
        self.unowed += other.unowed;
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
    /// Messages that did not arrive although a later one of their publisher did.
    overtaken: u64,
    /// Of these, the unowed ones.
    unowed: u64,
    /// Messages that may be missing without being lost, because members of the group were disconnected.
    allowance: u64,
    /// Whether the subscriber is disconnected.
    away: bool,
    /// For each pair the first sequence number that is owed again; `None` if the subscriber was never disconnected.
    owed_from: Option<Box<[u32]>>,
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
            unowed: 0,
            allowance: 0,
            away: false,
            owed_from: None,
        }
    }

    /// Messages that did not arrive although a later one of their publisher did: they will not arrive, so they are no
    /// backlog.
    #[inline]
    pub fn overtaken(&self) -> u64 {
        self.overtaken
    }

    /// Records a message that was received, and returns the result. `cut` returns how many messages of a missing range
    /// were in flight on a connection of their publisher that broke.
    #[inline]
    pub fn record(&mut self, publisher: u32, sequence: u32, cut: impl Fn(u32, Range<u32>) -> u32) -> Entry {
        let Some((position, pair)) = self
            .publishers
            .position(publisher)
            .and_then(|position| Some((position, self.pairs.get_mut(position)?)))
        else {
            self.foreign += 1;
            return Entry::Foreign;
        };
        let before = pair.next;
        let entry = pair.record(sequence, &mut self.overtaken);
        if entry == Entry::InOrder && sequence != before {
            let missing = before..sequence;
            self.unowed += u64::from(self.unowed_of(position, missing, |range| cut(publisher, range)));
        }
        match entry {
            Entry::InOrder => {}
            Entry::Reordered => self.reordered += 1,
            Entry::Duplicate => self.duplicate += 1,
            Entry::Foreign => {}
        }
        entry
    }

    /// Number of unowed messages among the missing ones.
    fn unowed_of(&self, position: usize, missing: Range<u32>, cut: impl Fn(Range<u32>) -> u32) -> u32 {
        let owed_from = self.owed_from.as_ref();
        let owed_from = owed_from.and_then(|owed_from| owed_from.get(position).copied());
        let Range { start, end } = missing;
        let owed_from = owed_from.map_or(start, |from| if self.away { end } else { from });
        let owed_from = owed_from.clamp(start, end.max(start));
        owed_from - start + cut(owed_from..end)
    }

    /// The subscriber has lost its connection: messages in flight to it, and those published from now on, are unowed.
    pub fn disconnected(&mut self) {
        self.away = true;
        self.owed_from
            .get_or_insert_with(|| vec![0; self.pairs.len()].into_boxed_slice());
    }

    /// The subscriber is subscribed again; `sent` returns the number of messages that a publisher has sent until now,
    /// modulo 2^32.
    pub fn reconnected(&mut self, sent: impl Fn(u32) -> u32) {
        self.away = false;
        let owed_from = self.owed_from.iter_mut().flatten();
        for (publisher, owed_from) in self.publishers.publishers().zip(owed_from) {
            *owed_from = sent(publisher);
        }
    }

    /// For each publisher the number of its messages that have arrived.
    pub fn unique(&self) -> Box<[u32]> {
        self.pairs.iter().map(|pair| pair.unique as u32).collect()
    }

    /// This many more messages may be missing without being lost.
    pub fn allow(&mut self, messages: u64) {
        self.allowance += messages;
    }

    /// Counts a message without a stamp of this run.
    pub fn record_foreign(&mut self) {
        self.foreign += 1;
    }

    /// Closes the ledger; `sent` returns the number of messages that a publisher sent, `cut` is that of
    /// [`Ledger::record`].
    pub fn close(&self, sent: impl Fn(u32) -> u64, cut: impl Fn(u32, Range<u32>) -> u32) -> Totals {
        let mut totals = Totals {
            duplicate: self.duplicate,
            reordered: self.reordered,
            foreign: self.foreign,
            ..Totals::default()
        };
        let mut unowed = self.unowed + self.allowance;
        for (position, (publisher, pair)) in self.publishers.publishers().zip(self.pairs.iter()).enumerate() {
            let expected = sent(publisher);
            totals.expected += expected;
            totals.received += pair.unique;
            totals.lost += expected.saturating_sub(pair.unique);
            let missing = pair.next..(expected as u32).max(pair.next);
            unowed += u64::from(self.unowed_of(position, missing, |range| cut(publisher, range)));
        }
        totals.unowed = unowed.min(totals.lost);
        totals.lost -= totals.unowed;
        totals.expected -= totals.unowed;
        totals
    }
}

/// One (subscriber, publisher) pair. Bit k of `seen` is the sequence number `next - 1 - k`; numbers before the first
/// one count as seen.
#[derive(Clone, Copy, Debug)]
struct Pair {
    seen: u128,
    unique: u64,
    /// Not received yet and too old for `seen`.
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
    fn record(&mut self, sequence: u32, overtaken: &mut u64) -> Entry {
        if sequence == self.next && self.seen.leading_ones() > 0 {
            self.seen = self.seen << 1 | 1;
            self.next = self.next.wrapping_add(1);
            self.unique += 1;
            return Entry::InOrder;
        }
        let ahead = sequence.wrapping_sub(self.next) as i32;
        if ahead >= 0 {
            *overtaken += u64::from(ahead as u32);
            self.record_ahead(ahead as u32)
        } else {
            let entry = self.record_overtaken(ahead.unsigned_abs() - 1);
            *overtaken -= u64::from(entry == Entry::Reordered).min(*overtaken);
            entry
        }
    }

    fn record_ahead(&mut self, skipped: u32) -> Entry {
        let advance = skipped + 1;
        let staying = SEEN_BITS - advance.min(SEEN_BITS);
        let leaving_missing = (self.seen >> staying).count_zeros() - staying;
        self.missing_older += leaving_missing + advance.saturating_sub(SEEN_BITS);
        self.seen = self.seen.checked_shl(advance).unwrap_or(0) | 1;
        self.next = self.next.wrapping_add(advance);
        self.unique += 1;
        Entry::InOrder
    }

    fn record_overtaken(&mut self, distance: u32) -> Entry {
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
mod tests;
