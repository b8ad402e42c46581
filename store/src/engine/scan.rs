//! Reads the segments of a log from the disk.
//!
//! Invariants: a block that cannot be read is treated as zeros and reported; nothing is written.

use std::io;

use memmap2::MmapMut;

use crate::block::BLOCK;
use crate::files::{StoreFile, read_all};
use crate::format::commit::{COMMIT_HEADER, CommitHeader};
use crate::format::segment::SEGMENT_HEADER;
use crate::format::{Location, frame};

/// A commit that was found in a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct FoundCommit {
    pub(super) header: CommitHeader,
    /// Whether it is not part of a chain, and the CRC of each of its frames is right.
    pub(super) is_verified: bool,
}

/// A segment, read whole into memory.
#[derive(Debug, Default)]
pub(super) struct SegmentBytes {
    room: Room,
    /// Number of bytes that are the segment.
    size: usize,
    /// Blocks that the system could not read.
    pub(super) unreadable: u64,
    /// Bytes missing at the end of the file.
    pub(super) missing: u64,
}

/// Memory for a segment: pages from the system if possible, because they are returned to it at once. An allocator
/// keeps what a start has used until its thread works again.
#[derive(Debug)]
enum Room {
    Pages(MmapMut),
    Heap(Vec<u8>),
}

impl Default for Room {
    fn default() -> Self {
        Self::Heap(Vec::new())
    }
}

impl Room {
    fn of(bytes: usize) -> Self {
        let pages = MmapMut::map_anon(bytes);
        pages.map_or_else(|_| Self::Heap(vec![0; bytes]), Self::Pages)
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Pages(pages) => pages,
            Self::Heap(bytes) => bytes,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Pages(pages) => pages,
            Self::Heap(bytes) => bytes,
        }
    }
}

impl SegmentBytes {
    pub(super) fn read(&mut self, file: &dyn StoreFile, size: u32) {
        self.unreadable = 0;
        self.size = size as usize;
        if self.room.bytes().len() < self.size {
            self.room = Room::of(self.size);
        }
        let bytes = self.room.bytes_mut().get_mut(..self.size).unwrap_or_default();
        let mut found = 0;
        for (number, chunk) in bytes.chunks_mut(CHUNK).enumerate() {
            let offset = (number * CHUNK) as u64;
            match read_all(file, offset, chunk) {
                Ok(count) => {
                    found += count;
                    chunk.get_mut(count..).unwrap_or_default().fill(0);
                }
                Err(_) => {
                    found += chunk.len();
                    self.unreadable += read_blocks(file, offset, chunk);
                }
            }
        }
        self.missing = (self.size - found) as u64;
    }

    fn bytes(&self) -> &[u8] {
        self.room.bytes().get(..self.size).unwrap_or_default()
    }

    /// The commits of the present use of the segment that have a valid header.
    pub(super) fn commits(&self, sequence: u32) -> Vec<CommitHeader> {
        let mut found = Vec::new();
        let mut offset = SEGMENT_HEADER;
        let bytes = self.bytes();
        while let Some(rest) = bytes.get(offset..).filter(|rest| rest.len() >= COMMIT_HEADER) {
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

    /// As [`Self::commits`], and which of them are completely right.
    pub(super) fn found_commits(&self, sequence: u32) -> Vec<FoundCommit> {
        let commits = self.commits(sequence).into_iter();
        let found = commits.map(|header| FoundCommit {
            header,
            is_verified: self.is_verified(&header),
        });
        found.collect()
    }

    fn is_verified(&self, header: &CommitHeader) -> bool {
        let body = self.body(header);
        if header.continues || header.first_frame > 0 || body.len() < header.len as usize {
            return false;
        }
        let mut place = 0;
        while let Some(rest) = body.get(place..).filter(|rest| !rest.is_empty()) {
            let location = header.body_location(place);
            match frame::parse(rest).zip(location) {
                Some((frame, location)) if frame::is_valid(rest, location) => place += frame.len,
                _ => return false,
            }
        }
        true
    }

    /// The highest sequence number that a commit names: that of the segment if its first block is not valid.
    pub(super) fn sequence(&self) -> Option<u32> {
        let blocks = self.bytes().chunks(BLOCK).enumerate().skip(1);
        let headers = blocks.filter_map(|(number, block)| {
            let header = CommitHeader::parse_any(block)?;
            (header.location.offset as usize == number * BLOCK).then_some(header.location.sequence)
        });
        headers.max()
    }

    /// The bytes after a commit's header; fewer than it states if the segment ends before.
    pub(super) fn body(&self, header: &CommitHeader) -> &[u8] {
        let start = header.location.offset as usize + COMMIT_HEADER;
        let rest = self.bytes().get(start..).unwrap_or_default();
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

/// Reads block by block, after reading everything at once failed; returns how many blocks could not be read.
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

/// Number of bytes to read at once.
const CHUNK: usize = 1 << 20;
