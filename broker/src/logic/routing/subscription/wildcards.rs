//! The filters with wildcards as a tree of their levels, for finding those that match a Topic Name.
//!
//! Invariants: no walk recurses, so a topic of 65,535 levels cannot exhaust the stack; a node without a filter has
//! children, or is the root. A `#` is not a node but a field of the node above it; a `+` is linked from its parent;
//! the other children are in one hash table keyed by parent and level, which costs less memory than a map in each
//! node. Usual levels are stored in the node itself, so a step of a walk accesses only the table and the node.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use smol_str::SmolStr;

use crate::logic::inconsistency::unreachable_state;
use crate::logic::routing::subscription::FilterSlot;
use crate::logic::slots::{Slots, shrink_table, slot_type};

slot_type! {
    /// The slot of a node in the tree.
    pub(super) struct FilterNodeSlot
}

const ROOT: FilterNodeSlot = FilterNodeSlot::FIRST;

#[derive(Debug)]
struct FilterNode {
    level: SmolStr,
    /// `None` for the root.
    parent: Option<FilterNodeSlot>,
    /// Number of children besides `plus`.
    literals: u32,
    plus: Option<FilterNodeSlot>,
    /// The filter that ends here, and the one that continues with `#` only.
    filter: Option<FilterSlot>,
    rest: Option<FilterSlot>,
}

/// The filters with wildcards, level by level.
#[derive(Debug)]
pub(super) struct Wildcards {
    nodes: Slots<FilterNodeSlot, FilterNode>,
    children: HashTable<FilterNodeSlot>,
    hasher: FixedState,
}

/// A walk for one Topic Name. It may be suspended while the tree changes, see [`Self::skip`].
#[derive(Debug, Default)]
pub(super) struct MatchWalk {
    /// The places where it continues: a node, with the rest of the name from this byte, if there is one.
    places: Vec<(FilterNodeSlot, Option<usize>)>,
    pub(super) found: Vec<FilterSlot>,
}

impl MatchWalk {
    /// Begins a new walk at the root.
    pub(super) fn begin(&mut self) {
        self.places.clear();
        self.found.clear();
        self.places.push((ROOT, Some(0)));
    }

    pub(super) fn is_over(&self) -> bool {
        self.places.is_empty()
    }

    /// Nodes were removed while the walk was suspended. There was nothing below them.
    pub(super) fn skip(&mut self, removed: &[FilterNodeSlot]) {
        self.places.retain(|(node, _)| !removed.contains(node));
    }
}

