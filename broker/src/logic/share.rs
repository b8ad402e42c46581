//! A message to one member of a group: which shard, which member, and what becomes of it when the member goes.
//!
//! The shard where a message is published chooses among all members of the broker, by the counts that the shards tell one
//! another: those that are ready before those that are busy, and those before the ones that are away. It hands the message to
//! one of its own members, or sends it to the chosen shard, which picks a member of its own. If none is there any more,
//! it passes the message on by what it knows itself.
//!
//! Invariants: a message that is published once is held once, by one session or as unclaimed or by one record on its way,
//! until a member has it, or its bound drops it. A shard that finds no member anywhere keeps the message for one more turn
//! before it gives up: whoever was told SUBACK before the message was published is known by then. What a
//! session held for a group (queued, or at QoS 1 not acknowledged) goes to another member when the session ends;
//! at QoS 2 what was sent stays where it is [MQTT-4.8.2-4], [MQTT-4.8.2-5].

use std::rc::Rc;
use std::sync::Arc;

use mqtt::{PacketIdentifier, ProtocolVersion, QoS};

use super::Shard;
use super::batch::{self, Control};
use super::deliver::Run;
use super::dispatch::{message_of, packets_with_bytes};
use super::interest::{encode_message, first_publish, others};
use super::message::{Message, Publisher, StoredMessage};
use super::route::Target;
use super::session::{Held, Session};
use super::subscription::Subscriber;
use super::subscription::shared::{Group, Member, MemberCounts, Part, Standing, Via};
use super::time::Timestamp;
use super::timer::Timer;
use crate::limits;
use crate::settings::SharedSubscriptionStrategy;

/// A message of a group that had no member.
#[derive(Debug)]
pub(super) struct Unclaimed {
    group: Arc<str>,
    message: StoredMessage,
}

/// A message on its way to a group, and the packet that it came in.
#[derive(Clone, Copy, Debug)]
struct Parcel<'a> {
    message: &'a Message<'a>,
    raw: Option<(ProtocolVersion, &'a [u8])>,
    /// Shards that it came through.
    hops: u32,
}

impl Shard {
    /// Gives a message that was published here to the groups of its route; the fan-out of the message is begun.
    #[inline]
    pub(super) fn share_message(
        &mut self,
        now: Timestamp,
        route: u32,
        message: &Message<'_>,
        raw: Option<(ProtocolVersion, &[u8])>,
    ) {
        let groups = self.routes.get(route).map_or(0, |route| route.groups.len());
        if groups > 0 {
            let hops = 0;
            self.share_among(now, route, groups, &Parcel { message, raw, hops });
        }
    }

    /// The same of a run, packet by packet.
    #[inline]
    pub(super) fn share_run(&mut self, now: Timestamp, route: u32, run: &Run<'_>) {
        let groups = self.routes.get(route).map_or(0, |route| route.groups.len());
        if groups == 0 {
            return;
        }
        for (publish, packet) in packets_with_bytes(run) {
            let publisher = Publisher::ELSEWHERE.session;
            let message = message_of(&publish, publish.topic, publish.properties, publisher);
            self.fan_out.begin();
            let parcel = Parcel {
                message: &message,
                raw: Some((run.version, packet)),
                hops: 0,
            };
            self.share_among(now, route, groups, &parcel);
        }
    }

    /// Takes in a message that another shard chose this one for.
    pub(super) fn receive_shared(&mut self, now: Timestamp, version: ProtocolVersion, record: &batch::Record<'_>) {
        let Some((hops, name, packet)) = record.shared() else {
            return;
        };
        let Some(publish) = first_publish(packet, version) else {
            return;
        };
        let session = Publisher::ELSEWHERE.session;
        let message = message_of(&publish, publish.topic, publish.properties, session);
        self.fan_out.begin();
        let parcel = Parcel {
            message: &message,
            raw: Some((version, packet)),
            hops,
        };
        self.counting(message.payload.len(), |shard| match shard.subscriptions.groups.find(name) {
            Some(group) => shard.place(now, group, &parcel),
            None => shard.keep_unclaimed(now, name.into(), &message),
        });
    }

