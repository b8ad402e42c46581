//! Sessions and Wills: sections 3.1.2.4 to 3.1.2.7, 3.1.3.2, 3.14.4, 4.1.

use mqtt::ProtocolVersion::V5;

use super::*;
use crate::harness::Setup;

/// Properties of CONNECT for a session that outlives its connection by `expiry_s`.
fn expiry(version: ProtocolVersion, expiry_s: u8) -> Vec<u8> {
    match version {
        V5 => vec![5, 0x11, 0, 0, 0, expiry_s],
        _ => Vec::new(),
    }
}

fn resume(version: ProtocolVersion, identifier: &str) -> Vec<u8> {
    connect_with(version, 0, &expiry(version, 100), &[&field(identifier)])
}

/// QoS 1 and 2 messages wait for a session whose client is away; another connection finds the subscriptions too.
///
/// [MQTT3-3.1.2-4], [MQTT3-3.1.2-5], [MQTT3-4.1.0-1], [MQTT3-4.5.0-1], [MQTT-3.1.2-5], [MQTT-3.1.2-23], [MQTT-4.5.0-1]
#[test]
fn messages_wait_in_the_session() {
    let broker = Setup::default().shards(2).start();
    for version in VERSIONS {
        for name in ["a", "b", "c"] {
            let mut client = open(&broker, version, &resume(version, name));
            client.expect_bytes();
            subscribed(&mut client, version, "t", 2);
            client.disconnect();
            let mut publisher = accepted(&broker, version, "publisher");
            for (flags, payload) in [(0x02, "1"), (0x04, "2"), (0x02, "3")] {
                publisher.send(&publish(version, flags, "t", Some(1), payload));
                publisher.expect_bytes();
                publisher.send(&ack(PUBREL, 1));
                publisher.send(PINGREQ);
                while publisher.expect_bytes() != PINGRESP {}
            }
            publisher.disconnect();
            let mut client = open(&broker, version, &resume(version, name));
            assert_eq!(client.expect_bytes()[2], 1, "Session Present");
            let got: Vec<_> = (0..3)
                .map(|_| client.message())
                .map(|message| (message.qos as u8, message.payload))
                .collect();
            assert_eq!(got, [(1, b"1".to_vec()), (2, b"2".to_vec()), (1, b"3".to_vec())]);
            published(&mut accepted(&broker, version, "publisher"), version, "t", "live");
            assert_eq!(client.message().payload, b"live");
            client.disconnect();
            accepted(&broker, version, name).disconnect();
        }
    }
}

/// A clean session takes nothing over, and leaves nothing.
///
/// [MQTT3-3.1.2-6], [MQTT3-4.1.0-2], [MQTT-3.1.2-4], [MQTT-4.1.0-2]
#[test]
fn a_clean_session_is_alone() {
    let broker = Setup::default().shards(2).start();
    for version in VERSIONS {
        let mut client = open(&broker, version, &resume(version, "a"));
        client.expect_bytes();
        subscribed(&mut client, version, "t", 1);
        client.disconnect();
        let mut publisher = accepted(&broker, version, "publisher");
        published(&mut publisher, version, "t", "queued");
        let mut client = accepted(&broker, version, "a");
        published(&mut publisher, version, "t", "not subscribed");
        client.expect_nothing();
        subscribed(&mut client, version, "t", 1);
        client.disconnect();
        published(&mut publisher, version, "t", "gone");
        let mut client = open(&broker, version, &resume(version, "a"));
        assert_eq!(client.expect_bytes()[2], 0, "Session Present");
        client.expect_nothing();
        client.disconnect();
        accepted(&broker, version, "a").disconnect();
        publisher.disconnect();
    }
}

/// The Session Expiry Interval of CONNECT, and the one of DISCONNECT instead of it.
///
/// [MQTT-3.1.2-23], [MQTT-4.1.0-2], [MQTT-4.1.0-1]
#[test]
fn a_session_ends_with_its_expiry() {
    let broker = Broker::start();
    let present_after = |expiry_s: u8, last: &[u8], wait_ms: u64| {
        let connect = connect_with(V5, 0, &expiry(V5, expiry_s), &[&field("a")]);
        let mut client = open(&broker, V5, &connect);
        client.expect_bytes();
        client.send(last);
        client.expect_closed();
        std::thread::sleep(std::time::Duration::from_millis(wait_ms));
        let mut client = open(&broker, V5, &connect);
        let present = client.expect_bytes()[2];
        client.disconnect();
        accepted(&broker, V5, "a").disconnect();
        present
    };
    assert_eq!(present_after(100, DISCONNECT, 0), 1);
    assert_eq!(present_after(0, DISCONNECT, 0), 0);
    assert_eq!(present_after(1, DISCONNECT, 2500), 0);
    assert_eq!(
        present_after(100, b"\xe0\x07\x00\x05\x11\x00\x00\x00\x00", 0),
        0,
        "made shorter"
    );
    assert_eq!(
        present_after(1, b"\xe0\x07\x00\x05\x11\x00\x00\x00\x64", 2500),
        1,
        "made longer"
    );
    // From 0 it cannot be made longer.
    let mut client = accepted(&broker, V5, "a");
    client.send(b"\xe0\x07\x00\x05\x11\x00\x00\x00\x64");
    closed_with(V5, client, &[0x82], "an expiry after none");
}

