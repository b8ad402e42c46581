//! Packets that must be accepted, and every way to truncate one.

use ProtocolVersion::{V3_1, V3_1_1, V5};

use super::{bytes_of, decode, packet_bytes, with_length};
use crate::frame::split;
use crate::version::ProtocolVersion;

/// What it is, version, first byte, body, and the shorter bodies that are packets too.
type Row = (&'static str, ProtocolVersion, u8, &'static str, &'static [usize]);

/// Packets as the encoder writes them too.
#[rustfmt::skip]
const CANONICAL: &[Row] = &[
    ("CONNECT, smallest, 3.1", V3_1, 0x10, r#""MQIsdp" 03 02 003C "a""#, &[]),
    ("CONNECT, all of 3.1", V3_1, 0x10, r#""MQIsdp" 03 F6 003C "id" "w" 0001 00 "user" "pass""#, &[22, 28]),
    ("CONNECT, Client Identifier of 24 characters, 3.1", V3_1, 0x10, r#""MQIsdp" 03 00 003C "abcdefghijklmnopqrstuvwx""#, &[]),
    ("CONNECT, smallest", V3_1_1, 0x10, r#""MQTT" 04 02 0000 """#, &[]),
    ("CONNECT, all [MQTT-3.1.3-1]", V3_1_1, 0x10, r#""MQTT" 04 EE 000A "id" "w/t" "bye" "user" 0003 00FF80"#, &[]),
    ("CONNECT, User Name without Password", V3_1_1, 0x10, r#""MQTT" 04 82 000A "id" "user""#, &[]),
    ("CONNECT, empty Will Payload and User Name", V3_1_1, 0x10, r#""MQTT" 04 86 000A "id" "w" "" """#, &[]),
    ("CONNECT, smallest", V5, 0x10, r#""MQTT" 05 02 0000 [] """#, &[]),
    ("CONNECT, Password without User Name", V5, 0x10, r#""MQTT" 05 42 0000 [] "" "pw""#, &[]),
    ("CONNECT, all properties", V5, 0x10, r#""MQTT" 05 C2 0000 [11 FFFFFFFF 21 0001 27 00000001 22 FFFF 19 01 17 00 26 "k" "v" 26 "k" "v" 15 "m" 16 0001 00] "i" "u" "p""#, &[]),
    ("CONNECT, all Will Properties", V5, 0x10, r#""MQTT" 05 36 0000 [] "i" [18 00000005 01 01 02 0000000A 03 "ct" 08 "r/t" 09 0002 0001 26 "" ""] "w" 0000"#, &[]),
    ("CONNACK", V3_1, 0x20, "00 00", &[]),
    ("CONNACK, session present", V3_1_1, 0x20, "01 00", &[]),
    ("CONNACK, refused", V3_1_1, 0x20, "00 05", &[]),
    ("CONNACK", V5, 0x20, "01 00 []", &[]),
    ("CONNACK, all properties", V5, 0x20, r#"00 00 [11 0000000A 21 000A 24 01 25 00 27 0000FFFF 12 "id" 22 000A 1F "why" 26 "a" "b" 28 01 29 00 2A 01 13 000A 1A "ri" 1C "sr" 15 "m" 16 0000]"#, &[]),
    ("PUBLISH, QoS 0, empty payload", V3_1_1, 0x30, r#""t""#, &[]),
    ("PUBLISH, QoS 0, retained", V3_1_1, 0x31, r#""a/b" 'hi'"#, &[5, 6]),
    ("PUBLISH, QoS 1", V3_1, 0x32, r#""a/b" 0001 'x'"#, &[7]),
    ("PUBLISH, QoS 2, DUP", V3_1_1, 0x3C, r#""a/b" FFFF"#, &[]),
    ("PUBLISH, topic of one slash", V3_1_1, 0x30, r#""/""#, &[]),
    ("PUBLISH, the payload may have any bytes", V3_1_1, 0x30, r#""t" 00 FF 23 2B"#, &[3, 4, 5, 6]),
    ("PUBLISH, U+FEFF and U+1F600 are kept [MQTT-1.5.4-3]", V3_1_1, 0x30, "0007 EFBBBF F09F9880", &[]),
    ("PUBLISH, noncharacters are taken", V3_1_1, 0x30, "0006 EFBFBF EFB790", &[]),
    ("PUBLISH", V5, 0x30, r#""t" [] 'x'"#, &[4]),
    ("PUBLISH, Topic Alias alone", V5, 0x30, r#""" [23 0001]"#, &[]),
    ("PUBLISH, all properties", V5, 0x32, r#""t" 0001 [01 01 02 00000001 03 "c" 08 "r" 09 0000 0B 01 0B FFFFFF7F 23 FFFF 26 "k" "v" 26 "k" "w"] 'x'"#, &[48]),
    ("PUBACK", V3_1_1, 0x40, "0001", &[]),
    ("PUBACK", V5, 0x40, "FFFF", &[]),
    ("PUBACK, no matching subscribers", V5, 0x40, "0001 10", &[2]),
    ("PUBACK, all properties", V5, 0x40, r#"0001 97 [1F "full" 26 "k" "v"]"#, &[2, 3]),
    ("PUBREC", V3_1_1, 0x50, "0001", &[]),
    ("PUBREC, packet identifier in use", V5, 0x50, "0001 91", &[2]),
    ("PUBREL", V3_1_1, 0x62, "0001", &[]),
    ("PUBREL, not found", V5, 0x62, "0001 92", &[2]),
    ("PUBCOMP", V3_1, 0x70, "0001", &[]),
    ("PUBCOMP, not found", V5, 0x70, r#"0001 92 [26 "" ""]"#, &[2, 3]),
    ("SUBSCRIBE, two filters", V3_1_1, 0x82, r#"0001 "a/+" 00 "b/#" 02"#, &[8]),
    ("SUBSCRIBE, +/+/#", V3_1_1, 0x82, r#"0001 "+/+/#" 01"#, &[]),
    ("SUBSCRIBE, all options", V5, 0x82, r#"0001 [0B 7F 26 "k" "v"] "a" 00 "b" 2D "c" 1E"#, &[16, 20]),
    ("SUBSCRIBE, shared", V5, 0x82, r#"0001 [] "$share/g/a/#" 08"#, &[]),
    ("SUBACK", V3_1_1, 0x90, "0001 00 01 02 80", &[3, 4, 5]),
    ("SUBACK", V5, 0x90, r#"0001 [1F "x"] 00 01 02 80 83 87 8F 91 97 9E A1 A2"#, &[8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18]),
    ("UNSUBSCRIBE", V3_1_1, 0xA2, r#"0001 "a/+" "b""#, &[7]),
    ("UNSUBSCRIBE", V5, 0xA2, r#"0001 [26 "k" "v"] "$share/g/a""#, &[]),
    ("UNSUBACK", V3_1_1, 0xB0, "0001", &[]),
    ("UNSUBACK", V5, 0xB0, "0001 [] 00 11 80 83 87 8F 91", &[4, 5, 6, 7, 8, 9]),
    ("PINGREQ", V3_1, 0xC0, "", &[]),
    ("PINGRESP", V5, 0xD0, "", &[]),
    ("DISCONNECT", V3_1_1, 0xE0, "", &[]),
    ("DISCONNECT", V5, 0xE0, "", &[]),
    ("DISCONNECT, with Will Message", V5, 0xE0, "04", &[0]),
    ("DISCONNECT, all properties", V5, 0xE0, r#"9D [11 00000000 1F "x" 26 "k" "v" 1C "other"]"#, &[0, 1]),
    ("AUTH, success", V5, 0xF0, "", &[]),
    ("AUTH, continue", V5, 0xF0, r#"18 [15 "SCRAM-SHA-256" 16 "abc" 1F "r" 26 "k" "v"]"#, &[0, 1]),
];

/// Packets that are longer than the encoder's form of them: first byte, body, and the encoder's packet.
const LONGER: &[(ProtocolVersion, u8, &str, u8, &str)] = &[
    (V5, 0x40, "0001 00", 0x40, "0001"),
    (V5, 0x62, "0001 00 []", 0x62, "0001"),
    (V5, 0x50, "0001 10 []", 0x50, "0001 10"),
    (V5, 0xE0, "00", 0xE0, ""),
    (V5, 0xE0, "00 []", 0xE0, ""),
    (V5, 0xE0, "8E []", 0xE0, "8E"),
    (V5, 0xF0, "00 []", 0xF0, ""),
    // MQTT 3.1: DUP in PUBREL, SUBSCRIBE and UNSUBSCRIBE, unused bits, missing User Name and Password.
    (V3_1, 0x6A, "0001", 0x62, "0001"),
    (V3_1, 0x8A, r#"0001 "a" 01"#, 0x82, r#"0001 "a" 01"#),
    (V3_1, 0xAA, r#"0001 "a""#, 0xA2, r#"0001 "a""#),
    (
        V3_1,
        0x10,
        r#""MQIsdp" 03 03 003C "a""#,
        0x10,
        r#""MQIsdp" 03 02 003C "a""#,
    ),
    (
        V3_1,
        0x10,
        r#""MQIsdp" 03 C2 003C "a""#,
        0x10,
        r#""MQIsdp" 03 02 003C "a""#,
    ),
    (
        V3_1,
        0x10,
        r#""MQIsdp" 03 C2 003C "a" "u""#,
        0x10,
        r#""MQIsdp" 03 82 003C "a" "u""#,
    ),
    (V3_1, 0x20, "FF 00", 0x20, "00 00"),
];

#[test]
fn valid_packets_are_taken_and_encoded_the_same() {
    for (what, version, first, body, _) in CANONICAL {
        let bytes = packet_bytes(*first, body);
        let packet = decode(&bytes, *version).unwrap_or_else(|error| panic!("{what} {version:?}: {error}"));
        let mut encoded = vec![0xAA];
        packet.encode(*version, &mut encoded).unwrap();
        assert_eq!(encoded[1..], bytes, "{what} {version:?}");
    }
}

#[test]
fn what_may_be_left_out_may_be_there() {
    for (version, first, body, short_first, short_body) in LONGER {
        let (long, short) = (packet_bytes(*first, body), packet_bytes(*short_first, short_body));
        let packet = decode(&long, *version).unwrap_or_else(|error| panic!("{body}: {error}"));
        assert_eq!(packet, decode(&short, *version).unwrap(), "{body}");
        let mut encoded = Vec::new();
        packet.encode(*version, &mut encoded).unwrap();
        assert_eq!(encoded, short, "{body}");
    }
}

/// V10: truncated anywhere, a packet is incomplete; with its Remaining Length reduced accordingly, it is malformed.
#[test]
fn v10_packets_cut_short_at_every_byte_are_refused() {
    for (what, version, first, body, lawful) in CANONICAL {
        let whole = packet_bytes(*first, body);
        for bytes in 0..whole.len() {
            assert_eq!(
                split(&whole[..bytes], u32::MAX),
                Ok(None),
                "{what} {version:?}, {bytes} bytes"
            );
        }
        let body = bytes_of(body);
        for bytes in 0..body.len() {
            let cut = with_length(*first, &body[..bytes]);
            let taken = decode(&cut, *version).is_ok();
            assert_eq!(
                taken,
                lawful.contains(&bytes),
                "{what} {version:?}, a body of {bytes} bytes"
            );
        }
    }
}

/// A byte after the last field is refused, unless the last field simply continues.
#[test]
fn trailing_bytes_are_refused() {
    for (what, version, first, body, _) in CANONICAL {
        let open_ended = matches!(first >> 4, 3 | 9 | 11) && !(*first == 0xB0 && *version != V5);
        let mut body = bytes_of(body);
        body.push(0);
        let longer = with_length(*first, &body);
        // A shorter form may continue: what follows is then read as a reason code or a length.
        let next_field = *version == V5 && matches!(first >> 4, 4..=7 | 14 | 15) && body.len() <= 4;
        // MQTT 3.1's missing User Name: the byte starts it.
        let taken = decode(&longer, *version).is_ok();
        assert!(!taken || open_ended || next_field, "{what} {version:?}");
        assert!(taken || !open_ended, "{what} {version:?}");
    }
}
