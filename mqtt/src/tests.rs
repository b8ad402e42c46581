//! Tests of the whole codec: tables of packets, random packets, and a comparison with a second implementation.
//!
//! Packets are written as text: hexadecimal bytes, `'text'` for its bytes, `"text"` for a string with its two bytes of
//! length, `[...]` for properties with their length (under 128 bytes).

mod differential;
mod fields;
mod malformed;
mod matching;
mod round_trip;
mod valid;

use crate::decode;
use crate::error::DecodeError;
use crate::frame::split;
use crate::packet::Packet;
use crate::version::ProtocolVersion;

/// Decodes one packet that is all of `bytes`.
fn decode(bytes: &[u8], version: ProtocolVersion) -> Result<Packet<'_>, DecodeError> {
    let frame = split(bytes, u32::MAX)?.expect("a whole packet");
    assert_eq!(frame.wire_bytes, bytes.len(), "one packet alone");
    decode::packet(&frame, version)
}

/// A packet from its first byte and its body as text; the Remaining Length is computed.
fn packet_bytes(first: u8, body: &str) -> Vec<u8> {
    with_length(first, &bytes_of(body))
}

/// A packet from its first byte and its body.
fn with_length(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    crate::wire::write_variable_byte_integer(body.len() as u32, &mut packet);
    packet.extend_from_slice(body);
    packet
}

/// The bytes that a text of the form above represents.
fn bytes_of(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut properties_at = None;
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '[' => {
                properties_at = Some(bytes.len());
                bytes.push(0);
                1
            }
            ']' => {
                let at: usize = properties_at.take().expect("an opening bracket");
                bytes[at] = u8::try_from(bytes.len() - at - 1).unwrap();
                1
            }
            '\'' | '"' => {
                let end = rest[1..].find(first).expect("a closing quote") + 1;
                if first == '"' {
                    bytes.extend(u16::try_from(end - 1).unwrap().to_be_bytes());
                }
                bytes.extend_from_slice(&rest.as_bytes()[1..end]);
                end + 1
            }
            _ => {
                bytes.push(u8::from_str_radix(&rest[..2], 16).expect("two hexadecimal digits"));
                2
            }
        };
        rest = rest[end..].trim_start();
    }
    bytes
}

#[test]
fn the_text_of_the_tables_is_read_as_meant() {
    assert_eq!(
        bytes_of("0aFF 'hi' \"ab\" [ 11 2600]01"),
        *b"\x0a\xffhi\x00\x02ab\x03\x11\x26\x00\x01"
    );
}
