//! From a topic to the receivers of its messages: the subscriptions of this shard's sessions, the groups of Shared
//! Subscriptions, the interest of the other shards, and a cache of the result for each topic.
//!
//! `subscription/` has the Topic Filters of sessions, groups and other shards; `route.rs` is the cache, `target.rs` a
//! session in it, and `cost.rs` the cost of a message on a route.
//!
//! Invariant: every change of the receivers of a topic is made through [`Routing`], which invalidates the routes that
//! the change affects. So the sessions in a route exist, and its targets may read the topic.

mod cost;
pub(super) mod route;
pub(super) mod subscription;
mod target;

use self::route::{Route, RouteSlot, Routes};
use self::subscription::group::{Group, GroupSlot};
use self::subscription::{Added, FilterSlot, Position, Removed, SessionPosition, Subscriber, Subscriptions};
use crate::logic::session::Sessions;
use crate::turn::WorkBudget;

/// The subscriptions of a shard and the known ones of other shards, with the resulting routes.
#[derive(Debug)]
pub(super) struct Routing {
    subscriptions: Subscriptions,
    routes: Routes,
    /// The route of the last record from another shard: the next one is likely to have the same topic.
    remote_hint: Option<RouteSlot>,
}

impl Routing {
    pub(super) fn new(seed: u64, topic_levels_max: u16) -> Self {
        Self {
            subscriptions: Subscriptions::new(seed),
            routes: Routes::new(seed, topic_levels_max),
            remote_hint: None,
        }
    }

    /// A turn of the shard begins.
    pub(super) fn begin_turn(&mut self) {
        self.subscriptions.begin_turn();
    }

    /// The route of a topic; `hint` is where it may be. `None` if it takes more than the remaining work.
    #[inline]
    pub(super) fn resolve(
        &mut self,
        topic: &str,
        hint: Option<RouteSlot>,
        sessions: &Sessions,
        work: &mut WorkBudget,
    ) -> Option<RouteSlot> {
        self.routes
            .resolve(topic, hint, &mut self.subscriptions, sessions, work, false)
    }

    /// The route of a topic of a message that cannot wait.
    #[inline]
    pub(super) fn resolve_whole(
        &mut self,
        topic: &str,
        sessions: &Sessions,
        work: &mut WorkBudget,
    ) -> RouteSlot {
        self.routes
            .resolve_whole(topic, None, &mut self.subscriptions, sessions, work)
    }

    /// The route of the topic of another shard's record.
    #[inline]
    pub(super) fn resolve_remote(
        &mut self,
        topic: &str,
        sessions: &Sessions,
        work: &mut WorkBudget,
    ) -> RouteSlot {
        let hint = self.remote_hint;
        let route = self
            .routes
            .resolve_whole(topic, hint, &mut self.subscriptions, sessions, work);
        self.remote_hint = Some(route);
        route
    }

    #[inline]
    pub(super) fn route(&self, slot: RouteSlot) -> Option<&Route> {
        self.routes.get(slot)
    }

    /// Drops the routes that are cached.
    pub(super) fn drop_routes(&mut self) {
        self.routes.drop_all();
    }

    /// Invalidates all routes, because the rights of sessions have changed.
    pub(super) fn rights_changed(&mut self) {
        self.routes.rights_changed();
    }

    pub(super) fn find(&self, filter: &str) -> Option<FilterSlot> {
        self.subscriptions.find(filter)
    }

    /// The filter with that text, created if there is none. It must then get a subscriber, or [`Self::drop_unused`].
    pub(super) fn find_or_insert(&mut self, filter: &str) -> FilterSlot {
        self.subscriptions.find_or_insert(filter)
    }

    /// The text of a filter, if the slot is in use.
    pub(super) fn name(&self, filter: FilterSlot) -> Option<&str> {
        self.subscriptions.filter(filter).map(|filter| &*filter.name)
    }

    /// The sessions of this shard that subscribe to a filter.
    pub(super) fn subscribers(&self, filter: FilterSlot) -> &[Subscriber] {
        let filter = self.subscriptions.filter(filter);
        filter.map_or(&[], |filter| filter.subscribers())
    }

