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
use crate::logic::owner::identity;
use crate::logic::routing::route::{RouteSlot, TopicAccess};
use crate::logic::session::SessionSlot;

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
        self.delivery.fan_out_run(found, run, Some(publisher));
        let sent = self.outboxes.send(&found.shards, &BatchRecord::Run(*run), nodes);
        self.delivery.counters().batch_records_sent.add(sent);
        self.share_run(route, run);
    }

    /// Publishes a message that no packet carries: a Will. `$SYS` is not for it.
    pub(super) fn publish(&mut self, message: &Message<'_>, source: &acl::Access) {
        let sessions = self.delivery.sessions();
        let route = self
            .routing
            .resolve_whole(message.topic, sessions, &mut self.work);
        let route_access = self.routing.route(route).map(|route| route.access);
        if route_access == Some(TopicAccess::Allowed) {
            self.publish_to_route(route, *message, None, source);
        }
    }

    /// Publishes a retained message of the broker itself.
    pub(super) fn publish_sys_message(&mut self, topic: &str, payload: &[u8]) {
        self.publish_of_broker(topic, payload, true);
    }

    /// Publishes something that has happened in the broker; it is not retained.
    pub(super) fn publish_event(&mut self, topic: &str, payload: &[u8]) {
        self.publish_of_broker(topic, payload, false);
    }

    fn publish_of_broker(&mut self, topic: &str, payload: &[u8], retain: bool) {
        let message = Message {
            topic,
            qos: QoS::AtMostOnce,
            retain,
            properties: Properties::EMPTY,
            payload,
            publisher: Publisher::REMOTE,
        };
        let sessions = self.delivery.sessions();
        let route = self.routing.resolve_whole(topic, sessions, &mut self.work);
        self.publish_to_route(route, message, None, &acl::Access::default());
    }

    /// To the local sessions, the other shards, and the retained messages (with what its publisher may do); false if
    /// nobody was there. `raw` is the packet that it came in.
    pub(super) fn publish_to_route(
        &mut self,
        route: RouteSlot,
        mut message: Message<'_>,
        raw: Option<RawPacket<'_>>,
        source: &acl::Access,
    ) -> bool {
        let retained = message.retain.then(|| {
            if let Some(session) = self.delivery.session(message.publisher.session) {
                message.publisher.identity = identity(&session.client_identifier);
            }
            self.retain(route, &message, source)
        });
        let Some(found) = self.routing.route(route) else {
            unreachable_state("a route that was just resolved");
            return false;
        };
        let anybody = message.retain || !found.is_empty();
        let nodes = found.nodes();
        self.work.spend(PUBLISH_WORK + found.work(message.payload.len()));
        // A retained message has gone with its change.
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
        self.share_message(route, &message, raw);
        anybody
    }

    /// Whether there is no room for one more retained message.
    pub(super) fn refuses_retained(&self, topic: &str, payload: &[u8]) -> bool {
        let is_full = || {
            let counters = self.delivery.all_counters();
            self.delivery.is_memory_full() || self.retained.is_full_for(topic, payload.len(), counters)
        };
        !payload.is_empty() && is_full()
    }
}

/// Units of work that a message costs beside its route and its copies.
const PUBLISH_WORK: u64 = 3;
