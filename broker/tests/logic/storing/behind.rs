//! What waits behind what waits for a store, and what need not.
//!
//! Invariants: none.

use super::*;

/// What promises nothing new waits behind what does, and not for a batch that may never come.
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

/// A message that waited at QoS 2 for a session which ends with its connection by now is in no batch.
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