    /// What a session that has ended held for groups goes to other members.
    pub(super) fn hand_over(&mut self, now: Timestamp, session: Session) {
        if self.ending {
            return;
        }
        let Session { inflight, queue, .. } = session;
        let queued = queue.into_iter().flat_map(|queue| queue.into_shared());
        for (message, via) in inflight.into_shared().chain(queued) {
            if let Some(group) = &via.group {
                self.place_stored(now, group, &message);
            }
        }
    }

    /// Messages that found no member have waited: those for whom nobody has come are dropped.
    pub(super) fn place_unclaimed(&mut self, now: Timestamp) {
        for Unclaimed { group, message } in std::mem::take(&mut self.unclaimed) {
            if self.subscriptions.groups.find(&group).is_some() {
                self.place_stored(now, &group, &message);
            }
        }
    }

    fn share_among(&mut self, now: Timestamp, route: u32, groups: usize, parcel: &Parcel<'_>) {
        self.counting(parcel.message.payload.len(), |shard| {
            for at in 0..groups {
                let route = shard.routes.get(route);
                let Some(&group) = route.and_then(|route| route.groups.get(at)) else {
                    return;
                };
                shard.place_anywhere(now, group, parcel);
            }
        });
    }

    fn place_anywhere(&mut self, now: Timestamp, group: u32, parcel: &Parcel<'_>) {
        match self.choose(group, parcel.message.qos) {
            Choice::Here => self.place(now, group, parcel),
            Choice::Shard(to) => self.pass_on_to(to, group, parcel),
            Choice::Nobody => {}
        }
    }

    fn place_stored(&mut self, now: Timestamp, name: &Arc<str>, stored: &StoredMessage) {
        let mut properties = std::mem::take(&mut self.properties);
        if let Some(message) = stored.at(now, &mut properties) {
            self.fan_out.begin();
            self.fan_out.set_stored(stored.clone());
            let parcel = Parcel {
                message: &message,
                raw: None,
                hops: 0,
            };
            self.counting(message.payload.len(), |shard| match shard.subscriptions.groups.find(name) {
                Some(group) => shard.place_anywhere(now, group, &parcel),
                None => shard.keep_unclaimed(now, Arc::clone(name), &message),
            });
        }
        self.properties = properties;
    }

    /// Counts what goes out and is dropped meanwhile.
    fn counting(&mut self, payload_bytes: usize, share: impl FnOnce(&mut Self)) {
        let before = (self.fan_out.sent, self.fan_out.dropped);
        share(self);
        let sent = self.fan_out.sent - before.0;
        let counters = self.clients.counters();
        counters.packets_sent.add(sent);
        counters.publishes_sent.add(sent);
        counters.publish_bytes_sent.add(sent * payload_bytes as u64);
        counters.publishes_dropped.add(self.fan_out.dropped - before.1);
    }

    /// To whom in the broker a message goes that is here first.
    fn choose(&mut self, group: u32, qos: QoS) -> Choice {
        let (index, strategy) = (self.index, self.clients.settings.shared_subscription_strategy);
        let waits_away = qos != QoS::AtMostOnce || self.clients.upgrade || self.clients.settings.queue_qos0_messages;
        let Some(group) = self.subscriptions.groups.get_mut(group) else {
            return Choice::Nobody;
        };
        if group.elsewhere().is_empty() {
            return Choice::Here;
        }
        if strategy == SharedSubscriptionStrategy::Sticky
            && let Some(shard) = shard_of_oldest(group, index)
        {
            return Choice::of(shard, index);
        }
        let parts = [Part::Ready, Part::Connected, Part::All];
        let parts = if waits_away { &parts[..] } else { &parts[..2] };
        let shard = parts.iter().find_map(|&part| shard_in_turn(group, index, part, true));
        shard.map_or(Choice::Nobody, |shard| Choice::of(shard, index))
    }

