//! CONNECT and CONNACK, sections 3.1 and 3.2.

use std::time::Duration;

use mqtt::ProtocolVersion::{self, V3_1_1, V5};

use super::*;
use crate::harness::{Setup, run};

/// What the broker sent before it closed.
fn refusal(broker: &Broker, version: ProtocolVersion, bytes: &[u8]) -> Vec<u8> {
    open(broker, version, bytes).read_to_end()
}

/// Refused as the version requires: 3.1.1 is silent, 5.0 may send a CONNACK with an error and nothing else.
fn assert_refused(version: ProtocolVersion, answer: &[u8], what: &str) {
    match version {
        V5 => assert!(
            answer.is_empty()
                || (answer[0] == CONNACK
                    && answer[2] == 0
                    && answer[3] >= 0x80
                    && answer.len() == 2 + usize::from(answer[1])),
            "{what}: {answer:x?}"
        ),
        _ => assert!(answer.is_empty(), "{what}: {answer:x?}"),
    }
}

/// The flags must agree with the fields of the payload, or the connection ends.
///
/// [MQTT3-3.1.2-9], [MQTT3-3.1.2-11], [MQTT3-3.1.2-18] to [MQTT3-3.1.2-22], [MQTT3-3.1.3-1], [MQTT3-3.1.3-3],
/// [MQTT3-3.1.4-1], [MQTT3-3.2.2-6]; [MQTT-3.1.2-9], [MQTT-3.1.2-16] to [MQTT-3.1.2-19], [MQTT-3.1.3-1],
/// [MQTT-3.1.3-3], [MQTT-3.1.4-1], [MQTT-3.14.0-1]
#[test]
fn fields_of_the_payload_follow_their_flags() {
    let broker = Broker::start();
    for version in VERSIONS {
        let (id, user, password) = (field("id"), field("user"), field("password"));
        let will = will_fields(version, "w", "gone");
        let cases: &[(u8, &[&[u8]], bool)] = &[
            (0, &[&id], true),
            (WILL, &[&id, &will], true),
            (USER_NAME, &[&id, &user], true),
            (USER_NAME | PASSWORD, &[&id, &user, &password], true),
            (USER_NAME | PASSWORD | WILL, &[&id, &will, &user, &password], true),
            (PASSWORD, &[&id, &password], version == V5),
            (0, &[], false),
            (0, &[&id, &user], false),
            (0, &[&id, &will], false),
            (WILL, &[&id], false),
            (WILL, &[&id, &will, &user], false),
            (USER_NAME, &[&id], false),
            (USER_NAME, &[&id, &user, &password], false),
            (USER_NAME | PASSWORD, &[&id, &user], false),
            (USER_NAME | PASSWORD | WILL, &[&id, &user, &password], false),
        ];
        for (flags, payload, is_valid) in cases {
            let bytes = connect(version, CLEAN | flags, payload);
            let what = format!("{version:?}, flags {flags:#x}, {} fields", payload.len());
            if *is_valid {
                let mut client = open(&broker, version, &bytes);
                assert_eq!(client.expect_bytes()[2..4], [0, 0], "{what}");
                client.disconnect();
            } else {
                assert_refused(version, &refusal(&broker, version, &bytes), &what);
            }
        }
    }
}

