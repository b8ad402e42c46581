//! The subscriptions of this shard's sessions and the interest of the other shards.
//!
//! `filter_index.rs` finds a filter by its text; `matching.rs` finds those that match a Topic Name, over several turns
//! if necessary.
//!
//! Invariants: a filter is kept while a session subscribes to it or a group shares it; a filter with wildcards also
//! while another shard is interested in it. For other filters with interest from other shards only, marks are kept
//! (`remote.rs`). Filters without wildcards are found by one look-up, those with wildcards through the tree. A session
//! is in a filter's list once. The session's own list has that position, and the filter's list has the position in the
//! session's list, so removing an entry moves others in a fixed number of steps. Memory: about 60 bytes per
//! subscription beside the filter's text, and about 15 in each other shard, as the bench `many_subscriptions` shows;
//! it is released when a subscription ends.

mod filter;
mod filter_index;
pub(in crate::logic) mod group;
mod matching;
mod remote;
mod wildcards;

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use mqtt::QoS;
use mqtt::packet::SubscriptionOptions;

pub(in crate::logic) use self::filter::TopicFilter;
use self::filter_index::FilterIndex;
use self::group::{GroupSlot, Groups};
use self::matching::Matches;
use self::remote::RemoteInterests;
use self::wildcards::Wildcards;
use crate::logic::ids::SessionSlot;
pub(in crate::logic) use crate::logic::ids::{FilterSlot, Position, SessionPosition};
use crate::logic::inconsistency::unreachable_state;
use crate::logic::slots::Slots;
use crate::turn::WorkBudget;

/// One session in the list of a filter, in 12 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logic) struct Subscriber {
    pub(in crate::logic) session: SessionSlot,
    pub(in crate::logic) listed_at: SessionPosition,
    /// The Subscription Identifier (28 bits, 0 for none), and above it QoS (2 bits), No Local and Retain As Published.
    packed: u32,
}

const IDENTIFIER_BITS: u32 = 0x0FFF_FFFF;
const QOS_SHIFT: u32 = 28;
const NO_LOCAL: u32 = 1 << 30;
const RETAIN_AS_PUBLISHED: u32 = 1 << 31;

impl Subscriber {
    pub(in crate::logic) fn new(
        session: SessionSlot,
        listed_at: SessionPosition,
        options: SubscriptionOptions,
        identifier: Option<u32>,
    ) -> Self {
        let mut packed = identifier.unwrap_or(0) & IDENTIFIER_BITS | (options.qos as u32) << QOS_SHIFT;
        if options.no_local {
            packed |= NO_LOCAL;
        }
        if options.retain_as_published {
            packed |= RETAIN_AS_PUBLISHED;
        }
        Self {
            session,
            listed_at,
            packed,
        }
    }

    pub(in crate::logic) fn qos(self) -> QoS {
        match self.packed >> QOS_SHIFT & 3 {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        }
    }

    pub(in crate::logic) fn no_local(self) -> bool {
        self.packed & NO_LOCAL != 0
    }

    pub(in crate::logic) fn retain_as_published(self) -> bool {
        self.packed & RETAIN_AS_PUBLISHED != 0
    }

    pub(in crate::logic) fn identifier(self) -> Option<u32> {
        Some(self.packed & IDENTIFIER_BITS).filter(|&identifier| identifier > 0)
    }
}

/// The effect of adding a session to a filter's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logic) enum Added {
    /// It is the filter's first session: the other shards must be notified.
    First { position: Position },
    /// The filter had sessions before: the other shards know of it.
    Another { position: Position },
}

/// The effect of removing a session from a filter's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::logic) struct Removed {
    /// The subscriber that now has the position.
    pub(in crate::logic) moved: Option<Subscriber>,
    /// The filter, if no session is left: the other shards must be notified.
    pub(in crate::logic) last_of: Option<Box<str>>,
}

#[derive(Debug)]
pub(in crate::logic) struct Subscriptions {
    filters: Slots<FilterSlot, TopicFilter>,
    by_name: FilterIndex,
    wildcards: Wildcards,
    matches: Matches,
    remote: RemoteInterests,
    hasher: FixedState,
    groups: Groups,
}