    /// Adds a session that is not in the list of this filter, with the position of the filter in the session's list.
    pub(super) fn add(&mut self, filter: FilterSlot, subscriber: Subscriber) -> Option<Added> {
        let added = self.subscriptions.add(filter, subscriber);
        self.filter_changed(filter);
        added
    }

    /// Replaces the options of a session's subscription [MQTT-3.8.4-3].
    ///
    /// [MQTT3-3.8.4-3], [MQTT-3.8.4-4]
    pub(super) fn replace(&mut self, filter: FilterSlot, position: Position, subscriber: Subscriber) {
        self.subscriptions.replace(filter, position, subscriber);
        self.filter_changed(filter);
    }

    /// Removes the session at `position`, and the filter if it has no receivers any more.
    pub(super) fn remove(&mut self, filter: FilterSlot, position: Position) -> Option<Removed> {
        let removed = self.subscriptions.remove(filter, position)?;
        self.filter_changed(filter);
        self.subscriptions.drop_unused(filter);
        Some(removed)
    }

    /// The filter has another position in the list of the session at `position`.
    pub(super) fn set_listed_at(
        &mut self,
        filter: FilterSlot,
        position: Position,
        listed_at: SessionPosition,
    ) {
        self.subscriptions.set_listed_at(filter, position, listed_at);
    }

    /// Removes a filter without receivers.
    pub(super) fn drop_unused(&mut self, filter: FilterSlot) {
        self.subscriptions.drop_unused(filter);
    }

    /// Another shard has its first subscription to a filter.
    pub(super) fn add_interest(&mut self, shard: u16, filter: &str) {
        self.subscriptions.add_shard(filter, shard);
        self.routes.filter_changed(filter);
    }

    /// Another shard has no subscription to a filter any more.
    pub(super) fn remove_interest(&mut self, shard: u16, filter: &str) {
        self.subscriptions.remove_shard(filter, shard);
        self.routes.filter_changed(filter);
    }

    #[inline]
    pub(super) fn group(&self, group: GroupSlot) -> Option<&Group> {
        self.subscriptions.groups().get(group)
    }

    #[inline]
    pub(super) fn group_mut(&mut self, group: GroupSlot) -> Option<&mut Group> {
        self.subscriptions.groups_mut().get_mut(group)
    }

    /// The group with that whole text.
    pub(super) fn find_group(&self, name: &str) -> Option<GroupSlot> {
        self.subscriptions.groups().find(name)
    }

    /// The group with that whole text, created if there is none. It must get a member, or [`Self::drop_unused_group`].
    pub(super) fn find_or_insert_group(&mut self, name: &str) -> GroupSlot {
        let (group, changed) = self.subscriptions.find_or_insert_group(name);
        if let Some(filter) = changed {
            self.filter_changed(filter);
        }
        group
    }

    /// Removes a group without members in any shard.
    pub(super) fn drop_unused_group(&mut self, group: GroupSlot) {
        if let Some(filter) = self.subscriptions.drop_unused_group(group) {
            self.filter_changed(filter);
            self.subscriptions.drop_unused(filter);
        }
    }

    /// Number of filters that match a Topic Name, computed anew.
    pub(super) fn count_matching(&mut self, topic: &str) -> usize {
        self.routes.count_matching(topic, &mut self.subscriptions)
    }

    /// Number of filters including those of other shards, and of nodes in the tree of those with wildcards.
    pub(super) fn filters(&self) -> (usize, usize) {
        self.subscriptions.subscription_counts()
    }

    /// Number of texts of Topic Filters.
    pub(super) fn filter_names(&self) -> usize {
        self.subscriptions.filter_names()
    }

    /// Groups that have members in any shard.
    pub(super) fn groups(&self) -> usize {
        self.subscriptions.groups().len()
    }

    fn filter_changed(&mut self, filter: FilterSlot) {
        if let Some(filter) = self.subscriptions.filter(filter) {
            self.routes.filter_changed(&filter.name);
        }
    }
}
