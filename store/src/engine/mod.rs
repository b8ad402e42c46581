//! The log without threads: commits, the index, recovery. Each call does its I/O and returns.
//!
//! `scan.rs` reads segments, `replay.rs` applies them and `recovery.rs` opens a log with both; `segments.rs` has the
//! files, `messages.rs` reads messages back.
//!
//! Invariants: a commit is applied to the index when it is written, so the index knows nothing that is not in the log.
//! `previous` is the last commit that counts; numbers that a failed attempt used are never used again. What is durable
//! stays as it is until its segment is freed. A header names as reclaimed only what has durable copies: the copies of a
//! commit that is torn are not there. A segment is freed when a durable header has named it.

mod messages;
mod recovery;
mod replay;
mod scan;
pub(crate) mod segments;

use std::sync::Arc;
use std::time::Instant;

use crate::block::{BLOCK, BlockBuffer};
use crate::counters::Counters;
use crate::error::StoreError;
use crate::files::write_all;
use crate::format::Location;
use crate::format::chain::{Layout, Piece, close_frames};
use crate::format::commit::{COMMIT_HEADER, CommitHeader};
use crate::format::{frame, segment::SEGMENT_HEADER};
use crate::index::{Index, Place};
use crate::options::{Durability, Options};
use crate::record;
use segments::Segments;

pub(crate) use recovery::open;

/// The log and what lives in it.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) segments: Segments,
    pub(crate) index: Index,
    options: Options,
    counters: Arc<Counters>,
    /// The last commit that counts.
    previous: u64,
    /// The highest number that was ever used.
    number_max: u64,
    /// Up to this commit all is durable.
    durable: u64,
    /// Up to this commit nothing is needed: its copies are written.
    reclaimed: u64,
    /// As `reclaimed`, of copies that are durable: this is what headers name.
    reclaimed_durable: u64,
    /// What the last header that was written names.
    reclaimed_named: u64,
    /// The header's place, and the stream of the next commit.
    stream: BlockBuffer,
    layout: Layout,
    parts: Vec<Part>,
    /// For the later parts of a chain.
    part_buffer: BlockBuffer,
    /// Segments with writes that are not synced, by their sequence numbers.
    unsynced: Vec<u32>,
    /// The last commit has no records.
    is_marked: bool,
}

/// One commit of a chain before it is written.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// Where in the stream it begins.
    start: usize,
    len: usize,
    /// It begins a new segment.
    advances: bool,
    location: Location,
}

impl Engine {
    /// Bytes of frames that fit into one commit without a new segment.
    pub(crate) fn room(&self) -> usize {
        self.segments.room().saturating_sub(COMMIT_HEADER)
    }

