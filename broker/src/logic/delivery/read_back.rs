//! Reads long queues back from the store, before the part in memory has been sent.
//!
//! Invariants: a request is submitted after the records that it needs. An answer for a session that has ended, or
//! whose client has disconnected, changes nothing. Messages that are missing in an answer stay in the queue and are
//! requested again, as long as the store may have them. A message that cannot be read is dropped and counted. What the
//! store reports about expired messages is handled by expiry.rs.

use store::{ReadBack, ReadRequest, Wanted};

use crate::logic::Shard;
use crate::logic::delivery::Delivery;
use crate::logic::delivery::journal::Journal;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::message::StoredMessage;
use crate::logic::session::SessionSlot;
use crate::logic::session::queue::Queued;
use crate::logic::slots::Slot as _;
use crate::logic::store::Record;
use crate::logic::via::Via;
use mqtt::QoS;

impl Shard {
    /// Takes what the store has read, and sends it, within the turn's work.
    #[inline]
    pub(in crate::logic) fn take_read_back(&mut self) {
        if self.delivery.journal.is_open() {
            self.delivery.journal.take_answers();
            while !self.work.is_spent()
                && let Some(answer) = self.delivery.journal.answers.pop_front()
            {
                self.work.spend(LOADED_WORK * (1 + answer.messages.len() as u64));
                if answer.request.wanted == Wanted::Shared {
                    self.endings.take_answer(answer, &mut self.delivery);
                    continue;
                }
                if let Some(session) = self.delivery.load_answer(answer) {
                    self.delivery.send_waiting(session);
                    let clients = &self.delivery.clients;
                    let slot = clients.link(session);
                    let Some((slot, connection)) = slot.zip(clients.connections().get(slot)) else {
                        unreachable_state("an answer for a client that is away");
                        continue;
                    };
                    let busy_in_group = connection.is_busy_in_group();
                    self.drained(slot, true, busy_in_group);
                }
            }
        }
    }
}

impl Delivery {
    /// Requests more of a session's queue, if little of it is in memory.
    #[inline]
    pub(super) fn ask_for_more(&mut self, slot: SessionSlot) {
        let limits = self.settings.loaded_queue;
        if let Some(session) = self.clients.session_mut(slot)
            && let number = session.number()
            && let Some(queue) = session.queue_mut()
            && queue.has_stored()
            && let Some(request) = queue.ask(number, slot.number().get(), limits)
        {
            self.journal.ask(request);
        }
    }

    /// Puts an answer into the queue; returns the session, if it continues with it.
    fn load_answer(&mut self, answer: ReadBack) -> Option<SessionSlot> {
        let request = answer.request;
        let slot = SessionSlot::from_number(request.tag.try_into().ok()?);
        if request.wanted != Wanted::First {
            let is_of_session = self.take_expired_answer(slot, &answer);
            return Some(slot).filter(|_| is_of_session && self.clients.link(slot).is_some());
        }
        let wall = self.journal.wall;
        let is_away = self.clients.link(slot).is_none();
        let session = self.clients.session_mut(slot)?;
        let number = session.number();
        let queue = session.queue_mut().filter(|_| number == request.session)?;
        if is_away {
            queue.ignore_answer();
            return None;
        }
        let mut lost = Vec::new();
        for read in answer.messages {
            let message = read
                .message
                .and_then(|message| StoredMessage::from_store(&message, wall));
            match message.zip(QoS::from_bits(read.qos)) {
                Some((message, qos)) => queue.load(Queued {
                    message,
                    via: Via::decode(&read.via),
                    qos,
                    retain: read.retain,
                    order: read.order,
                    retained: false,
                    is_overrun: false,
                }),
                None => {
                    queue.lose(read.order);
                    lost.push(read.order);
                }
            }
        }
        let answered = queue.answered();
        session.drop_empty_queue();
        let counters = self.counters();
        counters
            .queued_messages
            .sub(answered.lost.saturating_add(lost.len() as u64));
        counters.queued_bytes.sub(answered.bytes);
        if answered.lost > 0 {
            unreachable_state("messages that the store must have and has not");
            self.drop_unreadable(slot, answered.lost);
        }
        for order in lost {
            tracing::error!("A queued message cannot be read from the store, and is dropped.");
            self.journal.append(&Record::Done {
                session: number,
                order,
            });
            self.drop_unreadable(slot, 1);
        }
        Some(slot)
    }
}

impl Journal {
    /// Whether the store can return messages while it is open.
    pub(in crate::logic) fn reads_back(&self) -> bool {
        self.store.as_ref().is_some_and(|store| store.reads_back())
    }

    /// Requests messages from the store, after the records that were appended.
    pub(super) fn ask(&mut self, request: ReadRequest) {
        self.requests.push(request);
    }

    /// Whether requests wait to be submitted, or answers to be used.
    #[inline]
    pub(in crate::logic) fn is_reading(&self) -> bool {
        !self.requests.is_empty() || !self.answers.is_empty()
    }

    /// Takes what the store has read.
    fn take_answers(&mut self) {
        if let Some(store) = &mut self.store {
            self.answers.extend(store.take_read_back());
        }
    }
}

/// Work of a message that is read back.
const LOADED_WORK: u64 = 8;
