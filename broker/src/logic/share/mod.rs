//! Shared Subscriptions: gives a message to one member of a group, and to another one if the member ends.
//!
//! The shard on which a message is published chooses among all members of the broker, by the counts that the shards
//! announce to one another: ready members before busy ones, and those before the ones that are away. If one of its own
//! members is chosen, it gets the message (placing.rs). Otherwise the message goes to the chosen shard, which picks one
//! of its own members. If that shard has none any more, it passes the message on by the counts that it knows.
//!
//! `members.rs` has the members of groups and when they are busy, `choice.rs` chooses a shard, `placing.rs` gives a
//! message to a member.
//!
//! Invariants: a message that is published once is held once: by one session, as unclaimed, or by one record on its
//! way, until a member has it or a bound drops it. A shard that knows of no member keeps the message for one more turn
//! before it drops it: by then it knows every member that had its SUBACK before the message was published. When a
//! session ends, what it held for a group (queued, or at QoS 1 not acknowledged) goes to another member; at QoS 2 a
//! message that was sent stays with the session [MQTT-4.8.2-4], [MQTT-4.8.2-5].

mod choice;
mod members;
mod placing;

use std::sync::Arc;

use mqtt::{ProtocolVersion, QoS};

use self::placing::GroupMessage;
use crate::limits;
use crate::logic::Shard;
use crate::logic::counters::DropReason;
use crate::logic::delivery::fan_out::{message_of, packets_of};
use crate::logic::inconsistency::unreachable_state;
use crate::logic::message::first_publish;
use crate::logic::message::{Message, RawPacket, Run, StoredMessage};
use crate::logic::routing::route::RouteSlot;
use crate::logic::routing::subscription::group::GroupSlot;
use crate::logic::session::Session;
use crate::logic::store::PublicationId;
use crate::logic::timer::Timer;

/// A message of a group that had no member.
#[derive(Debug)]
pub(super) struct Unclaimed {
    group: Arc<str>,
    message: StoredMessage,
    /// Its number, if the store keeps it.
    publication: Option<PublicationId>,
}

/// A message for one member of a group, as it comes from another shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReceivedShare<'a> {
    pub(super) version: ProtocolVersion,
    /// The number of shards that have passed the message on.
    pub(super) hops: u32,
    /// Its number, if the store keeps it.
    pub(super) publication: Option<PublicationId>,
    pub(super) packet: &'a [u8],
}

/// A message on its way to a group, and the packet that it came in.
#[derive(Clone, Copy, Debug)]
struct SharedMessage<'a> {
    message: &'a Message<'a>,
    raw: Option<RawPacket<'a>>,
    /// The number of shards that have passed the message on.
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
    pub(super) fn receive_shared(&mut self, name: &str, received: ReceivedShare<'_>) {
        let ReceivedShare {
            version,
            hops,
            publication,
            packet,
        } = received;
        let Some(publish) = first_publish(packet, version) else {
            return unreachable_state("a record without a PUBLISH");
        };
        let message = message_of(&publish, None);
        self.delivery.begin_message();
        self.delivery.begin_publication(publication);
        let shared = SharedMessage {
            message: &message,
            raw: Some(RawPacket {
                version,
                bytes: packet,
            }),
            hops,
        };
        self.counting_copies(message.payload.len(), |shard| {
            match shard.routing.find_group(name) {
                Some(group) => shard.placing(group, &shared).here(),
                None => shard.keep_unclaimed(name.into(), &message),
            }
        });
    }

    /// What a session that has ended held for groups goes to other members. Returns what is left of it.
    pub(super) fn redistribute_messages(&mut self, mut session: Session) -> Session {
        if self.shuts_down {
            return session;
        }
        let inflight = std::mem::take(&mut session.inflight);
        let queued = session
            .queue
            .take()
            .into_iter()
            .flat_map(|queue| queue.into_shared());
        for (message, via) in inflight.into_shared().chain(queued) {
            if let Some(group) = &via.group {
                self.place_stored(group, &message, None);
            }
        }
        session
    }

    /// Messages that found no member have waited: those for whom nobody has come are dropped.
    pub(super) fn place_unclaimed(&mut self) {
        for unclaimed in std::mem::take(&mut self.unclaimed) {
            let Unclaimed {
                group,
                message,
                publication,
            } = unclaimed;
            if self.routing.find_group(&group).is_some() {
                self.place_stored(&group, &message, publication);
            } else {
                self.delivery.begin_stored(&message);
                self.delivery.begin_publication(publication);
                self.delivery.note_delivered_to_all();
            }
        }
    }

    fn share_among(&mut self, route: RouteSlot, groups: usize, shared: &SharedMessage<'_>) {
        self.counting_copies(shared.message.payload.len(), |shard| {
            for at in 0..groups {
                let route = shard.routing.route(route);
                let Some(&group) = route.and_then(|route| route.groups.get(at)) else {
                    return unreachable_state("a route that has changed");
                };
                shard.placing(group, shared).on_any_shard();
            }
        });
    }

    pub(super) fn place_stored(
        &mut self,
        name: &Arc<str>,
        stored: &StoredMessage,
        publication: Option<PublicationId>,
    ) {
        let mut properties = std::mem::take(&mut self.properties);
        self.delivery.begin_stored(stored);
        self.delivery.begin_publication(publication);
        if let Some(message) = stored.at(self.now, &mut properties) {
            let shared = SharedMessage {
                message: &message,
                raw: None,
                hops: 0,
            };
            self.counting_copies(message.payload.len(), |shard| {
                match shard.routing.find_group(name) {
                    Some(group) => shard.placing(group, &shared).on_any_shard(),
                    None => shard.keep_unclaimed(Arc::clone(name), &message),
                }
            });
        } else {
            self.delivery.note_delivered_to_all();
        }
        self.properties = properties;
    }

    /// Runs `share` and counts the copies that it sends and drops.
    fn counting_copies(&mut self, payload_bytes: usize, share: impl FnOnce(&mut Self)) {
        share(self);
        self.delivery.note_delivered_to_all();
        self.delivery.count_copies(payload_bytes);
    }

    fn placing<'a>(&'a mut self, group: GroupSlot, shared: &'a SharedMessage<'a>) -> GroupMessage<'a> {
        GroupMessage {
            shard: self,
            group,
            shared,
            emptied: None,
        }
    }

    /// No shard has a member: one may come by what is on its way.
    fn keep_unclaimed(&mut self, group: Arc<str>, message: &Message<'_>) {
        if message.qos == QoS::AtMostOnce {
            return;
        }
        if self.unclaimed.len() >= limits::UNCLAIMED_MAX {
            self.delivery.count_dropped(DropReason::NoMember);
            return;
        }
        if self.unclaimed.is_empty() {
            self.timers.set(self.now.plus_ns(1), Timer::Unclaimed);
        }
        let publication = self.delivery.publish_for_member(self.index, &group, message);
        let message = self.delivery.stored_copy(message);
        self.unclaimed.push(Unclaimed {
            group,
            message,
            publication,
        });
    }
}
