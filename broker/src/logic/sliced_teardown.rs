//! Ends sessions that own so much that it takes more than one turn.
//!
//! Invariants: from the first step on no message is delivered to such a session, its client identifier is free, and it
//! is no longer counted. Its slot is kept until no filter, group or request refers to it. If it is chosen as the member
//! of a group, the caller removes it from the group instead (`share/placing.rs`). Messages that it held for groups go
//! to other members after it has left its own groups; everything else that it owned is dropped last.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::limits;
use crate::logic::Shard;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::message::StoredMessage;
use crate::logic::routing::subscription::SessionPosition;
use crate::logic::routing::subscription::via::Via;
use crate::logic::session::{Session, SessionSlot};

/// A session that ends over several turns, and how far its end has come.
#[derive(Debug)]
pub(super) struct Ending {
    session: SessionSlot,
    /// What it had in flight for groups.
    in_flight: VecDeque<(StoredMessage, Rc<Via>)>,
}

/// About what the end of a session costs, in units of work.
pub(super) fn end_work(session: &Session) -> u64 {
    let listed = session.subscriptions.len() + session.shares().len();
    let queued = session.queue.as_ref().map_or(0, |queue| queue.len());
    listed as u64 * SUBSCRIPTION_WORK + queued as u64 * QUEUED_WORK
}

impl Shard {
    /// Whether some session still has to be ended.
    pub(super) fn has_endings(&self) -> bool {
        !self.endings.is_empty()
    }

    /// A session without a connection ends, which takes too long to be done at once. Its Will was published.
    pub(super) fn begin_ending(&mut self, slot: SessionSlot) {
        self.delivery.begin_ending(slot);
        let Some(session) = self.delivery.session_mut(slot) else {
            return unreachable_state("a session to be ended that is gone");
        };
        let in_flight = std::mem::take(&mut session.inflight).into_shared().collect();
        // No route names it from now on.
        self.routing.rights_changed();
        self.endings.push_back(Ending {
            session: slot,
            in_flight,
        });
    }

    /// Goes on with sessions that end, as long as there is work left. Not while other shards' queues are full: what it
    /// puts there would keep this shard from flushing.
    pub(super) fn continue_endings(&mut self) {
        if self.is_blocked {
            // It goes on in the next turn.
            return;
        }
        while !self.work.is_spent()
            && let Some(mut ending) = self.endings.pop_front()
        {
            if !self.continue_ending(&mut ending) {
                self.endings.push_front(ending);
            }
        }
    }

    /// A piece of the end of a session; true at its end.
    fn continue_ending(&mut self, ending: &mut Ending) -> bool {
        let slot = ending.session;
        let last = |listed: usize| listed.checked_sub(1).map(SessionPosition::from_index);
        while !self.work.is_spent() {
            self.work.spend(SUBSCRIPTION_WORK);
            if let Some(request) = self.retained.request_of(slot) {
                self.retained.cancel_request(request, &mut self.outboxes);
                continue;
            }
            let Some(session) = self.delivery.session(slot) else {
                unreachable_state("a session that ends and is gone");
                return true;
            };
            if let Some(at) = last(session.subscriptions.len()) {
                self.drop_subscription(slot, at);
            } else if let Some(at) = last(session.shares().len()) {
                self.leave_group(slot, at);
            } else if let Some((message, via)) = ending.in_flight.pop_front() {
                self.hand_to_other_member(&message, &via);
            } else if !self.drop_queued(slot) {
                self.delivery.finish_ending(slot);
                return true;
            }
        }
        false
    }

    /// Drops some of the messages that wait for a session that ends; false if there were none.
    fn drop_queued(&mut self, slot: SessionSlot) -> bool {
        for _ in 0..limits::QUEUED_DROPPED_AT_ONCE {
            let Some(queued) = self.delivery.pop_of_ending(slot) else {
                return false;
            };
            if let Some(via) = queued.via {
                self.hand_to_other_member(&queued.message, &via);
            }
        }
        true
    }

    /// Gives a message of an ended session's group to another member [MQTT-4.8.2-5].
    fn hand_to_other_member(&mut self, message: &StoredMessage, via: &Via) {
        if let Some(group) = &via.group
            && !self.shuts_down
        {
            self.place_stored(group, message, None);
        }
    }
}

/// Units of work that a subscription costs when it goes, and a message that waited.
const SUBSCRIPTION_WORK: u64 = 12;
const QUEUED_WORK: u64 = 2;
