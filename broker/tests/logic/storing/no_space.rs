//! What a full disk refuses in addition to messages.
//!
//! Invariants: none.

use super::*;

/// The reserve is for acknowledgements: sessions and subscriptions that are new to the store are refused, those that
/// it knows and those that it need not know are not.
#[test]
fn on_a_full_disk_new_sessions_and_subscriptions_are_refused() {
    let (mut stored, subscriber) = full();
    let full = ReasonCode::QuotaExceeded as u8;
    for (clean_start, expiry_s) in [(false, 100), (true, 1)] {
        let properties = expiring(expiry_s);
        let mut bytes = Vec::new();
        let asked = Connect {
            clean_start,
            properties: properties.as_properties(),
            ..connect(V5, "new")
        };
        asked.encode(&mut bytes).unwrap();
        let refused = test_support::open(&mut stored.shard, stored.now, test_support::peer(), &bytes);
        assert!(!stored.shard.clients().connected(refused));
        let packets = stored.packets(refused);
        assert_eq!((packets[0][0] >> 4, packets[0][3]), (CONNACK, full));
    }
    assert!(stored.store.take().is_empty());
    let clean = stored.join("clean", 0);
    stored.turn(clean);
    stored.send(clean, &subscribes(QoS::AtLeastOnce));
    let packets = stored.packets(clean);
    assert_eq!(packets[0].last(), Some(&1), "it is not stored");
    stored.send(subscriber, &subscribes(QoS::AtLeastOnce));
    assert_eq!(stored.store.take().len(), 1, "the one that it has changes");
    stored.turn(subscriber);
    for filter in ["u", "$share/g/u"] {
        stored.send(subscriber, &subscribes_to(filter, QoS::AtMostOnce));
    }
    assert!(stored.store.take().is_empty());
    stored.shard.lost(stored.now, subscriber);
    stored.store.take();
    let subscriber = stored.join("s", 200);
    assert!(stored.shard.clients().connected(subscriber));
    stored.store.set_full(false);
    stored.join("new", 100);
}
