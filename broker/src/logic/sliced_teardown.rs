//! Ends sessions that own so much that it takes more than one turn, or for which the store has messages of groups.
//!
//! Invariants: from the first step on no message is delivered to such a session, its client identifier is free, and it
//! is no longer counted. Its slot is kept until no filter, group or request refers to it. If it is chosen as the member
//! of a group, the caller removes it from the group instead (`share/placing.rs`). Messages that it held for groups go
//! to other members after it has left its own groups, each in the order in which the session got it; everything else
//! that it owned is dropped last. While the store reads, nothing is done for the session, and a request is under way.

use std::collections::VecDeque;
use std::rc::Rc;

use store::ReadBack;

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
use crate::logic::slots::Slot as _;
use crate::logic::store::Record;
use crate::logic::via::Via;

/// A session that ends over several turns, and its progress.
#[derive(Debug)]
struct Ending {
    session: SessionSlot,
    end: SessionEnd,
    /// What it had in flight for groups, and later what the store has read.
    for_groups: VecDeque<ForGroup>,
    /// From which place of its order on the store is to be asked for messages of groups; none if it has no more.
    ask_from: Option<u64>,
    /// How many of those the store has returned.
    read: u64,
    /// What nobody gets any more, as far as its end has come.
    lost: Undeliverable,
}

/// A message of a group; its place in the session's order, or 0.
#[derive(Debug)]
struct ForGroup {
    message: StoredMessage,
    via: Rc<Via>,
    order: u64,
}

/// How far the end of a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndingProgress {
    /// There is more to be done, when there is work left.
    Unfinished,
    /// The store is being asked.
    Waits,
    Done,
}

/// About what the end of a session costs, in units of work.
pub(super) fn end_work(session: &Session) -> u64 {
    let (queued, _) = session.queued_totals();
    session.subscription_count() as u64 * SUBSCRIPTION_WORK + queued * QUEUED_WORK
}

/// The sessions that end over several turns, in the order in which they began to.
#[derive(Debug, Default)]
pub(super) struct Endings {
    unfinished: VecDeque<Ending>,
    /// Those for which the store is being asked.
    waiting: Vec<Ending>,
}

impl Endings {
    /// Whether one of them can go on.
    pub(super) fn has_work(&self) -> bool {
        !self.unfinished.is_empty()
    }

    /// A session without a connection ends, which takes too long for one turn. Its Will was published.
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
        // No route refers to it from now on.
        routing.rights_changed();
        let for_groups = in_flight.into_shared().map(|(message, via)| ForGroup {
            message,
            via,
            order: 0,
        });
        self.unfinished.push_back(Ending {
            session: slot,
            end,
            for_groups: for_groups.collect(),
            ask_from: Some(0),
            read: 0,
            lost,
        });
    }

    /// The store has read messages of groups for one of them.
    pub(super) fn take_answer(&mut self, answer: ReadBack, delivery: &mut Delivery) {
        let tag = answer.request.tag;
        let waiting = &mut self.waiting;
        let Some(at) = waiting
            .iter()
            .position(|ending| ending.session.number().get() == tag)
        else {
            return unreachable_state("messages of groups for no session that ends");
        };
        let mut ending = waiting.swap_remove(at);
        ending.ask_from = answer.next;
        ending.read += answer.messages.len() as u64;
        for read in answer.messages {
            let message = read.message.as_deref();
            let message =
                message.and_then(|message| StoredMessage::from_store(message, delivery.journal.wall));
            match message.zip(Via::decode(&read.via)) {
                Some((message, via)) => ending.for_groups.push_back(ForGroup {
                    message,
                    via,
                    order: read.order,
                }),
                None => {
                    tracing::error!(
                        "A message of a Shared Subscription cannot be read from the store, and is dropped."
                    );
                    delivery.drop_unreadable(ending.session, 1);
                }
            }
        }
        self.unfinished.push_back(ending);
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
            && let Some(mut ending) = self.unfinished.pop_front()
        {
            match ending.go_on(retained, sharing, inherit) {
                EndingProgress::Unfinished => self.unfinished.push_front(ending),
                EndingProgress::Waits => self.waiting.push(ending),
                EndingProgress::Done => {}
            }
        }
    }
}

impl Ending {
    /// A piece of the end of a session.
    fn go_on(
        &mut self,
        retained: &mut RetainedMessages,
        sharing: &mut Sharing<'_>,
        inherit: bool,
    ) -> EndingProgress {
        let slot = self.session;
        while !sharing.work.is_spent() {
            sharing.work.spend(SUBSCRIPTION_WORK);
            if let Some(request) = retained.request_of(slot) {
                retained.cancel_request(request, sharing.outboxes);
                continue;
            }
            let Some(session) = sharing.delivery.clients.session(slot) else {
                unreachable_state("a session that ends and is gone");
                return EndingProgress::Done;
            };
            if let Some(at) = session.last_subscription() {
                let routing = &mut *sharing.routing;
                routing.drop_subscription(sharing.delivery, sharing.outboxes, slot, at);
            } else if let Some(at) = session.last_share() {
                let routing = &mut *sharing.routing;
                routing.leave_group(sharing.delivery, sharing.outboxes, slot, at);
            } else if let Some(for_group) = self.for_groups.pop_front() {
                self.hand_on(sharing, inherit, &for_group);
            } else if !self.drop_queued(sharing, inherit) {
                let delivery = &mut *sharing.delivery;
                if let Some(from) = self.ask_from.take().filter(|_| inherit)
                    && delivery.ask_shared_of_ending(slot, from)
                {
                    return EndingProgress::Waits;
                }
                self.finish(delivery, inherit);
                return EndingProgress::Done;
            }
        }
        EndingProgress::Unfinished
    }

    /// Nothing is left that others get.
    fn finish(&mut self, delivery: &mut Delivery, inherit: bool) {
        let stored = delivery.drop_stored_of_ending(self.session);
        self.lost.others += stored.saturating_sub(self.read);
        let ended = delivery.finish_ending(self.session);
        if let Some(session) = ended.filter(|_| inherit) {
            delivery.drop_with_session(&session, self.end, &self.lost);
        }
    }

    /// Drops some of the messages in memory that wait for a session that ends; false if there were none.
    fn drop_queued(&mut self, sharing: &mut Sharing<'_>, inherit: bool) -> bool {
        for _ in 0..limits::QUEUED_DROPPED_AT_ONCE {
            let Some(queued) = sharing.delivery.pop_of_ending(self.session) else {
                return false;
            };
            if !queued.is_of_group() {
                self.lost.add(&queued.message);
            } else if let Some(via) = queued.via {
                self.hand_on(
                    sharing,
                    inherit,
                    &ForGroup {
                        message: queued.message,
                        via,
                        order: queued.order,
                    },
                );
            }
        }
        true
    }

    /// Gives a message of a group to another member [MQTT-4.8.2-5]. After a crash the store has it for one of the two.
    fn hand_on(&self, sharing: &mut Sharing<'_>, inherit: bool, for_group: &ForGroup) {
        if let Some(group) = &for_group.via.group
            && inherit
        {
            sharing.place_stored(group, &for_group.message, None);
            let order = for_group.order;
            if order > 0 {
                sharing
                    .delivery
                    .record(self.session, |session| Record::Done { session, order });
            }
        }
    }
}

/// Units of work to remove a subscription, and a queued message.
const SUBSCRIPTION_WORK: u64 = 12;
const QUEUED_WORK: u64 = 2;
