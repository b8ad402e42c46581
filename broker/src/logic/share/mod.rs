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

mod choice;
mod members;

use std::sync::Arc;

use mqtt::{ProtocolVersion, QoS};

use self::choice::{Choice, shard_in_turn};
use crate::limits;
use crate::logic::Shard;
use crate::logic::delivery::fan_out::{message_of, packets_of};
use crate::logic::inbox::first_publish;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::message::{Message, RawPacket, Run, StoredMessage};
use crate::logic::routing::route::{RouteSlot, Target};
use crate::logic::routing::subscription::Position;
use crate::logic::routing::subscription::group::{Group, GroupSlot, MemberCounts, Part, Standing};
use crate::logic::session::Session;
use crate::logic::timer::Timer;
use crate::settings::SharedSubscriptionStrategy;

/// A message of a group that had no member.
#[derive(Debug)]
pub(super) struct Unclaimed {
    group: Arc<str>,
    message: StoredMessage,
}

/// A message on its way to a group, and the packet that it came in.
#[derive(Clone, Copy, Debug)]
struct SharedMessage<'a> {
    message: &'a Message<'a>,
    raw: Option<RawPacket<'a>>,
    /// Shards that it came through.
    hops: u32,
}

impl Shard {
    /// Gives a message that was published here to the groups of its route; the fan-out of the message is begun.
    #[inline]
    pub(super) fn share_message(
        &mut self,
        route: RouteSlot,
        message: &Message<'_>,
        raw: Option<RawPacket<'_>>,
    ) {
        let groups = self.routing.route(route).map_or(0, |route| route.groups.len());
        if groups > 0 {
            let hops = 0;
            self.share_among(route, groups, &SharedMessage { message, raw, hops });
        }
    }

    /// The same of a run, packet by packet.
    #[inline]
    pub(super) fn share_run(&mut self, route: RouteSlot, run: &Run<'_>) {
        let groups = self.routing.route(route).map_or(0, |route| route.groups.len());
        if groups == 0 {
            return;
        }
        for (publish, bytes) in packets_of(run) {
            let message = message_of(&publish, None);
            self.delivery.begin_message();
            let shared = SharedMessage {
                message: &message,
                raw: Some(RawPacket {
                    version: run.version,
                    bytes,
                }),
                hops: 0,
            };
            self.share_among(route, groups, &shared);
        }
    }

    /// Takes in a message that another shard chose this one for.
    pub(super) fn receive_shared(&mut self, version: ProtocolVersion, hops: u32, name: &str, packet: &[u8]) {
        let Some(publish) = first_publish(packet, version) else {
            return unreachable_state("a record without a PUBLISH");
        };
        let message = message_of(&publish, None);
        self.delivery.begin_message();
        let shared = SharedMessage {
            message: &message,
            raw: Some(RawPacket {
                version,
                bytes: packet,
            }),
            hops,
        };
        self.counting(message.payload.len(), |shard| {
            match shard.routing.find_group(name) {
                Some(group) => shard.place(group, &shared),
                None => shard.keep_unclaimed(name.into(), &message),
            }
        });
    }

    /// What a session that has ended held for groups goes to other members.
    pub(super) fn hand_over(&mut self, session: Session) {
        if self.shuts_down {
            return;
        }
        let Session { inflight, queue, .. } = session;
        let queued = queue.into_iter().flat_map(|queue| queue.into_shared());
        for (message, via) in inflight.into_shared().chain(queued) {
            if let Some(group) = &via.group {
                self.place_stored(group, &message);
            }
        }
    }

    /// Messages that found no member have waited: those for whom nobody has come are dropped.
    pub(super) fn place_unclaimed(&mut self) {
        for Unclaimed { group, message } in std::mem::take(&mut self.unclaimed) {
            if self.routing.find_group(&group).is_some() {
                self.place_stored(&group, &message);
            }
        }
    }

    fn share_among(&mut self, route: RouteSlot, groups: usize, shared: &SharedMessage<'_>) {
        self.counting(shared.message.payload.len(), |shard| {
            for at in 0..groups {
                let route = shard.routing.route(route);
                let Some(&group) = route.and_then(|route| route.groups.get(at)) else {
                    return unreachable_state("a route that has changed");
                };
                shard.place_anywhere(group, shared);
            }
        });
    }

    fn place_anywhere(&mut self, group: GroupSlot, shared: &SharedMessage<'_>) {
        match self.choose(group, shared.message.qos) {
            Choice::Here => self.place(group, shared),
            Choice::Shard(to) => self.pass_on_to(to, group, shared),
            Choice::Nobody => {}
        }
    }

    fn place_stored(&mut self, name: &Arc<str>, stored: &StoredMessage) {
        let mut properties = std::mem::take(&mut self.properties);
        if let Some(message) = stored.at(self.now, &mut properties) {
            self.delivery.begin_stored(stored);
            let shared = SharedMessage {
                message: &message,
                raw: None,
                hops: 0,
            };
            self.counting(message.payload.len(), |shard| {
                match shard.routing.find_group(name) {
                    Some(group) => shard.place_anywhere(group, &shared),
                    None => shard.keep_unclaimed(Arc::clone(name), &message),
                }
            });
        }
        self.properties = properties;
    }