    /// Gives a message to a member here, or passes it on.
    fn place(&mut self, now: Timestamp, group: u32, parcel: &Parcel<'_>) {
        let dropped = self.fan_out.dropped;
        if self.give_to_connected(now, group, parcel.message) {
            self.fan_out.dropped = dropped;
            return;
        }
        let may_hop = parcel.hops < limits::GROUP_HOPS_MAX;
        let index = self.index;
        let other = |shard: &mut Self, part| {
            let group = shard.subscriptions.groups.get_mut(group).filter(|_| may_hop)?;
            shard_in_turn(group, index, part, false)
        };
        // Whoever is connected here is full: only one that is ready is better.
        let here = self.subscriptions.groups.get(group).map_or(MemberCounts::NONE, Group::here);
        let part = if here.connected > 0 { Part::Ready } else { Part::Connected };
        if let Some(to) = other(self, part) {
            self.fan_out.dropped = dropped;
            return self.pass_on_to(to, group, parcel);
        }
        let given = self.give_to_one(now, group, Standing::Away, parcel.message);
        self.fan_out.dropped = dropped;
        if given {
            return;
        }
        if here.all > 0 {
            let counts = here.connected > 0 || parcel.message.qos != QoS::AtMostOnce;
            self.fan_out.dropped += u64::from(counts);
        } else if let Some(to) = other(self, Part::All) {
            self.pass_on_to(to, group, parcel);
        } else if let Some(group) = self.subscriptions.groups.get(group) {
            let name = Arc::clone(&group.name);
            self.keep_unclaimed(now, name, parcel.message);
        }
    }

    /// Whether a member that is connected took it: one that is ready, or else one for which it waits.
    fn give_to_connected(&mut self, now: Timestamp, group: u32, message: &Message<'_>) -> bool {
        if self.clients.settings.shared_subscription_strategy == SharedSubscriptionStrategy::Sticky
            && let Some(position) = self.position_of_oldest(group)
            && self.give(now, group, position, message)
        {
            return true;
        }
        let mut left = self.subscriptions.groups.get(group).map_or(0, |group| group.here().ready);
        while left > 0
            && let Some(position) = self.next_of(group, Standing::Ready)
        {
            left -= 1;
            if !self.takes_at_once(group, position) {
                self.mark_busy(now, group, position);
            } else if self.give(now, group, position, message) {
                if !self.takes_at_once(group, position) {
                    self.mark_busy(now, group, position);
                }
                return true;
            }
        }
        self.give_to_one(now, group, Standing::Busy, message)
    }

    /// Whether one of the members of a standing took it.
    fn give_to_one(&mut self, now: Timestamp, group: u32, standing: Standing, message: &Message<'_>) -> bool {
        let among = self.subscriptions.groups.get(group).map_or(0, |group| group.count(standing));
        (0..among.min(limits::GROUP_TRIES_MAX)).any(|_| {
            let position = self.next_of(group, standing);
            position.is_some_and(|position| self.give(now, group, position, message))
        })
    }

    /// Whether that member took it, at the QoS that was granted to it [MQTT-4.8.2-3].
    fn give(&mut self, now: Timestamp, group: u32, position: u32, message: &Message<'_>) -> bool {
        let Self {
            clients,
            subscriptions,
            fan_out,
            ..
        } = self;
        let Some(member) = subscriptions.groups.get(group).and_then(|group| group.member(position)) else {
            return false;
        };
        let subscriber = member.subscriber;
        if !clients.sessions.may_read(subscriber.session, message.topic) {
            return false;
        }
        let target = Target {
            session: subscriber.session,
            via: 0,
            qos: subscriber.qos(),
            no_local: false,
            retain_as_published: subscriber.retain_as_published(),
        };
        clients.deliver(now, &target, Some(&member.via), message, fan_out)
    }

    fn next_of(&mut self, group: u32, standing: Standing) -> Option<u32> {
        self.subscriptions.groups.get_mut(group)?.next(standing)
    }

