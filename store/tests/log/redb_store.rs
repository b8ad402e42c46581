//! The same store on redb: each batch is one transaction. It computes what must be returned by other means than the
//! log, in tables of another database; both receive the same batches, and must return the same.
//!
//! Invariants: nothing is shared with the log except the records that go in and the types that come out.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use redb::backends::InMemoryBackend;
use redb::{Database, ReadableTable, TableDefinition, WriteTransaction};
use store::simulated::SimulatedDisk;
use store::{
    Options, Record, Recovered, RecoveredPublication, RecoveredReference, RecoveredRetained,
    RecoveredSession, RecoveredSubscription, RecoveredWill, Session,
};

use super::model::Model;
use super::workload::{SHARDS, Workload};

/// A client identifier, since when it is disconnected, and the message of a Will.
type SessionRow = (&'static str, Option<u64>, Option<&'static [u8]>);
/// A publication, its QoS, RETAIN flag, shared subscription, Packet Identifier, and whether it is released.
type ReferenceRow = (u64, u8, bool, &'static [u8], Option<u16>, bool);

const SESSIONS: TableDefinition<'_, u64, SessionRow> = TableDefinition::new("sessions");
const SUBSCRIPTIONS: TableDefinition<'_, (u64, &str), (u8, u32)> = TableDefinition::new("subscriptions");
const REFERENCES: TableDefinition<'_, (u64, u64), ReferenceRow> = TableDefinition::new("references");
const RECEIVED: TableDefinition<'_, (u64, u16), ()> = TableDefinition::new("received");
const PUBLICATIONS: TableDefinition<'_, u64, (&str, &[u8])> = TableDefinition::new("publications");
const UNMARKED: TableDefinition<'_, (u64, u16), ()> = TableDefinition::new("unmarked");
const RETAINED: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("retained");

/// A store on redb.
pub(super) struct RedbStore {
    database: Database,
    /// The batch that is being filled.
    batch: Option<WriteTransaction>,
}

impl RedbStore {
    fn new() -> Self {
        let database = Database::builder().create_with_backend(InMemoryBackend::new());
        let mut store = Self {
            database: database.unwrap(),
            batch: None,
        };
        // Tables are created by the first transaction that opens them.
        store.submit();
        store
    }

    fn batch(&mut self) -> &WriteTransaction {
        let Self { database, batch } = self;
        batch.get_or_insert_with(|| database.begin_write().unwrap())
    }

    pub(super) fn append(&mut self, record: &Record<'_>) {
        let batch = self.batch();
        match *record {
            Record::Session(Session {
                number,
                client_identifier,
                away_since_ms,
                will,
                ..
            }) => {
                let row = (client_identifier, away_since_ms, will.map(|will| will.message));
                batch.open_table(SESSIONS).unwrap().insert(number, row).unwrap();
            }
            Record::SessionEnded { number } => end_session(batch, number),
            Record::Subscribed {
                session,
                filter,
                options,
                identifier,
            } => {
                let mut table = batch.open_table(SUBSCRIPTIONS).unwrap();
                table.insert((session, filter), (options, identifier)).unwrap();
            }
            Record::Unsubscribed { session, filter } => {
                let mut table = batch.open_table(SUBSCRIPTIONS).unwrap();
                table.remove((session, filter)).unwrap();
            }
            Record::Received {
                session,
                packet_identifier,
            } => {
                let mut table = batch.open_table(RECEIVED).unwrap();
                table.insert((session, packet_identifier), ()).unwrap();
            }
            Record::ReceivedReleased {
                session,
                packet_identifier,
            } => {
                let mut table = batch.open_table(RECEIVED).unwrap();
                table.remove((session, packet_identifier)).unwrap();
            }
            Record::Retained {
                ticket,
                topic,
                message,
            } => {
                let mut table = batch.open_table(RETAINED).unwrap();
                let newest = table.get(topic).unwrap().map_or(0, |row| row.value().0);
                if ticket >= newest {
                    table.insert(topic, (ticket, message)).unwrap();
                }
            }
            _ => append_message(batch, record),
        }
    }

    /// The batch counts as a whole; what nothing needs any more is removed with it.
    pub(super) fn submit(&mut self) {
        self.batch();
        let Some(batch) = self.batch.take() else { return };
        remove_unneeded(&batch);
        batch.open_table(SESSIONS).unwrap();
        batch.open_table(SUBSCRIPTIONS).unwrap();
        batch.open_table(RECEIVED).unwrap();
        batch.open_table(RETAINED).unwrap();
        batch.commit().unwrap();
    }

    /// What a start would recover.
    fn recovered(&self) -> Recovered {
        let read = self.database.begin_read().unwrap();
        let mut recovered = Recovered::default();
        for row in read.open_table(SESSIONS).unwrap().iter().unwrap() {
            let (number, row) = row.unwrap();
            let (client_identifier, away_since_ms, will) = row.value();
            let number = number.value();
            let subscriptions = read.open_table(SUBSCRIPTIONS).unwrap();
            let subscriptions = subscriptions.iter().unwrap().map(Result::unwrap);
            let references = read.open_table(REFERENCES).unwrap();
            let references = references.range(all_of(number)).unwrap().map(Result::unwrap);
            let received = read.open_table(RECEIVED).unwrap();
            let received = received.range((number, 0)..=(number, u16::MAX)).unwrap();
            recovered.sessions.push(RecoveredSession {
                number,
                client_identifier: client_identifier.to_owned(),
                away_since_ms,
                will: will.map(|message| RecoveredWill {
                    message: message.to_vec(),
                    ..RecoveredWill::default()
                }),
                subscriptions: subscriptions
                    .filter(|(key, _)| key.value().0 == number)
                    .map(|(key, row)| RecoveredSubscription {
                        filter: key.value().1.to_owned(),
                        options: row.value().0,
                        identifier: row.value().1,
                    })
                    .collect(),
                references: references
                    .map(|(key, row)| reference(key.value().1, row.value()))
                    .collect(),
                received: received.map(|row| row.unwrap().0.value().1).collect(),
                ..RecoveredSession::default()
            });
        }
        for row in read.open_table(PUBLICATIONS).unwrap().iter().unwrap() {
            let (id, row) = row.unwrap();
            let (share, message) = row.value();
            let unmarked = read.open_table(UNMARKED).unwrap();
            let unmarked = unmarked.range((id.value(), 0)..=(id.value(), u16::MAX)).unwrap();
            recovered.publications.push(RecoveredPublication {
                id: id.value(),
                share: share.to_owned(),
                message: message.to_vec(),
                unmarked: unmarked.map(|row| row.unwrap().0.value().1).collect(),
            });
        }
        for row in read.open_table(RETAINED).unwrap().iter().unwrap() {
            let (topic, row) = row.unwrap();
            let (ticket, message) = row.value();
            if !message.is_empty() {
                recovered.retained.push(RecoveredRetained {
                    ticket,
                    topic: topic.value().to_owned(),
                    message: message.to_vec(),
                });
            }
        }
        recovered
    }
}

/// Records of publications, and of the sessions that they wait for.
fn append_message(batch: &WriteTransaction, record: &Record<'_>) {
    let mut references = batch.open_table(REFERENCES).unwrap();
    let change = |session, order, change: &dyn Fn(&mut RecoveredReference)| {
        let mut table = batch.open_table(REFERENCES).unwrap();
        let mut found = reference(order, table.get((session, order)).unwrap().unwrap().value());
        change(&mut found);
        put_reference(&mut table, session, &found);
    };
    match *record {
        Record::Publication {
            id,
            shards,
            share,
            message,
        } => {
            let mut table = batch.open_table(PUBLICATIONS).unwrap();
            table.insert(id, (share, message)).unwrap();
            let mut unmarked = batch.open_table(UNMARKED).unwrap();
            for shard in shards.iter() {
                unmarked.insert((id, shard), ()).unwrap();
            }
        }
        Record::References {
            publication,
            shard,
            references: new,
            mark,
        } => {
            for new in new.iter() {
                let row = (publication, new.qos, new.retain, new.via, None, false);
                references.insert((new.session, new.order), row).unwrap();
            }
            if mark {
                let mut unmarked = batch.open_table(UNMARKED).unwrap();
                unmarked.remove((publication, shard)).unwrap();
            }
        }
        Record::Done { session, order } => {
            references.remove((session, order)).unwrap();
        }
        Record::InFlight {
            session,
            order,
            packet_identifier,
            ..
        } => {
            drop(references);
            change(session, order, &|found| {
                found.packet_identifier = Some(packet_identifier);
            });
        }
        Record::Released { session, order } => {
            drop(references);
            change(session, order, &|found| found.released = true);
        }
        _ => {}
    }
}

fn end_session(batch: &WriteTransaction, number: u64) {
    batch.open_table(SESSIONS).unwrap().remove(number).unwrap();
    let mut subscriptions = batch.open_table(SUBSCRIPTIONS).unwrap();
    subscriptions.retain(|(session, _), _| session != number).unwrap();
    let mut references = batch.open_table(REFERENCES).unwrap();
    references.retain(|(session, _), _| session != number).unwrap();
    let mut received = batch.open_table(RECEIVED).unwrap();
    received.retain(|(session, _), ()| session != number).unwrap();
}

/// Publications that all shards have marked and no session waits for.
fn remove_unneeded(batch: &WriteTransaction) {
    let references = batch.open_table(REFERENCES).unwrap();
    let rows = references
        .iter()
        .unwrap()
        .map(|row| reference(0, row.unwrap().1.value()));
    let open = rows.filter(|row| !row.released).map(|row| row.publication);
    let unmarked = batch.open_table(UNMARKED).unwrap();
    let unmarked = unmarked.iter().unwrap().map(|row| row.unwrap().0.value().0);
    let needed: BTreeSet<u64> = open.chain(unmarked).collect();
    let mut publications = batch.open_table(PUBLICATIONS).unwrap();
    publications.retain(|id, _| needed.contains(&id)).unwrap();
}

fn reference(order: u64, row: (u64, u8, bool, &[u8], Option<u16>, bool)) -> RecoveredReference {
    let (publication, qos, retain, via, packet_identifier, released) = row;
    RecoveredReference {
        order,
        publication,
        qos,
        retain,
        via: via.to_vec(),
        packet_identifier,
        released,
    }
}

fn put_reference(
    table: &mut redb::Table<'_, (u64, u64), ReferenceRow>,
    session: u64,
    reference: &RecoveredReference,
) {
    let row = (
        reference.publication,
        reference.qos,
        reference.retain,
        reference.via.as_slice(),
        reference.packet_identifier,
        reference.released,
    );
    table.insert((session, reference.order), row).unwrap();
}

fn all_of(session: u64) -> RangeInclusive<(u64, u64)> {
    (session, 0)..=(session, u64::MAX)
}

/// Both receive the same batches over several starts, while the log reclaims its segments.
fn run(seed: u64) {
    let disk = SimulatedDisk::new(seed);
    let options = Options {
        segment_size: 16 << 10,
        shards: SHARDS,
        ..Options::default()
    };
    let mut workload = Workload::new(seed, true);
    workload.redb = Some(RedbStore::new());
    for start in 0..4 {
        let opened = store::open_with(disk.layer(), &options, Box::new(|_| {}));
        let (mut log, recovered) = opened.unwrap();
        assert!(recovered.damage.is_none(), "{:?}", recovered.damage);
        let found = Model::of(&recovered);
        let expected = Model::of(&workload.redb.as_ref().unwrap().recovered());
        assert_eq!(
            found.lines(),
            expected.lines(),
            "seed {seed}, start {start}: the log, and redb"
        );
        assert!(
            start == 0 || found != Model::default(),
            "seed {seed}: there is nothing"
        );
        let state = if start == 0 {
            found
        } else {
            workload.latest().clone()
        };
        workload.start(&log, state);
        for _ in 0..workload.random.u32(50..150) {
            workload.batch();
            if workload.random.bool() {
                log.step().unwrap();
            }
        }
        log.step().unwrap();
        drop(log);
        disk.kill();
    }
}

#[test]
fn redb_and_the_log_bring_back_the_same() {
    for seed in 0..20 {
        run(seed);
    }
}
