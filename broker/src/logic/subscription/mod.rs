//! Who wants what: the subscriptions of this shard's sessions, and the interests of the other shards.
//!
//! Invariants: a filter is kept while a session subscribes to it, another shard is interested in it or a group shares it.
//! Filters without wildcards are found by one look-up, those with wildcards through the tree. A session stands in a filter's
//! list once, at the position that its own list says, and knows there where in its own list that is: so whoever leaves moves
//! others in a fixed number of steps. Memory: about 100 bytes a subscription besides the filter's text.

pub(super) mod shared;
pub(super) mod tree;

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use mqtt::QoS;
use mqtt::packet::SubscriptionOptions;

use self::shared::Groups;
use self::tree::TopicTree;
use super::connection::NONE;
use super::slots::Slots;

/// One session in the list of a filter, in 12 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subscriber {
    pub(super) session: u32,
    /// The place of the filter in the session's list.
    pub(super) held_at: u32,
    /// The Subscription Identifier (28 bits, 0 for none), and above it QoS (2 bits), No Local and Retain As Published.
    packed: u32,
}

const IDENTIFIER_BITS: u32 = 0x0FFF_FFFF;
const QOS_SHIFT: u32 = 28;
const NO_LOCAL: u32 = 1 << 30;
const RETAIN_AS_PUBLISHED: u32 = 1 << 31;

impl Subscriber {
    pub(super) fn new(session: u32, options: SubscriptionOptions, identifier: Option<u32>) -> Self {
        let mut packed = identifier.unwrap_or(0) & IDENTIFIER_BITS | (options.qos as u32) << QOS_SHIFT;
        if options.no_local {
            packed |= NO_LOCAL;
        }
        if options.retain_as_published {
            packed |= RETAIN_AS_PUBLISHED;
        }
        Self {
            session,
            held_at: NONE,
            packed,
        }
    }

    /// The same with the place of the filter in the session's list.
    pub(super) fn held_at(self, held_at: u32) -> Self {
        Self { held_at, ..self }
    }

    pub(super) fn qos(self) -> QoS {
        match self.packed >> QOS_SHIFT & 3 {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        }
    }

    pub(super) fn no_local(self) -> bool {
        self.packed & NO_LOCAL != 0
    }

    pub(super) fn retain_as_published(self) -> bool {
        self.packed & RETAIN_AS_PUBLISHED != 0
    }

    pub(super) fn identifier(self) -> Option<u32> {
        Some(self.packed & IDENTIFIER_BITS).filter(|&identifier| identifier > 0)
    }
}

/// What most filters do without.
#[derive(Debug, Default)]
struct Rare {
    /// Other shards with an interest.
    shards: Vec<u16>,
    /// Groups that share it.
    groups: Vec<u32>,
}

/// A filter with all who want it.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) name: Box<str>,
    pub(super) subscribers: Vec<Subscriber>,
    rare: Option<Box<Rare>>,
    /// Its node in the tree; [`NONE`] if it has no wildcards.
    node: u32,
}

impl Filter {
    pub(super) fn shards(&self) -> &[u16] {
        self.rare.as_ref().map_or(&[], |rare| &rare.shards)
    }

    /// The groups that share it.
    pub(super) fn groups(&self) -> &[u32] {
        self.rare.as_ref().map_or(&[], |rare| &rare.groups)
    }

    fn drop_rare(&mut self) {
        self.rare
            .take_if(|rare| rare.shards.is_empty() && rare.groups.is_empty());
    }

    /// Whether it contains a wildcard.
    pub(super) fn is_wildcard(&self) -> bool {
        self.node != NONE
    }
}

/// What a change of a filter's list did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// It is the filter's first session: the other shards must know.
    First { position: u32 },
    /// It joined others.
    Another { position: u32 },
}

/// What a session's leaving of a filter did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Removed {
    /// The one that now stands at the position that was left.
    pub(super) moved: Option<Subscriber>,
    /// No session is left: the other shards must know.
    pub(super) last: bool,
}

#[derive(Debug)]
pub(super) struct Subscriptions {
    filters: Slots<Filter>,
    by_name: HashTable<u32>,
    wildcards: TopicTree<u32>,
    hasher: FixedState,
    pub(super) groups: Groups,
}