    fn position_of_oldest(&self, group: u32) -> Option<u32> {
        let oldest = self.subscriptions.groups.get(group)?.oldest()?;
        let held_at = self.share_of(oldest, group)?;
        let held = self.clients.sessions.get(oldest)?.shares().get(held_at as usize)?;
        Some(held.position)
    }

    fn pass_on_to(&mut self, to: u16, group: u32, parcel: &Parcel<'_>) {
        let Self {
            subscriptions,
            outboxes,
            spare_batches,
            outbox_filled,
            remote_template,
            translated,
            ..
        } = self;
        let (Some(group), Some(outbox)) = (
            subscriptions.groups.get(group),
            outboxes.get_mut(usize::from(to)),
        ) else {
            return;
        };
        let (version, packet) = match parcel.raw {
            Some(raw) => raw,
            None if encode_message(remote_template, parcel.message) => {
                translated.clear();
                remote_template.append_with_identifier(PacketIdentifier::MIN, false, translated);
                (ProtocolVersion::V5, translated.as_slice())
            }
            None => return,
        };
        outbox.share(version, parcel.hops + 1, &group.name, packet, spare_batches);
        *outbox_filled |= outbox.held || outbox.len() > limits::OUTBOX_BATCHES_MAX;
        self.clients.counters().batch_records_sent.add(1);
    }

    fn keep_unclaimed(&mut self, now: Timestamp, group: Arc<str>, message: &Message<'_>) {
        if message.qos == QoS::AtMostOnce {
            return;
        }
        if self.unclaimed.len() >= limits::UNCLAIMED_MAX {
            self.fan_out.dropped += 1;
            return;
        }
        if self.unclaimed.is_empty() {
            self.timers.set(now.plus_ns(1), Timer::Unclaimed);
        }
        let message = self.fan_out.stored(now, message);
        self.unclaimed.push(Unclaimed { group, message });
    }
}

/// Members come, go, and are busy for a while.
impl Shard {
    /// The group of that whole text, made if there is none. It is to get a member, or [`Self::drop_unused_group`].
    pub(super) fn group_named(&mut self, name: &str) -> u32 {
        let (group, changed) = self.subscriptions.find_or_insert_group(name);
        if let Some(filter) = changed {
            self.filter_changed(filter);
        }
        group
    }

    /// Forgets a group without members in any shard.
    pub(super) fn drop_unused_group(&mut self, group: u32) {
        if let Some(filter) = self.subscriptions.drop_unused_group(group) {
            self.filter_changed(filter);
            self.subscriptions.drop_unused(filter);
        }
    }

    /// The place of a group in the list of a session: looked for in the shorter of their two lists.
    pub(super) fn share_of(&self, session: u32, group: u32) -> Option<u32> {
        let members = self.subscriptions.groups.get(group)?.members();
        let shares = self.clients.sessions.get(session)?.shares();
        if shares.len() <= members.len() {
            let at = shares.iter().position(|held| held.filter == group)?;
            return u32::try_from(at).ok();
        }
        let member = members.iter().find(|member| member.subscriber.session == session)?;
        Some(member.subscriber.held_at)
    }

    /// A session that is connected joins a group that it is not in.
    pub(super) fn join_group(&mut self, now: Timestamp, group: u32, subscriber: Subscriber, via: Rc<Via>) {
        let Self {
            clients,
            subscriptions,
            ..
        } = self;
        let (Some(session), Some(joined)) = (
            clients.sessions.get_mut(subscriber.session),
            subscriptions.groups.get_mut(group),
        ) else {
            return;
        };
        let shares = &mut session.rare().shares;
        let held_at = u32::try_from(shares.len()).unwrap_or(u32::MAX);
        let position = joined.add(subscriber.held_at(held_at), via);
        shares.push(Held { filter: group, position });
        self.clients.counters().shared_subscriptions.add(1);
        self.set_standing(now, group, position, Standing::Ready);
    }

