//! From a topic to the receivers of its messages: resolved once, then taken from a cache.
//!
//! Invariants: a route is used only in the epoch in which it was made. A change of a subscription or interest ends the
//! epoch of the routes that it may affect: for a filter without wildcards the route of one topic; for a filter with
//! wildcards, or a change of what sessions may read, all routes. So the sessions in a route exist, and its targets may
//! read the topic. A slot may be reused for another topic: if a caller keeps a slot as a hint, the topic is compared.

use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::rc::Rc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use mqtt::property::Property;

pub(in crate::logic) use super::target::Target;
use super::target::ViaSlot;
use crate::limits;
pub(in crate::logic) use crate::logic::ids::RouteSlot;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::routing::subscription::group::GroupSlot;
use crate::logic::routing::subscription::{FilterSlot, Subscriber, Subscriptions, is_wildcard};
use crate::logic::session::{SessionSlot, Sessions};
use crate::logic::slots::{Slot, Slots};
use crate::logic::via::Via;
use crate::turn::WorkBudget;

/// Whether clients may publish to a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::logic) enum TopicAccess {
    #[default]
    Allowed,
    /// `$SYS` is reserved for the broker, except for the states of bridges, which any client may publish.
    Denied,
    /// The topic has more slashes than `topic_levels_max`.
    TooDeep,
    /// It is for the broker itself: the client may send commands there. Never that of a route.
    Control,
}

#[derive(Debug, Default)]
pub(in crate::logic) struct Route {
    pub(super) topic: Box<str>,
    epoch: u64,
    pub(in crate::logic) access: TopicAccess,
    pub(in crate::logic) targets: Vec<Target>,
    /// Sessions with matching subscriptions that may not read the topic, if there are any.
    pub(in crate::logic) withheld: Option<Box<[Target]>>,
    /// The number of sessions in both lists.
    pub(super) sessions: u64,
    pub(in crate::logic) shards: Vec<u16>,
    /// Groups of which one member in the whole broker gets the message.
    pub(in crate::logic) groups: Vec<GroupSlot>,
    via: Vec<Rc<Via>>,
    /// Nodes that were visited to find it: the approximate cost for each shard that gets its messages.
    pub(super) nodes: u32,
    /// Sessions that got the last run packet by packet.
    pub(super) one_by_one: u32,
}

impl Route {
    /// The Subscription Identifiers for the messages to a target.
    #[inline]
    pub(in crate::logic) fn via(&self, target: &Target) -> Option<&Rc<Via>> {
        let via = target.via?;
        self.via.get(via.number().get() as usize - 1)
    }

    /// Whether no session, group or shard receives the topic.
    pub(in crate::logic) fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.shards.is_empty() && self.groups.is_empty()
    }
}

#[derive(Debug)]
pub(in crate::logic) struct Routes {
    pub(super) slots: Slots<RouteSlot, Route>,
    by_topic: HashTable<RouteSlot>,
    hasher: FixedState,
    epoch: u64,
    levels_max: usize,
    /// Marks of topics that were seen once: most of them never occur again, and do not deserve a route.
    seen: Vec<[u32; 4]>,
    found: Vec<FilterSlot>,
    found_shards: Vec<u16>,
    gathered: Vec<Subscriber>,
}

/// The epoch of a route that is not valid.
const STALE: u64 = 0;

/// Nodes that a walk may visit however little work is left, so that most walks complete at once.
const NODES_MIN: u64 = 64;

/// The route that is resolved for one use, and is never of the current epoch.
const FOR_ONCE: RouteSlot = RouteSlot::FIRST;

/// Sets of marks of topics that were seen once. There are four marks per set, and a set for every four topics that fit
/// into the cache: so topics that alternate do not displace one another.
const SEEN: usize = limits::ROUTES_MAX / 4;

impl Routes {
    pub(in crate::logic) fn new(seed: u64, levels_max: u16) -> Self {
        let mut slots = Slots::new();
        slots.insert(Route::default());
        Self {
            slots,
            by_topic: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            epoch: STALE + 1,
            levels_max: usize::from(levels_max),
            seen: vec![[0; 4]; SEEN],
            found: Vec::new(),
            found_shards: Vec::new(),
            gathered: Vec::new(),
        }
    }

    #[inline]
    pub(in crate::logic) fn get(&self, route: RouteSlot) -> Option<&Route> {
        self.slots.get(route)
    }

