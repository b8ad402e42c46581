//! The records that the store gets from this shard, and the numbers (of sessions, publications and deliveries) in them.
//!
//! A message for sessions that outlive their connections is one publication, regardless of the number of these
//! sessions. Each delivery to such a session is noted while the message is delivered. When every local session has got
//! it, the notes become one record (publications.rs).
//!
//! Invariants: without a store nothing is noted, and each call costs the check of a flag. The references of a
//! publication follow its record. A message from another shard with a publication number is always noted here, even
//! without a receiver, so that it is not delivered again after a crash. References are in the order in which the
//! session got its messages.

use std::collections::VecDeque;
use std::rc::Rc;

use mqtt::{PacketIdentifier, QoS};
use store::{ReadBack, ReadRequest, Statistics};

use crate::logic::message::StoredMessage;
use crate::logic::retained_quota::Ticket;
use crate::logic::session::Session;
use crate::logic::store::{
    COUNT_BITS, PublicationId, Record, Reference, ReferenceList, SessionRecord, ShardList, Store, WallClock,
    WillRecord, count_of,
};
use crate::logic::via::Via;
use crate::time::Timestamp;

/// Bits of a ticket that count within one run of the broker; above them is the number of the run.
const TICKET_BITS: u32 = 44;

/// The store, and the records that are on their way to it.
#[derive(Debug)]
pub(in crate::logic) struct Journal {
    pub(super) store: Option<Box<dyn Store>>,
    pub(in crate::logic) wall: WallClock,
    /// The number of this run of the broker.
    run: u64,
    shard: u16,
    /// The last session and the last publication that were numbered here.
    sessions: u64,
    publications: u64,
    /// Records since the beginning, and the number of records when the current packet arrived.
    records: u64,
    records_before: u64,
    /// The number of records when the current publisher was reached.
    records_before_publisher: u64,
    /// The batch that is being filled, and the number of records when it was begun.
    batch: u64,
    submitted: u64,
    /// The publication that is being delivered, if it has a number.
    pub(super) current: Option<PublicationId>,
    /// The sessions that got a part of it, since the last record.
    pub(super) taken: Vec<SessionDelivery>,
    scratch: Vec<u8>,
    /// Requests for messages, which are sent after the records.
    pub(super) requests: Vec<ReadRequest>,
    /// Answers that have arrived but are not used yet.
    pub(super) answers: VecDeque<ReadBack>,
}

/// One session's delivery of the current message.
#[derive(Debug)]
pub(super) struct SessionDelivery {
    pub(super) session: u64,
    pub(super) order: u64,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// The Packet Identifier, if it was sent at once.
    pub(super) packet_identifier: Option<u16>,
    pub(super) via: Option<Rc<Via>>,
}

impl SessionDelivery {
    /// A message that was sent at once.
    pub(super) fn sent(
        session: u64,
        order: u64,
        qos: QoS,
        retain: bool,
        packet_identifier: PacketIdentifier,
        via: Option<&Rc<Via>>,
    ) -> Self {
        Self {
            session,
            order,
            qos,
            retain,
            packet_identifier: Some(packet_identifier.get()),
            via: via.cloned(),
        }
    }
}

/// A message that is being delivered, as the store keeps it.
#[derive(Debug, Default)]
pub(in crate::logic) struct StoredPublication {
    pub(in crate::logic) message: Option<StoredMessage>,
    /// Its number, if it is in the store.
    pub(in crate::logic) publication: Option<PublicationId>,
}

/// The first numbers of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct FirstNumbers {
    /// How often the broker has started with this store.
    pub run: u64,
    /// The highest count of any session before.
    pub sessions: u64,
    /// The highest count of any publication before.
    pub publications: u64,
}

impl Journal {
    pub(super) fn new(shard: u16) -> Self {
        Self {
            store: None,
            wall: WallClock::default(),
            run: 0,
            shard,
            sessions: 0,
            publications: 0,
            records: 0,
            records_before: 0,
            records_before_publisher: 0,
            batch: 1,
            submitted: 0,
            current: None,
            taken: Vec::new(),
            scratch: Vec::new(),
            requests: Vec::new(),
            answers: VecDeque::new(),
        }
    }