impl Wildcards {
    pub(super) fn new(seed: u64) -> Self {
        let mut nodes = Slots::new();
        nodes.insert(FilterNode::new(None, ""));
        Self {
            nodes,
            children: HashTable::new(),
            hasher: FixedState::with_seed(seed),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.nodes.get(ROOT).is_none_or(FilterNode::is_empty)
    }

    /// The number of nodes below the root.
    pub(super) fn nodes(&self) -> usize {
        self.nodes.len().saturating_sub(1)
    }

    /// Inserts a filter into the tree.
    pub(super) fn insert(&mut self, name: &str, filter: FilterSlot) {
        let (levels, ends) = split(name);
        let mut node = ROOT;
        for level in levels.into_iter().flat_map(|levels| levels.split('/')) {
            node = match self.child(node, level) {
                Some(child) => child,
                None => self.add_child(node, level),
            };
        }
        self.set(node, ends, Some(filter));
    }

    /// Removes a filter, and the nodes that only it needed; `gone` is called for each of these.
    pub(super) fn remove(&mut self, name: &str, mut gone: impl FnMut(FilterNodeSlot)) {
        let (levels, ends) = split(name);
        let mut node = ROOT;
        for level in levels.into_iter().flat_map(|levels| levels.split('/')) {
            let Some(child) = self.child(node, level) else {
                // It was not in the tree.
                return;
            };
            node = child;
        }
        self.set(node, ends, None);
        while let Some(found) = self.nodes.get(node)
            && found.is_empty()
            && let Some(parent) = found.parent
        {
            self.unlink(node);
            gone(node);
            node = parent;
        }
    }

    /// Finds filters that match a Topic Name [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.7.2-1], [MQTT-4.7.3-4];
    /// [MQTT3-4.7.1-2], [MQTT3-4.7.1-3], [MQTT3-4.7.2-1], [MQTT3-4.7.3-4]: the next piece of a walk, of `nodes_max`
    /// nodes at most; returns how many it visited.
    pub(super) fn matching(&self, name: &str, walk: &mut MatchWalk, nodes_max: u64) -> u64 {
        let mut visited = 0;
        while visited < nodes_max
            && let Some((slot, from)) = walk.places.pop()
        {
            visited += 1;
            let Some(node) = self.nodes.get(slot) else {
                unreachable_state("a walk to no node");
                continue;
            };
            // Wildcards do not match a first level that begins with $ [MQTT-4.7.2-1].
            let with_wildcards = from != Some(0) || !name.starts_with('$');
            if with_wildcards {
                // Also at the end of the name: `sport/#` matches `sport` [MQTT 5.0, 4.7.1.2].
                walk.found.extend(node.rest);
            }
            let Some(from) = from else {
                walk.found.extend(node.filter);
                continue;
            };
            let (level, next) = level_from(name, from);
            if let Some(plus) = node.plus.filter(|_| with_wildcards) {
                walk.places.push((plus, next));
            }
            if node.literals > 0
                && let Some(child) = self.literal(slot, level)
            {
                walk.places.push((child, next));
            }
        }
        visited
    }

    #[inline]
    fn literal(&self, parent: FilterNodeSlot, level: &str) -> Option<FilterNodeSlot> {
        let is_it = |&slot: &FilterNodeSlot| {
            let node = self.nodes.get(slot);
            node.is_some_and(|node| node.parent == Some(parent) && node.level == level)
        };
        let hash = child_hash(&self.hasher, Some(parent), level);
        self.children.find(hash, is_it).copied()
    }

    fn child(&self, parent: FilterNodeSlot, level: &str) -> Option<FilterNodeSlot> {
        if level == "+" {
            return self.nodes.get(parent)?.plus;
        }
        self.literal(parent, level)
    }

    fn add_child(&mut self, parent: FilterNodeSlot, level: &str) -> FilterNodeSlot {
        let slot = self.nodes.insert(FilterNode::new(Some(parent), level));
        let Some(above) = self.nodes.get_mut(parent) else {
            unreachable_state("a node below none");
            return slot;
        };
        if level == "+" {
            above.plus = Some(slot);
            return slot;
        }
        above.literals += 1;
        let hash = child_hash(&self.hasher, Some(parent), level);
        let (nodes, hasher) = (&self.nodes, &self.hasher);
        self.children
            .insert_unique(hash, slot, |&slot| hash_of(nodes, hasher, slot));
        slot
    }

    fn unlink(&mut self, slot: FilterNodeSlot) {
        let Some(node) = self.nodes.remove(slot) else {
            return unreachable_state("a node that is gone");
        };
        let above = self.nodes.get_mut(node.parent);
        if node.level == "+" {
            if let Some(above) = above {
                above.plus = None;
            }
            return;
        }
        if let Some(above) = above {
            above.literals -= 1;
        }
        let hash = child_hash(&self.hasher, node.parent, &node.level);
        if let Ok(entry) = self.children.find_entry(hash, |&other| other == slot) {
            entry.remove();
        }
        let (nodes, hasher) = (&self.nodes, &self.hasher);
        shrink_table(&mut self.children, |&slot| hash_of(nodes, hasher, slot));
    }

    fn set(&mut self, node: FilterNodeSlot, ends: FilterEnd, filter: Option<FilterSlot>) {
        if let Some(node) = self.nodes.get_mut(node) {
            match ends {
                FilterEnd::Here => node.filter = filter,
                FilterEnd::WithRest => node.rest = filter,
            }
        }
    }
}

impl FilterNode {
    fn new(parent: Option<FilterNodeSlot>, level: &str) -> Self {
        Self {
            level: SmolStr::new(level),
            parent,
            literals: 0,
            plus: None,
            filter: None,
            rest: None,
        }
    }

    /// Whether the node has neither a filter nor children.
    fn is_empty(&self) -> bool {
        self.literals == 0 && self.plus.is_none() && self.filter.is_none() && self.rest.is_none()
    }
}

/// How a filter ends, for the last of its nodes.
#[derive(Clone, Copy, Debug)]
enum FilterEnd {
    Here,
    /// With a `#`, which has no node of its own.
    WithRest,
}

/// The levels of a filter that are nodes, and its end; a `#` is not a node.
fn split(name: &str) -> (Option<&str>, FilterEnd) {
    match name.strip_suffix('#') {
        Some(levels) => (levels.strip_suffix('/'), FilterEnd::WithRest),
        None => (Some(name), FilterEnd::Here),
    }
}

/// The level of a name that begins at byte `from`, and where the next one begins.
#[inline]
fn level_from(name: &str, from: usize) -> (&str, Option<usize>) {
    let rest = name.get(from..).unwrap_or_default();
    match rest.bytes().position(|byte| byte == b'/') {
        Some(end) => (rest.get(..end).unwrap_or_default(), Some(from + end + 1)),
        None => (rest, None),
    }
}

#[inline]
fn child_hash(hasher: &FixedState, parent: Option<FilterNodeSlot>, level: &str) -> u64 {
    hasher.hash_one((parent, level))
}

fn hash_of(nodes: &Slots<FilterNodeSlot, FilterNode>, hasher: &FixedState, slot: FilterNodeSlot) -> u64 {
    let node = nodes.get(slot);
    node.map_or(0, |node| child_hash(hasher, node.parent, &node.level))
}

const _: () = assert!(size_of::<Option<FilterNode>>() <= 48, "a node is to stay small");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::slots::Slot;
    use crate::logic::topic_tree::tests::{FILTERS, TOPICS};