    /// Counts what goes out and is dropped meanwhile.
    fn counting(&mut self, payload_bytes: usize, share: impl FnOnce(&mut Self)) {
        share(self);
        self.delivery.count_copies(payload_bytes);
    }

    /// Gives a message to a member here, or passes it on.
    fn place(&mut self, group: GroupSlot, shared: &SharedMessage<'_>) {
        if self.give_to_connected(group, shared.message) {
            return;
        }
        let may_hop = shared.hops < limits::GROUP_HOPS_MAX;
        let index = self.index;
        let other = |shard: &mut Self, part| {
            let group = shard.routing.group_mut(group).filter(|_| may_hop)?;
            shard_in_turn(group, index, part, false)
        };
        // Whoever is connected here is full: only one that is ready is better.
        let here = self.routing.group(group).map_or(MemberCounts::NONE, Group::here);
        let part = if here.connected > 0 {
            Part::Ready
        } else {
            Part::Connected
        };
        if let Some(to) = other(self, part) {
            return self.pass_on_to(to, group, shared);
        }
        if self.give_to_one(group, Standing::Away, shared.message) {
            return;
        }
        if here.all > 0 {
            // Who is away has no claim to QoS 0.
            if here.connected > 0 || shared.message.qos != QoS::AtMostOnce {
                self.delivery.count_dropped();
            }
        } else if let Some(to) = other(self, Part::All) {
            self.pass_on_to(to, group, shared);
        } else if let Some(group) = self.routing.group(group) {
            let name = Arc::clone(&group.name);
            self.keep_unclaimed(name, shared.message);
        }
    }

    /// Whether a member that is connected took it: one that is ready, or else one for which it waits.
    fn give_to_connected(&mut self, group: GroupSlot, message: &Message<'_>) -> bool {
        if self.delivery.settings().shared_subscription_strategy == SharedSubscriptionStrategy::Sticky
            && let Some(position) = self.position_of_oldest(group)
            && self.give(group, position, message)
        {
            return true;
        }
        let mut left = self.routing.group(group).map_or(0, |group| group.here().ready);
        while left > 0
            && let Some(position) = self.next_of(group, Standing::Ready)
        {
            left -= 1;
            if !self.takes_at_once(group, position) {
                self.mark_busy(group, position);
            } else if self.give(group, position, message) {
                if !self.takes_at_once(group, position) {
                    self.mark_busy(group, position);
                }
                return true;
            }
        }
        self.give_to_one(group, Standing::Busy, message)
    }

    /// Whether one of the members of a standing took it.
    fn give_to_one(&mut self, group: GroupSlot, standing: Standing, message: &Message<'_>) -> bool {
        let among = self.routing.group(group).map_or(0, |group| group.count(standing));
        (0..among.min(limits::GROUP_TRIES_MAX)).any(|_| {
            let position = self.next_of(group, standing);
            position.is_some_and(|position| self.give(group, position, message))
        })
    }

    /// Whether that member took it, at the QoS that was granted to it [MQTT-4.8.2-3].
    fn give(&mut self, group: GroupSlot, position: Position, message: &Message<'_>) -> bool {
        let group = self.routing.group(group);
        let Some(member) = group.and_then(|group| group.member(position)) else {
            unreachable_state("a position without a member");
            return false;
        };
        let subscriber = member.subscriber;
        if !self
            .delivery
            .sessions()
            .may_read(subscriber.session, message.topic)
        {
            return false;
        }
        let target = Target {
            session: subscriber.session,
            via: None,
            qos: subscriber.qos(),
            no_local: false,
            retain_as_published: subscriber.retain_as_published(),
        };
        self.delivery.offer(&target, Some(&member.via), message)
    }

    fn next_of(&mut self, group: GroupSlot, standing: Standing) -> Option<Position> {
        self.routing.group_mut(group)?.next(standing)
    }

    fn position_of_oldest(&self, group: GroupSlot) -> Option<Position> {
        let oldest = self.routing.group(group)?.oldest()?;
        let held_at = self.share_of(oldest, group)?;
        let held = self.delivery.session(oldest)?.shares().get(held_at.index())?;
        Some(held.position)
    }

    fn pass_on_to(&mut self, to: u16, group: GroupSlot, shared: &SharedMessage<'_>) {
        let Some(group) = self.routing.group(group) else {
            return unreachable_state("a group that is gone");
        };
        let hops = shared.hops + 1;
        let sent = self
            .outboxes
            .send_shared(to, &group.name, hops, shared.message, shared.raw);
        self.delivery.counters().batch_records_sent.add(sent);
    }

    fn keep_unclaimed(&mut self, group: Arc<str>, message: &Message<'_>) {
        if message.qos == QoS::AtMostOnce {
            return;
        }
        if self.unclaimed.len() >= limits::UNCLAIMED_MAX {
            self.delivery.count_dropped();
            return;
        }
        if self.unclaimed.is_empty() {
            self.timers.set(self.now.plus_ns(1), Timer::Unclaimed);
        }
        let message = self.delivery.kept(message);
        self.unclaimed.push(Unclaimed { group, message });
    }
}
