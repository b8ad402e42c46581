//! Deletes the messages that expire while their client is away, from its queue and from the store. Without that they
//! would take the place of newer ones. For a client that is connected they are dropped when their turn comes
//! (waiting.rs).
//!
//! Invariants: a session has at most one time at which its queue is looked through, and has one if its queue has
//! messages that expire, but for the time in which the store looks through them. A queue is looked through at most
//! once in [`limits::QUEUE_EXPIRY_NS`], in pieces of a bounded size. Each message that expires is counted once.

use std::collections::{BTreeSet, HashMap};

use store::ReadBack;

use crate::limits;
use crate::logic::Shard;
use crate::logic::counters::DropReason;
use crate::logic::delivery::Delivery;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::session::queue::Queued;
use crate::logic::session::{Session, SessionSlot};
use crate::logic::slots::Slot as _;
use crate::logic::store::Record;
use crate::time::Timestamp;

/// When queues are looked through for what has expired.
#[derive(Debug, Default)]
pub(super) struct ExpiryTimes {
    in_order: BTreeSet<(Timestamp, SessionSlot)>,
    of_sessions: HashMap<SessionSlot, Timestamp>,
}

impl ExpiryTimes {
    /// The queue of the session is looked through at that time, if not before.
    fn set(&mut self, session: SessionSlot, at: Timestamp) {
        let known = self.of_sessions.get(&session);
        if at < known.copied().unwrap_or(Timestamp::NEVER) {
            self.forget(session);
            self.of_sessions.insert(session, at);
            self.in_order.insert((at, session));
        }
    }

    fn forget(&mut self, session: SessionSlot) {
        if let Some(at) = self.of_sessions.remove(&session) {
            self.in_order.remove(&(at, session));
        }
    }

    fn first(&self) -> Option<Timestamp> {
        self.in_order.first().map(|(at, _)| *at)
    }

    fn take_due(&mut self, now: Timestamp) -> Option<SessionSlot> {
        let &(_, session) = self.in_order.first().filter(|(at, _)| *at <= now)?;
        self.forget(session);
        Some(session)
    }
}

impl Shard {
    /// Deletes what has expired, as far as the turn's work lets it.
    ///
    /// [MQTT-3.3.2-5]
    pub(in crate::logic) fn delete_expired(&mut self) {
        while !self.work.is_spent()
            && let Some(session) = self.delivery.expiry_times.take_due(self.now)
        {
            let work = self.delivery.delete_expired_of(session);
            self.work.spend(work);
        }
    }
}

impl Delivery {
    /// When [`Shard::delete_expired`] has something to do next.
    pub(in crate::logic) fn next_expiry(&self) -> Option<Timestamp> {
        self.expiry_times.first()
    }

    /// A message that expires then is in the session's queue. It is looked through in a while at the earliest, so many
    /// messages that expire one after the other are deleted together.
    pub(in crate::logic) fn watch_expiry(&mut self, session: SessionSlot, at: Timestamp) {
        if at != Timestamp::NEVER {
            let soonest = self.now.plus_ns(limits::QUEUE_EXPIRY_NS);
            self.expiry_times.set(session, at.max(soonest));
        }
    }

    /// As [`Self::watch_expiry`], of all that is in the session's queue.
    pub(in crate::logic) fn watch_queue(&mut self, session: SessionSlot) {
        if let Some(queue) = self.clients.session(session).and_then(Session::queue) {
            self.watch_expiry(session, queue.expires_first());
        }
    }

    /// Forgets when the queue of a session that ends is looked through.
    pub(super) fn forget_expiry(&mut self, session: SessionSlot) {
        self.expiry_times.forget(session);
    }