/// User Name comes before Password, and both after the Will.
///
/// [MQTT3-3.1.3-1], [MQTT3-3.1.2-19], [MQTT3-3.1.2-21], [MQTT3-3.2.2-4], [MQTT3-3.2.2-5], [MQTT-3.1.3-1],
/// [MQTT-3.1.2-17], [MQTT-3.1.2-19], [MQTT-3.1.4-2], [MQTT-3.2.2-6], [MQTT-3.2.2-7]
#[test]
fn the_order_of_the_fields_is_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("passwords");
    let path = file.display().to_string();
    assert_eq!(
        run(&["passwd", "-c", "-b", &path, "user", "secret"]).code,
        Some(0)
    );
    let broker = Setup::default()
        .global(&format!("password_file {path}"))
        .listener("allow_anonymous false")
        .start();
    for version in VERSIONS {
        let (id, will) = (field("id"), will_fields(version, "w", "gone"));
        let flags = CLEAN | USER_NAME | PASSWORD | WILL;
        let right = connect(version, flags, &[&id, &will, &field("user"), &field("secret")]);
        let mut client = open(&broker, version, &right);
        assert_eq!(client.expect_bytes()[2..4], [0, 0]);
        client.disconnect();
        let swapped = connect(version, flags, &[&id, &will, &field("secret"), &field("user")]);
        let answer = refusal(&broker, version, &swapped);
        let expected: &[u8] = if version == V5 {
            &[0, 0x86, 0x87]
        } else {
            &[0, 4, 5]
        };
        assert_eq!((answer[0], answer[2]), (CONNACK, expected[0]), "{answer:x?}");
        assert!(expected[1..].contains(&answer[3]), "{version:?}: {answer:x?}");
    }
}

/// Reserved flag, Will without its flag, and Will QoS 3.
///
/// [MQTT3-3.1.2-3], [MQTT3-3.1.2-11], [MQTT3-3.1.2-13], [MQTT3-3.1.2-14], [MQTT3-3.1.2-15]; [MQTT-3.1.2-3],
/// [MQTT-3.1.2-11], [MQTT-3.1.2-12], [MQTT-3.1.2-13]
#[test]
fn connect_flags_are_checked() {
    let broker = Broker::start();
    for version in VERSIONS {
        let (id, will) = (field("id"), will_fields(version, "w", "gone"));
        for flags in [0x01, WILL_QOS_1, 0x10, 0x18, WILL_RETAIN] {
            let bytes = connect(version, CLEAN | flags, &[&id]);
            let what = format!("{version:?}, flags {flags:#x}");
            assert_refused(version, &refusal(&broker, version, &bytes), &what);
        }
        let bytes = connect(version, CLEAN | WILL | 0x18, &[&id, &will]);
        assert_refused(version, &refusal(&broker, version, &bytes), "Will QoS 3");
    }
}

/// The protocol's name and level. Before 5.0 an unknown level is answered with CONNACK 1.
///
/// [MQTT3-3.1.2-1], [MQTT3-3.1.2-2], [MQTT-3.1.2-1], [MQTT-3.1.2-2]
#[test]
fn name_and_level_are_checked() {
    let broker = Broker::start();
    for name in ["MQTX", "mqtt", "MQTT ", "", "MQIsdpX"] {
        let bytes = packet(0x10, &[&field(name), b"\x04\x02\x00\x00", &field("id")]);
        let answer = refusal(&broker, V3_1_1, &bytes);
        let is_refusal =
            answer.is_empty() || answer == [CONNACK, 2, 0, 1] || answer[..4] == [CONNACK, 3, 0, 0x84];
        assert!(is_refusal, "{name:?}: {answer:x?}");
    }
    for level in [0, 1, 2, 3, 6, 9, 0x7f, 0x85, 0xff] {
        let bytes = packet(0x10, &[&field("MQTT"), &[level, 2, 0, 0], &field("id")]);
        let answer = refusal(&broker, V3_1_1, &bytes);
        let is_refusal = answer == [CONNACK, 2, 0, 1] || answer.starts_with(&[CONNACK, 3, 0, 0x84]);
        assert!(is_refusal, "level {level}: {answer:x?}");
    }
}

/// Only one CONNECT on a connection, and one CONNACK.
///
/// [MQTT3-3.1.0-2], [MQTT3-3.2.0-1], [MQTT3-3.1.4-4], [MQTT-3.1.0-2], [MQTT-3.2.0-1], [MQTT-3.2.0-2], [MQTT-3.1.4-5]
#[test]
fn there_is_one_connect_and_one_connack() {
    let broker = Broker::start();
    for version in VERSIONS {
        let once = connect(version, CLEAN, &[&field("id")]);
        // The answers to all three arrive at once: CONNACK first, and no second one.
        let mut client = open(&broker, version, &[&once, PINGREQ, &once].concat());
        let connack = client.expect_bytes();
        assert_eq!((connack[0], connack[2], connack[3]), (CONNACK, 0, 0));
        assert_eq!(client.expect_bytes(), PINGRESP);
        closed_with(version, client, &[0x82], "a second CONNECT");
    }
}

