//! The header of a commit.
//!
//! Invariants: a header is valid only where it was written: it names its segment and offset, and its CRC covers them.
//! Numbers of commits grow; those between `previous` and `number` belong to an end of the log that a recovery did not
//! use.

use super::Location;
use crate::bytes::{array_at, u32_at, u64_at};

/// Bytes of the header; frames follow.
pub(crate) const COMMIT_HEADER: usize = 80;

const MAGIC: [u8; 4] = *b"MCMT";
const BODY: usize = 8;

/// The header that precedes the frames of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CommitHeader {
    /// The place at which the commit was written.
    pub(crate) location: Location,
    /// Bytes of the stream in this commit.
    pub(crate) len: u32,
    /// Where the first frame starts that starts in this commit, counted from the end of the header; `len` if none
    /// does.
    pub(crate) first_frame: u32,
    /// Whether the chain continues with the next commit.
    pub(crate) continues: bool,
    /// The number of the commit.
    pub(crate) number: u64,
    /// The number of the commit before this one.
    pub(crate) previous: u64,
    /// The commit up to which everything is known to be durable.
    pub(crate) durable: u64,
    /// The commit up to which nothing is needed any more: its live records were appended again.
    pub(crate) reclaimed: u64,
    /// Highest session counter that was ever used.
    pub(crate) session_max: u64,
    /// Highest publication counter that was ever used.
    pub(crate) publication_max: u64,
}

impl CommitHeader {
    pub(crate) fn encode(&self) -> [u8; COMMIT_HEADER] {
        let mut bytes = Vec::with_capacity(COMMIT_HEADER);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[0; 4]);
        for number in [
            self.location.sequence,
            self.location.offset,
            self.len,
            self.first_frame,
            self.continues.into(),
            0,
        ] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for number in [
            self.number,
            self.previous,
            self.durable,
            self.reclaimed,
            self.session_max,
            self.publication_max,
        ] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let mut bytes: [u8; COMMIT_HEADER] = array_at(&bytes, 0).unwrap_or([0; COMMIT_HEADER]);
        let crc = crc32c::crc32c(bytes.get(BODY..).unwrap_or_default());
        if let Some(place) = bytes.get_mut(MAGIC.len()..BODY) {
            place.copy_from_slice(&crc.to_le_bytes());
        }
        bytes
    }

    /// The header at this offset of a segment, if it belongs to the present use of the segment.
    pub(crate) fn parse(bytes: &[u8], location: Location) -> Option<Self> {
        let header = Self::parse_any(bytes)?;
        (header.location == location).then_some(header)
    }

    /// Where the byte at this position after the header is.
    pub(crate) fn body_location(&self, place: usize) -> Option<Location> {
        let offset = u32::try_from(COMMIT_HEADER + place).ok()?;
        Some(Location {
            sequence: self.location.sequence,
            offset: self.location.offset.checked_add(offset)?,
        })
    }

    /// The header of any use of the segment.
    pub(crate) fn parse_any(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..COMMIT_HEADER)?;
        if !bytes.starts_with(&MAGIC) || u32_at(bytes, MAGIC.len())? != crc32c::crc32c(bytes.get(BODY..)?) {
            return None;
        }
        Some(Self {
            location: Location {
                sequence: u32_at(bytes, 8)?,
                offset: u32_at(bytes, 12)?,
            },
            len: u32_at(bytes, 16)?,
            first_frame: u32_at(bytes, 20)?,
            continues: u32_at(bytes, 24)? != 0,
            number: u64_at(bytes, 32)?,
            previous: u64_at(bytes, 40)?,
            durable: u64_at(bytes, 48)?,
            reclaimed: u64_at(bytes, 56)?,
            session_max: u64_at(bytes, 64)?,
            publication_max: u64_at(bytes, 72)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_valid_where_it_was_written_and_whole() {
        let location = Location {
            sequence: 3,
            offset: 8192,
        };
        let header = CommitHeader {
            location,
            len: 100,
            first_frame: 5,
            continues: true,
            number: 11,
            previous: 10,
            durable: 9,
            reclaimed: 2,
            session_max: 77,
            publication_max: 78,
        };
        let bytes = header.encode();
        assert_eq!(CommitHeader::parse(&bytes, location), Some(header));
        for wrong in [
            Location {
                sequence: 4,
                ..location
            },
            Location {
                offset: 4096,
                ..location
            },
        ] {
            assert_eq!(CommitHeader::parse(&bytes, wrong), None);
        }
        for bit in 0..COMMIT_HEADER * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(CommitHeader::parse(&bytes, location), None, "bit {bit}");
        }
    }
}
