//! Writes the stream of a commit, and applies it to the index.
//!
//! Invariants: all segments that a chain needs exist before its first commit is written. The CRCs of frames are
//! computed for the place where they will be, again for each attempt.

use std::time::Instant;

use super::Engine;
use crate::block::BLOCK;
use crate::error::StoreError;
use crate::files::{WriteWay, write_all};
use crate::format::chain::{Piece, close_frames};
use crate::format::commit::{COMMIT_HEADER, CommitHeader};
use crate::format::segment::SEGMENT_HEADER;
use crate::format::{Location, frame};
use crate::index::Place;
use crate::options::Durability;
use crate::record;

/// One commit of a chain before it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// Where it starts in the stream.
    start: usize,
    len: usize,
    /// Whether the commit starts a new segment.
    pub(super) advances: bool,
    location: Location,
}

impl Engine {
    pub(super) fn write_stream(&mut self) -> Result<(), StoreError> {
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

    /// Decides where the stream is written: into one commit if it fits into a segment, else into as many as it needs.
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
        let way = self.options.durability.write_way();
        let started = Instant::now();
        write_all(&*segment.file, part.location.offset.into(), bytes, way)
            .map_err(StoreError::io("write", self.segments.files.path(&segment.name)))?;
        self.counters.wrote(bytes.len(), part.len);
        if way == WriteWay::Durable {
            self.counters.synced(started.elapsed());
        } else if !self.unsynced.contains(&segment.sequence) {
            self.unsynced.push(segment.sequence);
        }
        segment.end = part.location.offset + u32::try_from(bytes.len()).unwrap_or_default();
        segment.last_number = number;
        self.reclaimed_named = header.reclaimed;
        Ok(number)
    }

    /// Where the first frame starts in a part.
    fn first_frame(&self, part: Part) -> u32 {
        let stream = self.stream.bytes().get(COMMIT_HEADER..).unwrap_or_default();
        let mut place = 0;
        // Only chains have frames that started earlier, and they are rare.
        while place < part.start {
            match stream.get(place..).and_then(frame::parse) {
                Some(frame) => place += frame.len,
                None => break,
            }
        }
        u32::try_from((place.max(part.start) - part.start).min(part.len)).unwrap_or_default()
    }

    pub(super) fn apply_stream(&mut self) {
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
