//! A tree of topic levels with a value at some of its nodes. It stores the retained messages, for finding those that
//! match a filter.
//!
//! Invariants: no walk recurses, so a topic of 65,535 levels cannot exhaust the stack. A node without a value has
//! children or is the root. Children are found in one hash table whose key is parent and level, which costs less memory
//! than a map in each node.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::logic::inconsistency::unreachable_state;
use crate::logic::slots::{Slot as _, Slots, shrink_table, slot_type};

slot_type! {
    /// The slot of a node in a tree of topics.
    pub(in crate::logic) struct NodeSlot
}

const ROOT: NodeSlot = NodeSlot::FIRST;

#[derive(Debug)]
struct Node<V> {
    /// `None` for the root.
    parent: Option<NodeSlot>,
    first_child: Option<NodeSlot>,
    /// The next and the previous sibling.
    next: Option<NodeSlot>,
    previous: Option<NodeSlot>,
    level: Box<str>,
    value: Option<V>,
}

#[derive(Debug)]
pub(in crate::logic) struct TopicTree<V> {
    nodes: Slots<NodeSlot, Node<V>>,
    children: HashTable<NodeSlot>,
    hasher: FixedState,
    watched: bool,
    removed: Vec<RemovedNode>,
}

/// A removed node, and the sibling that followed it then.
pub(in crate::logic) type RemovedNode = (NodeSlot, Option<NodeSlot>);

/// The places where a walk over the names that match a filter continues: at most twice as many as the deepest topic
/// has levels.
#[derive(Debug)]
pub(in crate::logic) struct Walk {
    stack: Vec<WalkPlace>,
}

/// A node that is still to be visited.
#[derive(Clone, Copy, Debug)]
struct WalkPlace {
    node: NodeSlot,
    step: WalkStep,
    /// After it, those that follow it below the same parent.
    siblings: bool,
}

impl Walk {
    pub(in crate::logic) fn new() -> Self {
        let mut walk = Self { stack: Vec::new() };
        walk.push(Some(ROOT), WalkStep::Rest(0), false);
        walk
    }

    /// Nodes were removed while the walk was suspended: it continues with those that followed them.
    pub(in crate::logic) fn skip(&mut self, removed: &[RemovedNode]) {
        for &(node, next) in removed {
            self.stack.retain_mut(|place| {
                if place.node != node {
                    return true;
                }
                place.node = next.unwrap_or(node);
                place.siblings && next.is_some()
            });
        }
    }

    fn push(&mut self, node: Option<NodeSlot>, step: WalkStep, siblings: bool) {
        if let Some(node) = node {
            self.stack.push(WalkPlace { node, step, siblings });
        }
    }
}

/// What a walk has to do at a node.
#[derive(Clone, Copy, Debug)]
enum WalkStep {
    /// Continue with the rest of the topic from this byte.
    Rest(u32),
    /// The topic has no more levels.
    End,
    /// The filter has `#` here, so all values below match.
    All,
}

impl<V> TopicTree<V> {
    /// Bytes of a node, with the place of its value.
    pub(in crate::logic) const NODE_BYTES: usize = size_of::<Node<V>>();

    pub(in crate::logic) fn new(seed: u64) -> Self {
        let mut nodes = Slots::new();
        nodes.insert(Node::new(None, ""));
        Self {
            nodes,
            children: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            watched: false,
            removed: Vec::new(),
        }
    }

    pub(in crate::logic) fn value(&self, node: NodeSlot) -> Option<&V> {
        self.nodes.get(node)?.value.as_ref()
    }

    /// The nodes in slots from that number on, with their values.
    pub(in crate::logic) fn nodes_from(&self, number: u32) -> impl Iterator<Item = (u32, Option<&V>)> {
        let nodes = self.nodes.iter_from(number);
        nodes.map(|(slot, node)| (slot.number().get(), node.value.as_ref()))
    }

    /// The node of exactly this topic, if it has a value.
    pub(in crate::logic) fn find(&self, topic: &str) -> Option<NodeSlot> {
        let mut node = ROOT;
        for level in topic.split('/') {
            node = self.child(node, level)?;
        }
        self.value(node).map(|_| node)
    }

    /// Sets the value of a topic; returns its node.
    #[cfg(test)]
    pub(in crate::logic) fn insert(&mut self, topic: &str, value: V) -> NodeSlot {
        let node = self.node(topic);
        self.set(node, value);
        node
    }