    fn of_all() -> Wildcards {
        let mut tree = Wildcards::new(1);
        for (number, filter) in (1..).zip(FILTERS) {
            tree.insert(filter, FilterSlot::test(number));
        }
        tree
    }

    /// Found in one walk, and in one that stands still behind each node.
    fn matching(tree: &Wildcards, name: &str) -> Vec<u32> {
        let mut walk = MatchWalk::default();
        walk.begin();
        let visited = tree.matching(name, &mut walk, u64::MAX);
        let mut pieces = MatchWalk::default();
        pieces.begin();
        let steps = std::iter::from_fn(|| (!pieces.is_over()).then(|| tree.matching(name, &mut pieces, 1)));
        assert_eq!(steps.sum::<u64>(), visited);
        assert_eq!(pieces.found, walk.found);
        let mut found: Vec<u32> = walk.found.iter().map(|filter| filter.number().get()).collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn names_find_the_filters_that_match() {
        let tree = of_all();
        for name in TOPICS {
            let matches = |&(_, filter): &(u32, &&str)| mqtt::topic::matches(filter, name);
            let matching_filters = (1..).zip(FILTERS).filter(matches);
            let expected: Vec<_> = matching_filters.map(|(number, _)| number).collect();
            assert_eq!(matching(&tree, name), expected, "{name}");
        }
    }

    #[test]
    fn what_is_removed_is_found_no_more_and_what_stays_is() {
        for gone in 0..FILTERS.len() {
            let mut tree = of_all();
            tree.remove("none/such/+", drop);
            for filter in &FILTERS[..gone] {
                tree.remove(filter, drop);
            }
            for name in TOPICS {
                let stays = |&number: &u32| number as usize > gone;
                let matches = |&number: &u32| mqtt::topic::matches(FILTERS[number as usize - 1], name);
                let expected: Vec<_> = (1..=20).filter(stays).filter(matches).collect();
                assert_eq!(matching(&tree, name), expected, "{name} without the first {gone}");
            }
        }
    }

    #[test]
    fn a_walk_that_stands_still_goes_on_without_the_nodes_that_went() {
        for stops_behind in 0..8 {
            let mut tree = Wildcards::new(1);
            for (number, filter) in (1..).zip(["a/+/c", "+/b/c", "a/#", "+/b/#"]) {
                tree.insert(filter, FilterSlot::test(number));
            }
            let mut walk = MatchWalk::default();
            walk.begin();
            tree.matching("a/b/c", &mut walk, stops_behind);
            tree.remove("+/b/#", |node| walk.skip(&[node]));
            tree.remove("+/b/c", |node| walk.skip(&[node]));
            tree.insert("x/y/+", FilterSlot::test(5));
            tree.matching("a/b/c", &mut walk, u64::MAX);
            let found = |number| walk.found.contains(&FilterSlot::test(number));
            assert!(found(1) && found(3) && !found(5), "behind {stops_behind}");
        }
    }

    #[test]
    fn removing_all_leaves_the_root_alone() {
        let mut tree = of_all();
        let long = "a level of a length that is not usual at all/+";
        tree.insert(long, FilterSlot::test(99));
        assert!(matching(&tree, &long.replace('+', "x")).contains(&99));
        tree.remove(long, drop);
        for filter in FILTERS {
            tree.remove(filter, drop);
        }
        assert_eq!((tree.nodes(), tree.children.len()), (0, 0));
        assert!(tree.is_empty());
    }

    #[test]
    fn the_deepest_topic_does_not_deepen_the_stack() {
        let deep = "/".repeat(65_535);
        let mut tree = Wildcards::new(1);
        let filter = deep.replacen('/', "/+", 1);
        for filter in [&filter, &deep] {
            tree.insert(filter, FilterSlot::test(7));
        }
        assert_eq!(matching(&tree, &deep), [7, 7]);
        tree.remove(&deep, drop);
        assert_eq!(matching(&tree, &deep), [7]);
        tree.remove(&filter, drop);
        assert_eq!(tree.nodes(), 0);
    }
}
