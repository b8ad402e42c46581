//! What is committed still exists after the next start.
//!
//! Invariants: none.

use std::os::unix::fs::PermissionsExt as _;

use store::{Record, Recovered, StoreError, Will};

use super::{open, options, publish, session, waiting};

fn append_some(shard: &mut store::ShardLog) {
    shard.append(&session(7, "client"));
    shard.append(&Record::Subscribed {
        session: 7,
        filter: "a/#",
        options: 2,
        identifier: 9,
    });
    shard.append(&Record::Subscribed {
        session: 7,
        filter: "b",
        options: 1,
        identifier: 0,
    });
    shard.append(&Record::Unsubscribed {
        session: 7,
        filter: "b",
    });
    for (order, packet_identifier) in [(0, 11), (1, 12), (2, 13)] {
        publish(shard, order + 1, 7, order, format!("message {order}").as_bytes());
        shard.append(&Record::InFlight {
            session: 7,
            order,
            packet_identifier,
            released: false,
        });
    }
    shard.append(&Record::Done { session: 7, order: 0 });
    shard.append(&Record::Released { session: 7, order: 1 });
    shard.append(&Record::Received {
        session: 7,
        packet_identifier: 3,
    });
    shard.append(&Record::Received {
        session: 7,
        packet_identifier: 4,
    });
    shard.append(&Record::ReceivedReleased {
        session: 7,
        packet_identifier: 3,
    });
    for (ticket, topic, message) in [
        (5, "r", "kept"),
        (4, "r", "older"),
        (6, "s", "gone"),
        (7, "s", ""),
    ] {
        shard.append(&Record::Retained {
            ticket,
            topic,
            message: message.as_bytes(),
        });
    }
}

#[test]
fn what_was_committed_is_there_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, recovered) = open(folder.path());
    let nothing = Recovered {
        epoch: 1,
        ..Recovered::default()
    };
    assert_eq!(recovered, nothing);
    let mut shard = log.shard(0);
    append_some(&mut shard);
    let batch = shard.submit();
    assert_eq!((batch, shard.durable()), (1, 0));
    assert!(log.step().unwrap());
    assert_eq!((shard.durable(), shard.backlog_bytes()), (1, 0));
    publish(&mut shard, 9, 7, 3, b"lost");
    shard.submit();
    drop(log);

    let (_log, recovered) = open(folder.path());
    assert_eq!((recovered.epoch, recovered.shards), (2, 1));
    assert_eq!((recovered.number_max, recovered.publication_max), (7, 3));
    let found = &recovered.sessions[0];
    assert_eq!(
        (found.client_identifier.as_str(), found.received.as_slice()),
        ("client", [4].as_slice())
    );
    let subscription = &found.subscriptions[0];
    let text = format!(
        "{} {} {}",
        subscription.filter, subscription.options, subscription.identifier
    );
    assert_eq!((found.subscriptions.len(), text.as_str()), (1, "a/# 2 9"));
    let references = found.references.iter();
    let references: Vec<_> = references
        .map(|found| {
            (
                found.order,
                found.publication,
                found.packet_identifier,
                found.released,
            )
        })
        .collect();
    assert_eq!(references, [(1, 2, Some(12), true), (2, 3, Some(13), false)]);
    let messages: Vec<_> = recovered
        .publications
        .iter()
        .map(|found| found.message.as_slice())
        .collect();
    assert_eq!(messages, [b"message 2"]);
    let retained: Vec<_> = recovered
        .retained
        .iter()
        .map(|found| (found.ticket, found.topic.as_str()))
        .collect();
    assert_eq!(
        (retained.as_slice(), recovered.retained[0].message.as_slice()),
        ([(5, "r")].as_slice(), b"kept".as_slice())
    );
    assert!(recovered.damage.is_none());
}

#[test]
fn a_session_is_replaced_and_ended() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path());
    let mut shard = log.shard(0);
    for number in [1, 2] {
        shard.append(&session(number, "client"));
        publish(&mut shard, number, number, 0, b"message");
    }
    let will = Will {
        delay_s: 5,
        expiry_s: Some(6),
        message: b"gone",
    };
    shard.append(&Record::Session(store::Session {
        number: 1,
        client_identifier: "client",
        user: Some("user"),
        expiry_s: 60,
        away_since_ms: Some(1000),
        will: Some(will),
    }));
    shard.append(&Record::SessionEnded { number: 2 });
    shard.submit();
    log.step().unwrap();
    drop(log);
    let (_log, recovered) = open(folder.path());
    assert_eq!(recovered.sessions.len(), 1);
    assert_eq!(waiting(&recovered, 1), [b"message"]);
    assert_eq!(recovered.publications.len(), 1);
    let found = &recovered.sessions[0];
    assert_eq!(
        (found.user.as_deref(), found.expiry_s, found.away_since_ms),
        (Some("user"), 60, Some(1000))
    );
    assert_eq!(found.will.as_ref().unwrap().message, b"gone");
}

#[test]
fn a_publication_without_a_mark_is_routed_again() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path());
    let mut shard = log.shard(0);
    let shards = store::ShardList::Numbers(&[0, 1, 2]);
    shard.append(&Record::Publication {
        id: 5,
        shards,
        share: "$share/g/f",
        message: b"m",
    });
    shard.submit();
    let mut other = log.shard(1);
    let references = store::ReferenceList::Slice(&[]);
    other.append(&Record::References {
        publication: 5,
        shard: 1,
        references,
        mark: true,
    });
    other.submit();
    log.step().unwrap();
    drop(log);
    let (_log, recovered) = open(folder.path());
    let [publication] = recovered.publications.as_slice() else {
        panic!("{recovered:?}");
    };
    assert_eq!(publication.unmarked, [0, 2]);
    assert_eq!(
        (publication.share.as_str(), publication.message.as_slice()),
        ("$share/g/f", b"m".as_slice())
    );
}

#[test]
fn messages_larger_than_a_segment_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path());
    let mut shard = log.shard(0);
    shard.append(&session(1, "client"));
    let large: Vec<u8> = (0..300_000_u32).map(|number| (number % 251) as u8).collect();
    for id in 0..4 {
        publish(&mut shard, id, 1, id, &large[id as usize..]);
        shard.submit();
        publish(&mut shard, 100 + id, 1, 100 + id, b"small");
        shard.submit();
        log.step().unwrap();
    }
    drop(log);
    let (_log, recovered) = open(folder.path());
    let messages = waiting(&recovered, 1);
    assert_eq!(messages.len(), 8);
    for id in 0..4 {
        assert_eq!(messages[id], &large[id..]);
        assert_eq!(messages[4 + id], b"small");
    }
}

#[test]
fn a_second_store_in_a_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (_log, _) = open(folder.path());
    let refused = store::open(folder.path(), &options(), Box::new(|_| {})).unwrap_err();
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
    assert!(
        refused.to_string().contains(&std::process::id().to_string()),
        "{refused}"
    );
}

#[test]
fn another_version_is_refused_and_both_are_named() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let file = folder.path().join("00000001.segment");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[8] = 77;
    let crc = crc32c::crc32c(&bytes[..12]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&file, bytes).unwrap();
    let refused = store::open(folder.path(), &options(), Box::new(|_| {}))
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("has format 77") && refused.contains("reads format 1"),
        "{refused}"
    );
}

#[test]
fn files_are_for_their_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("store");
    drop(open(&folder));
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for entry in std::fs::read_dir(&folder).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}
