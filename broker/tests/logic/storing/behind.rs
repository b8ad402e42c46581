//! What must wait after something that waits for a store, and what need not.
//!
//! Invariants: none.

use super::*;

/// A packet that acknowledges nothing new waits after one that does, but not for a batch that may never come.
#[test]
fn what_stands_behind_an_acknowledgement_leaves_with_it() {
    let mut stored = Stored::new();
    let subscriber = stored.join("s", 100);
    stored.send(subscriber, &subscribes(QoS::AtLeastOnce));
    let publisher = stored.join("p", 0);
    stored.turn(publisher);
    stored.turn_durable(publisher);
    stored.send(publisher, &publishes(QoS::AtLeastOnce, 1, false));
    assert_eq!(stored.turn(publisher), NOTHING, "handed over");
    let mut other = publishes(QoS::AtLeastOnce, 2, false);
    other[4] = b'u';
    stored.send(publisher, &other);
    assert_eq!(stored.turn_durable(publisher), [PUBACK, PUBACK]);
}

/// A message that waited at QoS 2 for a session that ends with its connection is in no batch.
#[test]
fn at_qos_2_a_session_that_is_kept_no_more_waits_for_nothing() {
    let mut stored = Stored::new();
    let subscriber = stored.join("s", 100);
    stored.send(subscriber, &subscribes(QoS::ExactlyOnce));
    stored.turn(subscriber);
    stored.turn_durable(subscriber);
    stored.shard.lost(stored.now, subscriber);
    let publisher = stored.join("p", 0);
    stored.send(publisher, &publishes(QoS::ExactlyOnce, 1, false));
    stored.send(publisher, &publishes(QoS::ExactlyOnce, 2, false));
    let mut properties = PropertiesBuf::new();
    let one = std::num::NonZeroU16::MIN;
    properties.push(Property::ReceiveMaximum(one)).unwrap();
    let subscriber = stored.join_with("s", &properties);
    stored.turn(subscriber);
    assert_eq!(stored.turn_durable(subscriber), [CONNACK, PUBLISH]);
    stored.send(subscriber, &acknowledges(PacketType::PubRec, 1));
    stored.send(subscriber, &acknowledges(PacketType::PubComp, 1));
    assert_eq!(stored.turn(subscriber), [PUBREL, PUBLISH]);
}

/// A shard announces each filter once, and once that no session there needs it any more: so a start registers it once
/// too, however many of its sessions need it.
#[test]
fn a_filter_that_several_sessions_of_a_shard_want_goes_with_the_last_one() {
    let settings = Arc::new(Settings {
        sys_interval_s: 0,
        ..Settings::default()
    });
    let mut shards = [0, 1].map(|index| Shard::new(index, 2, Arc::clone(&settings), shard_counters(2)));
    let names = (0..).map(|number| format!("c{number}"));
    let names = names.filter(|name| broker::logic::owner_shard(name, 2) == 1);
    let session = |(number, client_identifier)| store::RecoveredSession {
        number,
        client_identifier,
        expiry_s: 100,
        subscriptions: vec![store::RecoveredSubscription {
            filter: "t".to_owned(),
            options: 1,
            identifier: 0,
        }],
        ..store::RecoveredSession::default()
    };
    let state = RecoveredState {
        sessions: (1..).zip(names.take(2)).map(session).collect(),
        ..RecoveredState::default()
    };
    let now = Timestamp(0);
    for shard in &mut shards {
        assert_eq!(shard.recover(now, &state), 0);
    }
    assert_eq!(shards[0].resource_counts().filters, 1);
    let later = now.plus_s(1000);
    shards[1].tick(later);
    while let Some(batch) = shards[1].take_batch(0) {
        shards[0].receive_batch(later, 1, &batch);
    }
    assert_eq!(shards[0].resource_counts().filters, 0);
}
