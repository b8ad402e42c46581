//! Gives one message to one member of a group, on this shard or on another one.
//!
//! Invariant: exactly one of these happens to a message: it is given to one member, passed on to one shard, kept as
//! unclaimed, or counted as dropped.

use std::sync::Arc;

use mqtt::QoS;

use crate::limits;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::routing::route::Target;
use crate::logic::routing::subscription::group::{Group, GroupSlot, MemberCounts, Part, Standing};
use crate::logic::routing::subscription::{Position, Subscriber};
use crate::logic::session::SessionSlot;
use crate::logic::share::choice::{Choice, choose, shard_in_turn};
use crate::logic::share::{SharedMessage, Sharing};
use crate::settings::SharedSubscriptionStrategy;

/// A message for a member of a group.
#[derive(Debug)]
pub(super) struct GroupMessage<'a, 's> {
    pub(super) sharing: &'a mut Sharing<'s>,
    pub(super) group: GroupSlot,
    pub(super) shared: &'a SharedMessage<'a>,
    /// The text of the group, after its last member was found to have ended.
    pub(super) emptied: Option<Arc<str>>,
    /// A member that may not read it.
    pub(super) withheld_from: Option<SessionSlot>,
}

impl GroupMessage<'_, '_> {
    /// Gives it to a member on any shard.
    pub(super) fn on_any_shard(&mut self) {
        let index = self.sharing.outboxes.index();
        let strategy = self.strategy();
        let waits_away = self.sharing.delivery.is_queued_offline(self.shared.message.qos);
        let Some(group) = self.sharing.routing.group_mut(self.group) else {
            return unreachable_state("a group that is gone");
        };
        match choose(group, index, strategy, waits_away) {
            Choice::Here => self.here(),
            Choice::Shard(to) => self.pass_on_to(to),
            Choice::Nobody => {}
        }
    }

    /// Gives it to a member here, or passes it on.
    pub(super) fn here(&mut self) {
        if self.give_to_connected() {
            return;
        }
        // All members connected here are full: only a ready one is better.
        let here = self.group().map_or(MemberCounts::NONE, Group::here);
        let part = if here.connected > 0 {
            Part::Ready
        } else {
            Part::Connected
        };
        if let Some(to) = self.other_shard(part) {
            return self.pass_on_to(to);
        }
        if self.give_to_one(Standing::Away) {
            return;
        }
        if here.all > 0 {
            // A disconnected member gets no QoS 0 messages, so a drop is not counted.
            if here.connected > 0 || self.shared.message.qos != QoS::AtMostOnce {
                self.give_up();
            }
        } else if let Some(to) = self.other_shard(Part::All) {
            self.pass_on_to(to);
        } else if let Some(name) = self
            .group()
            .map(|group| Arc::clone(&group.name))
            .or(self.emptied.take())
        {
            self.sharing.keep_unclaimed(name, self.shared.message);
        }
    }

    /// No member can take it, possibly because none may read it.
    #[cold]
    fn give_up(&mut self) {
        let name = self.group().map(|group| Arc::clone(&group.name));
        let (delivery, message) = (&mut *self.sharing.delivery, self.shared.message);
        if let Some(session) = self.withheld_from {
            delivery.note_withheld_from(session, message, 1);
        }
        delivery.drop_for_group(name.as_deref().unwrap_or_default(), message.topic);
    }

    /// Gives it to a connected member; returns whether one took it: a ready one, or one for which it is queued.
    fn give_to_connected(&mut self) -> bool {
        if self.strategy() == SharedSubscriptionStrategy::Sticky
            && let Some(position) = self.position_of_oldest()
            && self.give(position)
        {
            return true;
        }
        let mut left = self.group().map_or(0, |group| group.here().ready);
        while left > 0
            && let Some(position) = self.next_of(Standing::Ready)
        {
            left -= 1;
            if !self.takes_at_once(position) {
                self.mark_busy(position);
            } else if self.give(position) {
                if !self.takes_at_once(position) {
                    self.mark_busy(position);
                }
                return true;
            }
        }
        self.give_to_one(Standing::Busy)
    }

    /// Gives it to one of the members with a standing; returns whether one took it.
    fn give_to_one(&mut self, standing: Standing) -> bool {
        let among = self.group().map_or(0, |group| group.count(standing));
        (0..among.min(limits::GROUP_TRIES_MAX)).any(|_| {
            let position = self.next_of(standing);
            position.is_some_and(|position| self.give(position))
        })
    }

