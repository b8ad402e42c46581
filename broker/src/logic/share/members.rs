//! Members of groups: how they join and leave, and when they are busy.
//!
//! Invariants: a session without a connection is away in all of its groups and never ready. When the reason for which
//! its groups count it as busy ends, [`Routing::offer_again`] is called. A change of this shard's counts is announced
//! to the others before anything else leaves the shard in that turn.

use std::rc::Rc;
use std::sync::Arc;

use crate::logic::clients::Clients;
use crate::logic::connection::ConnectionSlot;
use crate::logic::delivery::Delivery;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::outbox::Outboxes;
use crate::logic::routing::Routing;
use crate::logic::routing::subscription::group::{GroupSlot, Member, MemberCounts, Standing};
use crate::logic::routing::subscription::{Position, SessionPosition, Subscriber};
use crate::logic::session::{ListedShare, SessionSlot, Sessions};
use crate::logic::session_subscriptions::forget_branches;
use crate::logic::via::Via;

impl Routing {
    /// The position of a group in the list of a session; searches the shorter of their two lists.
    pub(in crate::logic) fn share_of(
        &self,
        clients: &Clients,
        session: SessionSlot,
        group: GroupSlot,
    ) -> Option<SessionPosition> {
        let members = self.group(group)?.members();
        let shares = clients.session(session)?.shares();
        if shares.len() <= members.len() {
            let at = shares.iter().position(|listed| listed.group == group)?;
            return Some(SessionPosition::from_index(at));
        }
        let member = members
            .iter()
            .find(|member| member.subscriber.session == session)?;
        Some(member.subscriber.listed_at)
    }

    /// A connected session joins a group that it is not in.
    pub(in crate::logic) fn join_group(
        &mut self,
        delivery: &mut Delivery,
        outboxes: &mut Outboxes,
        group: GroupSlot,
        mut subscriber: Subscriber,
        via: Rc<Via>,
    ) {
        let (Some(session), Some(joined)) = (
            delivery.clients.session_mut(subscriber.session),
            self.group_mut(group),
        ) else {
            return unreachable_state("a session or a group that is gone");
        };
        subscriber.listed_at = session.next_share_at();
        let position = joined.add(subscriber, via);
        session.list_share(ListedShare { group, position });
        let name = Arc::clone(&joined.name);
        delivery.counters().shared_subscriptions.add(1);
        self.count_branches(delivery, subscriber.session, &name);
        self.set_standing(delivery, outboxes, group, position, Standing::Ready);
    }

    /// A member subscribed again, with other options.
    pub(in crate::logic) fn replace_member(
        &mut self,
        clients: &Clients,
        group: GroupSlot,
        subscriber: Subscriber,
        via: Rc<Via>,
    ) {
        let session = clients.session(subscriber.session);
        let Some(listed) = session.and_then(|session| session.shares().get(subscriber.listed_at.index()))
        else {
            return unreachable_state("a member that its session does not know");
        };
        let group = self.group_mut(group);
        if let Some(member) = group.and_then(|group| group.member_mut(listed.position)) {
            member.subscriber = subscriber;
            member.via = via;
        }
    }

    /// Removes the Shared Subscription at a position of the session's list.
    pub(in crate::logic) fn leave_group(
        &mut self,
        delivery: &mut Delivery,
        outboxes: &mut Outboxes,
        session: SessionSlot,
        at: SessionPosition,
    ) {
        self.offer_all(delivery, outboxes, session);
        let Some(leaving) = delivery.clients.session_mut(session) else {
            return unreachable_state("a session that leaves and is gone");
        };
        let Some((ListedShare { group, position }, moved)) = leaving.take_share(at) else {
            // It has left already.
            return;
        };
        if let Some(group) = self.group(group) {
            forget_branches(leaving, &group.name);
        }
        if let Some(ListedShare { group, position }) = moved
            && let Some(group) = self.group_mut(group)
            && let Some(member) = group.member_mut(position)
        {
            member.subscriber.listed_at = at;
        }
        if let Some(group) = self.group_mut(group) {
            let sessions = delivery.clients.sessions_mut();
            // The leaving session is no longer in the list.
            group.remove(position, &mut |member: &Member, position| {
                if member.subscriber.session != session {
                    notify_position(sessions, member, position);
                }
            });
        }
        delivery.counters().shared_subscriptions.sub(1);
        self.announce_members(outboxes, group);
        self.drop_unused_group(group);
    }

    /// A session has a connection now.
    pub(in crate::logic) fn member_connected(
        &mut self,
        delivery: &mut Delivery,
        outboxes: &mut Outboxes,
        session: SessionSlot,
    ) {
        self.set_all_standings(delivery, outboxes, session, Standing::Ready);
    }