    /// The route of `topic`; `hint` is the slot where it may be. `None` if it need not be found `whole` and that takes
    /// more than the remaining work: the walk so far is kept, unless too many are suspended.
    #[inline]
    pub(in crate::logic) fn resolve(
        &mut self,
        topic: &str,
        hint: Option<RouteSlot>,
        subscriptions: &mut Subscriptions,
        sessions: &Sessions,
        work: &mut WorkBudget,
        whole: bool,
    ) -> Option<RouteSlot> {
        match (hint, self.slots.get(hint)) {
            (Some(hint), Some(route)) if route.epoch == self.epoch && &*route.topic == topic => Some(hint),
            _ => self.look_up(topic, subscriptions, sessions, work, whole),
        }
    }

    /// The same, always found completely.
    #[inline]
    pub(in crate::logic) fn resolve_whole(
        &mut self,
        topic: &str,
        hint: Option<RouteSlot>,
        subscriptions: &mut Subscriptions,
        sessions: &Sessions,
        work: &mut WorkBudget,
    ) -> RouteSlot {
        self.resolve(topic, hint, subscriptions, sessions, work, true)
            .unwrap_or(FOR_ONCE)
    }

    /// Invalidates all routes, because the rights of sessions have changed.
    pub(in crate::logic) fn rights_changed(&mut self) {
        self.epoch += 1;
    }

    /// The subscriptions to this filter, or the interest in it, have changed.
    pub(in crate::logic) fn filter_changed(&mut self, filter: &str) {
        if is_wildcard(filter) {
            self.epoch += 1;
        } else if let Some(route) = self.find(filter).and_then(|slot| self.slots.get_mut(slot)) {
            route.epoch = STALE;
        }
    }

    /// Number of subscriptions that a message of that topic would reach, see [`crate::logic::Shard::count_matching`].
    pub(in crate::logic) fn count_matching(
        &mut self,
        topic: &str,
        subscriptions: &mut Subscriptions,
    ) -> usize {
        let work = &mut WorkBudget::default();
        subscriptions.matching(
            topic,
            u64::MAX,
            self.epoch,
            work,
            &mut self.found,
            &mut Vec::new(),
        );
        self.found.len()
    }

    fn find(&self, topic: &str) -> Option<RouteSlot> {
        let is_it = |&slot: &RouteSlot| self.get(slot).is_some_and(|route| &*route.topic == topic);
        self.by_topic.find(self.hasher.hash_one(topic), is_it).copied()
    }

    fn look_up(
        &mut self,
        topic: &str,
        subscriptions: &mut Subscriptions,
        sessions: &Sessions,
        work: &mut WorkBudget,
        whole: bool,
    ) -> Option<RouteSlot> {
        let known = self.find(topic);
        if let Some(slot) = known
            && self.get(slot).is_some_and(|route| route.epoch == self.epoch)
        {
            return Some(slot);
        }
        let nodes_max = if whole {
            u64::MAX
        } else {
            work.left().max(NODES_MIN)
        };
        let found = (&mut self.found, &mut self.found_shards);
        let (nodes, epoch) = subscriptions.matching(topic, nodes_max, self.epoch, work, found.0, found.1)?;
        let slot = match known {
            Some(slot) => slot,
            None if self.was_seen(topic) => self.insert(topic),
            None => FOR_ONCE,
        };
        self.build(slot, topic, epoch, nodes, subscriptions, sessions, work);
        if known.is_none()
            && let Some(route) = self.slots.get_mut(FOR_ONCE)
        {
            route.epoch = STALE;
        }
        Some(slot)
    }

    /// Whether the topic was looked up before, unless four others have replaced its mark since.
    fn was_seen(&mut self, topic: &str) -> bool {
        let hash = self.hasher.hash_one(topic);
        let mark = (hash >> 32) as u32 | 1;
        let Some(marks) = self.seen.get_mut(hash as usize % SEEN) else {
            unreachable_state("no set of marks for a remainder");
            return true;
        };
        if marks.contains(&mark) {
            return true;
        }
        let [first, second, third, _] = *marks;
        *marks = [mark, first, second, third];
        false
    }

    /// Drops the cached routes and their memory.
    pub(in crate::logic) fn drop_all(&mut self) {
        self.slots.clear();
        self.by_topic = HashTable::new();
        self.slots.insert(Route::default());
        (self.found, self.gathered) = (Vec::new(), Vec::new());
    }

