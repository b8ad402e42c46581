//! Files that mosquitto wrote, and invented files.

use super::*;

/// What mosquitto 2.0.11 writes for a disconnected client, and one message at QoS 2 that waits for it.
const WRITTEN: &[u8] = b"\0\xb5\0mosquitto db\0\0\0\0\0\0\0\x06\
    \0\0\0\x01\0\0\0\x106\0\0\0\0\0\0\0\0\x08\0\0\0\0\0\0\
    \0\0\0\x02\0\0\0\x345\0\0\0\0\0\0\0\x34\xcf\x0bk\0\0\0\0\0\0\0\x05\0\x01\0\x04\0\0\0\x03J7\x02\0autoa/1hel\
    lo\x07&\0\x01k\0\x01v\
    \0\0\0\x06\0\0\0\x1c\0\0\0\0\0\0\0\0\xff\xff\xff\xff\0\x01\0\x04J7\0\0\0\0\0\0away\
    \0\0\0\x03\0\0\0\x145\0\0\0\0\0\0\0\0\x01\0\x04\x02\x0b\0\x01away\
    \0\0\0\x05\0\0\0\x13\0\0\0\0\0\x04\0\x03\x02\0\0\0awaya/#";

/// Where the header and the first chunk end.
const BEHIND_CONFIGURATION: usize = 47;

#[test]
fn a_file_of_mosquitto_is_read() {
    let database = Database::parse(WRITTEN).unwrap();
    let client = &database.clients[0];
    assert_eq!(
        (client.client_identifier, client.user, client.expiry_s),
        ("away", "", u32::MAX)
    );
    let message = &database.messages[&0x35];
    assert_eq!(
        (message.topic, message.payload, message.publisher),
        ("a/1", &b"hello"[..], "auto")
    );
    assert_eq!(
        (message.qos, message.retain, message.expires_at_s),
        (2, false, 0x6b0b_cf34)
    );
    assert_eq!(message.properties, b"\x26\0\x01k\0\x01v");
    let delivery = &database.deliveries[0];
    assert_eq!(
        (delivery.client_identifier, delivery.message, delivery.qos),
        ("away", 0x35, 2)
    );
    assert_eq!(
        (delivery.stage, delivery.packet_identifier),
        (DeliveryStage::Waits, 1)
    );
    let subscription = &database.subscriptions[0];
    assert_eq!(
        (subscription.filter, subscription.options, subscription.identifier),
        ("a/#", 2, 0)
    );
    assert_eq!(database.unknown_chunks, 0);
}

#[test]
fn memory_behind_a_client_without_a_user_is_no_user() {
    for (name, user) in [
        (&b"somebody"[..], "somebody"),
        (b"some\0\x51\xc8\x86", ""),
        (b"some\0y", ""),
    ] {
        let mut bytes = WRITTEN[..BEHIND_CONFIGURATION].to_vec();
        let (kind, len) = (6_u32.to_be_bytes(), (25 + name.len() as u32).to_be_bytes());
        bytes.extend(kind.into_iter().chain(len));
        bytes.extend(b"\0\0\0\0\0\0\0\0\xff\xff\xff\xff\0\x01\0\x01\x4a\x37\0");
        bytes.push(name.len() as u8);
        bytes.extend(b"\0\0\0\0c");
        bytes.extend(name);
        let database = Database::parse(&bytes).unwrap();
        assert_eq!(
            (database.clients[0].client_identifier, database.clients[0].user),
            ("c", user)
        );
    }
}

#[test]
fn other_files_and_formats_are_refused() {
    assert_eq!(Database::parse(b"").unwrap_err(), DatabaseError::NotOne);
    assert_eq!(
        Database::parse(b"SQLite format 3\0").unwrap_err(),
        DatabaseError::NotOne
    );
    let mut other = WRITTEN.to_vec();
    other[22] = 4;
    assert_eq!(Database::parse(&other).unwrap_err(), DatabaseError::Version(4));
}

#[test]
fn damage_is_an_error_and_never_a_panic() {
    for len in 23..BEHIND_CONFIGURATION {
        let cut = Database::parse(&WRITTEN[..len]);
        assert!(matches!(cut, Err(DatabaseError::Damaged(_))), "{len}");
    }
    for len in BEHIND_CONFIGURATION..WRITTEN.len() {
        let cut = Database::parse(&WRITTEN[..len]);
        assert!(
            cut.is_ok() || matches!(cut, Err(DatabaseError::Damaged(_))),
            "{len}"
        );
    }
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..20_000 {
        let mut bytes = WRITTEN.to_vec();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(23..bytes.len());
            bytes[at] = random.u8(..);
        }
        let _ = Database::parse(&bytes);
    }
}
