//! Walks over the filters with wildcards that may be suspended: each turn continues them as far as its budget allows.
//!
//! Many clients together may have filters that make the walk for one Topic Name visit millions of nodes. A walk that
//! has used up its share is kept, the publishing connection waits with its packet, and the walk continues in the
//! connection's next share.
//!
//! Invariants: a suspended walk is notified of every node and filter that is removed. It may or may not find filters
//! that were added since, because the message was published before; its route belongs to the epoch in which the walk
//! began. At most [`limits::MATCHES_SUSPENDED_MAX`] walks are suspended; one that is not continued is replaced by a
//! new one.

use std::collections::HashSet;

use super::FilterSlot;
use super::wildcards::{FilterNodeSlot, MatchWalk, Wildcards};
use crate::limits;

/// The suspended walks of a shard.
#[derive(Debug, Default)]
pub(super) struct Matches {
    /// For walks that complete at once.
    walk: MatchWalk,
    suspended: Vec<Suspended>,
    turn: u64,
}

/// A walk that was suspended because its budget was used up.
#[derive(Debug)]
struct Suspended {
    name: Box<str>,
    walk: MatchWalk,
    visited: u64,
    /// The epoch of the routes in which it began: it may have missed later additions.
    epoch: u64,
    /// Filters that were removed since it began. Their slots may have been reused for filters that the walk need not
    /// find.
    gone: HashSet<FilterSlot>,
    /// The turn in which it was last continued.
    turn: u64,
}

impl Matches {
    pub(super) fn begin_turn(&mut self) {
        self.turn += 1;
    }

    /// Finds the filters that match a name; `None` if `nodes_max` nodes were not enough, otherwise how many were
    /// visited in total, and the epoch in which the walk began. `spent` is increased by the nodes of this call.
    pub(super) fn find(
        &mut self,
        wildcards: &Wildcards,
        name: &str,
        nodes_max: u64,
        epoch: u64,
        spent: &mut u64,
        found: &mut Vec<FilterSlot>,
    ) -> Option<(u64, u64)> {
        if wildcards.is_empty() {
            *spent += 1;
            return Some((1, epoch));
        }
        if !self.suspended.is_empty()
            && let Some(at) = self
                .suspended
                .iter()
                .position(|suspended| &*suspended.name == name)
        {
            return self.go_on(at, wildcards, nodes_max, spent, found);
        }
        self.walk.begin();
        let visited = wildcards.matching(name, &mut self.walk, nodes_max);
        *spent += visited;
        if !self.walk.is_over() {
            self.suspend(name, visited, epoch);
            return None;
        }
        found.append(&mut self.walk.found);
        Some((visited, epoch))
    }

    /// A node of the tree was removed.
    pub(super) fn node_removed(&mut self, node: FilterNodeSlot) {
        for suspended in &mut self.suspended {
            suspended.walk.skip(&[node]);
        }
    }

    /// A filter was removed, and its slot may be used again.
    pub(super) fn filter_removed(&mut self, filter: FilterSlot) {
        for suspended in &mut self.suspended {
            suspended.gone.insert(filter);
        }
    }

    fn go_on(
        &mut self,
        at: usize,
        wildcards: &Wildcards,
        nodes_max: u64,
        spent: &mut u64,
        found: &mut Vec<FilterSlot>,
    ) -> Option<(u64, u64)> {
        let turn = self.turn;
        let suspended = self.suspended.get_mut(at)?;
        let visited = wildcards.matching(&suspended.name, &mut suspended.walk, nodes_max);
        *spent += visited;
        suspended.visited += visited;
        suspended.turn = turn;
        if !suspended.walk.is_over() {
            return None;
        }
        let over = self.suspended.swap_remove(at);
        let stays = |filter: &FilterSlot| !over.gone.contains(filter);
        found.extend(over.walk.found.into_iter().filter(stays));
        Some((over.visited, over.epoch))
    }

    /// Suspends the walk, if there is room.
    fn suspend(&mut self, name: &str, visited: u64, epoch: u64) {
        if self.suspended.len() >= limits::MATCHES_SUSPENDED_MAX {
            let turn = self.turn;
            let is_idle = |it: &Suspended| turn - it.turn > limits::MATCH_IDLE_TURNS_MAX;
            let Some(idle) = self.suspended.iter().position(is_idle) else {
                // All of them continue: this one starts again when one of them is over.
                return;
            };
            self.suspended.swap_remove(idle);
        }
        self.suspended.push(Suspended {
            name: name.into(),
            walk: std::mem::take(&mut self.walk),
            visited,
            epoch,
            gone: HashSet::new(),
            turn: self.turn,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_is_begun_where_any_filter_has_wildcards() {
        for filter in ["#", "+", "a/#"] {
            let mut wildcards = Wildcards::new(1);
            let (mut matches, mut spent, mut found) = (Matches::default(), 0, Vec::new());
            let none = matches.find(&wildcards, "a", 9, 3, &mut spent, &mut found);
            assert_eq!((none, spent, found.len()), (Some((1, 3)), 1, 0));
            wildcards.insert(filter, FilterSlot::test(1));
            matches.find(&wildcards, "a", 9, 3, &mut spent, &mut found);
            assert_eq!(found, [FilterSlot::test(1)], "{filter}");
        }
    }
}
