//! Tests of the log through its public interface.
//!
//! Invariants: none.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper of a test may fail"
)]

mod basics;
mod damage;
mod inspecting;
mod intervals;
mod kill;
mod model;
mod power;
mod read_back;
mod redb_store;
mod thread;
mod workload;

use std::path::Path;

use store::{Log, Options, Record, Recovered, Reference, ReferenceList, Session, ShardList, ShardLog};

/// Small segments, so that tests fill many of them.
fn options() -> Options {
    Options {
        segment_size: 64 << 10,
        ..Options::default()
    }
}

fn open(folder: &Path) -> (Log, Recovered) {
    store::open(folder, &options(), Box::new(|_| {})).unwrap()
}

fn session(number: u64, client_identifier: &str) -> Record<'_> {
    Record::Session(Session {
        number,
        client_identifier,
        user: None,
        expiry_s: 3600,
        away_since_ms: None,
        will: None,
    })
}

/// A message for one session of shard 0, with the reference and the mark.
fn publish(log: &mut ShardLog, id: u64, session: u64, order: u64, message: &[u8]) {
    let shards = ShardList::Numbers(&[0]);
    log.append(&Record::Publication {
        id,
        shards,
        share: "",
        message,
    });
    let reference = Reference {
        session,
        order,
        qos: 1,
        retain: false,
        via: &[],
    };
    let references = ReferenceList::Slice(std::slice::from_ref(&reference));
    log.append(&Record::References {
        publication: id,
        shard: 0,
        references,
        mark: true,
    });
}

/// The messages that wait for a session, in order.
fn waiting(recovered: &Recovered, session: u64) -> Vec<&[u8]> {
    let session = recovered
        .sessions
        .iter()
        .find(|found| found.number == session)
        .unwrap();
    let message = |id| {
        recovered
            .publications
            .iter()
            .find(|found| found.id == id)
            .unwrap()
    };
    let references = session.references.iter();
    references
        .map(|reference| message(reference.publication).message.as_slice())
        .collect()
}