    /// Writes batches, whole, in their order. In [`Durability::Sync`] they are durable when it returns.
    ///
    /// # Errors
    /// [`StoreError::Full`]: nothing was written, and it may be tried again. All others are final.
    pub(crate) fn commit<'a>(&mut self, batches: impl Iterator<Item = &'a [u8]>) -> Result<(), StoreError> {
        self.stream.clear();
        self.stream.extend(&[0; COMMIT_HEADER]);
        for batch in batches {
            self.stream.extend(batch);
        }
        match self.write_stream() {
            Ok(()) => {}
            Err(error @ StoreError::Full { .. }) => return Err(error),
            Err(error) => {
                tracing::warn!(
                    "{error}; the segment is not used any more, and the commit is written once more"
                );
                self.segments.retire();
                self.write_stream()?;
            }
        }
        self.is_marked = false;
        self.apply_stream();
        if self.options.durability == Durability::None && self.parts.iter().any(|part| part.advances) {
            // Segments are freed by what is durable.
            self.sync()?;
        }
        self.counters.committed(&self.index, &self.segments);
        self.stream.shrink(STREAM_KEPT);
        self.part_buffer.shrink(STREAM_KEPT);
        Ok(())
    }

    /// Makes all that was written durable.
    ///
    /// # Errors
    /// What was written may be lost: it is final.
    pub(crate) fn sync(&mut self) -> Result<(), StoreError> {
        for sequence in std::mem::take(&mut self.unsynced) {
            if let Some(segment) = self.segments.by_sequence(sequence) {
                let started = Instant::now();
                let path = || self.segments.files.path(&segment.name);
                segment
                    .file
                    .sync()
                    .map_err(|error| StoreError::io("sync", path())(error))?;
                self.counters.synced(started.elapsed());
            }
        }
        self.became_durable();
        Ok(())
    }

    /// Writes a commit without records, so that the log itself says that the last one is durable. Without it damage to
    /// the last commit could not be distinguished from a torn write.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub(crate) fn mark(&mut self) -> Result<(), StoreError> {
        if !self.has_idle_work() {
            return Ok(());
        }
        self.commit(std::iter::empty())?;
        self.is_marked = true;
        Ok(())
    }

    pub(crate) fn has_unsynced(&self) -> bool {
        !self.unsynced.is_empty()
    }

    /// Whether [`Self::idle`] would do something.
    pub(crate) fn has_idle_work(&self) -> bool {
        !self.is_marked && self.durable == self.previous
    }

    /// Has time: what can be done ahead is done.
    ///
    /// # Errors
    /// The store cannot go on; or the disk is full, which is no harm here.
    pub(crate) fn idle(&mut self) -> Result<(), StoreError> {
        self.mark()
    }

    fn became_durable(&mut self) {
        self.durable = self.previous;
        self.reclaimed_durable = self.reclaimed;
        self.segments.free_up_to(self.reclaimed_named, FREE_MAX);
    }

    fn write_stream(&mut self) -> Result<(), StoreError> {
        self.plan()?;
        self.layout.clear();
        for part in &self.parts {
            self.layout.push(Piece {
                start: part.start,
                location: Location {
                    sequence: part.location.sequence,
                    offset: part.location.offset + COMMIT_HEADER as u32,
                },
            });
        }
        let stream = self
            .stream
            .bytes_mut()
            .get_mut(COMMIT_HEADER..)
            .unwrap_or_default();
        close_frames(stream, &self.layout);
        let mut last = self.previous;
        for place in 0..self.parts.len() {
            last = self.write_part(place, last)?;
        }
        self.previous = last;
        if self.options.durability == Durability::Sync {
            self.became_durable();
        }
        Ok(())
    }

    /// Decides where the stream goes: into one commit if it fits into a segment, else into as many as it needs.
    fn plan(&mut self) -> Result<(), StoreError> {
        let len = self.stream.bytes().len() - COMMIT_HEADER;
        let room = self.segments.room();
        let mut advances = false;
        let mut available = room;
        if COMMIT_HEADER + len > room && (COMMIT_HEADER + len <= self.segments.commit_max() || room <= BLOCK)
        {
            advances = true;
            available = self.segments.commit_max();
        }
        self.parts.clear();
        let mut sequence = self.segments.used.back().map_or(0, |segment| segment.sequence);
        let mut start = 0;
        loop {
            let offset = match self.segments.used.back() {
                Some(segment) if !advances => segment.end,
                _ => SEGMENT_HEADER as u32,
            };
            if advances {
                sequence = self.segments.next_sequence + self.advances_planned();
            }
            let part_len = (len - start).min(available - COMMIT_HEADER);
            let location = Location { sequence, offset };
            self.parts.push(Part {
                start,
                len: part_len,
                advances,
                location,
            });
            start += part_len;
            if start == len {
                break;
            }
            advances = true;
            available = self.segments.commit_max();
        }
        self.segments.reserve(self.advances_planned() as usize)
    }

    fn advances_planned(&self) -> u32 {
        self.parts.iter().map(|part| u32::from(part.advances)).sum()
    }

    /// Writes one commit of the chain; returns its number.
    fn write_part(&mut self, place: usize, last: u64) -> Result<u64, StoreError> {
        let Some(part) = self.parts.get(place).copied() else {
            return Ok(last);
        };
        if part.advances {
            self.segments.advance()?;
        }
        self.number_max += 1;
        let number = self.number_max;
        let header = CommitHeader {
            location: part.location,
            len: u32::try_from(part.len).unwrap_or_default(),
            first_frame: self.first_frame(part),
            continues: place + 1 < self.parts.len(),
            number,
            previous: last,
            durable: self.durable,
            reclaimed: self.reclaimed_durable,
            session_max: self.index.session_max(),
            publication_max: self.index.publication_max(),
        };
        let bytes = if place == 0 {
            if let Some(start) = self.stream.bytes_mut().first_chunk_mut() {
                *start = header.encode();
            }
            if self.parts.len() == 1 {
                self.stream.padded()
            } else {
                self.part_buffer.clear();
                self.part_buffer.extend(
                    self.stream
                        .bytes()
                        .get(..COMMIT_HEADER + part.len)
                        .unwrap_or_default(),
                );
                self.part_buffer.padded()
            }
        } else {
            let start = COMMIT_HEADER + part.start;
            self.part_buffer.clear();
            self.part_buffer.extend(&header.encode());
            self.part_buffer.extend(
                self.stream
                    .bytes()
                    .get(start..start + part.len)
                    .unwrap_or_default(),
            );
            self.part_buffer.padded()
        };
        let Some(segment) = self.segments.used.back_mut() else {
            return Ok(last);
        };
        let durable = self.options.durability == Durability::Sync;
        let started = Instant::now();
        write_all(&*segment.file, part.location.offset.into(), bytes, durable)
            .map_err(StoreError::io("write", self.segments.files.path(&segment.name)))?;
        self.counters.wrote(bytes.len(), part.len);
        if durable {
            self.counters.synced(started.elapsed());
        } else if !self.unsynced.contains(&segment.sequence) {
            self.unsynced.push(segment.sequence);
        }
        segment.end = part.location.offset + u32::try_from(bytes.len()).unwrap_or_default();
        segment.last_number = number;
        self.reclaimed_named = header.reclaimed;
        Ok(number)
    }

    /// Where in a part the first frame begins.
    fn first_frame(&self, part: Part) -> u32 {
        let stream = self.stream.bytes().get(COMMIT_HEADER..).unwrap_or_default();
        let mut place = 0;
        // Only chains have frames that began earlier, and they are rare.
        while place < part.start {
            match stream.get(place..).and_then(frame::parse) {
                Some(frame) => place += frame.len,
                None => break,
            }
        }
        u32::try_from((place.max(part.start) - part.start).min(part.len)).unwrap_or_default()
    }

    fn apply_stream(&mut self) {
        let stream = self.stream.bytes().get(COMMIT_HEADER..).unwrap_or_default();
        let mut place = 0;
        while let Some(frame) = stream.get(place..).and_then(frame::parse) {
            let location = self.layout.locate(place);
            if let Some((location, record)) = location.zip(record::decode(frame.kind, frame.body)) {
                let len = u32::try_from(frame.len).unwrap_or(u32::MAX);
                self.index.apply(&record, Place { location, len });
            }
            place += frame.len;
        }
        self.index.end_of_commit();
    }
}

/// Free segments that are kept; others are removed.
const FREE_MAX: usize = 4;
/// A commit buffer that is larger is given back.
const STREAM_KEPT: usize = 16 << 20;
