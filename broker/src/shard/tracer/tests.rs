//! Packets that are cut at any place are shown once.

use mqtt::ProtocolVersion;

use super::*;

fn texts(reads: &[&[u8]], version: ProtocolVersion) -> Vec<String> {
    let (mut incoming, mut texts) = (Incoming::default(), Vec::new());
    for read in reads {
        incoming.take(read, &mut |shown| {
            texts.push(format!(
                "{}{}",
                shown.kind(),
                shown.text(version, Direction::Received)
            ));
        });
    }
    texts
}

/// PUBLISH with QoS 1, PINGREQ, PUBACK, a PUBLISH that is larger than what is examined, PINGREQ.
fn packets(large: usize) -> Vec<u8> {
    let mut bytes = b"\x3b\x08\x00\x02t\xc3\x00\x07ab".to_vec();
    bytes[5] = b'u';
    bytes.extend(b"\xc0\x00\x40\x02\x00\x09");
    let body = 2 + 1 + large;
    bytes.extend([0x30, body as u8 & 0x7F | 0x80, (body >> 7) as u8, 0, 1, b'x']);
    bytes.extend(vec![0xC0; large]);
    bytes.extend(b"\xc0\x00");
    bytes
}

#[test]
fn the_result_does_not_depend_on_the_cuts() {
    let bytes = packets(5000);
    let expected = [
        "PUBLISH (d1, q1, r1, m7, 'tu', ... (2 bytes))",
        "PINGREQ",
        "PUBACK (Mid: 9, RC:0)",
        "PUBLISH (d0, q0, r0, m0, 'x', ... (5000 bytes))",
        "PINGREQ",
    ];
    let version = ProtocolVersion::V3_1_1;
    assert_eq!(texts(&[&bytes], version), expected);
    for size in [1, 2, 3, 7, 100, 2047, 2048, 2049, 4000] {
        let reads: Vec<_> = bytes.chunks(size).collect();
        assert_eq!(texts(&reads, version), expected, "{size}");
    }
}

#[test]
fn bytes_that_are_no_packet_are_shown_as_such() {
    let version = ProtocolVersion::V5;
    assert_eq!(texts(&[b"\x00\x01a"], version), ["a reserved packet (3 bytes)"]);
    assert_eq!(texts(&[b"\x30\x02\x00\x09"], version), ["PUBLISH (4 bytes)"]);
    assert_eq!(texts(&[b"\x30\xff\xff\xff\xff"], version), ["PUBLISH (5 bytes)"]);
    // A topic that is not UTF-8, and a SUBSCRIBE without filters.
    assert_eq!(
        texts(&[b"\x30\x04\x00\x01\xff\x00"], version),
        ["PUBLISH (6 bytes)"]
    );
    assert_eq!(
        texts(&[b"\x82\x03\x00\x01\x00"], version),
        ["SUBSCRIBE (5 bytes)"]
    );
}
