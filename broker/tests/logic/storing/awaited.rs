//! Which batches a packet waits for, and which the store may write later.
//!
//! Invariants: none.

use super::*;

/// A store may delay what no packet waits for.
#[test]
fn what_a_packet_waits_for_is_awaited_and_nothing_else() {
    let mut stored = Stored::new();
    let subscriber = stored.join("s", 100);
    stored.send(subscriber, &subscribes(QoS::ExactlyOnce));
    stored.turn(subscriber);
    assert!(stored.store.is_awaited(), "a CONNACK waits");
    stored.turn_durable(subscriber);
    let publisher = stored.join("p", 0);
    for (qos, waiting) in [
        (QoS::AtLeastOnce, "a PUBACK"),
        (QoS::ExactlyOnce, "a PUBREC, and the PUBLISH"),
    ] {
        stored.send(publisher, &publishes(qos, 1, false));
        stored.turn(publisher);
        assert!(stored.store.is_awaited(), "{waiting} waits");
        stored.turn_durable(subscriber);
    }
    stored.send(subscriber, &acknowledges(PacketType::PubAck, 1));
    stored.turn(subscriber);
    assert!(
        !stored.store.is_awaited(),
        "nothing waits for the end of a delivery"
    );
    stored.send(subscriber, &acknowledges(PacketType::PubRec, 2));
    stored.turn(subscriber);
    assert!(stored.store.is_awaited(), "a PUBREL waits");
    stored.turn_durable(subscriber);
    stored.send(subscriber, &acknowledges(PacketType::PubComp, 2));
    stored.turn(subscriber);
    assert!(
        !stored.store.is_awaited(),
        "nothing waits for the end of a delivery"
    );
    stored.send(publisher, &publishes(QoS::AtMostOnce, 0, true));
    stored.turn(publisher);
    assert!(!stored.store.is_awaited(), "QoS 0 is not acknowledged");
}
