//! The stores: each adds messages and removes those that were acknowledged in one durable commit.
//!
//! Invariants: when `commit` returns, what it did is on the disk. Message n is removed with message n + `BACKLOG`.

use std::path::Path;

use fjall::{KeyspaceCreateOptions, PersistMode};
use heed::byteorder::BigEndian;
use heed::types::{Bytes, U64};
use redb::TableDefinition;
use store::{Log, Options, Record, Reference, ReferenceList, Session, ShardList, ShardLog};

use crate::{BACKLOG, Failure, MESSAGE, SESSIONS};

/// A store that does the work.
pub(crate) trait Store: Sized {
    const NAME: &'static str;

    fn open(folder: &Path) -> Result<Self, Failure>;

    /// Adds the messages from `first` on, and removes as many as far behind as the backlog is long.
    fn commit(&mut self, first: u64, count: u64) -> Result<(), Failure>;
}

/// Numbers of the messages of a commit, each with the one that goes.
fn messages(first: u64, count: u64) -> impl Iterator<Item = (u64, Option<u64>)> {
    (first..first + count).map(|number| (number, number.checked_sub(BACKLOG)))
}

/// That a message is in flight: session, order, Packet Identifier.
fn in_flight(number: u64) -> [u8; 18] {
    let mut value = [0; 18];
    value[..8].copy_from_slice(&(number % SESSIONS).to_be_bytes());
    value[8..16].copy_from_slice(&(number / SESSIONS).to_be_bytes());
    value
}

pub(crate) struct OurLog {
    log: Log,
    shard: ShardLog,
}

impl Store for OurLog {
    const NAME: &'static str = "our log";

    fn open(folder: &Path) -> Result<Self, Failure> {
        let (mut log, _) = store::open(folder, &Options::default(), Box::new(|_| {}))?;
        let mut shard = log.shard(0);
        for number in 0..SESSIONS {
            shard.append(&Record::Session(Session {
                number,
                client_identifier: "client",
                user: None,
                expiry_s: 3600,
                away_since_ms: None,
                will: None,
            }));
        }
        shard.submit();
        log.step()?;
        Ok(Self { log, shard })
    }

    fn commit(&mut self, first: u64, count: u64) -> Result<(), Failure> {
        for (id, gone) in messages(first, count) {
            let (session, order) = (id % SESSIONS, id / SESSIONS);
            self.shard.append(&Record::Publication {
                id,
                shards: ShardList::Numbers(&[]),
                share: "",
                message: &[7; MESSAGE],
            });
            let reference = Reference {
                session,
                order,
                qos: 1,
                retain: false,
                via: &[],
            };
            self.shard.append(&Record::References {
                publication: id,
                shard: 0,
                references: ReferenceList::Slice(std::slice::from_ref(&reference)),
                mark: true,
            });
            self.shard.append(&Record::InFlight {
                session,
                order,
                packet_identifier: (order % 65_535) as u16 + 1,
                released: false,
            });
            if let Some(gone) = gone {
                let (session, order) = (gone % SESSIONS, gone / SESSIONS);
                self.shard.append(&Record::Done { session, order });
            }
        }
        self.shard.submit();
        self.log.step()?;
        Ok(())
    }
}

const MESSAGES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("messages");
const IN_FLIGHT: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("in flight");

pub(crate) struct Redb(redb::Database);

impl Store for Redb {
    const NAME: &'static str = "redb";

    fn open(folder: &Path) -> Result<Self, Failure> {
        Ok(Self(redb::Database::create(folder.join("store.redb"))?))
    }

