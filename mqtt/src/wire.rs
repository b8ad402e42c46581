//! The data representations of MQTT (5.0, section 1.5; 3.1.1, section 1.5): integers, strings, binary data.
//!
//! Invariant: a [`Reader`] never reads beyond its bytes, and what it reads is valid; every failed read states the
//! reason.

use crate::error::{DecodeErrorKind, EncodeError};
use crate::packet::PacketIdentifier;
use crate::topic::{self, TopicError};

/// Reads fields from the start of a packet's body.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes that have not been read.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// The next byte without reading it; 0 at the end.
    #[inline]
    pub(crate) fn peek_u8(&self) -> u8 {
        self.bytes.first().copied().unwrap_or(0)
    }

    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeErrorKind> {
        let (taken, rest) = self
            .bytes
            .split_at_checked(count)
            .ok_or(DecodeErrorKind::Truncated)?;
        self.bytes = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeErrorKind> {
        let (taken, rest) = self
            .bytes
            .split_first_chunk::<N>()
            .ok_or(DecodeErrorKind::Truncated)?;
        self.bytes = rest;
        Ok(*taken)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, DecodeErrorKind> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, DecodeErrorKind> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, DecodeErrorKind> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// A Packet Identifier [MQTT-2.2.1-3].
    #[inline]
    pub(crate) fn packet_identifier(&mut self) -> Result<PacketIdentifier, DecodeErrorKind> {
        PacketIdentifier::new(self.u16()?).ok_or(DecodeErrorKind::PacketIdentifierZero)
    }

    #[inline]
    pub(crate) fn variable_byte_integer(&mut self) -> Result<u32, DecodeErrorKind> {
        let (value, bytes) = variable_byte_integer(self.bytes)?.ok_or(DecodeErrorKind::Truncated)?;
        self.take(bytes)?;
        Ok(value)
    }

    /// Binary Data: two bytes of length, then the bytes.
    #[inline]
    pub(crate) fn binary(&mut self) -> Result<&'a [u8], DecodeErrorKind> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// A UTF-8 Encoded String [MQTT-1.5.4-1], [MQTT-1.5.4-2].
    ///
    /// [MQTT3-1.5.3-1], [MQTT3-1.5.3-2], [MQTT3-1.5.3-3], [MQTT-1.5.4-3], [MQTT-1.5.7-1]
    pub(crate) fn string(&mut self) -> Result<&'a str, DecodeErrorKind> {
        let bytes = self.binary()?;
        if bytes.contains(&0) {
            return Err(DecodeErrorKind::NulInString);
        }
        std::str::from_utf8(bytes).map_err(|_| DecodeErrorKind::InvalidUtf8)
    }

    /// A Topic Name, which may be empty here: only PUBLISH knows whether it may be.
    ///
    /// [MQTT3-3.1.3-10], [MQTT3-3.3.2-1], [MQTT-3.1.3-11], [MQTT-3.3.2-1], [MQTT-3.3.2-13]
    #[inline]
    pub(crate) fn topic_name(&mut self) -> Result<&'a str, DecodeErrorKind> {
        let bytes = self.binary()?;
        topic::check_name_bytes(bytes).map_err(|error| match error {
            TopicError::Nul => DecodeErrorKind::NulInString,
            _ => DecodeErrorKind::TopicNameWildcard,
        })?;
        std::str::from_utf8(bytes).map_err(|_| DecodeErrorKind::InvalidUtf8)
    }

    /// An error if bytes follow, because everything must have been read.
    #[inline]
    pub(crate) fn finish(self) -> Result<(), DecodeErrorKind> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(DecodeErrorKind::TrailingBytes)
        }
    }
}

/// Reads a Variable Byte Integer: its value and its number of bytes; `None` if it continues beyond the end.
///
/// # Errors
/// It has more bytes than it needs, or more than four.
#[inline]
pub fn variable_byte_integer(bytes: &[u8]) -> Result<Option<(u32, usize)>, DecodeErrorKind> {
    let mut value = 0_u32;
    for (at, &byte) in bytes.iter().enumerate().take(4) {
        value |= u32::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            // [MQTT-1.5.5-1]: a last byte of zero is redundant.
            return if byte == 0 && at > 0 {
                Err(DecodeErrorKind::LengthNotMinimal)
            } else {
                Ok(Some((value, at + 1)))
            };
        }
    }
    if bytes.len() >= 4 {
        Err(DecodeErrorKind::LengthTooLong)
    } else {
        Ok(None)
    }
}

/// Bytes that a Variable Byte Integer takes.
#[inline]
pub fn variable_byte_integer_bytes(value: u32) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

pub(crate) fn write_variable_byte_integer(mut value: u32, out: &mut Vec<u8>) {
    while value > 0x7F {
        out.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn write_string(string: &str, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    write_binary(string.as_bytes(), out)
}

/// Appends Binary Data; if it is too long, nothing is written.
#[inline]
pub(crate) fn write_binary(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let length = u16::try_from(bytes.len()).map_err(|_| EncodeError::FieldTooLong)?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}