/// Letters and digits, 1 to 23 of them; and what this broker allows in addition.
///
/// [MQTT3-3.1.3-5], [MQTT-3.1.3-5]
#[test]
fn identifiers_of_letters_and_digits() {
    let broker = Broker::start();
    let all = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for version in VERSIONS {
        for length in 1..=23 {
            for begin in (0..=all.len() - length).step_by(13) {
                accepted(&broker, version, &all[begin..begin + length]).disconnect();
            }
        }
        accepted(&broker, version, all).disconnect();
        accepted(&broker, version, "with space/slash+plus#hash").disconnect();
    }
}

/// A client without an identifier is treated like others.
///
/// [MQTT3-3.1.3-6], [MQTT-3.1.3-6], [MQTT-3.1.3-7]
#[test]
fn empty_identifiers_are_each_a_client() {
    let broker = Broker::start();
    for (version, flags) in [(V3_1_1, CLEAN), (V5, CLEAN), (V5, 0)] {
        let connect = connect(version, flags, &[&field("")]);
        let mut clients: Vec<_> = (0..3).map(|_| open(&broker, version, &connect)).collect();
        for client in &mut clients {
            assert_eq!(client.expect_bytes()[2..4], [0, 0]);
        }
        // No connection was taken over.
        for client in &mut clients {
            subscribed(client, version, "t", 0);
            client.ping();
        }
        accepted(&broker, version, "p").send(&publish(version, 0, "t", None, "to all"));
        for client in &mut clients {
            assert_eq!(client.expect_bytes(), publish(version, 0, "t", None, "to all"));
        }
    }
}

/// Return code 2, and the end of the connection, for an empty identifier without Clean Session and for one that is not
/// allowed.
///
/// [MQTT3-3.1.3-8], [MQTT3-3.1.3-9], [MQTT3-3.2.2-4], [MQTT3-3.2.2-5], [MQTT-3.1.3-8], [MQTT-3.2.2-7], [MQTT-3.2.2-8]
#[test]
fn identifiers_are_rejected() {
    let broker = Setup::default().global("clientid_prefixes good").start();
    for version in VERSIONS {
        accepted(&broker, version, "good-1").disconnect();
        let bytes = connect(version, CLEAN, &[&field("bad")]);
        let answer = refusal(&broker, version, &bytes);
        if version == V5 {
            assert_eq!((answer[0], answer[2]), (CONNACK, 0), "{answer:x?}");
            assert!([0x85, 0x87].contains(&answer[3]), "{answer:x?}");
        } else {
            assert_eq!(answer, [CONNACK, 2, 0, 2]);
        }
    }
    let broker = Broker::start();
    assert_eq!(
        refusal(&broker, V3_1_1, &connect(V3_1_1, 0, &[&field("")])),
        [CONNACK, 2, 0, 2]
    );
}

/// What follows a refused CONNECT is ignored.
///
/// [MQTT3-3.1.4-5], [MQTT-3.1.4-6]
#[test]
fn nothing_behind_a_refused_connect_is_handled() {
    let broker = Setup::default()
        .shards(2)
        .global("clientid_prefixes good")
        .start();
    for version in VERSIONS {
        let mut watcher = accepted(&broker, version, "good");
        subscribed(&mut watcher, version, "#", 0);
        for identifier in ["bad-1", "bad-2", "bad-3", "bad-4"] {
            let bytes = [
                connect(version, CLEAN, &[&field(identifier)]),
                publish(version, 0x01, "t", None, "from nobody"),
                connect(version, CLEAN, &[&field("good")]),
            ];
            refusal(&broker, version, &bytes.concat());
        }
        watcher.expect_nothing();
        subscribed(&mut watcher, version, "t", 0);
        watcher.expect_nothing();
        watcher.disconnect();
    }
}

