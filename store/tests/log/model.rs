//! What a log must return, computed by other means than those of the log.
//!
//! Invariants: records are applied in order and nothing is ever reclaimed; nothing is shared with the crate except the
//! types of its interface.

use std::collections::{BTreeMap, BTreeSet};

use store::{Record, Recovered};

/// A session with the order numbers that are open: whether each was sent, and released.
pub(super) type OpenSession = (u64, Vec<(u64, bool, bool)>);

/// The state after some records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Model {
    sessions: BTreeMap<u64, ModelSession>,
    publications: BTreeMap<u64, ModelPublication>,
    /// Ticket and message, empty if it was cleared.
    retained: BTreeMap<String, (u64, Vec<u8>)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ModelSession {
    client_identifier: String,
    away_since_ms: Option<u64>,
    will: Option<Vec<u8>>,
    subscriptions: BTreeMap<String, (u8, u32)>,
    references: BTreeMap<u64, ModelReference>,
    received: BTreeSet<u16>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ModelReference {
    publication: u64,
    qos: u8,
    retain: bool,
    via: Vec<u8>,
    packet_identifier: Option<u16>,
    released: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ModelPublication {
    share: String,
    message: Vec<u8>,
    unmarked: BTreeSet<u16>,
}

impl Model {
    pub(super) fn apply(&mut self, record: &Record<'_>) {
        match *record {
            Record::Epoch { .. } => {}
            Record::Session(session) => {
                let entry = self.sessions.entry(session.number).or_default();
                entry.client_identifier = session.client_identifier.to_owned();
                entry.away_since_ms = session.away_since_ms;
                entry.will = session.will.map(|will| will.message.to_vec());
            }
            Record::SessionEnded { number } => {
                self.sessions.remove(&number);
            }
            Record::Subscribed {
                session,
                filter,
                options,
                identifier,
            } => {
                let entry = self.sessions.get_mut(&session).unwrap();
                entry
                    .subscriptions
                    .insert(filter.to_owned(), (options, identifier));
            }
            Record::Unsubscribed { session, filter } => {
                self.sessions
                    .get_mut(&session)
                    .unwrap()
                    .subscriptions
                    .remove(filter);
            }
            Record::Received {
                session,
                packet_identifier,
            } => {
                self.sessions
                    .get_mut(&session)
                    .unwrap()
                    .received
                    .insert(packet_identifier);
            }
            Record::ReceivedReleased {
                session,
                packet_identifier,
            } => {
                self.sessions
                    .get_mut(&session)
                    .unwrap()
                    .received
                    .remove(&packet_identifier);
            }
            Record::Retained {
                ticket,
                topic,
                message,
            } => {
                let entry = self.retained.entry(topic.to_owned()).or_default();
                if ticket >= entry.0 {
                    *entry = (ticket, message.to_vec());
                }
            }
            _ => self.apply_to_messages(record),
        }
    }

    fn apply_to_messages(&mut self, record: &Record<'_>) {
        match *record {
            Record::Publication {
                id,
                shards,
                share,
                message,
            } => {
                let publication = ModelPublication {
                    share: share.to_owned(),
                    message: message.to_vec(),
                    unmarked: shards.iter().collect(),
                };
                self.publications.insert(id, publication);
            }
            Record::References {
                publication,
                shard,
                references,
                mark,
            } => {
                for reference in references.iter() {
                    let session = self.sessions.get_mut(&reference.session).unwrap();
                    let new = ModelReference {
                        publication,
                        qos: reference.qos,
                        retain: reference.retain,
                        via: reference.via.to_vec(),
                        ..ModelReference::default()
                    };
                    session.references.insert(reference.order, new);
                }
                if let Some(publication) = self.publications.get_mut(&publication).filter(|_| mark) {
                    publication.unmarked.remove(&shard);
                }
            }
            Record::InFlight {
                session,
                order,
                packet_identifier,
                ..
            } => {
                self.reference(session, order).packet_identifier = Some(packet_identifier);
            }
            Record::Released { session, order } => self.reference(session, order).released = true,
            Record::Done { session, order } => {
                self.sessions.get_mut(&session).unwrap().references.remove(&order);
            }
            _ => {}
        }
    }

    /// At the end of a batch: what nothing needs any more is removed.
    pub(super) fn end_of_batch(&mut self) {
        let references = self
            .sessions
            .values()
            .flat_map(|session| session.references.values());
        let open: BTreeSet<u64> = references
            .filter(|reference| !reference.released)
            .map(|reference| reference.publication)
            .collect();
        self.publications
            .retain(|id, publication| !publication.unmarked.is_empty() || open.contains(id));
    }

    fn reference(&mut self, session: u64, order: u64) -> &mut ModelReference {
        self.sessions
            .get_mut(&session)
            .unwrap()
            .references
            .get_mut(&order)
            .unwrap()
    }

    /// As a recovery reports it; cleared topics are not included.
    pub(super) fn of(recovered: &Recovered) -> Self {
        let mut model = Self::default();
        for session in &recovered.sessions {
            let references = session.references.iter().map(|reference| {
                let found = ModelReference {
                    publication: reference.publication,
                    qos: reference.qos,
                    retain: reference.retain,
                    via: reference.via.clone(),
                    packet_identifier: reference.packet_identifier,
                    released: reference.released,
                };
                (reference.order, found)
            });
            let subscriptions = session.subscriptions.iter().map(|subscription| {
                (
                    subscription.filter.clone(),
                    (subscription.options, subscription.identifier),
                )
            });
            let found = ModelSession {
                client_identifier: session.client_identifier.clone(),
                away_since_ms: session.away_since_ms,
                will: session.will.as_ref().map(|will| will.message.clone()),
                subscriptions: subscriptions.collect(),
                references: references.collect(),
                received: session.received.iter().copied().collect(),
            };
            model.sessions.insert(session.number, found);
        }
        for publication in &recovered.publications {
            let found = ModelPublication {
                share: publication.share.clone(),
                message: publication.message.clone(),
                unmarked: publication.unmarked.iter().copied().collect(),
            };
            model.publications.insert(publication.id, found);
        }
        for retained in &recovered.retained {
            let found = (retained.ticket, retained.message.clone());
            model.retained.insert(retained.topic.clone(), found);
        }
        model
    }

    /// The state without what a recovery does not report.
    pub(super) fn reported(&self) -> Self {
        let mut model = self.clone();
        model.retained.retain(|_, (_, message)| !message.is_empty());
        model
    }

    /// Sessions, and the order numbers that are open in each, with whether they were sent.
    pub(super) fn open(&self) -> Vec<OpenSession> {
        let open = |session: &ModelSession| {
            let references = session.references.iter();
            references
                .map(|(order, reference)| (*order, reference.packet_identifier.is_some(), reference.released))
                .collect()
        };
        self.sessions
            .iter()
            .map(|(number, session)| (*number, open(session)))
            .collect()
    }

    /// One line for each item, for comparison.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (number, session) in &self.sessions {
            let ModelSession {
                client_identifier,
                away_since_ms,
                will,
                subscriptions,
                references,
                received,
            } = session;
            lines.push(format!(
                "session {number} {client_identifier} {away_since_ms:?} {will:?} {received:?}"
            ));
            lines.extend(
                subscriptions
                    .iter()
                    .map(|subscription| format!("{number} {subscription:?}")),
            );
            lines.extend(
                references
                    .iter()
                    .map(|reference| format!("{number} {reference:?}")),
            );
        }
        let publications = self.publications.iter();
        lines.extend(publications.map(|(id, publication)| {
            format!(
                "publication {id:x} {:?} {:.80?}",
                publication.unmarked, publication.message
            )
        }));
        lines.extend(self.retained.iter().map(|retained| format!("{retained:.80?}")));
        lines
    }

    /// Publications that a shard has not marked.
    pub(super) fn unmarked(&self) -> Vec<(u64, u16)> {
        let pairs = self.publications.iter();
        pairs
            .flat_map(|(id, publication)| publication.unmarked.iter().map(|shard| (*id, *shard)))
            .collect()
    }
}