    /// Gives it to that member, at the QoS that was granted to it [MQTT-4.8.2-3]; returns whether it took it.
    fn give(&mut self, position: Position) -> bool {
        let message = self.shared.message;
        let group = self.sharing.routing.group(self.group);
        let Some(member) = group.and_then(|group| group.member(position)) else {
            unreachable_state("a position without a member");
            return false;
        };
        let subscriber = member.subscriber;
        let sessions = self.sharing.delivery.clients.sessions();
        if !sessions.may_read(subscriber.session, message.topic) {
            self.withheld_from = Some(subscriber.session);
            return false;
        }
        let target = Target {
            session: subscriber.session,
            via: None,
            qos: subscriber.qos(),
            no_local: false,
            retain_as_published: subscriber.retain_as_published(),
        };
        self.sharing
            .delivery
            .try_deliver(&target, Some(&member.via), message)
    }

    fn pass_on_to(&mut self, to: u16) {
        let Some(group) = self.sharing.routing.group(self.group) else {
            return unreachable_state("a group that is gone");
        };
        let hops = self.shared.hops + 1;
        let SharedMessage { message, raw, .. } = *self.shared;
        let publication = self.sharing.delivery.publish_for_member(to, &group.name, message);
        let outboxes = &mut *self.sharing.outboxes;
        let sent = outboxes.send_shared(to, &group.name, hops, message, raw, publication);
        self.sharing.delivery.counters().batch_records_sent.add(sent);
    }

    /// Another shard with members in that part of the group, if the message may be passed on once more.
    fn other_shard(&mut self, part: Part) -> Option<u16> {
        if self.shared.hops >= limits::GROUP_HOPS_MAX {
            return None;
        }
        let index = self.sharing.outboxes.index();
        let group = self.sharing.routing.group_mut(self.group)?;
        shard_in_turn(group, index, part, false)
    }

    fn takes_at_once(&self, position: Position) -> bool {
        let member = self.group().and_then(|group| group.member(position));
        let delivery = &*self.sharing.delivery;
        member.is_some_and(|member| delivery.takes_at_once(member.subscriber.session))
    }

    /// A member that should be ready is not.
    fn mark_busy(&mut self, position: Position) {
        let sharing = &mut *self.sharing;
        let routing = &mut *sharing.routing;
        routing.mark_busy(sharing.delivery, sharing.outboxes, self.group, position);
    }

    /// The next member, in rotation. A member whose session has ended is removed.
    fn next_of(&mut self, standing: Standing) -> Option<Position> {
        loop {
            let position = self.sharing.routing.group_mut(self.group)?.next(standing)?;
            if !self.leaves(position) {
                return Some(position);
            }
        }
    }

    /// Removes a member whose session has ended; returns whether it was one.
    fn leaves(&mut self, position: Position) -> bool {
        let Some(group) = self.sharing.routing.group(self.group) else {
            // The group ended with its last member.
            return false;
        };
        let Some(member) = group.member(position) else {
            unreachable_state("a position without a member");
            return false;
        };
        let Subscriber {
            session, listed_at, ..
        } = member.subscriber;
        if !self.sharing.delivery.clients.sessions().ends(session) {
            return false;
        }
        let name = Arc::clone(&group.name);
        let sharing = &mut *self.sharing;
        let routing = &mut *sharing.routing;
        routing.leave_group(sharing.delivery, sharing.outboxes, session, listed_at);
        self.emptied = self.group().is_none().then_some(name);
        true
    }

    fn position_of_oldest(&mut self) -> Option<Position> {
        loop {
            let oldest = self.group()?.oldest()?;
            let listed_at =
                self.sharing
                    .routing
                    .share_of(&self.sharing.delivery.clients, oldest, self.group)?;
            let session = self.sharing.delivery.clients.session(oldest)?;
            let position = session.shares().get(listed_at.index())?.position;
            if !self.leaves(position) {
                return Some(position);
            }
        }
    }

    fn group(&self) -> Option<&Group> {
        self.sharing.routing.group(self.group)
    }

    fn strategy(&self) -> SharedSubscriptionStrategy {
        self.sharing.delivery.settings().shared_subscription_strategy
    }
}
