//! Shared Subscriptions: gives a message to one member of a group, and to another one if the member's session ends.
//!
//! The shard on which a message is published chooses among all members of the broker, by the counts that the shards
//! announce: ready members before busy ones, and those before members that are away. If it chooses itself, one of its
//! own members gets the message (placing.rs). Otherwise the message goes to the chosen shard, which picks one of its
//! own members. If that shard has none any more, it passes the message on by the counts that it knows.
//!
//! `members.rs` has the members of groups and when they are busy, `choice.rs` chooses a shard, `placing.rs` gives a
//! message to a member. `unclaimed.rs` keeps the messages that found no member.
//!
//! Invariants: a message that is published once exists once: in one session, as unclaimed, or in one record on its
//! way, until a member has it or a bound drops it. A shard that knows of no member keeps the message for one more turn
//! before it drops it: by then it knows every member that had its SUBACK before the message was published. When a
//! session ends, its messages for a group (queued, or at QoS 1 not acknowledged) go to another member; at QoS 2 a
//! message that was sent stays with the session [MQTT-4.8.2-4], [MQTT-4.8.2-5].

mod choice;
mod members;
mod placing;
mod unclaimed;

use std::sync::Arc;

use mqtt::property::PropertiesBuf;
use mqtt::{ProtocolVersion, QoS};

use self::placing::GroupMessage;
pub(super) use self::unclaimed::UnclaimedMessages;
use crate::limits;
use crate::logic::delivery::Delivery;
use crate::logic::delivery::fan_out::{message_of, packets_of};
use crate::logic::inconsistency::unreachable_state;
use crate::logic::message::first_publish;
use crate::logic::message::{Message, RawPacket, Run, StoredMessage};
use crate::logic::outbox::Outboxes;
use crate::logic::routing::Routing;
use crate::logic::routing::route::RouteSlot;
use crate::logic::routing::subscription::group::GroupSlot;
use crate::logic::session::Session;
use crate::logic::store::PublicationId;
use crate::logic::timer::Timers;
use crate::turn::WorkBudget;

/// A message for one member of a group, from another shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReceivedShare<'a> {
    pub(super) version: ProtocolVersion,
    /// The number of shards that have passed the message on.
    pub(super) hops: u32,
    /// Its number, if the store keeps it.
    pub(super) publication: Option<PublicationId>,
    pub(super) packet: &'a [u8],
}

/// A message on its way to a group, and the packet in which it arrived.
#[derive(Clone, Copy, Debug)]
struct SharedMessage<'a> {
    message: &'a Message<'a>,
    raw: Option<RawPacket<'a>>,
    /// The number of shards that have passed the message on.
    hops: u32,
}

/// The state for giving messages to members of groups.
#[derive(Debug)]
pub(super) struct Sharing<'s> {
    pub(super) delivery: &'s mut Delivery,
    pub(super) routing: &'s mut Routing,
    pub(super) outboxes: &'s mut Outboxes,
    pub(super) timers: &'s mut Timers,
    pub(super) work: &'s mut WorkBudget,
    pub(super) unclaimed: &'s mut UnclaimedMessages,
}

impl<'s> Sharing<'s> {
    /// Gives a message that was published here to the groups of its route; its fan-out has begun.
    pub(super) fn share_message(
        &mut self,
        route: RouteSlot,
        message: &Message<'_>,
        raw: Option<RawPacket<'_>>,
    ) {
        let hops = 0;
        self.share_among(route, &SharedMessage { message, raw, hops });
    }

    /// The same for a run, packet by packet.
    pub(super) fn share_run(&mut self, route: RouteSlot, run: &Run<'_>) {
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
            self.share_among(route, &shared);
        }
    }

    /// Handles a message for which another shard chose this one.
    pub(super) fn receive(&mut self, name: &str, received: ReceivedShare<'_>) {
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
        self.delivery.journal.begin(publication);
        let shared = SharedMessage {
            message: &message,
            raw: Some(RawPacket {
                version,
                bytes: packet,
            }),
            hops,
        };
        self.counting_copies(message.payload.len(), |sharing| {
            match sharing.routing.find_group(name) {
                Some(group) => sharing.placing(group, &shared).here(),
                None => sharing.keep_unclaimed(name.into(), &message),
            }
        });
    }

    /// The messages for groups of a session that has ended go to other members. Returns the rest.
    pub(super) fn redistribute_messages(&mut self, mut session: Session) -> Session {
        let inflight = session.take_in_flight();
        let queued = session
            .take_queue()
            .into_iter()
            .flat_map(|queue| queue.into_shared());
        for (message, via) in inflight.into_shared().chain(queued) {
            if let Some(group) = &via.group {
                self.place_stored(group, &message, None);
            }
        }
        session
    }

    fn share_among(&mut self, route: RouteSlot, shared: &SharedMessage<'_>) {
        let groups = self.routing.route(route).map_or(0, |route| route.groups.len());
        self.work.spend(groups as u64 * limits::GROUP_WORK);
        self.counting_copies(shared.message.payload.len(), |sharing| {
            for at in 0..groups {
                let route = sharing.routing.route(route);
                let Some(&group) = route.and_then(|route| route.groups.get(at)) else {
                    return unreachable_state("a route that has changed");
                };
                let name = sharing.routing.group(group).map(|group| &group.name);
                match name.filter(|name| sharing.unclaimed.wait_for(name)) {
                    Some(name) if shared.message.qos != QoS::AtMostOnce => {
                        sharing.keep_unclaimed(Arc::clone(name), shared.message);
                    }
                    _ => sharing.placing(group, shared).on_any_shard(),
                }
            }
        });
    }

    /// Gives a message that is stored already to a member of a group.
    pub(super) fn place_stored(
        &mut self,
        name: &Arc<str>,
        stored: &StoredMessage,
        publication: Option<PublicationId>,
    ) {
        let mut properties = PropertiesBuf::new();
        self.delivery.begin_stored(stored);
        self.delivery.journal.begin(publication);
        if let Some(message) = stored.at(self.delivery.now(), &mut properties) {
            let shared = SharedMessage {
                message: &message,
                raw: None,
                hops: 0,
            };
            self.counting_copies(message.payload.len(), |sharing| {
                match sharing.routing.find_group(name) {
                    Some(group) => sharing.placing(group, &shared).on_any_shard(),
                    None => sharing.keep_unclaimed(Arc::clone(name), &message),
                }
            });
        } else {
            self.delivery.note_delivered_to_all();
        }
    }

    /// Runs `share` and counts the copies that it sends and drops.
    fn counting_copies(&mut self, payload_bytes: usize, share: impl FnOnce(&mut Self)) {
        share(self);
        self.delivery.note_delivered_to_all();
        self.delivery.count_copies(payload_bytes);
    }

    fn placing<'a>(&'a mut self, group: GroupSlot, shared: &'a SharedMessage<'a>) -> GroupMessage<'a, 's> {
        GroupMessage {
            sharing: self,
            group,
            shared,
            emptied: None,
            withheld_from: None,
        }
    }
}
