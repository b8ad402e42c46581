//! What a store is asked to keep.

use std::sync::{Arc, Mutex};

use mqtt::packet::Disconnect;

use super::*;
use broker::logic::{ConnectionId, Shard, Store, StoreRecord, Timestamp, shard_counters};
use broker::settings::Settings;

/// A store that keeps what it is given of sessions, in words.
#[derive(Debug, Default)]
struct Recorded(Arc<Mutex<Vec<String>>>);

impl Store for Recorded {
    fn append(&mut self, record: StoreRecord<'_>) -> u64 {
        let mut recorded = self.0.lock().unwrap();
        match record {
            StoreRecord::Session { expiry_s, .. } => recorded.push(format!("session {expiry_s}")),
            StoreRecord::SessionEnded { .. } => recorded.push("ended".to_owned()),
            _ => {}
        }
        recorded.len() as u64
    }

    fn durable(&self) -> u64 {
        self.0.lock().unwrap().len() as u64
    }
}

fn expiring(expiry_s: u32) -> PropertiesBuf {
    let mut properties = PropertiesBuf::new();
    properties
        .push(Property::SessionExpiryInterval(expiry_s))
        .unwrap();
    properties
}

fn join(shard: &mut Shard, expiry_s: u32) -> ConnectionId {
    let mut bytes = Vec::new();
    let properties = expiring(expiry_s);
    let asked = Connect {
        clean_start: false,
        properties: properties.as_properties(),
        ..connect(V5, "c")
    };
    asked.encode(&mut bytes).unwrap();
    let id = test_support::open(shard, Timestamp(0), test_support::peer(), &bytes);
    assert!(shard.connected(id));
    id
}

fn leave(shard: &mut Shard, id: ConnectionId, expiry_s: u32) {
    let mut bytes = Vec::new();
    let properties = expiring(expiry_s);
    Disconnect {
        reason: ReasonCode::NormalDisconnection,
        properties: properties.as_properties(),
    }
    .encode(V5, &mut bytes);
    shard.receive(Timestamp(0), id, &bytes);
    shard.closed(Timestamp(0), id);
}

/// MQTT 5.0, section 3.14.2.2.2: a store keeps a session as long as the DISCONNECT says.
#[test]
fn an_expiry_that_a_disconnect_changes() {
    let store = Recorded::default();
    let recorded = Arc::clone(&store.0);
    let settings = Arc::new(Settings {
        sys_interval_s: 0,
        ..Settings::default()
    });
    let mut shard = Shard::with_store(0, 1, settings, shard_counters(1), Box::new(store));
    let take = || std::mem::take(&mut *recorded.lock().unwrap());
    let id = join(&mut shard, 100);
    assert_eq!(take(), ["session 100"]);
    leave(&mut shard, id, 50);
    assert_eq!(take(), ["session 50"]);
    let id = join(&mut shard, 100);
    assert_eq!(take(), ["session 100"]);
    leave(&mut shard, id, 0);
    assert_eq!(take(), ["ended"]);
}