/// CONNECT with a Will on `w`.
fn with_will(version: ProtocolVersion, identifier: &str, flags: u8) -> Vec<u8> {
    let will = will_fields(version, "w", identifier);
    connect(version, CLEAN | WILL | flags, &[&field(identifier), &will])
}

/// A Will is published when the connection ends in any way but DISCONNECT, once, with its QoS, retained if asked for.
///
/// [MQTT3-3.1.2-8], [MQTT3-3.1.2-10], [MQTT3-3.1.2-16], [MQTT3-3.1.2-17], [MQTT3-3.1.2-9], [MQTT3-3.14.4-3];
/// [MQTT-3.1.2-7] to [MQTT-3.1.2-10], [MQTT-3.1.2-14], [MQTT-3.1.2-15], [MQTT-3.14.4-3]
#[test]
fn wills_are_published_unless_the_client_disconnects() {
    let broker = Setup::default().shards(2).start();
    for version in VERSIONS {
        let mut watcher = accepted(&broker, version, "watcher");
        subscribed(&mut watcher, version, "w", 2);
        let ends: [(&str, &[u8], bool); 5] = [
            ("cut", b"", true),
            ("malformed", b"\x00\x00", true),
            ("violation", b"\x10\x00", true),
            ("disconnect", DISCONNECT, false),
            ("publish and disconnect", b"\xc0\x00\xe0\x00", false),
        ];
        for (name, bytes, is_published) in ends {
            for (flags, qos) in [(0, 0), (WILL_QOS_1, 1), (0x10, 2)] {
                let mut client = open(&broker, version, &with_will(version, name, flags));
                client.expect_bytes();
                client.send(bytes);
                if is_published {
                    client.cut();
                    let message = watcher.message();
                    let seen = (message.payload, message.qos as u8, message.retain);
                    assert_eq!(seen, (name.as_bytes().to_vec(), qos, false));
                } else {
                    // A reset could overtake the last packet.
                    client.read_to_end();
                }
            }
        }
        watcher.expect_nothing();
        for (flags, is_retained) in [(WILL_QOS_1, false), (WILL_QOS_1 | WILL_RETAIN, true)] {
            let mut client = open(&broker, version, &with_will(version, "late", flags));
            client.expect_bytes();
            client.cut();
            watcher.message();
            let mut late = accepted(&broker, version, "late-watcher");
            subscribed(&mut late, version, "w", 0);
            if is_retained {
                assert_eq!(late.expect_bytes(), publish(version, 0x01, "w", None, "late"));
            }
            late.expect_nothing();
            late.disconnect();
        }
        watcher.send(&publish(version, 0x03, "w", Some(1), ""));
        watcher.disconnect();
    }
}

/// Without a Will nothing is published, and another Will on the next connection is another one.
///
/// [MQTT3-3.1.2-12], [MQTT3-3.1.2-10], [MQTT3-3.1.4-2], [MQTT-3.1.2-10], [MQTT-3.1.4-3]
#[test]
fn wills_belong_to_their_connection() {
    let broker = Setup::default().shards(2).start();
    for version in VERSIONS {
        let mut watcher = accepted(&broker, version, "watcher");
        subscribed(&mut watcher, version, "w", 0);
        accepted(&broker, version, "a").cut();
        watcher.expect_nothing();
        let mut first = open(&broker, version, &with_will(version, "a", 0));
        first.expect_bytes();
        // Taken over: its Will is published, and it gets the reason in 5.0.
        let second = accepted(&broker, version, "a");
        closed_with(version, first, &[0x8e], "taken over");
        assert_eq!(watcher.expect_bytes(), publish(version, 0, "w", None, "a"));
        second.cut();
        watcher.expect_nothing();
        watcher.disconnect();
    }
}

/// A Will's properties come with it, User Properties in their order; Will Delay stays with the broker.
///
/// [MQTT-3.1.3-10], [MQTT-3.1.3-9], [MQTT-3.1.2-8]
#[test]
fn properties_of_wills() {
    let broker = Broker::start();
    let mut watcher = accepted(&broker, V5, "watcher");
    subscribed(&mut watcher, V5, "w", 0);
    let user: Vec<u8> = [("z", "1"), ("a", "2"), ("z", "0")]
        .iter()
        .flat_map(|(name, value)| [&b"\x26"[..], &field(name), &field(value)].concat())
        .collect();
    let will = |delay_s: u8| {
        let properties = [&[0x18, 0, 0, 0, delay_s][..], &user].concat();
        let length = u8::try_from(properties.len()).unwrap();
        [&[length][..], &properties, &field("w"), &field("gone")].concat()
    };
    let connect = |delay_s| connect_with(V5, WILL, &expiry(V5, 100), &[&field("a"), &will(delay_s)]);
    let length = [u8::try_from(user.len()).unwrap()];
    let expected = packet(0x30, &[&field("w"), &length, &user, b"gone"]);
    let begin = std::time::Instant::now();
    let mut client = open(&broker, V5, &connect(1));
    client.expect_bytes();
    client.cut();
    assert_eq!(watcher.expect_bytes(), expected);
    assert!(begin.elapsed().as_millis() > 900, "{:?}", begin.elapsed());
    // Who comes back in time takes the Will away.
    let mut client = open(&broker, V5, &connect(1));
    client.expect_bytes();
    client.cut();
    let mut client = open(&broker, V5, &resume(V5, "a"));
    client.expect_bytes();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    watcher.expect_nothing();
}