impl Subscriptions {
    pub(in crate::logic) fn new(seed: u64) -> Self {
        Self {
            filters: Slots::new(),
            by_name: FilterIndex::new(),
            wildcards: Wildcards::new(seed),
            matches: Matches::default(),
            remote: RemoteInterests::new(),
            hasher: FixedState::with_seed(seed),
            groups: Groups::new(seed),
        }
    }

    pub(in crate::logic) fn filter(&self, filter: FilterSlot) -> Option<&TopicFilter> {
        self.filters.get(filter)
    }

    pub(in crate::logic) fn find(&self, name: &str) -> Option<FilterSlot> {
        self.find_hashed(self.hasher.hash_one(name), name)
    }

    #[inline]
    fn find_hashed(&self, hash: u64, name: &str) -> Option<FilterSlot> {
        let is_it = |slot| self.filter(slot).is_some_and(|filter| &*filter.name == name);
        self.by_name.find(hash, is_it)
    }

    /// The filter with that name, created if there is none.
    pub(in crate::logic) fn find_or_insert(&mut self, name: &str) -> FilterSlot {
        let hash = self.hasher.hash_one(name);
        if let Some(filter) = self.find_hashed(hash, name) {
            return filter;
        }
        let slot = self.filters.insert(TopicFilter::new(name));
        if is_wildcard(name) {
            self.wildcards.insert(name, slot);
        }
        let (filters, hasher) = (&self.filters, &self.hasher);
        self.by_name
            .insert(hash, slot, |slot| hash_of(filters, hasher, slot));
        slot
    }

    /// Adds a session that is not in the list of this filter, with the position of the filter in the session's list.
    pub(in crate::logic) fn add(&mut self, filter: FilterSlot, subscriber: Subscriber) -> Option<Added> {
        let filter = self.filters.get_mut(filter)?;
        let position = Position::from_index(filter.subscribers().len());
        filter.push(subscriber);
        Some(if position.index() == 0 {
            Added::First { position }
        } else {
            Added::Another { position }
        })
    }

    /// Replaces the options of a session's subscription [MQTT-3.8.4-3].
    ///
    /// [MQTT3-3.8.4-3], [MQTT-3.8.4-4]
    pub(in crate::logic) fn replace(
        &mut self,
        filter: FilterSlot,
        position: Position,
        subscriber: Subscriber,
    ) {
        let filter = self.filters.get_mut(filter);
        if let Some(place) = filter.and_then(|filter| filter.subscriber_mut(position)) {
            *place = subscriber;
        }
    }

    /// The filter has another position in the list of the session at `position`.
    pub(in crate::logic) fn set_listed_at(
        &mut self,
        filter: FilterSlot,
        position: Position,
        listed_at: SessionPosition,
    ) {
        let filter = self.filters.get_mut(filter);
        if let Some(place) = filter.and_then(|filter| filter.subscriber_mut(position)) {
            place.listed_at = listed_at;
        }
    }

    /// Removes the session at `position`. [`Self::drop_unused`] removes the filter itself.
    pub(in crate::logic) fn remove(&mut self, filter: FilterSlot, position: Position) -> Option<Removed> {
        let filter = self.filters.get_mut(filter)?;
        if !filter.swap_remove(position) {
            return None;
        }
        Some(Removed {
            moved: filter.subscribers().get(position.index()).copied(),
            last_of: filter.subscribers().is_empty().then(|| filter.name.clone()),
        })
    }

    /// Records that another shard is interested in a filter.
    pub(in crate::logic) fn add_shard(&mut self, name: &str, shard: u16) {
        if !is_wildcard(name) {
            return self.remote.add(self.hasher.hash_one(name), shard);
        }
        let slot = self.find_or_insert(name);
        if let Some(filter) = self.filters.get_mut(slot) {
            filter.add_shard(shard);
        }
    }

