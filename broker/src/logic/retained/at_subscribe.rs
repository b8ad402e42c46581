//! Serves new subscriptions with retained messages: makes the request, continues the walks in each turn, delivers the
//! answers.
//!
//! Invariants: all walks of a turn together visit at most [`limits::RETAINED_NODES_MAX`] nodes, and the look-up of a
//! single topic is made only while some of these are left. A walk that is not complete is put back; otherwise its
//! request would never be answered.

use mqtt::property::Properties;

use super::owned::FoundInWalk;
use super::walks::{Asker, RetainedWalk};
use super::{FoundMessage, Owners, RequestId, RetainedMessages, RetainedNote, has_wildcard};
use crate::auth::Policy;
use crate::limits;
use crate::logic::clients::Clients;
use crate::logic::counters::DropReason;
use crate::logic::delivery::Delivery;
use crate::logic::message::{Message, Publisher};
use crate::logic::outbox::Outboxes;
use crate::logic::owner_shard::identity;
use crate::logic::retained_note::RetainedRequest;
use crate::logic::routing::Routing;
use crate::logic::session::SessionSlot;
use crate::logic::session::queue::Queued;

impl RetainedMessages {
    /// Begins to send the retained messages that match a new subscription [MQTT-3.3.1-9]; the caller continues with
    /// [`Self::walk`].
    pub(in crate::logic) fn request_retained(
        &mut self,
        delivery: &mut Delivery,
        outboxes: &mut Outboxes,
        session: SessionSlot,
        request: RetainedRequest,
    ) {
        let owners = self.owners(&request.filter);
        let me = self.me;
        let is_here = owners == Owners::One(me);
        if is_here && !has_wildcard(&request.filter) && self.walks.nodes_left > 0 {
            return self.send_exact(delivery, session, &request);
        }
        let left = if owners == Owners::All { self.shards } else { 1 };
        let filter = request.filter.clone();
        let Some(id) = self.requests.open(session, request, owners, left) else {
            return delivery.drop_for(session, &filter, DropReason::RetainedRequests);
        };
        if is_here || owners == Owners::All {
            let asker = Asker { shard: me, session };
            self.walks.push(asker, RetainedWalk::new(id, filter));
        }
        self.send_request(id, owners, outboxes);
    }

    /// The session has ended: its answers are no longer awaited.
    pub(in crate::logic) fn forget_requests(&mut self, outboxes: &mut Outboxes, session: SessionSlot) {
        for id in self.requests.of_session(session) {
            self.cancel_request(id, outboxes);
        }
    }

    /// A turn of the shard: continues where the last one ended, including the walks for other shards.
    pub(in crate::logic) fn continue_walks(
        &mut self,
        delivery: &mut Delivery,
        routing: &Routing,
        outboxes: &mut Outboxes,
    ) {
        self.walks.nodes_left = limits::RETAINED_NODES_MAX;
        if self.shards > 1 {
            self.exchange_barriers(outboxes);
        }
        self.walk(delivery, routing, outboxes);
    }

    /// Continues within the bound of this turn.
    pub(in crate::logic) fn walk(
        &mut self,
        delivery: &mut Delivery,
        routing: &Routing,
        outboxes: &mut Outboxes,
    ) {
        if self.walks.is_empty() {
            return;
        }
        let removed = self.owned.take_removed_nodes();
        if !removed.is_empty() {
            self.walks.skip(&removed);
        }
        let mut standing = 0;
        while self.walks.nodes_left > 0
            && standing < self.walks.askers()
            && let Some((asker, mut walk)) = self.walks.pop()
        {
            let done = if asker.shard == self.me {
                self.walk_for_own(delivery, routing, outboxes, asker, &mut walk)
            } else if outboxes.waiting(asker.shard) <= limits::RETAINED_FOUND_BATCHES_MAX {
                self.walk_for_other(delivery, outboxes, asker, &mut walk)
            } else {
                standing += 1;
                self.walks.push(asker, walk);
                continue;
            };
            standing = 0;
            self.drop_denied(delivery);
            let nodes_left = &mut self.walks.nodes_left;
            *nodes_left = nodes_left.saturating_sub(WALK_NODES);
            if !done {
                self.walks.push(asker, walk);
            }
        }
        let goes_on = !self.walks.is_empty();
        self.owned.watch_removals(goes_on);
    }

    /// Passes the answer of an owner to its session.
    pub(super) fn receive_matches(
        &mut self,
        delivery: &mut Delivery,
        routing: &Routing,
        outboxes: &mut Outboxes,
        id: RequestId,
        messages: impl Iterator<Item = FoundMessage>,
        done: bool,
    ) {
        let Some(request) = self.requests.get(id).cloned() else {
            // It was cancelled while the answer was on its way.
            return;
        };
        if !is_wanted(delivery, routing, id.session, &request) {
            return self.cancel_request(id, outboxes);
        }
        let own = no_local_publisher(&delivery.clients, id.session, &request);
        for found in messages {
            if !self.requests.is_outdated(&found) {
                send_found(delivery, id.session, &request, own, found);
            }
        }
        if done {
            self.requests.answered(id);
        }
        delivery.send_waiting(id.session);
    }