    /// A member subscribed again: with other options from now on.
    pub(super) fn replace_member(&mut self, group: u32, held_at: u32, subscriber: Subscriber, via: Rc<Via>) {
        let session = self.clients.sessions.get(subscriber.session);
        let Some(held) = session.and_then(|session| session.shares().get(held_at as usize)) else {
            return;
        };
        let group = self.subscriptions.groups.get_mut(group);
        if let Some(member) = group.and_then(|group| group.member_mut(held.position)) {
            member.subscriber = subscriber.held_at(held_at);
            member.via = via;
        }
    }

    /// Takes the Shared Subscription at a place of the session's list away.
    pub(super) fn leave_group(&mut self, session: u32, at: u32) {
        self.offer_all(Timestamp::NEVER, session);
        let Some(leaving) = self.clients.sessions.get_mut(session) else {
            return;
        };
        let shares = &mut leaving.rare().shares;
        if at as usize >= shares.len() {
            return;
        }
        let Held { filter: group, position } = shares.swap_remove(at as usize);
        let moved = shares.get(at as usize).copied();
        if let Some(Held { filter, position }) = moved
            && let Some(group) = self.subscriptions.groups.get_mut(filter)
            && let Some(member) = group.member_mut(position)
        {
            member.subscriber.held_at = at;
        }
        let Self {
            clients,
            subscriptions,
            ..
        } = self;
        if let Some(group) = subscriptions.groups.get_mut(group) {
            let sessions = &mut clients.sessions;
            // The one that leaves is in the list no more.
            group.remove(position, &mut |member: &Member, position| {
                if member.subscriber.session != session {
                    tell_position(sessions, member, position);
                }
            });
        }
        self.clients.counters().shared_subscriptions.sub(1);
        self.announce_members(group);
        self.drop_unused_group(group);
    }

    /// A session has a connection now.
    pub(super) fn member_came(&mut self, now: Timestamp, session: u32) {
        self.set_all_standings(now, session, Standing::Ready);
    }

    /// A session has no connection any more.
    pub(super) fn member_went(&mut self, now: Timestamp, session: u32) {
        if let Some(session) = self.clients.sessions.get_mut(session)
            && !session.shares().is_empty()
        {
            session.rare().busy_in = Vec::new();
        }
        self.set_all_standings(now, session, Standing::Away);
    }

    /// A client that groups count as busy may be ready again, with half of its window free.
    pub(super) fn offer_again(&mut self, now: Timestamp, slot: u32) {
        let Some(connection) = self.clients.connections.get_mut(slot).filter(|c| c.busy_in_group) else {
            return;
        };
        let session = connection.session;
        let Some(member) = self.clients.sessions.get(session) else {
            return;
        };
        let free = member.inflight.outstanding() <= member.window / 2;
        if free && self.clients.takes_at_once(session) {
            self.offer_all(now, session);
        }
    }

    /// Another shard said how many members it has.
    pub(super) fn set_members(&mut self, from: u16, name: &str, counts: MemberCounts) {
        let group = self.group_named(name);
        if let Some(group) = self.subscriptions.groups.get_mut(group) {
            group.set_elsewhere(from, counts);
        }
        self.drop_unused_group(group);
    }

    /// In no group does the session count as busy.
    fn offer_all(&mut self, now: Timestamp, session: u32) {
        let Some(offered) = self.clients.sessions.get_mut(session) else {
            return;
        };
        if offered.shares().is_empty() {
            return;
        }
        for held_at in std::mem::take(&mut offered.rare().busy_in) {
            let session = self.clients.sessions.get(session);
            let held = session.and_then(|session| session.shares().get(held_at as usize)).copied();
            if let Some(Held { filter, position }) = held {
                self.set_standing(now, filter, position, Standing::Ready);
            }
        }
        let slot = self.clients.sessions.link(session);
        if let Some(connection) = self.clients.connection(slot) {
            connection.busy_in_group = false;
        }
    }

