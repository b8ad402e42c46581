//! Decides what of a record must be appended again when its segment is reclaimed.
//!
//! Invariants: the record is the first one in the order of the log that was not reclaimed, so nothing before it is
//! still needed. Therefore records that only undo earlier ones (ends, marks, acknowledgements) are not needed either.
//! A copy describes the present state: only the open references, and only the shards that have not marked a
//! publication.
//! have not marked it.

use super::{Index, Place};
use crate::record::{Record, Reference, ReferenceList, Session, ShardList};

impl Index {
    /// Calls `append` with what is still needed of a record at this place.
    pub(crate) fn copy_live(
        &mut self,
        record: &Record<'_>,
        place: Place,
        append: &mut dyn FnMut(&Record<'_>),
    ) {
        match *record {
            Record::Epoch { .. } if self.epoch.is_some_and(|epoch| epoch.place == place) => append(record),
            Record::Retained { topic, .. } => {
                let stands = self.retained.get(topic).filter(|entry| entry.place == place);
                if let Some(entry) = stands.copied() {
                    if !entry.cleared || self.retained.keep_cleared(topic) {
                        append(record);
                    } else {
                        self.free(Some(place));
                    }
                }
            }
            Record::Session(_) | Record::Subscribed { .. } | Record::Received { .. }
                if self.is_current(record, place) =>
            {
                append(record);
            }
            Record::Publication {
                id, share, message, ..
            } if self.place_of(id) == Some(place) => {
                let shards = ShardList::Numbers(self.publications.unmarked(id));
                append(&Record::Publication {
                    id,
                    shards,
                    share,
                    message,
                });
            }
            Record::References {
                publication,
                shard,
                references,
                ..
            } => {
                self.copy_references(publication, shard, references, append);
            }
            Record::InFlight {
                session,
                order,
                packet_identifier,
                ..
            } => {
                let entry = self.sessions.get(&session);
                let in_flight = entry.and_then(|entry| entry.in_flight.get(&order));
                if let Some(in_flight) = in_flight.filter(|in_flight| in_flight.place == place) {
                    let released = in_flight.released;
                    append(&Record::InFlight {
                        session,
                        order,
                        packet_identifier,
                        released,
                    });
                }
            }
            // They only undo earlier records.
            _ => {}
        }
    }

    /// Whether the record is the last one of its kind for its session.
    fn is_current(&self, record: &Record<'_>, place: Place) -> bool {
        let session = |number| self.sessions.get(&number);
        let current = match *record {
            Record::Session(Session { number, .. }) => session(number).and_then(|entry| entry.place),
            Record::Subscribed {
                session: number,
                filter,
                ..
            } => session(number)
                .and_then(|entry| entry.subscriptions.get(filter))
                .map(|subscription| subscription.place),
            Record::Received {
                session: number,
                packet_identifier,
            } => session(number).and_then(|entry| entry.received.get(&packet_identifier).copied()),
            _ => None,
        };
        current == Some(place)
    }

    fn copy_references(
        &self,
        publication: u64,
        shard: u16,
        references: ReferenceList<'_>,
        append: &mut dyn FnMut(&Record<'_>),
    ) {
        let is_open = |reference: &Reference<'_>| {
            let entry = self.sessions.get(&reference.session);
            let open = entry.and_then(|entry| entry.references.get(reference.order));
            open.is_some_and(|open| open.publication() == publication)
        };
        let open: Vec<_> = references.iter().filter(is_open).collect();
        if !open.is_empty() {
            let references = ReferenceList::Slice(&open);
            append(&Record::References {
                publication,
                shard,
                references,
                mark: false,
            });
        }
    }
}