    /// Sets the value of a node.
    pub(in crate::logic) fn set(&mut self, node: NodeSlot, value: V) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.value = Some(value);
        }
    }

    /// All values, in any order.
    pub(in crate::logic) fn values(&self) -> impl Iterator<Item = &V> {
        self.nodes.iter().filter_map(|(_, node)| node.value.as_ref())
    }

    /// The number of nodes below the root.
    pub(in crate::logic) fn nodes(&self) -> usize {
        self.nodes.len().saturating_sub(1)
    }

    /// The node of a topic, created if there is none. It must get a value, or be removed.
    pub(in crate::logic) fn node(&mut self, topic: &str) -> NodeSlot {
        let mut node = ROOT;
        for level in topic.split('/') {
            node = match self.child(node, level) {
                Some(child) => child,
                None => self.add_child(node, level),
            };
        }
        node
    }

    /// Removes the value of a node, and the nodes that only it needed.
    pub(in crate::logic) fn remove(&mut self, node: NodeSlot) -> Option<V> {
        let value = self.nodes.get_mut(node)?.value.take();
        let mut node = node;
        while let Some(found) = self.nodes.get(node)
            && found.value.is_none()
            && found.first_child.is_none()
            && let Some(parent) = found.parent
        {
            self.unlink(node);
            node = parent;
        }
        value
    }

    /// The nodes whose names match a filter: the next piece of a walk, of at most `nodes_left` nodes, which is
    /// decremented. True at the end of the walk.
    pub(in crate::logic) fn match_filter(
        &self,
        filter: &str,
        walk: &mut Walk,
        nodes_left: &mut usize,
        mut visit: impl FnMut(&V),
    ) -> bool {
        while *nodes_left > 0 {
            let Some(place) = walk.stack.pop() else {
                return true;
            };
            *nodes_left -= 1;
            let Some(node) = self.nodes.get(place.node) else {
                unreachable_state("a walk to no node");
                continue;
            };
            if place.siblings {
                walk.push(node.next, place.step, true);
                // [MQTT-4.7.2-1]
                if node.parent == Some(ROOT) && node.level.starts_with('$') {
                    continue;
                }
            }
            let (visits, child, step, siblings) = match place.step {
                WalkStep::End => (true, None, WalkStep::End, false),
                WalkStep::All => (true, node.first_child, WalkStep::All, true),
                WalkStep::Rest(from) => match level_from(filter, from) {
                    ("#", _) => (true, node.first_child, WalkStep::All, true),
                    ("+", next) => (false, node.first_child, next, true),
                    (level, next) => (false, self.child(place.node, level), next, false),
                },
            };
            walk.push(child, step, siblings);
            if visits {
                node.value.iter().for_each(&mut visit);
            }
        }
        walk.stack.is_empty()
    }

    /// Sets whether [`Self::take_removed`] must know of nodes that are removed from now on.
    pub(in crate::logic) fn watch_removals(&mut self, watch: bool) {
        self.watched = watch;
    }

    /// The nodes that were removed since the last call, each with its next sibling then, in order.
    pub(in crate::logic) fn take_removed(&mut self) -> Vec<RemovedNode> {
        std::mem::take(&mut self.removed)
    }

    #[inline]
    fn child(&self, parent: NodeSlot, level: &str) -> Option<NodeSlot> {
        let is_it = |&slot: &NodeSlot| {
            let node = self.nodes.get(slot);
            node.is_some_and(|node| node.parent == Some(parent) && &*node.level == level)
        };
        self.children
            .find(child_hash(&self.hasher, Some(parent), level), is_it)
            .copied()
    }

    fn add_child(&mut self, parent: NodeSlot, level: &str) -> NodeSlot {
        let mut node = Node::new(Some(parent), level);
        node.next = self.nodes.get(parent).and_then(|parent| parent.first_child);
        let sibling = node.next;
        let slot = self.nodes.insert(node);
        if let Some(sibling) = self.nodes.get_mut(sibling) {
            sibling.previous = Some(slot);
        }
        if let Some(parent) = self.nodes.get_mut(parent) {
            parent.first_child = Some(slot);
        }
        let (nodes, hasher) = (&self.nodes, &self.hasher);
        let hash = child_hash(hasher, Some(parent), level);
        self.children
            .insert_unique(hash, slot, |&slot| hash_of(nodes, hasher, slot));
        slot
    }

    fn unlink(&mut self, slot: NodeSlot) {
        let Some(node) = self.nodes.remove(slot) else {
            return unreachable_state("a node that is gone");
        };
        if self.watched {
            self.removed.push((slot, node.next));
        }
        if let Some(previous) = self.nodes.get_mut(node.previous) {
            previous.next = node.next;
        } else if let Some(parent) = self.nodes.get_mut(node.parent) {
            parent.first_child = node.next;
        }
        if let Some(next) = self.nodes.get_mut(node.next) {
            next.previous = node.previous;
        }
        let hash = child_hash(&self.hasher, node.parent, &node.level);
        if let Ok(entry) = self.children.find_entry(hash, |&other| other == slot) {
            entry.remove();
        }
        let (nodes, hasher) = (&self.nodes, &self.hasher);
        shrink_table(&mut self.children, |&slot| hash_of(nodes, hasher, slot));
    }
}

impl<V> Node<V> {
    fn new(parent: Option<NodeSlot>, level: &str) -> Self {
        Self {
            parent,
            first_child: None,
            next: None,
            previous: None,
            level: level.into(),
            value: None,
        }
    }
}

/// The level of a topic that begins at byte `from`, and the rest after it.
#[inline]
fn level_from(topic: &str, from: u32) -> (&str, WalkStep) {
    let rest = topic.get(from as usize..).unwrap_or_default();
    match rest.bytes().position(|byte| byte == b'/') {
        Some(end) => {
            let next = u32::try_from(end)
                .unwrap_or(0)
                .saturating_add(from)
                .saturating_add(1);
            (rest.get(..end).unwrap_or_default(), WalkStep::Rest(next))
        }
        None => (rest, WalkStep::End),
    }
}

#[inline]
fn child_hash(hasher: &FixedState, parent: Option<NodeSlot>, level: &str) -> u64 {
    hasher.hash_one((parent, level))
}

fn hash_of<V>(nodes: &Slots<NodeSlot, Node<V>>, hasher: &FixedState, slot: NodeSlot) -> u64 {
    let node = nodes.get(slot);
    node.map_or(0, |node| child_hash(hasher, node.parent, &node.level))
}

#[cfg(test)]
pub(super) mod tests;