    /// A filter without wildcards, for a topic that this shard owns: one look-up.
    fn send_exact(&mut self, delivery: &mut Delivery, session: SessionSlot, request: &RetainedRequest) {
        let policy = retain_policy(delivery);
        let now = delivery.now();
        let denied = &mut self.walks.denied;
        let found = self.owned.find_exact(now, &request.filter, policy, denied);
        self.drop_denied(delivery);
        let nodes = mqtt::topic::levels(&request.filter).count();
        let nodes_left = &mut self.walks.nodes_left;
        *nodes_left = nodes_left.saturating_sub(nodes);
        if let Some(found) = found {
            let own = no_local_publisher(&delivery.clients, session, request);
            send_found(delivery, session, request, own, found);
            delivery.send_waiting(session);
        }
    }

    /// The next piece of a walk for a session of this shard; true at its end.
    fn walk_for_own(
        &mut self,
        delivery: &mut Delivery,
        routing: &Routing,
        outboxes: &mut Outboxes,
        asker: Asker,
        walk: &mut RetainedWalk,
    ) -> bool {
        let id = walk.id;
        let request = self.requests.get(id).cloned();
        if request.is_none_or(|request| !is_wanted(delivery, routing, asker.session, &request)) {
            self.cancel_request(id, outboxes);
            return true;
        }
        let mut found = std::mem::take(&mut self.walks.found);
        let nodes = self.walks.nodes_left;
        let done = self.find(delivery, walk, nodes, &mut found);
        self.receive_matches(delivery, routing, outboxes, id, found.drain(..), done);
        self.walks.found = found;
        done
    }

    /// The next piece of a walk for another shard; true at its end.
    fn walk_for_other(
        &mut self,
        delivery: &Delivery,
        outboxes: &mut Outboxes,
        asker: Asker,
        walk: &mut RetainedWalk,
    ) -> bool {
        let nodes = limits::RETAINED_FOUND_MAX.min(self.walks.nodes_left);
        let mut found = Vec::new();
        let done = self.find(delivery, walk, nodes, &mut found);
        if done || !found.is_empty() {
            let (id, messages) = (walk.id, found);
            outboxes.send_note(asker.shard, RetainedNote::Found { id, messages, done });
        }
        done
    }

    /// Visits at most this many nodes.
    fn find(
        &mut self,
        delivery: &Delivery,
        walk: &mut RetainedWalk,
        nodes: usize,
        found: &mut Vec<FoundMessage>,
    ) -> bool {
        let policy = retain_policy(delivery);
        let mut left = nodes;
        let RetainedWalk { filter, walk, .. } = walk;
        let now = delivery.now();
        let found = FoundInWalk {
            messages: found,
            denied: &mut self.walks.denied,
        };
        let done = self.owned.find(now, filter, policy, walk, &mut left, found);
        self.walks.nodes_left -= nodes - left;
        done
    }

    /// Counts messages that were found but are denied.
    fn drop_denied(&mut self, delivery: &mut Delivery) {
        for message in self.walks.denied.drain(..) {
            delivery.drop_of_source(message.topic());
        }
    }
}

/// Queues one message for a session, unless the session published it or its client may not read it.
fn send_found(
    delivery: &mut Delivery,
    session: SessionSlot,
    request: &RetainedRequest,
    not_from: Option<u64>,
    found: FoundMessage,
) {
    let message = found.message;
    if not_from == Some(message.publisher()) {
        return;
    }
    if !delivery.clients.sessions().may_read(session, message.topic()) {
        let withheld = Message {
            topic: message.topic(),
            qos: message.qos(),
            retain: true,
            properties: Properties::EMPTY,
            payload: message.payload(),
            publisher: Publisher::REMOTE,
        };
        return delivery.note_withheld_from(session, &withheld, 1);
    }
    let qos = if delivery.settings().upgrade_outgoing_qos {
        request.qos
    } else {
        request.qos.min(message.qos())
    };
    let via = request.via.clone();
    let queued = Queued {
        message,
        via,
        qos,
        retain: true,
        order: 0,
        retained: true,
        is_overrun: false,
    };
    delivery.send_retained(session, queued);
}

/// Whether the subscription still exists, and its session has room.
fn is_wanted(
    delivery: &mut Delivery,
    routing: &Routing,
    session: SessionSlot,
    request: &RetainedRequest,
) -> bool {
    let clients = &delivery.clients;
    if clients.sessions().ends(session) {
        return false;
    }
    let filter = routing.find(&request.filter);
    let listed = filter.and_then(|filter| routing.subscription_of(clients, session, filter));
    if listed.is_none() {
        return false;
    }
    let queue = clients.session(session).and_then(|session| session.queue());
    let is_full = queue.is_some_and(|queue| queue.is_full_of_retained());
    if is_full {
        delivery.drop_for(session, &request.filter, DropReason::QueueFull);
    }
    !is_full
}

/// The publisher whose messages a request excludes [MQTT-3.8.3-3].
fn no_local_publisher(clients: &Clients, session: SessionSlot, request: &RetainedRequest) -> Option<u64> {
    let session = clients.session(session).filter(|_| request.no_local)?;
    Some(identity(session.client_identifier()))
}

/// The policy for checking the rights of a retained message's publisher again, if that is configured.
fn retain_policy(delivery: &Delivery) -> Option<&Policy> {
    let checks = delivery.settings().check_retain_source;
    checks.then(|| delivery.policy())
}

/// Nodes that a piece of a walk costs beside those that it visits.
const WALK_NODES: usize = 4;
