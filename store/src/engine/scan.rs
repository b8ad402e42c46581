//! Reads the segments of a log from the disk.
//!
//! Invariants: a block that cannot be read is treated as zeros and reported; nothing is written.

use std::io;

use crate::block::BLOCK;
use crate::files::{StoreFile, read_all};
use crate::format::Location;
use crate::format::commit::{COMMIT_HEADER, CommitHeader};
use crate::format::segment::SEGMENT_HEADER;

/// A segment, read whole into memory.
#[derive(Debug, Default)]
pub(super) struct SegmentBytes {
    bytes: Vec<u8>,
    /// Blocks that the system could not read.
    pub(super) unreadable: u64,
    /// Bytes at the end that the file does not have.
    pub(super) missing: u64,
}

impl SegmentBytes {
    pub(super) fn read(&mut self, file: &dyn StoreFile, size: u32) {
        self.unreadable = 0;
        self.bytes.clear();
        self.bytes.resize(size as usize, 0);
        let mut found = 0;
        for (number, chunk) in self.bytes.chunks_mut(CHUNK).enumerate() {
            let offset = (number * CHUNK) as u64;
            match read_all(file, offset, chunk) {
                Ok(count) => found += count,
                Err(_) => {
                    found += chunk.len();
                    self.unreadable += read_blocks(file, offset, chunk);
                }
            }
        }
        self.missing = (self.bytes.len() - found) as u64;
    }

    /// The commits of this use of the segment that have a valid header.
    pub(super) fn commits(&self, sequence: u32) -> Vec<CommitHeader> {
        let mut found = Vec::new();
        let mut offset = SEGMENT_HEADER;
        while let Some(rest) = self
            .bytes
            .get(offset..)
            .filter(|rest| rest.len() >= COMMIT_HEADER)
        {
            let location = u32::try_from(offset).map(|offset| Location { sequence, offset });
            let header = location
                .ok()
                .and_then(|location| CommitHeader::parse(rest, location));
            offset += match header {
                Some(header) => {
                    found.push(header);
                    (COMMIT_HEADER + header.len as usize).next_multiple_of(BLOCK)
                }
                None => BLOCK,
            };
        }
        found
    }

    /// The highest sequence number that a commit names: that of the segment if its first block is not valid.
    pub(super) fn sequence(&self) -> Option<u32> {
        let blocks = self.bytes.chunks(BLOCK).enumerate().skip(1);
        let headers = blocks.filter_map(|(number, block)| {
            let header = CommitHeader::parse_any(block)?;
            (header.location.offset as usize == number * BLOCK).then_some(header.location.sequence)
        });
        headers.max()
    }

    /// The bytes behind a commit's header; fewer than it names if the segment ends before.
    pub(super) fn body(&self, header: &CommitHeader) -> &[u8] {
        let start = header.location.offset as usize + COMMIT_HEADER;
        let rest = self.bytes.get(start..).unwrap_or_default();
        rest.get(..header.len as usize).unwrap_or(rest)
    }
}

/// The first commit of a segment, if it is valid.
pub(super) fn first_commit(file: &dyn StoreFile, sequence: u32) -> io::Result<Option<CommitHeader>> {
    let mut block = [0; COMMIT_HEADER];
    let location = Location {
        sequence,
        offset: SEGMENT_HEADER as u32,
    };
    read_all(file, SEGMENT_HEADER as u64, &mut block)?;
    Ok(CommitHeader::parse(&block, location))
}

/// Reads block by block, after reading all at once failed; returns how many could not be read.
fn read_blocks(file: &dyn StoreFile, offset: u64, chunk: &mut [u8]) -> u64 {
    let mut unreadable = 0;
    for (number, block) in chunk.chunks_mut(BLOCK).enumerate() {
        if read_all(file, offset + (number * BLOCK) as u64, block).is_err() {
            block.fill(0);
            unreadable += 1;
        }
    }
    unreadable
}

/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;