    /// Another shard is no longer interested.
    pub(in crate::logic) fn remove_shard(&mut self, name: &str, shard: u16) {
        if !is_wildcard(name) {
            return self.remote.remove(self.hasher.hash_one(name), shard);
        }
        let Some(slot) = self.find(name) else {
            return unreachable_state("a filter of another shard that is not known");
        };
        if let Some(filter) = self.filters.get_mut(slot) {
            filter.remove_shard(shard);
        }
        self.drop_unused(slot);
    }

    /// Removes a filter without receivers.
    pub(in crate::logic) fn drop_unused(&mut self, slot: FilterSlot) {
        if self.filter(slot).is_none_or(TopicFilter::is_wanted) {
            return;
        }
        let Some(filter) = self.filters.remove(slot) else {
            return unreachable_state("a filter that is gone");
        };
        if is_wildcard(&filter.name) {
            let matches = &mut self.matches;
            self.wildcards
                .remove(&filter.name, |node| matches.node_removed(node));
            matches.filter_removed(slot);
        }
        let (filters, hasher) = (&self.filters, &self.hasher);
        let hash = hasher.hash_one(&*filter.name);
        self.by_name
            .remove(hash, slot, |slot| hash_of(filters, hasher, slot));
    }

    pub(super) fn groups(&self) -> &Groups {
        &self.groups
    }

    pub(super) fn groups_mut(&mut self) -> &mut Groups {
        &mut self.groups
    }

    /// A turn of the shard begins.
    pub(in crate::logic) fn begin_turn(&mut self) {
        self.matches.begin_turn();
    }

    /// All filters that match a topic name, and the other shards that are interested in it without wildcards; `None`
    /// if `nodes_max` nodes of the tree were not enough, otherwise how many were visited. The nodes of this call are
    /// charged.
    pub(in crate::logic) fn matching(
        &mut self,
        name: &str,
        nodes_max: u64,
        epoch: u64,
        work: &mut WorkBudget,
        found: &mut Vec<FilterSlot>,
        shards: &mut Vec<u16>,
    ) -> Option<(u64, u64)> {
        found.clear();
        let mut spent = 0;
        let all = self
            .matches
            .find(&self.wildcards, name, nodes_max, epoch, &mut spent, found);
        work.spend(spent);
        let (visited, epoch) = all?;
        let hash = self.hasher.hash_one(name);
        found.extend(self.find_hashed(hash, name));
        shards.clear();
        shards.extend(self.remote.shards(hash));
        Some((visited, epoch))
    }

    /// Number of filters including those of other shards, and of nodes in the tree of those with wildcards.
    pub(in crate::logic) fn subscription_counts(&self) -> (usize, usize) {
        (self.filters.len() + self.remote.len(), self.wildcards.nodes())
    }

    /// The group with that whole text, created if there is none: then the filter that it shares has changed, and is
    /// returned too.
    pub(in crate::logic) fn find_or_insert_group(&mut self, name: &str) -> (GroupSlot, Option<FilterSlot>) {
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
            filter.add_group(group);
        }
        (group, Some(filter))
    }

    /// Removes a group without members in any shard. Its filter has changed then, and is returned; the caller passes
    /// it to [`Self::drop_unused`].
    pub(in crate::logic) fn drop_unused_group(&mut self, group: GroupSlot) -> Option<FilterSlot> {
        let slot = self.groups.remove_unused(group)?;
        self.filters.get_mut(slot)?.remove_group(group);
        Some(slot)
    }

    /// Number of texts of Topic Filters.
    pub(in crate::logic) fn filter_names(&self) -> usize {
        self.by_name.len()
    }
}

/// Whether a filter contains a wildcard.
pub(in crate::logic) fn is_wildcard(filter: &str) -> bool {
    filter.contains(['+', '#'])
}

fn hash_of(filters: &Slots<FilterSlot, TopicFilter>, hasher: &FixedState, slot: FilterSlot) -> u64 {
    let filter = filters.get(slot);
    filter.map_or(0, |filter| hasher.hash_one(&*filter.name))
}
