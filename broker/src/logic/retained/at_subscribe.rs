//! Serves new subscriptions with retained messages: makes the request, continues the walks in each turn, delivers the
//! answers.
//!
//! Invariants: all walks of a turn together visit at most [`limits::RETAINED_NODES_MAX`] nodes, and the look-up of a
//! single topic is made only while some of these are left. A walk that is not complete is put back; otherwise its
//! request would never be answered.

use super::requests::RetainedRequest;
use super::walks::{Asker, RetainedWalk};
use super::{FoundMessage, Owners, RequestId, RetainedNote, has_wildcard};
use crate::limits;
use crate::logic::Shard;
use crate::logic::counters::DropReason;
use crate::logic::delivery::Delivery;
use crate::logic::owner::identity;
use crate::logic::session::SessionSlot;
use crate::logic::session::queue::Queued;
use crate::time::Timestamp;

impl Shard {
    /// Begins to send the retained messages that a new subscription matches [MQTT-3.3.1-9]; the caller goes on with
    /// [`Self::walk_retained`].
    pub(in crate::logic) fn request_retained(&mut self, session: SessionSlot, request: RetainedRequest) {
        let owners = self.retained.owners(&request.filter);
        let me = self.retained.me;
        let is_here = owners == Owners::One(me);
        if is_here && !has_wildcard(&request.filter) && self.retained.walks.nodes_left > 0 {
            return self.send_exact(session, &request);
        }
        let left = if owners == Owners::All {
            self.retained.shards
        } else {
            1
        };
        let filter = request.filter.clone();
        let Some(id) = self.retained.requests.open(session, request, owners, left) else {
            return self.delivery.count_dropped(DropReason::RetainedRequests);
        };
        if is_here || owners == Owners::All {
            let asker = Asker { shard: me, session };
            self.retained.walks.push(asker, RetainedWalk::new(id, filter));
        }
        self.retained.send_request(id, owners, &mut self.outboxes);
    }

    /// The session has ended: nobody waits for its answers.
    pub(in crate::logic) fn forget_requests(&mut self, session: SessionSlot) {
        for id in self.retained.requests.of_session(session) {
            self.retained.cancel_request(id, &mut self.outboxes);
        }
    }

    /// Whether something goes on in each turn until it is done: retained messages are looked for, or sessions end.
    #[must_use]
    pub fn has_walks(&self) -> bool {
        self.retained.has_work() || self.has_endings()
    }

    /// A turn of the shard: goes on where the last one ended, and takes the other shards' part in it further.
    pub fn continue_retained_walks(&mut self, now: Timestamp) {
        self.begin(now);
        self.retained.walks.nodes_left = limits::RETAINED_NODES_MAX;
        if self.retained.shards > 1 {
            self.retained.exchange_barriers(&mut self.outboxes);
        }
        self.walk_retained();
    }

    /// Goes on as far as this turn may.
    pub(in crate::logic) fn walk_retained(&mut self) {
        if self.retained.walks.is_empty() {
            return;
        }
        let removed = self.retained.owned.take_removed_nodes();
        if !removed.is_empty() {
            self.retained.walks.skip(&removed);
        }
        let mut standing = 0;
        while self.retained.walks.nodes_left > 0
            && standing < self.retained.walks.askers()
            && let Some((asker, mut walk)) = self.retained.walks.pop()
        {
            let done = if asker.shard == self.retained.me {
                self.walk_for_own(asker, &mut walk)
            } else if self.has_room_for_found(asker.shard) {
                self.walk_for_other(asker, &mut walk)
            } else {
                standing += 1;
                self.retained.walks.push(asker, walk);
                continue;
            };
            standing = 0;
            let nodes_left = &mut self.retained.walks.nodes_left;
            *nodes_left = nodes_left.saturating_sub(WALK_NODES);
            if !done {
                self.retained.walks.push(asker, walk);
            }
        }
        let goes_on = !self.retained.walks.is_empty();
        self.retained.owned.watch_removals(goes_on);
    }

    /// What an owner has found for a request, to its session.
    pub(super) fn receive_matches(
        &mut self,
        id: RequestId,
        messages: impl Iterator<Item = FoundMessage>,
        done: bool,
    ) {
        let Some(request) = self.retained.requests.get(id).cloned() else {
            // It was cancelled when the answer was on its way.
            return;
        };
        if !self.is_wanted(id.session, &request) {
            return self.retained.cancel_request(id, &mut self.outboxes);
        }
        let own = self.delivery.no_local_publisher(id.session, &request);
        for found in messages {
            if !self.retained.requests.is_outdated(&found) {
                self.delivery.send_found(id.session, &request, own, found);
            }
        }
        if done {
            self.retained.requests.answered(id);
        }
        self.delivery.send_waiting(id.session);
    }