    fn commit(&mut self, first: u64, count: u64) -> Result<(), Failure> {
        let transaction = self.0.begin_write()?;
        {
            let mut table = transaction.open_table(MESSAGES)?;
            let mut flights = transaction.open_table(IN_FLIGHT)?;
            for (number, gone) in messages(first, count) {
                table.insert(number, &[7; MESSAGE][..])?;
                flights.insert(number, &in_flight(number)[..])?;
                if let Some(gone) = gone {
                    table.remove(gone)?;
                    flights.remove(gone)?;
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

type LmdbTable = heed::Database<U64<BigEndian>, Bytes>;

pub(crate) struct Lmdb {
    environment: heed::Env,
    messages: LmdbTable,
    in_flight: LmdbTable,
}

impl Store for Lmdb {
    const NAME: &'static str = "heed (LMDB)";

    fn open(folder: &Path) -> Result<Self, Failure> {
        let mut options = heed::EnvOpenOptions::new();
        options.map_size(4 << 30).max_dbs(2);
        // SAFETY: the folder was made for this process, and nobody else changes the file that is mapped.
        let environment = unsafe { options.open(folder)? };
        let mut transaction = environment.write_txn()?;
        let messages = environment.create_database(&mut transaction, Some("messages"))?;
        let in_flight = environment.create_database(&mut transaction, Some("in flight"))?;
        transaction.commit()?;
        Ok(Self {
            environment,
            messages,
            in_flight,
        })
    }

    fn commit(&mut self, first: u64, count: u64) -> Result<(), Failure> {
        let mut transaction = self.environment.write_txn()?;
        for (number, gone) in messages(first, count) {
            self.messages.put(&mut transaction, &number, &[7; MESSAGE])?;
            self.in_flight
                .put(&mut transaction, &number, &in_flight(number))?;
            if let Some(gone) = gone {
                self.messages.delete(&mut transaction, &gone)?;
                self.in_flight.delete(&mut transaction, &gone)?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

pub(crate) struct Fjall {
    database: fjall::Database,
    messages: fjall::Keyspace,
    in_flight: fjall::Keyspace,
}

impl Store for Fjall {
    const NAME: &'static str = "fjall";

    fn open(folder: &Path) -> Result<Self, Failure> {
        let database = fjall::Database::builder(folder).open()?;
        let messages = database.keyspace("messages", KeyspaceCreateOptions::default)?;
        let in_flight = database.keyspace("in flight", KeyspaceCreateOptions::default)?;
        Ok(Self {
            database,
            messages,
            in_flight,
        })
    }

    fn commit(&mut self, first: u64, count: u64) -> Result<(), Failure> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for (number, gone) in messages(first, count) {
            batch.insert(&self.messages, number.to_be_bytes(), [7; MESSAGE]);
            batch.insert(&self.in_flight, number.to_be_bytes(), in_flight(number));
            if let Some(gone) = gone {
                batch.remove(&self.messages, gone.to_be_bytes());
                batch.remove(&self.in_flight, gone.to_be_bytes());
            }
        }
        batch.commit()?;
        Ok(())
    }
}

pub(crate) struct Sqlite(rusqlite::Connection);

impl Store for Sqlite {
    const NAME: &'static str = "SQLite (WAL, synchronous FULL)";

    fn open(folder: &Path) -> Result<Self, Failure> {
        let connection = rusqlite::Connection::open(folder.join("store.sqlite3"))?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE messages (number INTEGER PRIMARY KEY, message BLOB);
             CREATE TABLE in_flight (number INTEGER PRIMARY KEY, state BLOB);",
        )?;
        Ok(Self(connection))
    }

    fn commit(&mut self, first: u64, count: u64) -> Result<(), Failure> {
        let transaction = self.0.transaction()?;
        {
            let mut put = transaction.prepare_cached("INSERT INTO messages VALUES (?1, ?2)")?;
            let mut send = transaction.prepare_cached("INSERT INTO in_flight VALUES (?1, ?2)")?;
            let mut remove = transaction.prepare_cached("DELETE FROM messages WHERE number = ?1")?;
            let mut done = transaction.prepare_cached("DELETE FROM in_flight WHERE number = ?1")?;
            for (number, gone) in messages(first, count) {
                let number = i64::try_from(number)?;
                put.execute((number, &[7_u8; MESSAGE][..]))?;
                send.execute((number, &in_flight(number as u64)[..]))?;
                if let Some(gone) = gone {
                    let gone = i64::try_from(gone)?;
                    remove.execute((gone,))?;
                    done.execute((gone,))?;
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }
}
