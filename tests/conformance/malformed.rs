//! Packets cut at every byte, and what malformed input leaves behind: nothing, and no other client is disturbed.

use mqtt::ProtocolVersion::V5;

use super::*;
use crate::harness::{Options, Setup, eventually};

/// A complete packet of a client, and the lengths of its body at which a shorter one is a packet too.
struct Whole {
    first: u8,
    body: Vec<u8>,
    also: Vec<usize>,
}

fn packets(version: ProtocolVersion) -> Vec<Whole> {
    let is_v5 = version == V5;
    let whole = |first, parts: &[&[u8]], also: &[usize]| Whole {
        first,
        body: parts.concat(),
        also: also.to_vec(),
    };
    let user = [&b"\x26"[..], &field("k"), &field("v")].concat();
    let properties = if is_v5 {
        [&[7][..], &user].concat()
    } else {
        Vec::new()
    };
    let at = properties.len();
    let mut packets = vec![
        // A shorter payload is a payload.
        whole(
            0x30,
            &[&field("t"), &properties, b"xyz"],
            &[3 + at, 4 + at, 5 + at],
        ),
        whole(
            0x32,
            &[&field("t"), b"\x00\x01", &properties, b"xy"],
            &[5 + at, 6 + at],
        ),
        whole(0x34, &[&field("t"), b"\x00\x01", &properties], &[]),
        whole(
            SUBSCRIBE,
            &[
                b"\x00\x01",
                &properties,
                &field("t"),
                b"\x01",
                &field("uv"),
                b"\x00",
            ],
            &[6 + at],
        ),
        whole(
            UNSUBSCRIBE,
            &[b"\x00\x01", &properties, &field("t"), &field("uv")],
            &[5 + at],
        ),
    ];
    for first in [PUBACK, PUBREC, PUBREL, PUBCOMP] {
        packets.push(match is_v5 {
            true => whole(first, &[b"\x00\x01\x00", &properties], &[2, 3]),
            false => whole(first, &[b"\x00\x01"], &[]),
        });
    }
    packets
}

/// The packet's body ends at any byte, and its length agrees: it is refused, unless it is a valid packet too.
///
/// [MQTT3-4.8.0-1], [MQTT-4.13.1-1]
#[test]
fn packets_that_end_too_early_are_malformed() {
    let broker = Setup::default().shards(2).start();
    for version in VERSIONS {
        let mut bystander = accepted(&broker, version, "bystander");
        for Whole { first, body, also } in packets(version) {
            for cut in (0..body.len()).filter(|cut| !also.contains(cut)) {
                let mut client = accepted(&broker, version, "client");
                client.send(&packet(first, &[&body[..cut]]));
                let what = format!("{version:?} {first:#x} cut at {cut} of {body:x?}");
                closed_with(version, client, &[0x81, 0x82], &what);
            }
            exchange(&mut bystander, PINGREQ, PINGRESP);
        }
        bystander.disconnect();
    }
}

/// CONNECT likewise, which is not answered before 5.0.
///
/// [MQTT3-3.1.4-1], [MQTT-3.1.4-1], [MQTT-3.14.0-1]
#[test]
fn a_connect_that_ends_too_early_is_malformed() {
    let broker = Setup::default().shards(2).start();
    for version in VERSIONS {
        let will = will_fields(version, "w", "gone");
        let fields = [field("id"), will, field("user"), field("password")];
        let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
        let whole = connect(version, CLEAN | WILL | USER_NAME | PASSWORD, &fields);
        for cut in 0..whole.len() - 2 {
            let answer = open(&broker, version, &packet(0x10, &[&whole[2..2 + cut]])).read_to_end();
            let is_refusal =
                answer.is_empty() || (version == V5 && answer[0] == CONNACK && answer[3] >= 0x80);
            assert!(is_refusal, "{version:?} cut at {cut}: {answer:x?}");
        }
    }
}

/// The connection ends at any byte of any packet: the only effect is a Will.
///
/// [MQTT3-3.1.2-8], [MQTT-3.1.2-8]
#[test]
fn connections_that_end_inside_a_packet() {
    let broker = Setup::default().shards(2).start();
    let mut watcher = accepted(&broker, V5, "watcher");
    subscribed(&mut watcher, V5, "#", 0);
    for version in VERSIONS {
        for Whole { first, body, .. } in packets(version) {
            let bytes = packet(first, &[&body]);
            for cut in 0..bytes.len() {
                let will = will_fields(version, "gone", &cut.to_string());
                let connect = connect(version, CLEAN | WILL, &[&field("client"), &will]);
                let mut client = open(&broker, version, &connect);
                client.expect_bytes();
                client.send(&bytes[..cut]);
                client.cut();
                assert_eq!(
                    watcher.expect_bytes(),
                    publish(V5, 0, "gone", None, &cut.to_string())
                );
            }
        }
    }
    watcher.expect_nothing();
}

/// Many malformed packets, from clients with sessions, leave no connection and no memory behind.
#[test]
fn malformed_input_leaves_nothing() {
    let broker = Setup::default().shards(2).global("sys_interval 1").start();
    let flood = |count: u32| {
        for number in 0..count {
            let version = VERSIONS[number as usize % 2];
            let mut client = accepted(&broker, version, &format!("client-{}", number % 50));
            subscribed(&mut client, version, &format!("t/{}/#", number % 50), 1);
            // A large one that never arrives completely, then a wrong one.
            let large = publish(version, 0, "t", None, &"x".repeat(10_000));
            match number % 3 {
                0 => client.send(&large[..9_000]),
                1 => client.send(&[&large[..], &[0, 0]].concat()),
                _ => client.send(b"\x30\xff\xff\xff\xff"),
            }
            client.cut();
        }
    };
    flood(300);
    let before_kib = broker.resident_kib();
    flood(1500);
    let mut watcher = Client::connect(&broker, &Options::new("watcher"));
    watcher.subscribe("$SYS/broker/clients/connected", mqtt::QoS::AtMostOnce);
    eventually("the watcher alone is connected", || {
        watcher.message().payload == b"1"
    });
    let grown_kib = broker.resident_kib().saturating_sub(before_kib);
    assert!(grown_kib < 4096, "{grown_kib} KiB stayed");
}
