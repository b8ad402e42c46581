//! Framing: cuts one control packet out of a read buffer.
//!
//! Invariant: a frame is complete and its first byte is allowed, as far as that can be known without the protocol
//! version (only MQTT 3.1 has a DUP flag in PUBREL, SUBSCRIBE and UNSUBSCRIBE: the decoder refuses it in other
//! versions). No memory is reserved for bytes that have not arrived: the announced length is compared with the limit
//! first.

use crate::error::{DecodeError, DecodeErrorKind};
pub use crate::wire::{variable_byte_integer, variable_byte_integer_bytes};

/// One complete control packet in the read buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The type of the control packet, which is one of the specification's.
    pub packet_type: PacketType,
    /// The low four bits of the first byte.
    pub flags: u8,
    /// Variable header and payload: what the Remaining Length counts.
    pub body: &'a [u8],
    /// Bytes of the whole packet, including the fixed header: what the read buffer may drop.
    pub wire_bytes: usize,
}

/// Control packet types (MQTT 5.0, section 2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs, reason = "each is named after its packet, see `crate::packet`")]
pub enum PacketType {
    Connect = 1,
    ConnAck = 2,
    Publish = 3,
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
    Subscribe = 8,
    SubAck = 9,
    Unsubscribe = 10,
    UnsubAck = 11,
    PingReq = 12,
    PingResp = 13,
    Disconnect = 14,
    Auth = 15,
}

/// The largest Remaining Length and the largest Variable Byte Integer: four bytes of seven bits.
pub const REMAINING_LENGTH_MAX: u32 = 268_435_455;

/// Cuts the first control packet out of `buffer`.
///
/// `Ok(None)`: more bytes are needed. An error is returned as soon as the first bytes show it: a reserved type, wrong
/// flags, a length of five bytes or with more bytes than it needs, a packet of more than `packet_bytes_max` bytes,
/// including the fixed header, as Maximum Packet Size counts.
#[inline]
pub fn split(buffer: &[u8], packet_bytes_max: u32) -> Result<Option<Frame<'_>>, DecodeError> {
    let Some((&first, rest)) = buffer.split_first() else {
        return Ok(None);
    };
    let packet_type = PacketType::from_first_byte(first).ok_or(DecodeErrorKind::PacketTypeReserved)?;
    let flags = first & 0x0F;
    check_flags(packet_type, flags)?;
    let Some((remaining_length, length_bytes)) = variable_byte_integer(rest)? else {
        return Ok(None);
    };
    let body_bytes = remaining_length as usize;
    let wire_bytes = 1 + length_bytes + body_bytes;
    if wire_bytes > packet_bytes_max as usize {
        return Err(DecodeErrorKind::PacketTooLarge.into());
    }
    let body = rest.get(length_bytes..length_bytes + body_bytes);
    Ok(body.map(|body| Frame {
        packet_type,
        flags,
        body,
        wire_bytes,
    }))
}

impl PacketType {
    /// The type in the high four bits of a packet's first byte; `None` for the reserved type 0.
    #[inline]
    pub fn from_first_byte(first: u8) -> Option<Self> {
        Some(match first >> 4 {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// Whether it acknowledges a PUBLISH, or a packet that does: PUBACK, PUBREC, PUBREL or PUBCOMP.
    #[inline]
    pub fn is_acknowledgement(self) -> bool {
        matches!(self, Self::PubAck | Self::PubRec | Self::PubRel | Self::PubComp)
    }

    /// The first byte of a packet of this type; not for PUBLISH, whose flags are variable.
    pub(crate) fn first_byte(self) -> u8 {
        ((self as u8) << 4) | self.reserved_flags()
    }

    /// The value that the low four bits must have [MQTT-2.1.3-1].
    pub(crate) fn reserved_flags(self) -> u8 {
        match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        }
    }
}

/// The DUP flag of PUBLISH, and in MQTT 3.1 of PUBREL, SUBSCRIBE and UNSUBSCRIBE.
pub(crate) const FLAG_DUP: u8 = 0b1000;

#[inline]
fn check_flags(packet_type: PacketType, flags: u8) -> Result<(), DecodeErrorKind> {
    if packet_type == PacketType::Publish {
        return match flags & 0b1110 {
            0b0110 | 0b1110 => Err(DecodeErrorKind::QoS3),
            FLAG_DUP => Err(DecodeErrorKind::DupWithQoS0),
            _ => Ok(()),
        };
    }
    let expected = packet_type.reserved_flags();
    if flags == expected || (expected != 0 && flags == expected | FLAG_DUP) {
        return Ok(());
    }
    Err(DecodeErrorKind::ReservedFlags(packet_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_packet_asks_for_more() {
        let packet = [0x30, 0x05, 0, 1, b'a', b'h', b'i'];
        for bytes in 0..packet.len() {
            assert_eq!(split(&packet[..bytes], 1024), Ok(None), "{bytes} bytes");
        }
        let frame = split(&packet, 1024).unwrap().unwrap();
        assert_eq!(
            (frame.packet_type, frame.wire_bytes, frame.body),
            (PacketType::Publish, 7, &packet[2..])
        );
    }

    #[test]
    fn a_packet_over_the_limit_is_refused_before_its_body_comes() {
        let header = [0x30, 0x80, 0x80, 0x01];
        assert_eq!(
            split(&header, 16_387),
            Err(DecodeErrorKind::PacketTooLarge.into())
        );
        assert_eq!(split(&header, 16_388), Ok(None));
    }
}