/// Session Present, in all its cases, and the reserved bits.
///
/// [MQTT3-3.2.2-1] to [MQTT3-3.2.2-3], [MQTT3-3.1.2-4], [MQTT3-3.1.2-6], [MQTT3-3.1.4-3], [MQTT-3.2.2-1] to
/// [MQTT-3.2.2-3], [MQTT-3.1.2-4] to [MQTT-3.1.2-6], [MQTT-3.1.4-4], [MQTT-3.1.2-23]
#[test]
fn session_present_says_whether_there_was_one() {
    let broker = Setup::default().shards(2).start();
    for version in VERSIONS {
        for identifier in ["a", "b", "c"] {
            // In 5.0 the client requests a session that outlives its connection.
            let expiry: &[u8] = if version == V5 {
                b"\x05\x11\x00\x00\x00\x64"
            } else {
                b""
            };
            let mut present = Vec::new();
            for flags in [0, 0, CLEAN, 0] {
                let properties = match (version, flags) {
                    (V5, 0) => expiry,
                    _ => no_properties(version),
                };
                let bytes = connect_with(version, flags, properties, &[&field(identifier)]);
                let mut client = open(&broker, version, &bytes);
                let connack = client.expect_bytes();
                assert_eq!((connack[0], connack[3]), (CONNACK, 0));
                present.push(connack[2]);
                client.disconnect();
            }
            assert_eq!(present, [0, 1, 0, 0], "{version:?}");
            // Leaves nothing for the other version.
            accepted(&broker, version, identifier).disconnect();
        }
    }
}

/// Only the identifier determines the session.
///
/// [MQTT3-3.1.3-2], [MQTT-3.1.3-2]
#[test]
fn the_identifier_names_the_session() {
    let broker = Setup::default().shards(2).start();
    for version in VERSIONS {
        for (number, identifier) in ["x", "X", "x ", "xx", "x/", "é", "e\u{301}"]
            .into_iter()
            .enumerate()
        {
            let mut client = accepted(&broker, version, identifier);
            subscribed(&mut client, version, &format!("t/{number}"), 0);
            for other in 0..number {
                client.send(&publish(version, 0, &format!("t/{other}"), None, "not mine"));
            }
            let mine = publish(version, 0, &format!("t/{number}"), None, "mine");
            exchange(&mut client, &mine, &mine);
            exchange(&mut client, PINGREQ, PINGRESP);
        }
    }
}

/// The Keep Alive of CONNECT is used unchanged: one and a half times its value, not less and not much more.
///
/// [MQTT3-3.1.2-24], [MQTT-3.1.2-22], [MQTT-3.2.2-22]
#[test]
fn the_keep_alive_of_connect_is_used() {
    let broker = Broker::start();
    for version in VERSIONS {
        let mut bytes = connect(version, CLEAN, &[&field("id")]);
        bytes[11] = 1;
        let mut client = open(&broker, version, &bytes);
        let connack = client.expect_bytes();
        assert!(!connack.contains(&0x13), "no Server Keep Alive: {connack:x?}");
        let (_reason, elapsed) = client.expect_closed();
        assert!(elapsed > Duration::from_millis(1400), "{elapsed:?}");
        assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
    }
}

/// Response Information only for clients that request it, Authentication Method only for those that have one.
///
/// [MQTT-3.1.2-28], [MQTT-4.12.0-6]
#[test]
fn connack_has_nothing_that_was_not_asked_for() {
    let broker = Broker::start();
    for properties in [&b"\x00"[..], b"\x02\x19\x00", b"\x02\x17\x00"] {
        let mut client = open(&broker, V5, &connect_with(V5, CLEAN, properties, &[&field("id")]));
        let connack = client.expect_bytes();
        let frame = mqtt::frame::split(&connack, u32::MAX).unwrap().unwrap();
        let Ok(mqtt::packet::Packet::ConnAck(connack)) = mqtt::decode::packet(&frame, V5) else {
            panic!("{connack:x?}");
        };
        let text = format!("{:?}", connack.properties.iter().collect::<Vec<_>>());
        for absent in ["ResponseInformation", "Authentication"] {
            assert!(!text.contains(absent), "{text}");
        }
    }
}
