//! Tests of the encoding of records.
//!
//! Invariants: none.

use proptest::prelude::*;

use super::*;

fn round_trip(record: &Record<'_>) {
    let mut body = Vec::new();
    let kind = encode(record, &mut body);
    assert_eq!(decode(kind, &body).as_ref(), Some(record));
}

#[test]
fn sessions_are_read_as_they_were_written() {
    let will = Will {
        delay_s: 7,
        expiry_s: Some(u32::MAX),
        message: b"gone",
    };
    let session = Session {
        number: u64::MAX,
        client_identifier: "client",
        user: Some("user"),
        expiry_s: u32::MAX,
        away_since_ms: Some(1_700_000_000_000),
        will: Some(will),
    };
    round_trip(&Record::Session(session));
    round_trip(&Record::Session(Session {
        user: None,
        away_since_ms: None,
        will: None,
        ..session
    }));
    round_trip(&Record::SessionEnded { number: 5 });
    round_trip(&Record::Subscribed {
        session: 5,
        filter: "a/#",
        options: 0x2D,
        identifier: 268_435_455,
    });
    round_trip(&Record::Unsubscribed {
        session: 5,
        filter: "",
    });
    round_trip(&Record::Received {
        session: 1,
        packet_identifier: 1,
    });
    round_trip(&Record::ReceivedReleased {
        session: 1,
        packet_identifier: 1,
    });
}

#[test]
fn messages_are_read_as_they_were_written() {
    let shards = ShardList::Numbers(&[0, 65535]);
    round_trip(&Record::Publication {
        id: 1,
        shards,
        share: "$share/g/f",
        message: b"m",
    });
    let shards = ShardList::Numbers(&[]);
    round_trip(&Record::Publication {
        id: 1,
        shards,
        share: "",
        message: b"",
    });
    let references = [
        Reference {
            session: 1 << 48 | 9,
            order: 0,
            qos: 2,
            retain: true,
            via: &[],
        },
        Reference {
            session: 0,
            order: u64::MAX,
            qos: 1,
            retain: false,
            via: &[1, 2, 3],
        },
    ];
    for references in [&references[..], &[]] {
        let references = ReferenceList::Slice(references);
        for mark in [true, false] {
            round_trip(&Record::References {
                publication: 1,
                shard: 2,
                references,
                mark,
            });
        }
    }
    round_trip(&Record::InFlight {
        session: 1,
        order: 2,
        packet_identifier: 65535,
        released: true,
    });
    round_trip(&Record::Released { session: 1, order: 2 });
    round_trip(&Record::Done { session: 1, order: 2 });
    round_trip(&Record::Epoch {
        number: 3,
        shards: 16,
        started_ms: u64::MAX,
    });
    round_trip(&Record::Retained {
        ticket: 1,
        topic: "t",
        message: b"",
    });
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(kind in 0_u8..20, body in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Some(Record::References { references, .. }) = decode(kind, &body) {
            prop_assert!(references.iter().count() <= body.len());
        }
    }
}
