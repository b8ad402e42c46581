//! Returns the content of the index to the broker after recovery.
//!
//! Invariants: what belongs to a session or publication that is not in the log is left out and counted. Everything has
//! an order that is the same each time.

use hashbrown::HashMap;

use super::{Index, Place};
use crate::record::Session;
use crate::recovered::{
    Recovered, RecoveredPublication, RecoveredReference, RecoveredRetained, RecoveredSession,
    RecoveredSubscription, RecoveredWill,
};

/// What a recovery collects beside the index.
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
    /// Messages of the publications are still missing.
    pub(crate) fn finish_recovery(&mut self) -> Recovered {
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
                session.references = entry
                    .references
                    .iter()
                    .map(|(order, reference)| {
                        let in_flight = entry.in_flight.get(&order);
                        RecoveredReference {
                            order,
                            publication: reference.publication,
                            qos: reference.qos(),
                            retain: reference.retain(),
                            via: entry.via.get(&order).map(|via| via.to_vec()).unwrap_or_default(),
                            packet_identifier: in_flight.map(|in_flight| in_flight.packet_identifier),
                            released: reference.is_released(),
                        }
                    })
                    .collect();
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
            publications: self.recovered_publications(),
            ..Recovered::default()
        }
    }

    /// Where the messages of the publications lie that live, in the order of the log.
    pub(crate) fn publication_places(&self) -> Vec<(Place, u64)> {
        let places = self.publications.iter();
        let mut places: Vec<_> = places
            .filter_map(|(id, entry)| Some((entry.place?, id)))
            .collect();
        places.sort_unstable_by_key(|(place, _)| place.location);
        places
    }

    fn recovered_publications(&self) -> Vec<RecoveredPublication> {
        let places = self.publication_places().into_iter();
        places
            .map(|(_, id)| RecoveredPublication {
                id,
                unmarked: self.publications.unmarked(id).to_vec(),
                ..RecoveredPublication::default()
            })
            .collect()
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
                let publication = self.publications.get(reference.publication);
                !reference.is_released() && publication.is_none_or(|publication| publication.place.is_none())
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