    /// A member was to be ready and is not.
    fn mark_busy(&mut self, now: Timestamp, group: u32, position: u32) {
        let groups = &self.subscriptions.groups;
        let Some(member) = groups.get(group).and_then(|group| group.member(position)) else {
            return;
        };
        let Subscriber { session, held_at, .. } = member.subscriber;
        if let Some(session) = self.clients.sessions.get_mut(session) {
            session.rare().busy_in.push(held_at);
        }
        let slot = self.clients.sessions.link(session);
        if let Some(connection) = self.clients.connection(slot) {
            connection.busy_in_group = true;
        }
        self.set_standing(now, group, position, Standing::Busy);
    }

    fn takes_at_once(&self, group: u32, position: u32) -> bool {
        let groups = &self.subscriptions.groups;
        let member = groups.get(group).and_then(|group| group.member(position));
        member.is_some_and(|member| self.clients.takes_at_once(member.subscriber.session))
    }

    fn set_all_standings(&mut self, now: Timestamp, session: u32, standing: Standing) {
        let mut at = 0;
        while let Some(member) = self.clients.sessions.get(session)
            && let Some(&Held { filter, position }) = member.shares().get(at)
        {
            at += 1;
            self.set_standing(now, filter, position, standing);
        }
    }

    fn set_standing(&mut self, now: Timestamp, group: u32, position: u32, standing: Standing) {
        let Self {
            clients,
            subscriptions,
            ..
        } = self;
        if let Some(group) = subscriptions.groups.get_mut(group) {
            let sessions = &mut clients.sessions;
            group.set_standing(now, position, standing, &mut |member: &Member, position| {
                tell_position(sessions, member, position);
            });
        }
        self.announce_members(group);
    }

    /// Tells the other shards, if there is something new.
    fn announce_members(&mut self, group: u32) {
        let Self {
            outboxes,
            spare_batches,
            index,
            outbox_filled,
            subscriptions,
            ..
        } = self;
        let Some(group) = subscriptions.groups.get_mut(group) else {
            return;
        };
        let Some(counts) = group.take_news() else {
            return;
        };
        for (_, outbox) in others(outboxes, *index) {
            let group = Arc::clone(&group.name);
            outbox.control(Control::Members { group, counts }, spare_batches);
            *outbox_filled |= outbox.len() > limits::OUTBOX_BATCHES_MAX;
        }
    }
}

/// Where a message goes that was published here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    Here,
    Shard(u16),
    Nobody,
}

impl Choice {
    fn of(shard: u16, here: u16) -> Self {
        if shard == here {
            Self::Here
        } else {
            Self::Shard(shard)
        }
    }
}

/// The shard of the member whose turn it is in that part of the group; among the other shards alone, or this one too.
fn shard_in_turn(group: &mut Group, here: u16, part: Part, or_here: bool) -> Option<u16> {
    let own = if or_here { group.here().of(part) } else { 0 };
    let others = group.elsewhere().iter().map(|(_, counts)| counts.of(part));
    let among = others.fold(own, u32::saturating_add);
    if among == 0 {
        return None;
    }
    let mut turn = group.next_of_all(among);
    if turn < own {
        return Some(here);
    }
    turn -= own;
    for &(shard, counts) in group.elsewhere() {
        let members = counts.of(part);
        if turn < members {
            return Some(shard);
        }
        turn -= members;
    }
    None
}

/// The shard of the member that has been connected longest.
fn shard_of_oldest(group: &Group, here: u16) -> Option<u16> {
    let elsewhere = group.elsewhere().iter().copied();
    let all = elsewhere.chain(std::iter::once((here, group.here())));
    let connected = all.filter(|(_, counts)| counts.connected > 0);
    let oldest = connected.min_by_key(|(shard, counts)| (counts.oldest, *shard));
    oldest.map(|(shard, _)| shard)
}

fn tell_position(sessions: &mut super::session::Sessions, member: &Member, position: u32) {
    let session = sessions.get_mut(member.subscriber.session);
    let held = session.and_then(|session| session.share_mut(member.subscriber.held_at));
    if let Some(held) = held {
        held.position = position;
    }
}
