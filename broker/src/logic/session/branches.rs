//! How much the filters of one session make a walk over the tree of wildcard filters branch.
//!
//! A Topic Name determines each level that is not a wildcard. So of the prefixes of a session's filters, a topic
//! matches at most one for each sequence of `+` and other levels. The number of such sequences bounds the nodes that a
//! walk visits because of this session, whatever the topic is. A session with usual filters has a handful of
//! sequences, however many filters it has. Filters such as `{+,x}/{+,x}/...` have one sequence for each filter, and a
//! walk for `x/x/...` visits them all.
//!
//! Invariants: each filter with wildcards is counted once, with all of its prefixes. A session with few such filters
//! has no table, only their number.

use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use crate::limits;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::session::Session;

/// Number of filters of a session that begin with each sequence.
#[derive(Debug)]
pub(in crate::logic) struct Branches {
    counts: HashMap<u64, u32, FixedState>,
    seed: u64,
}

impl Branches {
    pub(in crate::logic) fn new(seed: u64) -> Self {
        Self {
            counts: HashMap::with_hasher(FixedState::with_seed(seed)),
            seed,
        }
    }

    /// Whether one more filter stays within [`limits::BRANCHES_PER_SESSION_MAX`].
    pub(in crate::logic) fn has_room(&self, filter: &str) -> bool {
        let room = limits::BRANCHES_PER_SESSION_MAX.saturating_sub(self.counts.len());
        let mut new =
            PrefixHashes::new(self.seed, filter).filter(|beginning| !self.counts.contains_key(beginning));
        new.nth(room).is_none()
    }

    /// Adds a filter with wildcards.
    pub(in crate::logic) fn add(&mut self, filter: &str) {
        for beginning in PrefixHashes::new(self.seed, filter) {
            *self.counts.entry(beginning).or_default() += 1;
        }
    }

    /// Removes a filter that was added before.
    pub(in crate::logic) fn remove(&mut self, filter: &str) {
        for beginning in PrefixHashes::new(self.seed, filter) {
            match self.counts.get_mut(&beginning) {
                Some(1) => drop(self.counts.remove(&beginning)),
                Some(count) => *count -= 1,
                None => unreachable_state("a filter whose branches were not counted"),
            }
        }
    }
}

impl Session {
    /// The contribution of its filters to the branching of a walk, if it is counted.
    pub(in crate::logic) fn branches(&mut self) -> Option<&mut Branches> {
        self.rare.as_mut()?.branches.as_deref_mut()
    }
}

/// A number for each of the sequences with which a filter begins.
struct PrefixHashes<'a> {
    hasher: FixedState,
    levels: std::str::Split<'a, char>,
    sequence: u64,
}

impl<'a> PrefixHashes<'a> {
    fn new(seed: u64, filter: &'a str) -> Self {
        Self {
            hasher: FixedState::with_seed(seed),
            levels: filter.split('/'),
            sequence: 0,
        }
    }
}

impl Iterator for PrefixHashes<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        // A `#` is not a node.
        let level = self.levels.next().filter(|&level| level != "#")?;
        self.sequence = self.hasher.hash_one((self.sequence, level == "+"));
        Some(self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_filters_have_few_branches_however_many_they_are() {
        let mut branches = Branches::new(1);
        for number in 0..10_000 {
            for filter in ["site/N/device/+/state", "site/N/#", "+/N/#"] {
                let filter = filter.replace('N', &number.to_string());
                assert!(branches.has_room(&filter));
                branches.add(&filter);
            }
        }
        assert_eq!(branches.counts.len(), 7);
    }

    #[test]
    fn branching_ones_fill_the_bound_and_make_room_again() {
        let mut branches = Branches::new(1);
        let filter = |number: u32| -> String {
            let levels = (0..17).map(|level| if number >> level & 1 == 0 { "+/" } else { "x/" });
            levels.chain(["zz"]).collect()
        };
        let fitting: Vec<_> = (0..1 << 17)
            .map(filter)
            .filter(|filter| {
                let has_room = branches.has_room(filter);
                if has_room {
                    branches.add(filter);
                }
                has_room
            })
            .collect();
        assert!(branches.counts.len() <= limits::BRANCHES_PER_SESSION_MAX);
        assert!((500..8000).contains(&fitting.len()), "{}", fitting.len());
        fitting.iter().for_each(|filter| branches.remove(filter));
        assert!(branches.counts.is_empty());
    }
}
