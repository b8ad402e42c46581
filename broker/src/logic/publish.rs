//! Publishes a message of this shard: to the local sessions, to the other shards and to the retained messages.
//!
//! Invariants: a message goes to each session once, to each interested shard once, and to one member of each group in
//! the whole broker (`share/`). A retained message also goes to the owner of its topic.

use mqtt::QoS;
use mqtt::property::Properties;

use crate::auth::acl;
use crate::logic::Shard;
use crate::logic::delivery::journal::StoredPublication;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::message::{Message, Publisher, RawPacket, Run};
use crate::logic::outbox::batch::BatchRecord;
use crate::logic::owner_shard::identity;
use crate::logic::retained::RetainedMessages;
use crate::logic::routing::route::{RouteSlot, TopicAccess};
use crate::logic::session::SessionSlot;
use crate::logic::share::Sharing;
use crate::logic::sliced_teardown::Endings;

impl Shard {
    /// Publishes a run of QoS 0 messages of a client.
    #[inline]
    pub(super) fn publish_run(&mut self, route: RouteSlot, run: &Run<'_>, publisher: SessionSlot) {
        let Some(found) = self.routing.route(route) else {
            return unreachable_state("a route that was just resolved");
        };
        let nodes = found.nodes();
        self.work
            .spend(u64::from(run.count) + found.work(run.packets.len()));
        let has_groups = !found.groups.is_empty();
        let one_by_one = self.delivery.fan_out_run(found, run, Some(publisher));
        let sent = self.outboxes.send(&found.shards, &BatchRecord::Run(*run), nodes);
        self.delivery.counters().batch_records_sent.add(sent);
        if one_by_one != found.one_by_one() {
            self.routing.set_one_by_one(route, one_by_one);
        }
        self.work.spend(u64::from(one_by_one) * u64::from(run.count));
        if has_groups {
            self.sharing().share_run(route, run);
        }
    }

    /// Publishes a message without a packet: a Will. It may not use `$SYS`.
    pub(super) fn publish(&mut self, message: &Message<'_>, source: &acl::Access) {
        let sessions = self.delivery.clients.sessions();
        let route = self
            .routing
            .resolve_whole(message.topic, sessions, &mut self.work);
        let route_access = self.routing.route(route).map(|route| route.access);
        if route_access == Some(TopicAccess::Allowed) {
            self.publish_to_route(route, *message, None, source);
        }
    }

    /// Publishes a message of the broker itself, which is retained or about an event.
    pub(super) fn publish_of_broker(&mut self, topic: &str, payload: &[u8], retain: bool) {
        let message = Message {
            topic,
            qos: QoS::AtMostOnce,
            retain,
            properties: Properties::EMPTY,
            payload,
            publisher: Publisher::REMOTE,
        };
        let sessions = self.delivery.clients.sessions();
        let route = self.routing.resolve_whole(topic, sessions, &mut self.work);
        self.publish_to_route(route, message, None, &acl::Access::default());
    }

    /// Publishes to the local sessions, the other shards, and the retained messages (with the rights of its
    /// publisher); false if there was no receiver. `raw` is the packet in which it arrived.
    pub(super) fn publish_to_route(
        &mut self,
        route: RouteSlot,
        mut message: Message<'_>,
        raw: Option<RawPacket<'_>>,
        source: &acl::Access,
    ) -> bool {
        let retained = message.retain.then(|| {
            if let Some(session) = self.delivery.clients.session(message.publisher.session) {
                message.publisher.identity = identity(session.client_identifier());
            }
            let interested = self.routing.route(route).map_or(&[][..], |route| &route.shards);
            let (delivery, outboxes, timers) = (&mut self.delivery, &mut self.outboxes, &mut self.timers);
            self.retained
                .retain(delivery, outboxes, timers, interested, &message, source)
        });
        let Some(found) = self.routing.route(route) else {
            unreachable_state("a route that was just resolved");
            return false;
        };
        let has_groups = !found.groups.is_empty();
        let anybody = message.retain || !found.is_empty();
        let nodes = found.nodes();
        self.work.spend(PUBLISH_WORK + found.work(message.payload.len()));
        // A retained message has been sent with its change.
        let kept = match retained {
            Some(retained) => retained,
            None if found.shards.is_empty() => StoredPublication::default(),
            None => {
                let kept = self.delivery.store_for_shards(&found.shards, &message);
                let sent = self
                    .outboxes
                    .send_message(&found.shards, &message, raw, kept.publication, nodes);
                self.delivery.counters().batch_records_sent.add(sent);
                kept
            }
        };
        self.delivery.fan_out(found, &message, kept);
        if has_groups {
            self.sharing().share_message(route, &message, raw);
        }
        anybody
    }

    /// Gives messages to members of groups.
    pub(super) fn sharing(&mut self) -> Sharing<'_> {
        let (sharing, ..) = self.sharing_beside_endings();
        sharing
    }

    /// As [`Self::sharing`], with the other owners that the end of a session changes.
    #[inline]
    pub(super) fn sharing_beside_endings(&mut self) -> (Sharing<'_>, &mut RetainedMessages, &mut Endings) {
        let sharing = Sharing {
            delivery: &mut self.delivery,
            routing: &mut self.routing,
            outboxes: &mut self.outboxes,
            timers: &mut self.timers,
            work: &mut self.work,
            unclaimed: &mut self.unclaimed,
        };
        (sharing, &mut self.retained, &mut self.endings)
    }
}

/// Units of work of a message beside its route and its copies.
const PUBLISH_WORK: u64 = 3;
