//! One connection for each client identifier [MQTT-3.1.4-3], on whichever shard it was accepted.

use std::time::{Duration, Instant};

use mqtt::frame::PacketType;
use mqtt::{QoS, ReasonCode};

use crate::harness::{Client, Options, Setup};

#[test]
fn the_newer_connection_wins() {
    let broker = Setup::default().shards(2).start();
    for number in 0..16 {
        let identifier = format!("client-{number}");
        let mut old = Client::connect(&broker, &Options::new(&identifier).v5());
        let mut new = Client::connect(&broker, &Options::new(&identifier));
        assert_eq!(
            old.expect_closed().0,
            Some(ReasonCode::SessionTakenOver),
            "{identifier}"
        );
        new.ping();
    }
}

#[test]
fn the_session_goes_on() {
    let broker = Setup::default().shards(2).start();
    let options = Options::new("a").persistent();
    let mut old = Client::connect(&broker, &options);
    old.subscribe("t", QoS::AtLeastOnce);
    let (mut new, session_present) = Client::connect_session(&broker, &options);
    assert!(session_present);
    old.expect_closed();
    let mut publisher = Client::connect(&broker, &Options::new("p"));
    publisher.publish("t", b"x", QoS::AtLeastOnce);
    assert_eq!(new.payloads(1), ["x"]);
}

#[test]
fn the_will_of_the_older_connection_is_published() {
    let broker = Setup::default().shards(2).start();
    let mut watcher = Client::connect(&broker, &Options::new("watcher"));
    watcher.subscribe("will", QoS::AtMostOnce);
    let _old = Client::connect(
        &broker,
        &Options::new("a").will("will", b"gone", QoS::AtMostOnce, false),
    );
    let _new = Client::connect(&broker, &Options::new("a"));
    assert_eq!(watcher.payloads(1), ["gone"]);
    watcher.expect_nothing();
}

/// Many connections at once fight for one identifier: one is left, and gets each message once.
#[test]
fn a_flood_leaves_one_connection() {
    let broker = Setup::default().shards(2).start();
    let options = Options::new("contested").v5();
    let mut clients: Vec<Client> = std::thread::scope(|scope| {
        let fighters: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    (0..10)
                        .map(|_| Client::try_connect(&broker, &options).0)
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        fighters
            .into_iter()
            .flat_map(|fighter| fighter.join().unwrap())
            .collect()
    });
    let mut last = Client::connect(&broker, &options);
    for client in &mut clients {
        client.expect_closed();
    }
    last.subscribe("t", QoS::AtLeastOnce);
    let mut publisher = Client::connect(&broker, &Options::new("p"));
    publisher.send_publish("t", b"x", QoS::AtLeastOnce, false);
    publisher.expect(PacketType::PubAck);
    assert_eq!(last.payloads(1), ["x"]);
    last.expect_nothing();
}

/// A message and a DISCONNECT, the end of the connection, and the next CONNECT at once: on whichever shard that comes,
/// what was sent before is handled before. The message arrives, the Will does not, and a Session Expiry Interval of 0
/// in the DISCONNECT ends the session. [MQTT-3.1.4-3], [MQTT-3.14.4-3]
#[test]
fn what_was_sent_before_is_handled_before() {
    let broker = Setup::default().shards(2).start();
    let mut watcher = Client::connect(&broker, &Options::new("watcher"));
    watcher.subscribe("#", QoS::AtMostOnce);
    let mut expected = Vec::new();
    for round in 0..300 {
        let options = Options::new(&format!("client-{}", round % 7))
            .v5()
            .persistent()
            .will("will", b"gone", QoS::AtMostOnce, false);
        let (mut client, _) = Client::connect_session(&broker, &options);
        client.subscribe("of/the/session", QoS::AtMostOnce);
        let payload = format!("message {round}");
        client.send_publish("before", payload.as_bytes(), QoS::AtMostOnce, false);
        let ends = round % 2 == 0;
        let disconnect: &[u8] = if ends {
            &[0xe0, 7, 0, 5, 0x11, 0, 0, 0, 0]
        } else {
            &[0xe0, 0]
        };
        client.send(disconnect);
        client.cut();
        let (again, session_present) = Client::connect_session(&broker, &options);
        assert_eq!(session_present, !ends, "round {round}");
        again.disconnect();
        expected.push(payload);
    }
    assert_eq!(watcher.payloads(expected.len()), expected);
    watcher.expect_nothing();
}

/// A client that gives up before its CONNACK and tries again at once is not kept waiting until something else wakes the
/// shard.
#[test]
fn who_comes_again_before_the_connack_is_answered_at_once() {
    for shards in [1, 2] {
        let broker = Setup::default().shards(shards).start();
        // With keep alive 0: no clock of the client's own wakes the shard.
        let connect = |name: u8| [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, name];
        let late = (b'a'..=b'z').filter(|&name| {
            let mut first = Client::open(&broker);
            first.send(&connect(name));
            first.cut();
            let began = Instant::now();
            let mut second = Client::open(&broker);
            second.send(&connect(name));
            second.expect(PacketType::ConnAck);
            began.elapsed() > Duration::from_millis(500)
        });
        // A busy machine may take its time, once or twice; it was half of them.
        let late = late.count();
        assert!(late <= 2, "{late} of 26 with {shards} shards");
    }
}
