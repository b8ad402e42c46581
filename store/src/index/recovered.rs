//! Returns the content of the index to the broker after recovery.
//!
//! Invariants: what belongs to a session or publication that is not in the log is left out and counted. The order of
//! everything is the same each time.

use hashbrown::HashMap;

use super::session::SessionEntry;
use super::{Index, Place};
use crate::options::Options;
use crate::record::Session;
use crate::recovered::{
    Recovered, RecoveredReference, RecoveredRetained, RecoveredSession, RecoveredSubscription, RecoveredWill,
    WaitingRange,
};

/// What a recovery collects in addition to the index.
#[derive(Debug, Default)]
pub(super) struct RecoveredTexts {
    sessions: HashMap<u64, RecoveredSession, foldhash::fast::RandomState>,
    retained: HashMap<Box<str>, Vec<u8>, foldhash::fast::RandomState>,
}

impl RecoveredTexts {
    pub(super) fn put_session(&mut self, session: &Session<'_>) {
        let recovered = RecoveredSession {
            number: session.number,
            client_identifier: session.client_identifier.to_owned(),
            user: session.user.map(str::to_owned),
            expiry_s: session.expiry_s,
            away_since_ms: session.away_since_ms,
            will: session.will.map(|will| RecoveredWill {
                delay_s: will.delay_s,
                expiry_s: will.expiry_s,
                message: will.message.to_vec(),
            }),
            ..RecoveredSession::default()
        };
        self.sessions.insert(session.number, recovered);
    }

    pub(super) fn remove_session(&mut self, number: u64) {
        self.sessions.remove(&number);
    }

    pub(super) fn put_retained(&mut self, topic: &str, message: &[u8]) {
        if message.is_empty() {
            self.retained.remove(topic);
        } else {
            self.retained.insert(topic.into(), message.to_vec());
        }
    }
}

impl Index {
    /// Ends the recovery after the last record: records that wait for a missing one are dropped, and the state is
    /// returned.
    ///
    /// The messages of the publications are still missing.
    pub(crate) fn finish_recovery(&mut self, options: &Options) -> Recovered {
        let mut texts = self.texts.take().unwrap_or_default();
        self.drop_incomplete();
        self.publications.suspect_all();
        self.end_of_commit();
        let mut sessions: Vec<_> = self
            .sessions
            .iter()
            .filter_map(|(number, entry)| {
                let mut session = texts.sessions.remove(number)?;
                session.next_order = entry.next_order;
                session.received = entry.received.keys().copied().collect();
                session.subscriptions = entry
                    .subscriptions
                    .iter()
                    .map(|(filter, subscription)| RecoveredSubscription {
                        filter: filter.to_string(),
                        options: subscription.options,
                        identifier: subscription.identifier,
                    })
                    .collect();
                let subscriptions = &mut session.subscriptions;
                subscriptions.sort_unstable_by(|a, b| a.filter.cmp(&b.filter));
                self.recover_references(entry, options, &mut session);
                Some(session)
            })
            .collect();
        sessions.sort_unstable_by_key(|session| session.number);
        let mut retained: Vec<_> = self
            .retained
            .iter()
            .filter_map(|(topic, entry)| {
                let message = texts.retained.remove(topic)?;
                Some(RecoveredRetained {
                    ticket: entry.ticket,
                    topic: topic.to_owned(),
                    message,
                })
            })
            .collect();
        retained.sort_unstable_by(|a, b| a.topic.cmp(&b.topic));
        let (epoch, shards) = self.epoch().unwrap_or_default();
        Recovered {
            epoch,
            shards,
            number_max: self.session_max,
            publication_max: self.publication_max,
            sessions,
            retained,
            ..Recovered::default()
        }
    }

    /// What waits for a session: the first references, and ranges of the others.
    fn recover_references(&self, entry: &SessionEntry, options: &Options, session: &mut RecoveredSession) {
        let mut waiting = 0;
        let mut in_range = false;
        for (order, reference) in entry.references.iter() {
            let in_flight = entry.in_flight.get(&order);
            let via = entry.via.get(&order).map(|via| &**via).unwrap_or_default();
            let may_wait = in_flight.is_none() && !reference.is_released();
            if may_wait && waiting >= options.waiting_max {
                let place = self.place_of(reference.publication());
                let bytes = place.map_or(0, |place| u64::from(place.len));
                let has_shared = (options.is_shared)(via);
                match session.rest.last_mut().filter(|_| in_range) {
                    Some(range) => {
                        range.to = order;
                        range.messages += 1;
                        range.bytes += bytes;
                        range.has_shared |= has_shared;
                    }
                    None => session.rest.push(WaitingRange {
                        from: order,
                        to: order,
                        messages: 1,
                        bytes,
                        has_shared,
                    }),
                }
                in_range = true;
                continue;
            }
            in_range = false;
            waiting += usize::from(may_wait);
            session.references.push(RecoveredReference {
                order,
                publication: reference.publication(),
                qos: reference.qos(),
                retain: reference.retain(),
                via: via.to_vec(),
                packet_identifier: in_flight.map(|in_flight| in_flight.packet_identifier),
                released: reference.is_released(),
            });
        }
    }

    /// Where the messages to recover are, in the order of the log: those of all references, and those that a shard has
    /// not marked.
    pub(crate) fn publication_places(&self, recovered: &Recovered) -> Vec<(Place, u64)> {
        let mut places = Vec::new();
        if recovered.sessions.iter().all(|session| session.rest.is_empty()) {
            let all = self.publications.iter();
            places.extend(all.filter_map(|(id, entry)| Some((entry.place()?, id))));
        } else {
            let references = recovered.sessions.iter().flat_map(|session| &session.references);
            let needed = references
                .filter(|reference| !reference.released)
                .map(|reference| reference.publication)
                .chain(self.publications.all_unmarked());
            places.extend(needed.filter_map(|id| Some((self.place_of(id)?, id))));
        }
        places.sort_unstable_by_key(|(place, id)| (place.location, *id));
        places.dedup_by_key(|(_, id)| *id);
        places
    }

    /// The shards that have not marked a publication.
    pub(crate) fn unmarked(&self, publication: u64) -> &[u16] {
        self.publications.unmarked(publication)
    }

    fn drop_incomplete(&mut self) {
        let unknown: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, entry)| entry.place.is_none())
            .map(|(number, _)| *number)
            .collect();
        for number in unknown {
            self.ignored += 1;
            self.end_session(number);
        }
        let mut lost = Vec::new();
        for (number, entry) in &self.sessions {
            let references = entry.references.iter();
            let orders = references.filter(|(_, reference)| {
                let publication = self.publications.get(reference.publication());
                !reference.is_released()
                    && publication.is_none_or(|publication| publication.place().is_none())
            });
            lost.extend(orders.map(|(order, _)| (*number, order)));
            let unsent = entry
                .in_flight
                .keys()
                .filter(|order| entry.references.get(**order).is_none());
            lost.extend(unsent.map(|order| (*number, *order)));
        }
        for (session, order) in lost {
            self.ignored += 1;
            self.finish(session, order);
        }
    }
}
