//! The header of a segment, in its first block.
//!
//! Invariants: a header is valid only as a whole. Of a header with an unknown version, only the version is read.

use crate::block::BLOCK;
use crate::bytes::{array_at, u32_at, u64_at};

/// Version of the format that this crate writes, and the only one that it reads.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// Bytes of the header; the rest of its block is zero.
pub(crate) const SEGMENT_HEADER: usize = BLOCK;

const MAGIC: [u8; 8] = *b"MIDGELOG";
const PREFIX_LEN: usize = 12;
const LEN: usize = 40;

/// What the first block of a segment states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Counts the uses of segments; no two uses have the same number.
    pub(crate) sequence: u32,
    /// Bytes of the segment with this header.
    pub(crate) size: u32,
}

/// What the first block of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstBlock {
    Header(SegmentHeader),
    /// A valid header of another version.
    OtherVersion(u32),
    /// Zeros, a torn header, or something else.
    Invalid,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; LEN] {
        let mut bytes = Vec::with_capacity(LEN);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes.extend_from_slice(&u64::from(self.sequence).to_le_bytes());
        bytes.extend_from_slice(&u64::from(self.size).to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes.resize(LEN, 0);
        array_at(&bytes, 0).unwrap_or([0; LEN])
    }
}

impl FirstBlock {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        Self::parse_prefix(bytes).unwrap_or(Self::Invalid)
    }

    fn parse_prefix(bytes: &[u8]) -> Option<Self> {
        let prefix = bytes.get(..PREFIX_LEN)?;
        if !prefix.starts_with(&MAGIC) || u32_at(bytes, PREFIX_LEN)? != crc32c::crc32c(prefix) {
            return None;
        }
        let version = u32_at(bytes, MAGIC.len())?;
        if version != FORMAT_VERSION {
            return Some(Self::OtherVersion(version));
        }
        if u32_at(bytes, 32)? != crc32c::crc32c(bytes.get(..32)?) {
            return None;
        }
        Some(Self::Header(SegmentHeader {
            sequence: u64_at(bytes, 16)?.try_into().ok()?,
            size: u64_at(bytes, 24)?.try_into().ok()?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader = SegmentHeader {
        sequence: 7,
        size: 32 << 20,
    };

    #[test]
    fn a_header_is_read_as_it_was_written() {
        assert_eq!(FirstBlock::parse(&HEADER.encode()), FirstBlock::Header(HEADER));
        assert_eq!(FirstBlock::parse(&[0; BLOCK]), FirstBlock::Invalid);
        assert_eq!(FirstBlock::parse(&[]), FirstBlock::Invalid);
    }

    #[test]
    fn a_flipped_bit_makes_it_invalid_and_not_another_version() {
        for bit in 0..36 * 8 {
            let mut bytes = HEADER.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FirstBlock::parse(&bytes), FirstBlock::Invalid, "bit {bit}");
        }
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = HEADER.encode();
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..12]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(FirstBlock::parse(&bytes), FirstBlock::OtherVersion(2));
    }
}
