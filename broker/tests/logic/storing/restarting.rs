//! How a start treats times that began before it, and what an orderly end leaves for the next start.

use mqtt::packet::Will;

use super::*;

/// Sessions of a store, disconnected since that many milliseconds before the start, which is at second 1,000.
fn away(away_ms: u64, expiry_s: u32, will: Option<(u32, Vec<u8>)>) -> RecoveredState {
    RecoveredState {
        sessions: vec![store::RecoveredSession {
            number: 1,
            client_identifier: "c".to_owned(),
            expiry_s,
            away_since_ms: Some(1_000_000 - away_ms),
            will: will.map(|(delay_s, message)| store::RecoveredWill {
                delay_s,
                expiry_s: None,
                message,
            }),
            ..store::RecoveredSession::default()
        }],
        wall_ms: 1_000_000,
        ..RecoveredState::default()
    }
}

fn after_ms(milliseconds: u64) -> Timestamp {
    Timestamp(5_000_000_000 + milliseconds * 1_000_000)
}

#[test]
fn a_session_expires_to_the_millisecond_over_a_restart() {
    let mut stored = Stored::new();
    assert_eq!(stored.shard.recover(after_ms(0), &away(8_900, 10, None)), 0);
    stored.shard.tick(after_ms(1_000));
    assert_eq!(stored.store.take(), NOTHING_KEPT, "100 ms are left");
    stored.shard.tick(after_ms(1_200));
    assert_eq!(stored.store.take(), ["ended"]);
    let mut stored = Stored::new();
    assert_eq!(stored.shard.recover(after_ms(0), &away(10_000, 10, None)), 0);
    assert_eq!(stored.store.take(), ["ended"], "none of it is left");
}

/// The record of a Will in the store: that of a disconnected client.
fn stored_will(delay_s: u32) -> (Stored, Vec<u8>) {
    let mut stored = Stored::new();
    let mut bytes = Vec::new();
    let (properties, mut of_will) = (expiring(100), PropertiesBuf::new());
    of_will.push(Property::WillDelayInterval(delay_s)).unwrap();
    let asked = Connect {
        properties: properties.as_properties(),
        will: Some(Will {
            qos: QoS::AtLeastOnce,
            retain: true,
            properties: of_will.as_properties(),
            topic: "w",
            payload: b"gone",
        }),
        ..connect(V5, "c")
    };
    asked.encode(&mut bytes).unwrap();
    let id = test_support::open(&mut stored.shard, stored.now, test_support::peer(), &bytes);
    assert!(stored.shard.clients().connected(id));
    stored.store.take();
    let will = stored.store.0.lock().unwrap().will.clone();
    (stored, will.expect("the store has the Will"))
}

#[test]
fn a_will_is_due_to_the_millisecond_over_a_restart() {
    let (_, will) = stored_will(10);
    let mut stored = Stored::new();
    let state = away(8_900, 100, Some((10, will)));
    assert_eq!(stored.shard.recover(after_ms(0), &state), 0);
    stored.shard.tick(after_ms(1_000));
    assert_eq!(stored.store.take(), NOTHING_KEPT, "100 ms are left");
    stored.shard.tick(after_ms(1_200));
    assert_eq!(stored.store.take(), ["retained w", "session 92 away"]);
}

/// The end of the broker does not end a session that the store keeps.
#[test]
fn at_a_shut_down_a_delayed_will_waits_in_the_store() {
    let (mut stored, _) = stored_will(10);
    stored.shard.shut_down(stored.now);
    assert_eq!(stored.store.take(), ["session 100 away"]);
    assert!(stored.store.0.lock().unwrap().will.is_some());
    let (mut stored, _) = stored_will(0);
    stored.shard.shut_down(stored.now);
    assert_eq!(stored.store.take(), ["retained w", "session 100 away"]);
    assert_eq!(stored.store.0.lock().unwrap().will, None);
}

/// A session that was connected at the end of the process counts as disconnected from the next start on, however often
/// the broker starts.
#[test]
fn who_was_connected_at_a_crash_is_away_since_the_start() {
    let mut stored = Stored::new();
    let session = |number, away_since_ms| store::RecoveredSession {
        number,
        client_identifier: format!("c{number}"),
        expiry_s: 100,
        away_since_ms,
        ..store::RecoveredSession::default()
    };
    let state = RecoveredState {
        sessions: vec![session(1, None), session(2, Some(900))],
        wall_ms: 1000,
        ..RecoveredState::default()
    };
    assert_eq!(stored.shard.recover(stored.now, &state), 0);
    assert_eq!(
        stored.store.take(),
        ["session 100 away"],
        "the other one is away already"
    );
}

const NOTHING_KEPT: [&str; 0] = [];
