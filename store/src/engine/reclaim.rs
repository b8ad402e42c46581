//! Frees the oldest segments by appending their live records again.
//!
//! Invariants: the cursor moves over whole chains in the order of the log and never into the segment that takes
//! commits. In a commit, copies precede what the shards appended meanwhile, because they describe the state before it.
//! A record that can no longer be read is counted and skipped.

use super::Engine;
use super::segments::Segment;
use super::window::Window;
use crate::block::BLOCK;
use crate::format::chain::{Layout, Piece};
use crate::format::commit::{COMMIT_HEADER, CommitHeader};
use crate::format::segment::SEGMENT_HEADER;
use crate::format::{Location, frame};
use crate::index::{Index, Place};
use crate::record;

/// The progress of reclaiming.
#[derive(Debug, Default)]
pub(super) struct Reclaim {
    /// Where the search for the next commit starts; `None` before the first segment was examined.
    cursor: Option<Location>,
    /// The last commit of the last chain that was collected.
    collected: u64,
    /// Frames to append again.
    pub(super) copies: Vec<u8>,
    window: Window,
    /// Bytes that are still to be examined.
    owed: usize,
}

impl Reclaim {
    pub(super) fn from(reclaimed: u64) -> Self {
        Self {
            collected: reclaimed,
            ..Self::default()
        }
    }
}

/// What was found at the cursor.
#[derive(Clone, Copy, Debug)]
enum Next {
    Commit(CommitHeader),
    Nothing,
    /// The end of the part of the log that may be reclaimed.
    End,
}

impl Engine {
    /// Examines the oldest commits, as far as the amount written requires it.
    pub(super) fn collect(&mut self) {
        // Copies use space before they free any.
        let copies_max = COPIES_MAX.min(self.commit_target());
        while self.reclaim.owed > 0 && self.reclaim.copies.len() < copies_max {
            let looked_through = self.collect_chain();
            if looked_through == 0 {
                self.reclaim.owed = 0;
            }
            self.reclaim.owed = self.reclaim.owed.saturating_sub(looked_through);
        }
    }

    /// Drops the copies, because they have been written.
    pub(super) fn collected(&mut self) {
        self.reclaim.copies.clear();
        self.reclaim.copies.shrink_to(COPIES_MAX);
        self.reclaimed = self.reclaim.collected;
    }

    /// Plans how much of the oldest segments is checked for live records after `written` bytes.
    pub(super) fn plan_reclaim(&mut self, written: usize) {
        let factor = match self.segments_over() {
            _ if self.is_short() && self.frees_a_segment() => FACTOR_MAX,
            _ if self.is_short() => return,
            over if over >= 0 => 4,
            -1 => 2,
            _ => return,
        };
        let owed_max = self.segments.size as usize * 2;
        self.reclaim.owed = (self.reclaim.owed + written * factor).min(owed_max);
    }

    /// Whether reclaiming would free something although nothing is written.
    pub(super) fn has_reclaim_work(&self) -> bool {
        if self.is_short() {
            self.frees_a_segment()
        } else {
            self.segments_over() > 0
        }
    }

    /// Plans some work while nothing is written.
    pub(super) fn plan_idle_reclaim(&mut self) {
        self.reclaim.owed = IDLE_BYTES.min(self.segments.size as usize);
    }

    /// Number of used segments above the target: the larger of eight, and four times what the live records need.
    fn segments_over(&self) -> i64 {
        let live = self.index.live_bytes().saturating_mul(LIVE_FACTOR);
        let bound = live.div_ceil(self.segments.size.into()).max(SEGMENTS_BOUND);
        let bound = bound.min(self.options.segments_max() as u64);
        let used = i64::try_from(self.not_reclaimed().count()).unwrap_or(i64::MAX);
        used - i64::try_from(bound).unwrap_or(i64::MAX) + FREE_SHARE
    }

    /// Whether copying the oldest segments needs at least one segment less than they have. Otherwise the copies would
    /// only use up the remaining space.
    fn frees_a_segment(&self) -> bool {
        let size = u64::from(self.segments.size);
        let mut gain = 0;
        let newest = self.segments.used.back().map_or(0, |segment| segment.sequence);
        self.not_reclaimed()
            .filter(|segment| segment.sequence < newest)
            .any(|segment| {
                gain += size.saturating_sub(self.index.live_bytes_of(segment.sequence));
                gain >= size
            })
    }

    /// The segments that the cursor has not left; the others are freed with the next commits.
    fn not_reclaimed(&self) -> impl Iterator<Item = &Segment> {
        let cursor = self.reclaim.cursor.map_or(0, |cursor| cursor.sequence);
        self.segments
            .used
            .iter()
            .filter(move |segment| segment.sequence >= cursor)
    }