impl Subscriptions {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            filters: Slots::new(),
            by_name: HashTable::new(),
            wildcards: TopicTree::new(seed),
            hasher: FixedState::with_seed(seed),
            groups: Groups::new(seed),
        }
    }

    pub(super) fn filter(&self, filter: u32) -> Option<&Filter> {
        self.filters.get(filter)
    }

    pub(super) fn find(&self, name: &str) -> Option<u32> {
        let is_it = |&slot: &u32| self.filter(slot).is_some_and(|filter| &*filter.name == name);
        self.by_name.find(self.hasher.hash_one(name), is_it).copied()
    }

    /// The filter of that name, made if there is none.
    pub(super) fn find_or_insert(&mut self, name: &str) -> u32 {
        if let Some(filter) = self.find(name) {
            return filter;
        }
        let node = NONE;
        let filter = Filter {
            name: name.into(),
            subscribers: Vec::new(),
            rare: None,
            node,
        };
        let slot = self.filters.insert(filter);
        if name.contains(['+', '#']) {
            let node = self.wildcards.insert(name, slot);
            if let Some(filter) = self.filters.get_mut(slot) {
                filter.node = node;
            }
        }
        let Self {
            filters,
            by_name,
            hasher,
            ..
        } = self;
        let hash = |&slot: &u32| {
            filters
                .get(slot)
                .map_or(0, |filter| hasher.hash_one(&*filter.name))
        };
        by_name.insert_unique(hasher.hash_one(name), slot, hash);
        slot
    }

    /// Adds a session that is not in the list of this filter. It keeps the filter at the place that it says.
    pub(super) fn add(&mut self, filter: u32, subscriber: Subscriber) -> Option<Added> {
        let subscribers = &mut self.filters.get_mut(filter)?.subscribers;
        if subscribers.is_empty() {
            subscribers.reserve_exact(1);
        }
        let position = u32::try_from(subscribers.len()).ok()?;
        subscribers.push(subscriber);
        Some(if position == 0 {
            Added::First { position }
        } else {
            Added::Another { position }
        })
    }

    /// Replaces what a session wants of a filter [MQTT-3.8.4-3].
    ///
    /// [MQTT3-3.8.4-3], [MQTT-3.8.4-4]
    pub(super) fn replace(&mut self, filter: u32, position: u32, subscriber: Subscriber) {
        let filter = self.filters.get_mut(filter);
        if let Some(place) = filter.and_then(|filter| filter.subscribers.get_mut(position as usize)) {
            let held_at = place.held_at;
            *place = subscriber.held_at(held_at);
        }
    }

    /// The session at `position` keeps the filter at another place of its list now.
    pub(super) fn set_held_at(&mut self, filter: u32, position: u32, held_at: u32) {
        let filter = self.filters.get_mut(filter);
        if let Some(place) = filter.and_then(|filter| filter.subscribers.get_mut(position as usize)) {
            place.held_at = held_at;
        }
    }

    /// Takes the session at `position` out. The filter itself goes with [`Self::drop_unused`].
    pub(super) fn remove(&mut self, filter: u32, position: u32) -> Option<Removed> {
        let subscribers = &mut self.filters.get_mut(filter)?.subscribers;
        if position as usize >= subscribers.len() {
            return None;
        }
        subscribers.swap_remove(position as usize);
        let moved = subscribers.get(position as usize).copied();
        Some(Removed {
            moved,
            last: subscribers.is_empty(),
        })
    }

    /// Another shard is interested.
    pub(super) fn add_shard(&mut self, filter: u32, shard: u16) {
        let Some(filter) = self.filters.get_mut(filter) else {
            return;
        };
        let rare = filter.rare.get_or_insert_default();
        if !rare.shards.contains(&shard) {
            rare.shards.push(shard);
        }
    }

    /// Another shard is no longer interested.
    pub(super) fn remove_shard(&mut self, filter: u32, shard: u16) {
        let Some(filter) = self.filters.get_mut(filter) else {
            return;
        };
        if let Some(rare) = filter.rare.as_mut() {
            rare.shards.retain(|&other| other != shard);
        }
        filter.drop_rare();
    }

    /// Forgets a filter that nobody wants.
    pub(super) fn drop_unused(&mut self, slot: u32) {
        let Some(filter) = self.filters.get(slot) else {
            return;
        };
        if !filter.subscribers.is_empty() || filter.rare.is_some() {
            return;
        }
        let hash = self.hasher.hash_one(&*filter.name);
        if filter.node != NONE {
            self.wildcards.remove(filter.node);
        }
        if let Ok(entry) = self.by_name.find_entry(hash, |&other| other == slot) {
            entry.remove();
        }
        self.filters.remove(slot);
    }

    /// All filters that match a topic name.
    pub(super) fn matching(&mut self, name: &str, found: &mut Vec<u32>) {
        found.clear();
        found.extend(self.find(name));
        self.wildcards.match_name(name, |&filter| found.push(filter));
    }

    /// Filters, and nodes of the tree of those with wildcards.
    pub(super) fn held(&self) -> (usize, usize) {
        (self.filters.len(), self.wildcards.nodes())
    }

    /// The group of that whole text, made if there is none: then the filter that it shares has changed, and is returned too.
    pub(super) fn find_or_insert_group(&mut self, name: &str) -> (u32, Option<u32>) {
        if let Some(group) = self.groups.find(name) {
            return (group, None);
        }
        let shared = match mqtt::topic::shared(name) {
            Ok(Some(shared)) => shared.filter,
            _ => name,
        };
        let filter = self.find_or_insert(shared);
        let group = self.groups.insert(name, filter);
        if let Some(filter) = self.filters.get_mut(filter) {
            filter.rare.get_or_insert_default().groups.push(group);
        }
        (group, Some(filter))
    }

    /// Forgets a group without members in any shard. What it shared has changed then, and is returned; the caller drops that
    /// with [`Self::drop_unused`].
    pub(super) fn drop_unused_group(&mut self, group: u32) -> Option<u32> {
        let slot = self.groups.remove_unused(group)?;
        let filter = self.filters.get_mut(slot)?;
        if let Some(rare) = filter.rare.as_mut() {
            rare.groups.retain(|&other| other != group);
        }
        filter.drop_rare();
        Some(slot)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.filters.is_empty() && self.by_name.is_empty() && self.groups.len() == 0
    }
}
