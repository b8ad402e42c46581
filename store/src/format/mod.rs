//! The bytes of a segment.
//!
//! ```text
//! segment: header (one block) | commit | commit | ...            each begins at a block, zeros fill its last block
//! commit:  header (80 bytes) | a piece of the stream of frames
//! frame:   length of the body u32 | crc32c u32 | type u8, 0x80 ends a batch | body
//! ```
//!
//! In addition to the segments, a file names the newest of them (`newest.rs`).
//!
//! A chain is the commits up to and including the first one that is not continued. The frames are in the chain's
//! stream, so a frame may span several commits, and several segments.
//!
//! Invariants: every CRC covers the sequence number of the segment and the offset in it, so that the remains of an
//! earlier use of the file are never taken for valid. The first 16 bytes of a segment (magic, version, their CRC) are
//! the same in every version of the format.

pub(crate) mod chain;
pub(crate) mod commit;
pub(crate) mod frame;
pub(crate) mod newest;
pub(crate) mod segment;

/// A position in the log: the segment's sequence number and the offset in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Location {
    pub(crate) sequence: u32,
    pub(crate) offset: u32,
}
