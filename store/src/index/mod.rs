//! The index: which records are live in the log, and where. It is the only code that knows the effect of a record.
//!
//! `session.rs`, `publications.rs` and `retained.rs` are its parts, `table.rs` is the map that keeps it small,
//! `live.rs` counts bytes. `reclaim.rs` decides what is appended again, `recovered.rs` returns everything to the
//! broker, `waiting.rs` what waits for one session.
//!
//! Invariants: applying the records of a log in order gives the same index, whatever was reclaimed meanwhile. Recovery
//! builds the index in this way, and commits keep it up to date in this way. Copies that reclaiming appends change
//! only places. A copy is after its original, so while the log is read a record may come before the record that it
//! belongs to. Until [`Index::finish_recovery`] such records wait; after that they are ignored and counted.

mod live;
mod publications;
mod reclaim;
mod recovered;
mod retained;
mod session;
mod table;
mod waiting;

use hashbrown::HashMap;

use self::live::LiveBytes;
use self::publications::Publications;
use self::recovered::RecoveredTexts;
use self::retained::{Change, RetainedTopics};
use self::session::{InFlightEntry, OpenReference, SessionEntry, SubscriptionEntry};
pub(crate) use self::waiting::Waiting;
use crate::bytes::COUNTER_MAX;
use crate::format::Location;
use crate::record::{Record, Reference, ReferenceList, expires_ns};

/// The place of a record with its frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) location: Location,
    pub(crate) len: u32,
}

/// The live records of the log and their places.
#[derive(Debug, Default)]
pub(crate) struct Index {
    epoch: Option<Epoch>,
    sessions: HashMap<u64, SessionEntry, foldhash::fast::RandomState>,
    publications: Publications,
    retained: RetainedTopics,
    session_max: u64,
    publication_max: u64,
    live: LiveBytes,
    /// Records that refer to something that does not exist.
    ignored: u64,
    /// Used only by a recovery, while the log is read.
    texts: Option<Box<RecoveredTexts>>,
}

#[derive(Clone, Copy, Debug)]
struct Epoch {
    number: u64,
    shards: u16,
    place: Place,
}

impl Index {
    /// An index for reading a log.
    pub(crate) fn recovering() -> Self {
        Self {
            texts: Some(Box::default()),
            ..Self::default()
        }
    }