    /// Examines one chain; returns its length in bytes, 0 if there is no chain to examine.
    fn collect_chain(&mut self) -> usize {
        let Some(start) = self.reclaim.cursor.or_else(|| self.first_cursor()) else {
            return 0;
        };
        let mut cursor = start;
        let mut passed = 0;
        let mut stream = Vec::new();
        let mut layout = Layout::default();
        loop {
            match self.next(&mut cursor) {
                Next::End => {
                    if stream.is_empty() {
                        self.reclaim.cursor = Some(cursor);
                        return passed;
                    }
                    // The rest of the chain is in the segment that takes commits: it is examined again later.
                    return 0;
                }
                Next::Nothing => passed += BLOCK,
                Next::Commit(header) => {
                    let len = (COMMIT_HEADER + header.len as usize).next_multiple_of(BLOCK);
                    passed += len;
                    let body_at = Location {
                        offset: header.location.offset + COMMIT_HEADER as u32,
                        ..header.location
                    };
                    cursor.offset = cursor
                        .offset
                        .saturating_add(u32::try_from(len).unwrap_or(u32::MAX));
                    if header.number <= self.reclaim.collected {
                        continue;
                    }
                    layout.push(Piece {
                        start: stream.len(),
                        location: body_at,
                    });
                    self.read_body(body_at, header.len as usize, &mut stream);
                    if !header.continues {
                        self.copy_chain(&stream, &layout);
                        self.reclaim.collected = header.number;
                        self.reclaim.cursor = Some(cursor);
                        return passed;
                    }
                }
            }
        }
    }

    /// The commit at the cursor, which moves to the next segment at the end of one.
    fn next(&mut self, cursor: &mut Location) -> Next {
        loop {
            let newest = self.segments.used.back().map_or(0, |segment| segment.sequence);
            if cursor.sequence >= newest {
                return Next::End;
            }
            let Some(segment) = self.segments.at_or_after(cursor.sequence) else {
                return Next::End;
            };
            if segment.sequence > cursor.sequence {
                *cursor = Location {
                    sequence: segment.sequence,
                    offset: SEGMENT_HEADER as u32,
                };
                continue;
            }
            if cursor.offset >= segment.size {
                *cursor = Location {
                    sequence: cursor.sequence + 1,
                    offset: SEGMENT_HEADER as u32,
                };
                continue;
            }
            let bytes = self
                .reclaim
                .window
                .read(segment, *cursor, COMMIT_HEADER)
                .unwrap_or_default();
            match CommitHeader::parse(bytes, *cursor) {
                Some(header) if header.number <= segment.last_number => return Next::Commit(header),
                // The end of the log that a recovery did not use.
                Some(_) => cursor.offset = segment.size,
                None => {
                    cursor.offset += BLOCK as u32;
                    return Next::Nothing;
                }
            }
        }
    }

    fn read_body(&mut self, at: Location, len: usize, stream: &mut Vec<u8>) {
        let start = stream.len();
        if let Some(segment) = self.segments.by_sequence(at.sequence) {
            match self.reclaim.window.read(segment, at, len) {
                Ok(bytes) => stream.extend_from_slice(bytes),
                Err(error) => {
                    let path = self.segments.files.path(&segment.name);
                    tracing::error!(
                        "cannot read {}: {error}; its content at {} is lost",
                        path.display(),
                        at.offset
                    );
                    self.counters.quarantined(1);
                }
            }
        }
        stream.resize(start + len, 0);
    }

    fn copy_chain(&mut self, stream: &[u8], layout: &Layout) {
        let mut place = 0;
        while let Some(rest) = stream.get(place..).filter(|rest| !rest.is_empty()) {
            let Some((frame, location)) = frame::parse(rest).zip(layout.locate(place)) else {
                self.counters.quarantined(1);
                return;
            };
            if frame::is_valid(rest, location) {
                copy_frame(&mut self.index, &mut self.reclaim.copies, &frame, location);
            } else {
                self.counters.quarantined(1);
            }
            place += frame.len;
        }
    }

    fn first_cursor(&self) -> Option<Location> {
        let segment = self.segments.used.front()?;
        Some(Location {
            sequence: segment.sequence,
            offset: SEGMENT_HEADER as u32,
        })
    }
}

fn copy_frame(index: &mut Index, copies: &mut Vec<u8>, frame: &frame::Frame<'_>, location: Location) {
    let Some(record) = record::decode(frame.kind, frame.body) else {
        // A kind of record that this version does not know is not live.
        return;
    };
    let len = u32::try_from(frame.len).unwrap_or(u32::MAX);
    index.copy_live(&record, Place { location, len }, &mut |record| {
        frame::append(copies, |out| record::encode(record, out));
    });
}

/// Number of segments that may exist however little is live: 256 MB.
const SEGMENTS_BOUND: u64 = 8;
/// Some of these are free, or being freed.
const FREE_SHARE: i64 = 4;
/// Bytes on the disk for each live byte.
const LIVE_FACTOR: u64 = 4;
/// Bytes to examine for each byte that is written, when there is no space.
const FACTOR_MAX: usize = 8;
/// Bytes of copies in one commit, unless one message is larger.
const COPIES_MAX: usize = 1 << 20;
/// Bytes to examine at once at an idle time.
const IDLE_BYTES: usize = 4 << 20;