    /// Begins to record changes in that store.
    pub(in crate::logic) fn open(&mut self, store: Box<dyn Store>, wall: WallClock, first: FirstNumbers) {
        self.batch = store.durable() + 1;
        self.store = Some(store);
        self.wall = wall;
        self.run = first.run;
        self.sessions = count_of(first.sessions);
        self.publications = count_of(first.publications);
    }

    /// Frees memory that is kept for reuse.
    pub(super) fn drop_spare(&mut self) {
        self.scratch = Vec::new();
    }

    /// Whether this shard has a store.
    #[inline]
    pub(in crate::logic) fn is_open(&self) -> bool {
        self.store.is_some()
    }

    /// The next packet of a client is handled.
    #[inline]
    pub(in crate::logic) fn begin_packet(&mut self) {
        self.records_before = self.records;
    }

    /// A packet that was begun in an earlier turn is continued, and had changed the stored state.
    pub(in crate::logic) fn continue_packet(&mut self, had_changed: bool) {
        self.records_before = self.records.wrapping_sub(u64::from(had_changed));
    }

    /// Whether the current packet has changed the stored state.
    #[inline]
    pub(in crate::logic) fn has_changed(&self) -> bool {
        self.records != self.records_before
    }

    /// The number of the batch that is being filled.
    pub(super) fn batch(&self) -> u64 {
        self.batch
    }

    /// The number of the last batch that has or gets a record that is appended already.
    pub(super) fn last_batch(&self) -> u64 {
        self.batch - u64::from(!self.has_records())
    }

    /// All batches up to this number are durable.
    pub(super) fn durable(&self) -> u64 {
        self.store.as_ref().map_or(0, |store| store.durable())
    }

    /// The figures of the store, for `$SYS` and metrics.
    pub(in crate::logic) fn statistics(&self) -> Option<Statistics> {
        self.store.as_ref()?.statistics()
    }

    /// Whether publishers have to wait for the store.
    pub(in crate::logic) fn keeps_waiting(&self) -> bool {
        self.store.as_ref().is_some_and(|store| store.is_backlogged())
    }

    /// Whether there is no space for messages.
    #[inline]
    pub(in crate::logic) fn is_full(&self) -> bool {
        self.store.as_ref().is_some_and(|store| store.is_full())
    }

    /// The next publisher is handled.
    #[inline]
    pub(in crate::logic) fn begin_publisher(&mut self) {
        self.records_before_publisher = self.records;
    }

    /// Whether the publisher has appended something and has to wait, because much waits to be written.
    #[inline]
    pub(in crate::logic) fn is_to_wait(&self) -> bool {
        self.records != self.records_before_publisher && self.keeps_waiting()
    }

    /// Whether the store has failed, so that nothing becomes durable any more.
    #[inline]
    pub(in crate::logic) fn has_failed(&self) -> bool {
        self.store.as_ref().is_some_and(|store| store.has_failed())
    }

    /// Submits the records that were appended since the last call as one batch; says whether packets wait for it.
    #[inline]
    pub(super) fn submit(&mut self, is_awaited: bool) {
        if let Some(store) = &mut self.store {
            self.batch = store.submit(is_awaited) + 1;
            self.submitted = self.records;
            for request in self.requests.drain(..) {
                store.read_back(request);
            }
        }
    }

    /// Whether records wait to be submitted.
    #[inline]
    pub(in crate::logic) fn has_records(&self) -> bool {
        self.records != self.submitted
    }

    #[inline]
    pub(in crate::logic) fn append(&mut self, record: &Record<'_>) {
        if let Some(store) = &mut self.store {
            store.append(record);
            self.records += 1;
        }
    }

    /// Gives a session its number, if it outlives its connection and has none.
    pub(super) fn number(&mut self, session: &mut Session) {
        if !session.is_stored() && self.is_open() {
            self.sessions += 1;
            session.set_number(u64::from(self.shard) << COUNT_BITS | self.sessions);
        }
    }

    /// Records the end of a session, once: it loses its number.
    pub(in crate::logic) fn append_end(&mut self, session: &mut Session) {
        let number = session.take_number();
        if number > 0 {
            self.append(&Record::SessionEnded { number });
        }
    }

