//! The subscriptions of a session, and the groups that it is in.
//!
//! Invariants: an entry keeps its position until another one is moved there, and the caller that removes an entry gets
//! the one that was moved. `busy_in` has positions of groups.

use crate::logic::ids::{Position, SessionPosition};
use crate::logic::session::{Branches, ListedShare, Session, SessionSubscription};
use crate::logic::slots::shrink_list;

impl Session {
    /// Its subscriptions that are not shared.
    pub(in crate::logic) fn subscriptions(&self) -> &[SessionSubscription] {
        &self.subscriptions
    }

    /// Number of subscriptions, including Shared Subscriptions.
    pub(in crate::logic) fn subscription_count(&self) -> usize {
        self.subscriptions.len() + self.shares().len()
    }

    /// The position of its next subscription.
    pub(in crate::logic) fn next_listed_at(&self) -> SessionPosition {
        SessionPosition::from_index(self.subscriptions.len())
    }

    /// The position of its last subscription, if it has one.
    pub(in crate::logic) fn last_subscription(&self) -> Option<SessionPosition> {
        last(self.subscriptions.len())
    }

    /// Adds a subscription at the end.
    pub(in crate::logic) fn list_subscription(&mut self, subscription: SessionSubscription) {
        if self.subscriptions.is_empty() {
            self.subscriptions.reserve_exact(1);
        }
        self.subscriptions.push(subscription);
    }

    /// Removes a subscription; also returns the one that now has its position.
    pub(in crate::logic) fn take_subscription(
        &mut self,
        at: SessionPosition,
    ) -> Option<(SessionSubscription, Option<SessionSubscription>)> {
        if at.index() >= self.subscriptions.len() {
            return None;
        }
        let taken = self.subscriptions.swap_remove(at.index());
        shrink_list(&mut self.subscriptions);
        Some((taken, self.subscriptions.get(at.index()).copied()))
    }

    /// A subscription has another place in the list of its filter.
    pub(in crate::logic) fn set_position(&mut self, listed_at: SessionPosition, position: Position) {
        if let Some(listed) = self.subscriptions.get_mut(listed_at.index()) {
            listed.position = position;
        }
    }

    /// The groups that it is in.
    pub(in crate::logic) fn shares(&self) -> &[ListedShare] {
        self.rare.as_ref().map_or(&[], |rare| &rare.shares)
    }

    /// The position of its next group.
    pub(in crate::logic) fn next_share_at(&self) -> SessionPosition {
        SessionPosition::from_index(self.shares().len())
    }

    /// The position of its last group, if it is in one.
    pub(in crate::logic) fn last_share(&self) -> Option<SessionPosition> {
        last(self.shares().len())
    }

    /// Adds a group at the end.
    pub(in crate::logic) fn list_share(&mut self, share: ListedShare) {
        self.rare().shares.push(share);
    }

    /// Removes a group; also returns the one that now has its position.
    pub(in crate::logic) fn take_share(
        &mut self,
        at: SessionPosition,
    ) -> Option<(ListedShare, Option<ListedShare>)> {
        let shares = &mut self.rare().shares;
        if at.index() >= shares.len() {
            return None;
        }
        let taken = shares.swap_remove(at.index());
        Some((taken, shares.get(at.index()).copied()))
    }

    /// It has another position in a group.
    pub(in crate::logic) fn set_share_position(&mut self, listed_at: SessionPosition, position: Position) {
        let shares = self.rare.as_mut().map(|rare| &mut rare.shares);
        if let Some(listed) = shares.and_then(|shares| shares.get_mut(listed_at.index())) {
            listed.position = position;
        }
    }

    /// A group counts it as busy.
    pub(in crate::logic) fn add_busy(&mut self, listed_at: SessionPosition) {
        self.rare().busy_in.push(listed_at);
    }

    /// The groups that counted it as busy, by their positions: none do from now on.
    pub(in crate::logic) fn take_busy(&mut self) -> Vec<SessionPosition> {
        let rare = self.rare.as_mut();
        rare.map(|rare| std::mem::take(&mut rare.busy_in))
            .unwrap_or_default()
    }

    /// Adds a filter with wildcards whose branches are not counted; returns the number of such filters.
    pub(in crate::logic) fn count_wildcard(&mut self) -> u8 {
        self.wildcards += 1;
        self.wildcards
    }

    /// Removes a filter with wildcards whose branches are not counted.
    pub(in crate::logic) fn uncount_wildcard(&mut self) {
        self.wildcards = self.wildcards.saturating_sub(1);
    }

    /// Begins to count the branches of its filters with wildcards.
    pub(in crate::logic) fn set_branches(&mut self, branches: Box<Branches>) {
        self.rare().branches = Some(branches);
    }
}

fn last(count: usize) -> Option<SessionPosition> {
    count.checked_sub(1).map(SessionPosition::from_index)
}