    fn insert(&mut self, topic: &str) -> RouteSlot {
        if self.slots.len() >= limits::ROUTES_MAX {
            self.drop_all();
        }
        let route = Route {
            topic: topic.into(),
            ..Route::default()
        };
        let slot = self.slots.insert(route);
        let (slots, hasher) = (&self.slots, &self.hasher);
        let hash = |&slot: &RouteSlot| slots.get(slot).map_or(0, |route| hasher.hash_one(&*route.topic));
        self.by_topic.insert_unique(hasher.hash_one(topic), slot, hash);
        slot
    }

    /// `epoch` is the one in which its walk began: if that is over, the walk may have missed later additions, so the
    /// route is for this message only.
    #[allow(clippy::too_many_arguments, reason = "the parts of a route")]
    fn build(
        &mut self,
        slot: RouteSlot,
        topic: &str,
        epoch: u64,
        nodes: u64,
        subscriptions: &Subscriptions,
        sessions: &Sessions,
        work: &mut WorkBudget,
    ) {
        let Some(route) = self.slots.get_mut(slot) else {
            return unreachable_state("a topic whose route is gone");
        };
        route.epoch = epoch;
        route.access = access(topic, self.levels_max);
        route.targets.clear();
        route.withheld = None;
        route.groups.clear();
        route.via.clear();
        route.nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
        self.gathered.clear();
        route.shards.clone_from(&self.found_shards);
        for filter in self
            .found
            .iter()
            .filter_map(|&filter| subscriptions.filter(filter))
        {
            let subscribers = filter.subscribers().iter();
            self.gathered
                .extend(subscribers.filter(|s| !sessions.ends(s.session)));
            route.shards.extend_from_slice(filter.shards());
            route.groups.extend_from_slice(filter.groups());
        }
        work.spend((self.found.len() + self.gathered.len()) as u64);
        if self.found.len() > 1 {
            self.gathered.sort_by_key(|subscriber| subscriber.session);
        }
        if route.shards.len() > 1 {
            route.shards.sort_unstable();
            route.shards.dedup();
        }
        let same_session = |a: &Subscriber, b: &Subscriber| a.session == b.session;
        let mut withheld = Vec::new();
        for subscriptions in self.gathered.chunk_by(same_session) {
            let Some(first) = subscriptions.first() else {
                unreachable_state("a session without subscriptions among the targets");
                continue;
            };
            if sessions.may_read(first.session, topic) {
                route.add_target(first.session, subscriptions);
            } else {
                withheld.push(Target::new(first.session, subscriptions, None));
            }
        }
        route.sessions = (route.targets.len() + withheld.len()) as u64;
        route.withheld = (!withheld.is_empty()).then(|| withheld.into());
    }
}

impl Route {
    /// Adds a session with all of its matching subscriptions: it gets one copy, at the highest QoS [MQTT-3.3.4-2],
    /// with all their Subscription Identifiers [MQTT-3.3.4-4].
    ///
    /// [MQTT3-3.3.5-1], [MQTT-3.3.4-3]
    fn add_target(&mut self, session: SessionSlot, subscriptions: &[Subscriber]) {
        let mut via = Via::default();
        for identifier in subscriptions
            .iter()
            .filter_map(|subscriber| subscriber.identifier())
        {
            // Five bytes each, and at most as many as the session has subscriptions.
            let _ = via.identifiers.push(Property::SubscriptionIdentifier(identifier));
        }
        let via_slot = if via.identifiers.is_empty() {
            None
        } else {
            self.via.push(Rc::new(via));
            let number = u32::try_from(self.via.len()).ok().and_then(NonZeroU32::new);
            number.map(ViaSlot::from_number)
        };
        self.targets.push(Target::new(session, subscriptions, via_slot));
    }
}

/// Topics that bridges publish, as in mosquitto; an ACL file may deny them.
const STATES_OF_BRIDGES: &str = "$SYS/broker/connection/+/state";

fn access(topic: &str, levels_max: usize) -> TopicAccess {
    if (topic == "$SYS" || topic.starts_with("$SYS/")) && !mqtt::topic::matches(STATES_OF_BRIDGES, topic) {
        TopicAccess::Denied
    } else if mqtt::topic::slashes(topic) > levels_max {
        TopicAccess::TooDeep
    } else {
        TopicAccess::Allowed
    }
}
