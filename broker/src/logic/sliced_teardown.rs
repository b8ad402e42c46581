//! Ends sessions that own so much that it takes more than one turn.
//!
//! Invariants: from the first step on no message is delivered to such a session, its client identifier is free, and it
//! is no longer counted. Its slot is kept until no filter, group or request refers to it. If it is chosen as the member
//! of a group, the caller removes it from the group instead (`share/placing.rs`). Messages that it held for groups go
//! to other members after it has left its own groups; everything else that it owned is dropped last.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::limits;
use crate::logic::delivery::Delivery;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::message::StoredMessage;
use crate::logic::retained::RetainedMessages;
use crate::logic::routing::Routing;
use crate::logic::session::ends::SessionEnd;
use crate::logic::session::messages::Undeliverable;
use crate::logic::session::{Session, SessionSlot};
use crate::logic::share::Sharing;
use crate::logic::via::Via;

/// A session that ends over several turns, and how far its end has come.
#[derive(Debug)]
struct Ending {
    session: SessionSlot,
    end: SessionEnd,
    /// What it had in flight for groups.
    in_flight: VecDeque<(StoredMessage, Rc<Via>)>,
    /// What nobody gets any more, as far as its end has come.
    lost: Undeliverable,
}

/// About what the end of a session costs, in units of work.
pub(super) fn end_work(session: &Session) -> u64 {
    let (queued, _) = session.queued_totals();
    session.subscription_count() as u64 * SUBSCRIPTION_WORK + queued * QUEUED_WORK
}

/// The sessions that end over several turns, in the order in which they began to.
#[derive(Debug, Default)]
pub(super) struct Endings(VecDeque<Ending>);

impl Endings {
    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A session without a connection ends, which takes too long to be done at once. Its Will was published.
    pub(super) fn begin(
        &mut self,
        slot: SessionSlot,
        end: SessionEnd,
        delivery: &mut Delivery,
        routing: &mut Routing,
    ) {
        delivery.begin_ending(slot);
        let Some(session) = delivery.clients.session_mut(slot) else {
            return unreachable_state("a session to be ended that is gone");
        };
        let in_flight = session.take_in_flight();
        let lost = Undeliverable::in_flight(&in_flight);
        // No route names it from now on.
        routing.rights_changed();
        self.0.push_back(Ending {
            session: slot,
            end,
            in_flight: in_flight.into_shared().collect(),
            lost,
        });
    }

    /// Goes on with sessions that end, as long as there is work left. What they hold for groups goes to other members,
    /// if these `inherit`.
    pub(super) fn go_on(
        &mut self,
        retained: &mut RetainedMessages,
        sharing: &mut Sharing<'_>,
        inherit: bool,
    ) {
        while !sharing.work.is_spent()
            && let Some(mut ending) = self.0.pop_front()
        {
            if !ending.go_on(retained, sharing, inherit) {
                self.0.push_front(ending);
            }
        }
    }
}

impl Ending {
    /// A piece of the end of a session; true at its end.
    fn go_on(&mut self, retained: &mut RetainedMessages, sharing: &mut Sharing<'_>, inherit: bool) -> bool {
        let slot = self.session;
        while !sharing.work.is_spent() {
            sharing.work.spend(SUBSCRIPTION_WORK);
            if let Some(request) = retained.request_of(slot) {
                retained.cancel_request(request, sharing.outboxes);
                continue;
            }
            let Some(session) = sharing.delivery.clients.session(slot) else {
                unreachable_state("a session that ends and is gone");
                return true;
            };
            if let Some(at) = session.last_subscription() {
                let routing = &mut *sharing.routing;
                routing.drop_subscription(sharing.delivery, sharing.outboxes, slot, at);
            } else if let Some(at) = session.last_share() {
                let routing = &mut *sharing.routing;
                routing.leave_group(sharing.delivery, sharing.outboxes, slot, at);
            } else if let Some((message, via)) = self.in_flight.pop_front() {
                hand_to_other_member(sharing, inherit, &message, &via);
            } else if !self.drop_queued(sharing, inherit) {
                let ended = sharing.delivery.finish_ending(slot);
                if let Some(session) = ended.filter(|_| inherit) {
                    sharing.delivery.drop_with_session(&session, self.end, &self.lost);
                }
                return true;
            }
        }
        false
    }

    /// Drops some of the messages that wait for a session that ends; false if there were none.
    fn drop_queued(&mut self, sharing: &mut Sharing<'_>, inherit: bool) -> bool {
        for _ in 0..limits::QUEUED_DROPPED_AT_ONCE {
            let queued = match sharing.delivery.pop_of_ending(self.session) {
                Ok(queued) => queued,
                Err(stored) => {
                    self.lost.others += stored;
                    return false;
                }
            };
            if !queued.is_of_group() {
                self.lost.add(&queued.message);
            } else if let Some(via) = queued.via {
                hand_to_other_member(sharing, inherit, &queued.message, &via);
            }
        }
        true
    }
}

/// Gives a message of an ended session's group to another member [MQTT-4.8.2-5].
fn hand_to_other_member(sharing: &mut Sharing<'_>, inherit: bool, message: &StoredMessage, via: &Via) {
    if let Some(group) = &via.group
        && inherit
    {
        sharing.place_stored(group, message, None);
    }
}

/// Units of work that a subscription costs when it goes, and a message that waited.
const SUBSCRIPTION_WORK: u64 = 12;
const QUEUED_WORK: u64 = 2;