    /// Looks through a part of a session's queue. Returns the work that it was.
    fn delete_expired_of(&mut self, slot: SessionSlot) -> u64 {
        let (now, settings) = (self.now, self.settings.loaded_queue);
        let is_away = self.clients.link(slot).is_none();
        let Some(session) = self.clients.session_mut(slot) else {
            unreachable_state("a time to look through the queue of a session that is gone");
            return 1;
        };
        let number = session.number();
        let Some(queue) = session.queue_mut() else {
            // What would have expired was delivered.
            return 1;
        };
        let first = queue.expires_first();
        if !is_away || first > now {
            self.watch_expiry(slot, first.max(now));
            return 1;
        }
        let mut expired = Vec::new();
        let (looked_at, is_end) = queue.take_expired(now, limits::QUEUE_EXPIRY_PIECE, &mut expired);
        let work = 1 + looked_at as u64 / LOOKED_AT_OF_A_WORK + expired.len() as u64 * EXPIRED_WORK;
        let request = is_end.then(|| {
            let wall_ns = self.journal.wall.wall_ns(now);
            queue.ask_expired((number, slot.number().get()), 0, wall_ns, settings)
        });
        let has_stored = queue.has_stored();
        match request {
            // The next piece.
            None => self.expiry_times.set(slot, now),
            Some(Some(request)) => self.journal.ask(request),
            // The answer to another request comes first.
            Some(None) if has_stored => self.watch_expiry(slot, now),
            Some(None) => self.end_expiry(slot),
        }
        for queued in expired {
            self.drop_expired(slot, &queued);
        }
        if let Some(session) = self.clients.session_mut(slot) {
            session.drop_empty_queue();
        }
        work
    }

    /// All of the session's queue was looked through.
    fn end_expiry(&mut self, slot: SessionSlot) {
        if let Some(queue) = self.clients.session_mut(slot).and_then(Session::queue_mut) {
            queue.end_expiry();
        }
        self.watch_queue(slot);
    }

    /// Counts a message that has expired, and that left the queue.
    fn drop_expired(&mut self, slot: SessionSlot, queued: &Queued) {
        let order = Some(queued.order).filter(|&order| order > 0);
        self.uncount_expired(slot, 1, queued.message.queue_bytes(), order.as_slice());
        let payload_bytes = queued.message.payload().len();
        self.drop_of_size(slot, queued.message.topic(), payload_bytes, DropReason::Expired);
    }

    /// Messages with so many bytes have left the queue; the store has those with places in the session's order.
    fn uncount_expired(&mut self, slot: SessionSlot, messages: u64, bytes: u64, orders: &[u64]) {
        let counters = self.counters();
        counters.queued_messages.sub(messages);
        counters.queued_bytes.sub(bytes);
        for &order in orders {
            self.record(slot, |session| Record::Done { session, order });
        }
    }

    /// The store has looked for what has expired of the messages that it alone has. Returns whether the answer is of
    /// the session that has the slot now.
    pub(super) fn take_expired_answer(&mut self, slot: SessionSlot, answer: &ReadBack) -> bool {
        let (wall, limits) = (self.journal.wall, self.settings.loaded_queue);
        let request = answer.request;
        if self.clients.sessions().ends(slot) {
            return false;
        }
        let Some(session) = self.clients.session_mut(slot) else {
            return false;
        };
        let number = session.number();
        let Some(queue) = session.queue_mut().filter(|_| number == request.session) else {
            return false;
        };
        let (bytes, orders) = queue.remove_expired(answer, wall);
        let next = answer.next.and_then(|next| {
            let wall_ns = wall.wall_ns(self.now);
            queue.ask_expired((number, request.tag), next, wall_ns, limits)
        });
        match next {
            Some(next) => self.journal.ask(next),
            None => self.end_expiry(slot),
        }
        if let Some(session) = self.clients.session_mut(slot) {
            session.drop_empty_queue();
        }
        let messages = orders.len() as u64;
        self.uncount_expired(slot, messages, bytes, &orders);
        if messages > 0 {
            self.drop_stored_expired(slot, messages);
        }
        true
    }
}

/// Messages of a queue that are looked at for one unit of work.
const LOOKED_AT_OF_A_WORK: u64 = 8;

/// Work of a message that expires.
const EXPIRED_WORK: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_one_time_the_earliest() {
        let session = SessionSlot::test;
        let mut times = ExpiryTimes::default();
        times.set(session(1), Timestamp(50));
        times.set(session(2), Timestamp(40));
        times.set(session(1), Timestamp(60));
        assert_eq!(times.first(), Some(Timestamp(40)));
        times.set(session(1), Timestamp(30));
        assert_eq!(times.take_due(Timestamp(29)), None);
        assert_eq!(times.take_due(Timestamp(60)), Some(session(1)));
        assert_eq!(times.take_due(Timestamp(60)), Some(session(2)));
        assert_eq!(times.take_due(Timestamp(60)), None);
        times.set(session(3), Timestamp::NEVER);
        times.set(session(3), Timestamp(1));
        times.forget(session(3));
        assert_eq!((times.first(), times.of_sessions.len()), (None, 0));
    }
}