    /// A session has no connection any more.
    pub(in crate::logic) fn member_disconnected(
        &mut self,
        delivery: &mut Delivery,
        outboxes: &mut Outboxes,
        session: SessionSlot,
    ) {
        if let Some(session) = delivery.clients.session_mut(session) {
            session.take_busy();
        }
        self.set_all_standings(delivery, outboxes, session, Standing::Away);
    }

    /// A client that groups count as busy may be ready again, with half of its window free.
    pub(in crate::logic) fn offer_again(
        &mut self,
        delivery: &mut Delivery,
        outboxes: &mut Outboxes,
        slot: ConnectionSlot,
    ) {
        let Some(connection) = delivery
            .clients
            .connection(slot)
            .filter(|it| it.is_busy_in_group())
        else {
            // It may be gone by now; then no group counts it as busy.
            return;
        };
        let Some(session) = connection.session() else {
            // It is closing: its session has been away since then.
            return;
        };
        let Some(member) = delivery.clients.session(session) else {
            return unreachable_state("a connection of a session that is gone");
        };
        let free = member.has_half_a_window();
        if free && delivery.takes_at_once(session) {
            self.offer_all(delivery, outboxes, session);
        }
    }

    /// The session counts as busy in no group.
    fn offer_all(&mut self, delivery: &mut Delivery, outboxes: &mut Outboxes, session: SessionSlot) {
        let Some(offered) = delivery.clients.session_mut(session) else {
            return unreachable_state("a member that is gone");
        };
        if offered.shares().is_empty() {
            return;
        }
        for listed_at in offered.take_busy() {
            let session = delivery.clients.session(session);
            let listed = session
                .and_then(|session| session.shares().get(listed_at.index()))
                .copied();
            if let Some(ListedShare { group, position }) = listed {
                self.set_standing(delivery, outboxes, group, position, Standing::Ready);
            }
        }
        let slot = delivery.clients.link(session);
        if let Some(connection) = delivery.clients.connection(slot) {
            connection.set_busy_in_group(false);
        }
    }

    /// A member that should be ready is not.
    pub(super) fn mark_busy(
        &mut self,
        delivery: &mut Delivery,
        outboxes: &mut Outboxes,
        group: GroupSlot,
        position: Position,
    ) {
        let counted = self.group(group);
        let Some(member) = counted.and_then(|group| group.member(position)) else {
            return unreachable_state("a position without a member");
        };
        let Subscriber {
            session, listed_at, ..
        } = member.subscriber;
        if let Some(session) = delivery.clients.session_mut(session) {
            session.add_busy(listed_at);
        }
        let slot = delivery.clients.link(session);
        if let Some(connection) = delivery.clients.connection(slot) {
            connection.set_busy_in_group(true);
        }
        self.set_standing(delivery, outboxes, group, position, Standing::Busy);
    }

    fn set_all_standings(
        &mut self,
        delivery: &mut Delivery,
        outboxes: &mut Outboxes,
        session: SessionSlot,
        standing: Standing,
    ) {
        let mut at = 0;
        while let Some(member) = delivery.clients.session(session)
            && let Some(&ListedShare { group, position }) = member.shares().get(at)
        {
            at += 1;
            self.set_standing(delivery, outboxes, group, position, standing);
        }
    }

    fn set_standing(
        &mut self,
        delivery: &mut Delivery,
        outboxes: &mut Outboxes,
        group: GroupSlot,
        position: Position,
        standing: Standing,
    ) {
        if let Some(group) = self.group_mut(group) {
            let now = delivery.now();
            let sessions = delivery.clients.sessions_mut();
            group.set_standing(now, position, standing, &mut |member: &Member, position| {
                notify_position(sessions, member, position);
            });
        }
        self.announce_members(outboxes, group);
    }

    /// Notifies the other shards, if the counts have changed.
    fn announce_members(&mut self, outboxes: &mut Outboxes, group: GroupSlot) {
        let Some(group) = self.group_mut(group) else {
            return unreachable_state("a group that is gone");
        };
        let Some(counts) = group.take_changed_counts() else {
            // The others know the counts.
            return;
        };
        outboxes.announce_members(&group.name, counts);
    }
}

impl Routing {
    /// Another shard announced its member counts.
    pub(in crate::logic) fn set_members(&mut self, from: u16, name: &str, counts: MemberCounts) {
        let group = self.find_or_insert_group(name);
        if let Some(group) = self.group_mut(group) {
            group.set_remote(from, counts);
        }
        self.drop_unused_group(group);
    }
}

fn notify_position(sessions: &mut Sessions, member: &Member, position: Position) {
    if let Some(session) = sessions.get_mut(member.subscriber.session) {
        session.set_share_position(member.subscriber.listed_at, position);
    }
}