    /// A filter without wildcards, of a topic that this shard owns: one look-up.
    fn send_exact(&mut self, session: SessionSlot, request: &RetainedRequest) {
        let policy = self.delivery.retain_policy();
        let found = self.retained.owned.find_exact(self.now, &request.filter, policy);
        let nodes = mqtt::topic::levels(&request.filter).count();
        let nodes_left = &mut self.retained.walks.nodes_left;
        *nodes_left = nodes_left.saturating_sub(nodes);
        if let Some(found) = found {
            let own = self.delivery.no_local_publisher(session, request);
            self.delivery.send_found(session, request, own, found);
            self.delivery.send_waiting(session);
        }
    }

    /// The next piece of a walk for a session of this shard; true at its end.
    fn walk_for_own(&mut self, asker: Asker, walk: &mut RetainedWalk) -> bool {
        let id = walk.id;
        let request = self.retained.requests.get(id).cloned();
        if request.is_none_or(|request| !self.is_wanted(asker.session, &request)) {
            self.retained.cancel_request(id, &mut self.outboxes);
            return true;
        }
        let mut found = std::mem::take(&mut self.retained.walks.found);
        let nodes = self.retained.walks.nodes_left;
        let done = self.find(walk, nodes, &mut found);
        self.receive_matches(id, found.drain(..), done);
        self.retained.walks.found = found;
        done
    }

    /// The next piece of a walk for another shard; true at its end.
    fn walk_for_other(&mut self, asker: Asker, walk: &mut RetainedWalk) -> bool {
        let nodes = limits::RETAINED_FOUND_MAX.min(self.retained.walks.nodes_left);
        let mut found = Vec::new();
        let done = self.find(walk, nodes, &mut found);
        if done || !found.is_empty() {
            let (id, messages) = (walk.id, found);
            self.outboxes
                .send_note(asker.shard, RetainedNote::Found { id, messages, done });
        }
        done
    }

    /// Walks over so many nodes at most.
    fn find(&mut self, walk: &mut RetainedWalk, nodes: usize, found: &mut Vec<FoundMessage>) -> bool {
        let policy = self.delivery.retain_policy();
        let mut left = nodes;
        let RetainedWalk { filter, walk, .. } = walk;
        let done = self
            .retained
            .owned
            .find(self.now, filter, policy, walk, &mut left, found);
        self.retained.walks.nodes_left -= nodes - left;
        done
    }

    /// Whether the subscription is there still, and its session has room.
    fn is_wanted(&self, session: SessionSlot, request: &RetainedRequest) -> bool {
        if self.delivery.sessions().ends(session) {
            return false;
        }
        let filter = self.routing.find(&request.filter);
        if filter
            .and_then(|filter| self.subscription_of(session, filter))
            .is_none()
        {
            return false;
        }
        let session = self.delivery.session(session);
        let queue = session.and_then(|session| session.queue.as_ref());
        let is_full = queue.is_some_and(|queue| queue.is_full_of_retained());
        if is_full {
            self.delivery.count_dropped(DropReason::QueueFull);
        }
        !is_full
    }

    /// Whether more may be sent to a shard that asks.
    fn has_room_for_found(&self, shard: u16) -> bool {
        self.outboxes.waiting(shard) <= limits::RETAINED_FOUND_BATCHES_MAX
    }
}

impl Delivery {
    /// Whose messages a request does not ask for [MQTT-3.8.3-3].
    fn no_local_publisher(&self, session: SessionSlot, request: &RetainedRequest) -> Option<u64> {
        let session = self.session(session).filter(|_| request.no_local)?;
        Some(identity(&session.client_identifier))
    }

    /// Queues one message for a session, if it is not from that one.
    fn send_found(
        &mut self,
        session: SessionSlot,
        request: &RetainedRequest,
        not_from: Option<u64>,
        found: FoundMessage,
    ) {
        let message = found.message;
        if not_from == Some(message.publisher()) {
            return;
        }
        let qos = if self.settings().upgrade_outgoing_qos {
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
        self.send_retained(session, queued);
    }

    /// By which what a retained message's publisher may do is checked again, if it is.
    fn retain_policy(&self) -> Option<&crate::auth::Policy> {
        let checks = self.settings().check_retain_source;
        checks.then(|| self.policy())
    }
}

/// Nodes that a piece of a walk costs beside those that it visits.
const WALK_NODES: usize = 4;
