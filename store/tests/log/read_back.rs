//! Messages that wait are read back in pieces, and a recovery may leave them where they are.

use store::{Options, ReadRequest, Record, Reference, ReferenceList, ShardList, WaitingRange, Wanted};

use super::*;

fn request(from: u64, to: u64, messages_max: usize) -> ReadRequest {
    ReadRequest {
        session: 1,
        tag: 9,
        wanted: Wanted::First,
        from,
        to,
        messages_max,
        bytes_max: usize::MAX,
    }
}

/// A session for which 100 messages wait; every tenth came through a shared subscription.
fn fill(log: &mut Log) -> ShardLog {
    let mut shard = log.shard(0);
    shard.append(&Record::Session(Session {
        number: 1,
        client_identifier: "c",
        user: None,
        expiry_s: 100,
        away_since_ms: None,
        will: None,
    }));
    for order in 1..=100 {
        let message = format!("message {order}");
        shard.append(&Record::Publication {
            id: order,
            shards: ShardList::Numbers(&[]),
            share: "",
            message: message.as_bytes(),
        });
        let reference = Reference {
            session: 1,
            order,
            qos: 1,
            retain: false,
            via: if order % 10 == 0 { b"via" } else { b"" },
        };
        shard.append(&Record::References {
            publication: order,
            shard: 0,
            references: ReferenceList::Slice(&[reference]),
            mark: true,
        });
    }
    shard
}

fn answer(log: &mut Log, shard: &mut ShardLog, request: ReadRequest) -> (Vec<u64>, Option<u64>) {
    shard.read_back(request);
    log.step().unwrap();
    let [answer] = &shard.take_read_back()[..] else {
        panic!("one answer");
    };
    assert_eq!(answer.request, request);
    for message in &answer.messages {
        let expected = format!("message {}", message.order);
        assert_eq!(message.message.as_deref(), Some(expected.as_bytes()));
    }
    let orders = answer.messages.iter().map(|message| message.order).collect();
    (orders, answer.next)
}

#[test]
fn what_waits_is_read_in_its_order_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path());
    let mut shard = fill(&mut log);
    // It is not even submitted when it is requested.
    shard.submit();
    assert_eq!(
        answer(&mut log, &mut shard, request(1, 100, 3)),
        (vec![1, 2, 3], Some(4))
    );
    shard.append(&Record::Done { session: 1, order: 5 });
    shard.append(&Record::InFlight {
        session: 1,
        order: 4,
        packet_identifier: 1,
        released: false,
    });
    shard.submit();
    assert_eq!(
        answer(&mut log, &mut shard, request(4, 8, 3)),
        (vec![6, 7, 8], None)
    );
    assert_eq!(
        answer(&mut log, &mut shard, request(99, 200, 3)),
        (vec![99, 100], None)
    );
    shard.append(&Record::SessionEnded { number: 1 });
    shard.submit();
    assert_eq!(answer(&mut log, &mut shard, request(1, 100, 3)), (vec![], None));
}

#[test]
fn what_came_by_a_shared_subscription_is_read_alone() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        is_shared: |via| via == b"via",
        ..options()
    };
    let (mut log, _) = store::open(folder.path(), &options, Box::new(|_| {})).unwrap();
    let mut shard = fill(&mut log);
    shard.submit();
    let shared = |from, messages_max| ReadRequest {
        wanted: Wanted::Shared,
        ..request(from, 35, messages_max)
    };
    assert_eq!(
        answer(&mut log, &mut shard, shared(1, 2)),
        (vec![10, 20], Some(21))
    );
    assert_eq!(answer(&mut log, &mut shard, shared(21, 2)), (vec![30], None));
}

#[test]
fn a_recovery_names_ranges_of_what_it_does_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path());
    let mut shard = fill(&mut log);
    shard.append(&Record::InFlight {
        session: 1,
        order: 95,
        packet_identifier: 1,
        released: false,
    });
    shard.submit();
    log.step().unwrap();
    drop(log);
    let options = Options {
        waiting_max: 8,
        is_shared: |via| via == b"via",
        ..options()
    };
    let (_, recovered) = store::open(folder.path(), &options, Box::new(|_| {})).unwrap();
    let session = &recovered.sessions[0];
    let orders: Vec<_> = session
        .references
        .iter()
        .map(|reference| reference.order)
        .collect();
    assert_eq!(orders, [1, 2, 3, 4, 5, 6, 7, 8, 95]);
    let ranges = |range: &WaitingRange| (range.from, range.to, range.messages, range.has_shared);
    let ranges: Vec<_> = session.rest.iter().map(ranges).collect();
    assert_eq!(ranges, [(9, 94, 86, true), (96, 100, 5, true)]);
    assert_eq!(recovered.publications.len(), 9);
    assert!(session.rest.iter().all(|range| range.bytes > range.messages * 9));
}

#[test]
fn what_has_expired_is_found_whatever_waits_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut shard;
    {
        let (mut log, _) = open(folder.path());
        shard = log.shard(0);
        shard.append(&session(1, "c"));
        // Every third one expires, at ten times its number.
        for order in 1..=30 {
            let expires_ns = if order % 3 == 0 { order * 10 } else { u64::MAX };
            publish(&mut shard, order, 1, order, &expires_ns.to_le_bytes());
        }
        shard.submit();
        log.step().unwrap();
        check_expired(&mut log, &mut shard);
        shard.append(&Record::Done { session: 1, order: 9 });
        shard.submit();
        assert_eq!(
            expired(&mut log, &mut shard, (1, 30), 100, 8),
            (vec![3, 6], None, 120)
        );
    }
    // A start reads the times as well.
    let (mut log, _) = open(folder.path());
    shard = log.shard(0);
    assert_eq!(
        expired(&mut log, &mut shard, (1, 30), 100, 8),
        (vec![3, 6], None, 120)
    );
}

fn check_expired(log: &mut Log, shard: &mut ShardLog) {
    assert_eq!(expired(log, shard, (1, 30), 29, 8), (vec![], None, 30));
    assert_eq!(expired(log, shard, (1, 30), 100, 8), (vec![3, 6, 9], None, 120));
    assert_eq!(expired(log, shard, (4, 30), 100, 1), (vec![6], Some(7), u64::MAX));
    assert_eq!(expired(log, shard, (7, 8), 1_000, 8), (vec![], None, u64::MAX));
}

/// What has expired: the places, where the range goes on, when the next one expires.
fn expired(
    log: &mut Log,
    shard: &mut ShardLog,
    (from, to): (u64, u64),
    wall_ns: u64,
    messages_max: usize,
) -> (Vec<u64>, Option<u64>, u64) {
    shard.read_back(ReadRequest {
        wanted: Wanted::ExpiredAt(wall_ns),
        ..request(from, to, messages_max)
    });
    log.step().unwrap();
    let [answer] = &shard.take_read_back()[..] else {
        panic!("one answer");
    };
    assert!(answer.messages.iter().all(|message| message.message.is_none()));
    let orders = answer.messages.iter().map(|message| message.order).collect();
    (orders, answer.next, answer.expires_first_ns)
}
