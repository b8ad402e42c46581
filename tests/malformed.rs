//! Malformed packets over a live connection: the right reason, and nobody else is disturbed.

use mqtt::{QoS, ReasonCode};

use crate::harness::{Client, Options, Setup};

/// Packets of MQTT 5.0 after a CONNECT, and the reasons that may be given.
const PACKETS: &[(&str, &[u8], &[ReasonCode])] = {
    use ReasonCode::{
        MalformedPacket, ProtocolError, TopicAliasInvalid, TopicFilterInvalid, TopicNameInvalid,
    };
    &[
        ("packet type 0", b"\x00\x00", &[MalformedPacket]),
        (
            "QoS 3 [MQTT-3.3.1-4]",
            b"\x36\x06\x00\x01t\x00\x01\x00",
            &[MalformedPacket],
        ),
        (
            "DUP with QoS 0 [MQTT-3.3.1-2]",
            b"\x38\x04\x00\x01t\x00",
            &[MalformedPacket, ProtocolError],
        ),
        (
            "packet identifier 0 [MQTT-2.2.1-3]",
            b"\x32\x06\x00\x01t\x00\x00\x00",
            &[MalformedPacket, ProtocolError],
        ),
        (
            "wildcard in a topic name [MQTT-3.3.2-2]",
            b"\x30\x06\x00\x03a/#\x00",
            &[TopicNameInvalid, MalformedPacket],
        ),
        (
            "bad UTF-8 [MQTT-1.5.4-1]",
            b"\x30\x05\x00\x02\xc3\x28\x00",
            &[MalformedPacket],
        ),
        (
            "NUL in a topic [MQTT-1.5.4-2]",
            b"\x30\x05\x00\x02a\x00\x00",
            &[MalformedPacket, TopicNameInvalid],
        ),
        (
            "empty topic without alias",
            b"\x30\x03\x00\x00\x00",
            &[ProtocolError],
        ),
        (
            "topic alias 0 [MQTT-3.3.2-8]",
            b"\x30\x07\x00\x01t\x03\x23\x00\x00",
            &[TopicAliasInvalid],
        ),
        (
            "topic alias above the maximum",
            b"\x30\x07\x00\x01t\x03\x23\xff\xff",
            &[TopicAliasInvalid],
        ),
        (
            "a property twice",
            b"\x30\x08\x00\x01t\x04\x01\x01\x01\x01",
            &[ProtocolError],
        ),
        (
            "a foreign property",
            b"\x30\x07\x00\x01t\x03\x21\x00\x01",
            &[ProtocolError, MalformedPacket],
        ),
        ("truncated topic", b"\x30\x03\x00\x05a", &[MalformedPacket]),
        (
            "a length of five bytes",
            b"\x30\xff\xff\xff\xff\x01",
            &[MalformedPacket],
        ),
        (
            "SUBSCRIBE flags [MQTT-3.8.1-1]",
            b"\x80\x07\x00\x01\x00\x00\x01t\x00",
            &[MalformedPacket],
        ),
        (
            "SUBSCRIBE without filters [MQTT-3.8.3-2]",
            b"\x82\x03\x00\x01\x00",
            &[ProtocolError],
        ),
        (
            "SUBSCRIBE cut before its options",
            b"\x82\x06\x00\x01\x00\x00\x01t",
            &[MalformedPacket],
        ),
        (
            "reserved options [MQTT-3.8.3-5]",
            b"\x82\x07\x00\x01\x00\x00\x01t\xc0",
            &[MalformedPacket, ProtocolError],
        ),
        (
            "misplaced wildcard",
            b"\x82\x09\x00\x01\x00\x00\x03#/a\x00",
            &[TopicFilterInvalid, MalformedPacket],
        ),
        (
            "UNSUBSCRIBE without filters",
            b"\xa2\x03\x00\x01\x00",
            &[ProtocolError],
        ),
        ("PUBREL flags", b"\x60\x02\x00\x01", &[MalformedPacket]),
        (
            "CONNACK from a client",
            b"\x20\x03\x00\x00\x00",
            &[ProtocolError, MalformedPacket],
        ),
        (
            "SUBACK from a client",
            b"\x90\x04\x00\x01\x00\x00",
            &[ProtocolError, MalformedPacket],
        ),
        (
            "PINGRESP from a client",
            b"\xd0\x00",
            &[ProtocolError, MalformedPacket],
        ),
        ("PINGREQ with a body", b"\xc0\x01\x00", &[MalformedPacket]),
        (
            "trailing bytes",
            b"\x40\x05\x00\x01\x00\x00\x00",
            &[MalformedPacket],
        ),
    ]
};

#[test]
fn each_ends_its_own_connection_with_the_right_reason() {
    let broker = Setup::default().shards(2).start();
    let mut bystander = Client::connect(&broker, &Options::new("bystander"));
    bystander.subscribe("fine", QoS::AtLeastOnce);
    for (name, packet, reasons) in PACKETS {
        let mut client = Client::connect(&broker, &Options::new("v5").v5());
        client.send(packet);
        let (reason, elapsed) = client.expect_closed();
        assert!(
            reason.is_some_and(|reason| reasons.contains(&reason)),
            "{name}: {reason:?}"
        );
        assert!(elapsed.as_secs() < 2, "{name}: closed after {elapsed:?}");
        bystander.publish("fine", name.as_bytes(), QoS::AtLeastOnce);
        assert_eq!(bystander.payloads(1), [*name]);
    }
}

/// MQTT 3.1.1 has no DISCONNECT from the server: it just closes [MQTT3-4.8.0-1].
#[test]
fn older_clients_are_closed() {
    let broker = Setup::default().start();
    for packet in [
        &b"\x00\x00"[..],
        b"\x36\x05\x00\x01t\x00\x01",
        b"\x32\x05\x00\x01t\x00\x00",
        b"\x30\x05\x00\x03a/#",
        b"\x30\x02\x00\x00",
        b"\x80\x06\x00\x01\x00\x01t\x00",
        b"\x82\x02\x00\x01",
        b"\x82\x06\x00\x01\x00\x01t\x03",
        b"\x20\x02\x00\x00",
        b"\xf0\x00",
        b"\xe1\x00",
    ] {
        let mut client = Client::connect(&broker, &Options::new("old"));
        client.send(packet);
        let (reason, elapsed) = client.expect_closed();
        assert_eq!(reason, None, "{packet:x?}");
        assert!(elapsed.as_secs() < 2, "{packet:x?}");
    }
}

/// A connection that ends at any byte of a packet leaves nothing behind.
#[test]
fn packets_may_be_cut_at_every_byte() {
    let broker = Setup::default().shards(2).start();
    let mut watcher = Client::connect(&broker, &Options::new("watcher"));
    watcher.subscribe("#", QoS::AtMostOnce);
    let packet = b"\x34\x0e\x00\x05topic\x00\x01\x02\x01\x01hi";
    for cut in 0..packet.len() {
        let mut client = Client::connect(&broker, &Options::new(&format!("cut-{cut}")).v5());
        client.send(&packet[..cut]);
        client.cut();
    }
    watcher.expect_nothing();
    let mut client = Client::connect(&broker, &Options::new("whole").v5());
    client.send(packet);
    assert_eq!(watcher.payloads(1), ["hi"]);
}