    /// Bytes that reclaiming would append again.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.live.total()
    }

    /// As [`Self::live_bytes`], for one segment and without references.
    pub(crate) fn live_bytes_of(&self, sequence: u32) -> u64 {
        self.live.of_segment(sequence)
    }

    pub(crate) fn ignored(&self) -> u64 {
        self.ignored
    }

    pub(crate) fn session_max(&self) -> u64 {
        self.session_max
    }

    pub(crate) fn publication_max(&self) -> u64 {
        self.publication_max
    }

    pub(crate) fn epoch(&self) -> Option<(u64, u16)> {
        self.epoch.map(|epoch| (epoch.number, epoch.shards))
    }

    /// Raises the counters to those that were used, even if nothing of them is left.
    pub(crate) fn raise_counters(&mut self, session_max: u64, publication_max: u64) {
        self.session_max = self.session_max.max(session_max);
        self.publication_max = self.publication_max.max(publication_max);
    }

    /// Where the message of a publication is.
    pub(crate) fn place_of(&self, publication: u64) -> Option<Place> {
        self.publications.get(publication)?.place()
    }

    /// Applies a record to the index.
    pub(crate) fn apply(&mut self, record: &Record<'_>, place: Place) {
        match *record {
            Record::Epoch { number, shards, .. } => {
                let old = self.epoch.replace(Epoch {
                    number,
                    shards,
                    place,
                });
                self.replace_bytes(old.map(|epoch| epoch.place), place);
            }
            Record::Retained {
                ticket,
                topic,
                message,
            } => {
                if let Change::Stands(old) = self.retained.apply(ticket, topic, message.is_empty(), place) {
                    self.replace_bytes(old, place);
                    if let Some(texts) = &mut self.texts {
                        texts.put_retained(topic, message);
                    }
                }
            }
            Record::Session(_)
            | Record::SessionEnded { .. }
            | Record::Subscribed { .. }
            | Record::Unsubscribed { .. }
            | Record::Received { .. }
            | Record::ReceivedReleased { .. } => self.apply_to_session(record, place),
            Record::Publication { .. }
            | Record::References { .. }
            | Record::InFlight { .. }
            | Record::Released { .. }
            | Record::Done { .. } => self.apply_to_message(record, place),
        }
    }

    /// At the end of a commit, removes what nothing needs any more.
    pub(crate) fn end_of_commit(&mut self) {
        let Self {
            publications, live, ..
        } = self;
        if self.texts.is_none() {
            publications.remove_unneeded(|place| live.free(place));
        } else {
            // What is not needed is found when everything is read.
            publications.forget_suspects();
        }
    }

    /// Records of sessions, except their messages.
    fn apply_to_session(&mut self, record: &Record<'_>, place: Place) {
        match *record {
            Record::Session(ref session) => {
                self.raise_counters(session.number & COUNTER_MAX, 0);
                let old = self
                    .sessions
                    .entry(session.number)
                    .or_default()
                    .place
                    .replace(place);
                self.replace_bytes(old, place);
                if let Some(texts) = &mut self.texts {
                    texts.put_session(session);
                }
            }
            Record::SessionEnded { number } => self.end_session(number),
            Record::Subscribed {
                session,
                filter,
                options,
                identifier,
            } => {
                self.subscribe(
                    session,
                    filter,
                    SubscriptionEntry {
                        place,
                        options,
                        identifier,
                    },
                );
            }
            Record::Unsubscribed { session, filter } => {
                let entry = self.sessions.get_mut(&session);
                let old = entry.and_then(|entry| entry.subscriptions.remove(filter));
                self.free(old.map(|entry| entry.place));
            }
            Record::Received {
                session,
                packet_identifier,
            } => {
                if let Some(entry) = self.session_mut(session) {
                    let old = entry.received.insert(packet_identifier, place);
                    self.replace_bytes(old, place);
                }
            }
            Record::ReceivedReleased {
                session,
                packet_identifier,
            } => {
                let entry = self.sessions.get_mut(&session);
                let old = entry.and_then(|entry| entry.received.remove(&packet_identifier));
                self.free(old);
            }
            _ => {}
        }
    }

    /// Records of publications, and of the sessions that they wait for.
    fn apply_to_message(&mut self, record: &Record<'_>, place: Place) {
        match *record {
            Record::Publication {
                id, shards, message, ..
            } => {
                self.raise_counters(0, id & COUNTER_MAX);
                let old = self
                    .publications
                    .put(id, place, expires_ns(message), shards.iter());
                self.replace_bytes(old, place);
            }
            Record::References {
                publication,
                shard,
                references,
                mark,
            } => {
                self.refer(publication, references);
                if mark {
                    self.publications.mark(publication, shard);
                }
            }
            Record::InFlight {
                session,
                order,
                packet_identifier,
                released,
            } => {
                self.send(
                    session,
                    order,
                    InFlightEntry {
                        place,
                        packet_identifier,
                        released,
                    },
                );
            }
            Record::Released { session, order } => self.release(session, order),
            Record::Done { session, order } => self.finish(session, order),
            _ => {}
        }
    }

    fn end_session(&mut self, number: u64) {
        let Some(entry) = self.sessions.remove(&number) else {
            // A copy: the end of the session was applied before.
            return;
        };
        entry.places().for_each(|place| self.live.free(place));
        self.live.free_references(entry.references.len());
        let references = entry.references.iter();
        for (_, reference) in references.filter(|(_, reference)| !reference.is_released()) {
            self.publications.release(reference.publication());
        }
        if let Some(texts) = &mut self.texts {
            texts.remove_session(number);
        }
    }

    fn subscribe(&mut self, session: u64, filter: &str, subscription: SubscriptionEntry) {
        if let Some(entry) = self.session_mut(session) {
            let old = match entry.subscriptions.get_mut(filter) {
                Some(old) => Some(std::mem::replace(old, subscription)),
                None => entry.subscriptions.insert(filter.into(), subscription),
            };
            self.replace_bytes(old.map(|old| old.place), subscription.place);
        }
    }

    fn refer(&mut self, publication: u64, references: ReferenceList<'_>) {
        if !self.waits_for_publication(publication) {
            self.ignored += references.iter().count() as u64;
            return;
        }
        for reference in references.iter() {
            self.refer_one(publication, &reference);
        }
    }

    fn refer_one(&mut self, publication: u64, reference: &Reference<'_>) {
        let order = reference.order;
        let Some(entry) = self.session_mut(reference.session) else {
            // The session has ended.
            return;
        };
        entry.next_order = entry.next_order.max(order.saturating_add(1));
        if entry.references.get(order).is_some() {
            // A copy, or an order number that was used twice.
            return;
        }
        let released = entry
            .in_flight
            .get(&order)
            .is_some_and(|in_flight| in_flight.released);
        let new = OpenReference::new(publication, reference, released);
        if let Some(place) = entry.references.get_or_insert(order) {
            *place = new;
        }
        if !reference.via.is_empty() {
            entry.via.insert(order, reference.via.into());
        }
        self.live.add_reference();
        if !released {
            self.publications.open(publication);
        }
    }

    fn send(&mut self, session: u64, order: u64, in_flight: InFlightEntry) {
        if let Some(entry) = self.session_mut(session) {
            let old = entry.in_flight.insert(order, in_flight);
            self.replace_bytes(old.map(|old| old.place), in_flight.place);
            if in_flight.released {
                self.release(session, order);
            }
        }
    }

    fn release(&mut self, session: u64, order: u64) {
        let Some(entry) = self.session_mut(session) else {
            // The session has ended.
            return;
        };
        if let Some(in_flight) = entry.in_flight.get_mut(&order) {
            in_flight.released = true;
        }
        if let Some(reference) = entry.references.get_mut(order)
            && reference.release()
        {
            let publication = reference.publication();
            self.publications.release(publication);
        }
    }

    fn finish(&mut self, session: u64, order: u64) {
        let Some(entry) = self.session_mut(session) else {
            // The session has ended.
            return;
        };
        let reference = entry.references.remove(order);
        entry.via.remove(&order);
        let in_flight = entry.in_flight.remove(&order);
        self.free(in_flight.map(|in_flight| in_flight.place));
        let Some(reference) = reference else {
            // A reference that was only in flight, or a copy of a record that was applied before.
            return;
        };
        self.live.free_references(1);
        if !reference.is_released() {
            self.publications.release(reference.publication());
        }
    }

    /// The session; while the log is read it may come later than the records that belong to it.
    fn session_mut(&mut self, number: u64) -> Option<&mut SessionEntry> {
        if self.texts.is_some() {
            return Some(self.sessions.entry(number).or_default());
        }
        let entry = self.sessions.get_mut(&number);
        if entry.is_none() {
            self.ignored += 1;
        }
        entry
    }

    /// Whether references to a publication count.
    fn waits_for_publication(&self, id: u64) -> bool {
        self.texts.is_some() || self.publications.get(id).is_some()
    }

    fn replace_bytes(&mut self, old: Option<Place>, new: Place) {
        self.free(old);
        self.live.add(new);
    }

    fn free(&mut self, place: Option<Place>) {
        if let Some(place) = place {
            self.live.free(place);
        }
    }
}