    /// Records the current state of a session.
    pub(super) fn append_session(&mut self, session: &Session, away_since: Option<Timestamp>) {
        if !self.is_open() {
            return;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let wall = self.wall;
        let will = session.will().filter(|_| session.outlives_connection());
        let will = will.map(|will| {
            will.message.encode_for_store(wall, &mut scratch);
            WillRecord {
                delay_s: will.delay_s,
                expiry_s: will.expiry_s,
                message: &scratch,
            }
        });
        self.append(&Record::Session(SessionRecord {
            number: session.number(),
            client_identifier: session.client_identifier(),
            user: session.user(),
            expiry_s: session.expiry_s(),
            away_since_ms: away_since.map(|at| wall.wall_ns(at) / 1_000_000),
            will,
        }));
        self.scratch = scratch;
    }

    /// Records a retained message, or its deletion if there is no payload. If retained messages are not stored, an
    /// earlier one that the store may have is deleted, so that a later start does not bring it back.
    pub(in crate::logic) fn append_retained(
        &mut self,
        message: &StoredMessage,
        ticket: Ticket,
        outlives: bool,
    ) {
        if !self.is_open() {
            return;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        if outlives && !message.payload().is_empty() {
            message.encode_for_store(self.wall, &mut scratch);
        }
        self.append(&Record::Retained {
            ticket: self.run << TICKET_BITS | ticket.to_u64(),
            topic: message.topic(),
            message: &scratch,
        });
        self.scratch = scratch;
    }

    /// Begins the delivery of the next message, which has this number already.
    #[inline]
    pub(in crate::logic) fn begin(&mut self, publication: Option<PublicationId>) {
        self.current = publication;
    }

    /// A session got the current message.
    pub(super) fn take(&mut self, taken: SessionDelivery) {
        self.taken.push(taken);
    }

    /// Records a message for which those shards note what they take of it.
    pub(super) fn publish(&mut self, shards: &[u16], share: &str, message: &StoredMessage) -> PublicationId {
        self.publications += 1;
        let publication = PublicationId::new(u64::from(self.shard) << COUNT_BITS | self.publications);
        let mut scratch = std::mem::take(&mut self.scratch);
        message.encode_for_store(self.wall, &mut scratch);
        self.append(&Record::Publication {
            id: publication.to_u64(),
            shards: ShardList::Numbers(shards),
            share,
            message: &scratch,
        });
        self.scratch = scratch;
        publication
    }

    /// Records that the message was delivered to all of this shard's sessions; gives it a number if it has none.
    pub(super) fn note_delivered_to_all(&mut self, message: Option<&StoredMessage>) {
        if self.current.is_none()
            && let Some(message) = message
        {
            self.current = Some(self.publish(&[], "", message));
        }
        let Some(publication) = self.current else {
            return self.taken.clear();
        };
        let taken = std::mem::take(&mut self.taken);
        let mut vias = std::mem::take(&mut self.scratch);
        vias.clear();
        let ends: Vec<usize> = taken
            .iter()
            .map(|taken| {
                if let Some(via) = &taken.via {
                    via.encode(&mut vias);
                }
                vias.len()
            })
            .collect();
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let references: Vec<Reference<'_>> = taken
            .iter()
            .zip(starts.zip(&ends))
            .map(|(taken, (start, &end))| Reference {
                session: taken.session,
                order: taken.order,
                qos: taken.qos as u8,
                retain: taken.retain,
                via: vias.get(start..end).unwrap_or_default(),
            })
            .collect();
        self.append(&Record::References {
            publication: publication.to_u64(),
            shard: self.shard,
            references: ReferenceList::Slice(&references),
            mark: true,
        });
        drop(references);
        self.scratch = vias;
        for taken in &taken {
            if let Some(packet_identifier) = taken.packet_identifier {
                self.append(&Record::InFlight {
                    session: taken.session,
                    order: taken.order,
                    packet_identifier,
                    released: false,
                });
            }
        }
        self.taken = taken;
        self.taken.clear();
    }
}
