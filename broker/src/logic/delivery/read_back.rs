//! Reads long queues back from the store, before what is in memory has been sent.
//!
//! Invariants: a request is handed over behind the records that it needs. An answer for a session that is gone, or
//! whose client is away again, changes nothing. A message that cannot be read is dropped and counted.

use store::{ReadBack, ReadRequest};

use crate::logic::counters::DropReason;
use crate::logic::delivery::Delivery;
use crate::logic::delivery::journal::Journal;
use crate::logic::message::StoredMessage;
use crate::logic::routing::subscription::via::Via;
use crate::logic::session::SessionSlot;
use crate::logic::session::queue::Queued;
use crate::logic::slots::Slot as _;
use crate::logic::store::Record;
use mqtt::QoS;

impl Delivery {
    /// Asks for more of a session's queue, if little of it is in memory.
    #[inline]
    pub(super) fn ask_for_more(&mut self, slot: SessionSlot) {
        if let Some(session) = self.sessions.get_mut(slot)
            && let Some(queue) = &mut session.queue
            && queue.has_stored()
            && let Some(request) = queue.ask(session.number, slot.number().get())
        {
            self.journal.ask(request);
        }
    }

    /// Takes what the store has read, and sends it on.
    #[inline]
    pub(in crate::logic) fn take_read_back(&mut self) {
        if !self.journal.is_open() {
            return;
        }
        for answer in self.journal.take_read_back() {
            if let Some(slot) = self.load_answer(answer) {
                self.send_waiting(slot);
            }
        }
    }

    /// Puts an answer into the queue; the session, if it goes on with it.
    fn load_answer(&mut self, answer: ReadBack) -> Option<SessionSlot> {
        let request = answer.request;
        let slot = SessionSlot::from_number(request.tag.try_into().ok()?);
        let wall = self.journal.wall;
        let is_away = self.sessions.link(slot).is_none();
        let session = self.sessions.get_mut(slot)?;
        let queue = session
            .queue
            .as_mut()
            .filter(|_| session.number == request.session)?;
        if is_away {
            queue.ignore_answer();
            return None;
        }
        let last = answer.messages.last().map_or(request.to, |message| message.order);
        let next = if answer.is_last { request.to } else { last } + 1;
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
                None => lost.push(read.order),
            }
        }
        let (messages, bytes) = queue.answered(next);
        let number = session.number;
        session.queue.take_if(|queue| queue.is_empty());
        let counters = self.counters();
        counters.queued_messages.sub(messages);
        counters.queued_bytes.sub(bytes);
        for order in lost {
            tracing::error!(
                "A message that waited for a client cannot be read from the store, and is dropped."
            );
            self.journal.append(&Record::Done {
                session: number,
                order,
            });
            self.count_dropped(DropReason::Unreadable);
        }
        Some(slot)
    }
}

impl Journal {
    /// Whether the store gives messages back while it is open.
    pub(in crate::logic) fn reads_back(&self) -> bool {
        self.store.as_ref().is_some_and(|store| store.reads_back())
    }

    /// Asks the store for messages, behind the records that were appended.
    pub(super) fn ask(&mut self, request: ReadRequest) {
        self.requests.push(request);
    }

    /// Whether requests wait to be handed over.
    #[inline]
    pub(in crate::logic) fn has_requests(&self) -> bool {
        !self.requests.is_empty()
    }

    /// The messages that the store has read.
    pub(super) fn take_read_back(&mut self) -> Vec<ReadBack> {
        self.store
            .as_mut()
            .map(|store| store.take_read_back())
            .unwrap_or_default()
    }
}
