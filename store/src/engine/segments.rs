//! The files of the log: those in use, and free ones for reuse.
//!
//! Invariants: `used` is in the order of the log, and its last segment takes commits. A free segment has been written
//! to its whole length and synced, and so has the folder. A segment is freed only when a durable commit states that
//! nothing in it is needed. Sequence numbers grow with every use.

use std::collections::VecDeque;
use std::io;

use crate::block::{BLOCK, BlockBuffer};
use crate::error::StoreError;
use crate::files::{FileLayer, StoreFile, WriteWay, read_all, write_all};
use crate::format::newest::{self, NEWEST_FILE};
use crate::format::segment::{SEGMENT_HEADER, SegmentHeader};

/// A segment with commits.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) name: String,
    pub(crate) file: Box<dyn StoreFile>,
    pub(crate) sequence: u32,
    pub(crate) size: u32,
    /// The offset of the next commit; `size` if there can be none.
    pub(crate) end: u32,
    /// The last commit in it that counts.
    pub(crate) last_number: u64,
}

impl Segment {
    pub(crate) fn room(&self) -> usize {
        self.size.saturating_sub(self.end) as usize
    }
}

#[derive(Debug)]
pub(crate) struct FreeSegment {
    pub(crate) name: String,
    pub(crate) file: Box<dyn StoreFile>,
}

/// A file that is being written for the first time.
#[derive(Debug)]
struct Preparing {
    segment: FreeSegment,
    written: u32,
}

#[derive(Debug)]
pub(crate) struct Segments {
    pub(crate) files: Box<dyn FileLayer>,
    pub(crate) size: u32,
    pub(crate) used: VecDeque<Segment>,
    pub(crate) free: Vec<FreeSegment>,
    preparing: Option<Preparing>,
    zeros: BlockBuffer,
    pub(crate) next_sequence: u32,
    pub(crate) next_file: u32,
    segments_max: usize,
    /// The segment that the file `newest` names.
    named_newest: u32,
    /// Whether nothing may be written, renamed or removed.
    pub(crate) is_read_only: bool,
}

impl Segments {
    pub(crate) fn new(files: Box<dyn FileLayer>, size: u32, segments_max: usize) -> Self {
        Self {
            files,
            size,
            used: VecDeque::new(),
            free: Vec::new(),
            preparing: None,
            zeros: BlockBuffer::zeros(PREPARE_STEP.min(size as usize)),
            next_sequence: 1,
            next_file: 1,
            segments_max,
            named_newest: 0,
            is_read_only: false,
        }
    }

    /// The largest number of bytes that a commit may have.
    pub(crate) fn commit_max(&self) -> usize {
        self.size as usize - SEGMENT_HEADER
    }

    /// Bytes that fit into the segment that takes commits.
    pub(crate) fn room(&self) -> usize {
        self.used.back().map_or(0, Segment::room)
    }

    pub(crate) fn total_bytes(&self) -> u64 {
        let preparing = usize::from(self.preparing.is_some());
        (self.used.len() + self.free.len() + preparing) as u64 * u64::from(self.size)
    }

    /// Whether another segment may be created.
    pub(crate) fn may_grow(&self) -> bool {
        self.used.len() + self.free.len() < self.segments_max
    }

    /// Ensures that this many segments are free.
    pub(crate) fn reserve(&mut self, count: usize) -> Result<(), StoreError> {
        while self.free.len() < count {
            if !self.may_grow() {
                return Err(self.full(format!("it has {} segments", self.segments_max)));
            }
            if let Err(error) = self.prepare(self.size as usize) {
                if is_full(&error) {
                    return Err(self.full(error.to_string()));
                }
                let folder = self.files.folder().to_owned();
                return Err(StoreError::io("create a segment in", folder)(error));
            }
        }
        Ok(())
    }

    /// Writes further bytes of the next free segment, which is not used before all of it is durable.
    pub(crate) fn prepare(&mut self, budget: usize) -> io::Result<()> {
        let mut preparing = match self.preparing.take() {
            Some(preparing) => preparing,
            None => self.begin_to_prepare()?,
        };
        let target = preparing
            .written
            .saturating_add(u32::try_from(budget).unwrap_or(u32::MAX))
            .min(self.size);
        while preparing.written < target {
            let left = (self.size - preparing.written) as usize;
            let zeros = self.zeros.bytes();
            let zeros = zeros.get(..left).unwrap_or(zeros);
            let written = write_all(
                &*preparing.segment.file,
                preparing.written.into(),
                zeros,
                WriteWay::Direct,
            );
            if let Err(error) = written {
                return self.abandon_segment(preparing, error);
            }
            preparing.written += u32::try_from(zeros.len()).unwrap_or_default();
        }
        if preparing.written < self.size {
            self.preparing = Some(preparing);
            return Ok(());
        }
        if let Err(error) = preparing.segment.file.sync() {
            return self.abandon_segment(preparing, error);
        }
        let name = file_name(self.next_file);
        self.next_file += 1;
        self.files.rename(&preparing.segment.name, &name)?;
        self.files.sync_folder()?;
        self.free.push(FreeSegment {
            name,
            ..preparing.segment
        });
        Ok(())
    }

    fn begin_to_prepare(&mut self) -> io::Result<Preparing> {
        let file = self.files.open(UNFINISHED, true)?;
        let name = UNFINISHED.to_owned();
        Ok(Preparing {
            segment: FreeSegment { name, file },
            written: 0,
        })
    }

    /// A file that could not be written is removed: it would take up space that is needed.
    fn abandon_segment(&self, preparing: Preparing, error: io::Error) -> io::Result<()> {
        let name = preparing.segment.name;
        drop(preparing.segment.file);
        if let Err(removing) = self.files.remove(&name) {
            tracing::warn!("cannot remove {}: {removing}", self.files.path(&name).display());
        }
        Err(error)
    }

    /// Starts to use a free segment: from now on it takes the commits.
    pub(crate) fn advance(&mut self) -> Result<(), StoreError> {
        self.reserve(1)?;
        let Some(FreeSegment { name, file }) = self.free.pop() else {
            return Err(self.full("none is free".to_owned()));
        };
        let header = SegmentHeader {
            sequence: self.next_sequence,
            size: self.size,
        };
        self.next_sequence += 1;
        let mut block = BlockBuffer::default();
        block.extend(&header.encode());
        write_all(&*file, 0, block.padded(), WriteWay::Durable)
            .map_err(StoreError::io("write the header of", self.files.path(&name)))?;
        self.used.push_back(Segment {
            name,
            file,
            sequence: header.sequence,
            size: self.size,
            end: SEGMENT_HEADER as u32,
            last_number: 0,
        });
        Ok(())
    }

    /// Names the newest segment in the file `newest`, if it does not yet. All headers are durable.
    pub(crate) fn name_newest(&mut self) {
        let Some(sequence) = self.used.back().map(|segment| segment.sequence) else {
            // The log has just been opened.
            return;
        };
        if sequence == self.named_newest {
            // It names it already.
            return;
        }
        // Tried once for each segment: without the file, only the report about a missing segment is lost.
        self.named_newest = sequence;
        let mut block = BlockBuffer::default();
        block.extend(&newest::encode(sequence));
        let written = self
            .files
            .open(NEWEST_FILE, true)
            .and_then(|file| write_all(&*file, 0, block.padded(), WriteWay::Cached));
        if let Err(error) = written {
            tracing::warn!("cannot write {}: {error}", self.files.path(NEWEST_FILE).display());
        }
    }

    /// The segment that the file `newest` names, if there is one and it can be read.
    pub(crate) fn read_newest(&self) -> Option<u32> {
        let mut block = [0; BLOCK];
        let file = self.files.open(NEWEST_FILE, false).ok()?;
        read_all(&*file, 0, &mut block).ok()?;
        newest::parse(&block)
    }

    /// Removes the file that was being created when the process ended.
    pub(crate) fn remove_unfinished(&self, names: &[String]) {
        if names.iter().any(|name| name == UNFINISHED)
            && let Err(error) = self.files.remove(UNFINISHED)
        {
            tracing::warn!("cannot remove {}: {error}", self.files.path(UNFINISHED).display());
        }
    }

    /// Renames a file that is not a valid segment, unless the log is only read; its name is never used again.
    pub(crate) fn quarantine(&self, name: &str) {
        if self.is_read_only {
            return;
        }
        let aside = format!("{name}{ASIDE}");
        if let Err(error) = self.files.rename(name, &aside) {
            tracing::warn!("cannot rename {}: {error}", self.files.path(name).display());
        }
    }

    /// Nothing more is written into the segment that takes commits; commits after `last` do not count.
    pub(crate) fn retire(&mut self, last: u64) {
        if let Some(segment) = self.used.back_mut() {
            segment.end = segment.size;
        }
        for segment in &mut self.used {
            segment.last_number = segment.last_number.min(last);
        }
    }

    /// Frees segments whose commits up to this number are not needed; at most `free_max` free segments are kept.
    pub(crate) fn free_up_to(&mut self, reclaimed: u64, free_max: usize) {
        while self.used.len() > 1
            && self
                .used
                .front()
                .is_some_and(|segment| segment.last_number <= reclaimed)
        {
            let Some(segment) = self.used.pop_front() else {
                // `front` has just shown that there is one.
                return;
            };
            let free = FreeSegment {
                name: segment.name,
                file: segment.file,
            };
            if segment.size == self.size && self.free.len() < free_max {
                self.free.push(free);
            } else {
                self.discard(free);
            }
        }
    }

    pub(crate) fn discard(&mut self, segment: FreeSegment) {
        drop(segment.file);
        if let Err(error) = self.files.remove(&segment.name) {
            tracing::warn!(
                "cannot remove {}: {error}",
                self.files.path(&segment.name).display()
            );
        }
    }

    pub(crate) fn by_sequence(&self, sequence: u32) -> Option<&Segment> {
        let place = self
            .used
            .binary_search_by_key(&sequence, |segment| segment.sequence)
            .ok()?;
        self.used.get(place)
    }

    /// The first used segment whose sequence number is not lower.
    pub(crate) fn at_or_after(&self, sequence: u32) -> Option<&Segment> {
        let place = self.used.partition_point(|segment| segment.sequence < sequence);
        self.used.get(place)
    }

    fn full(&self, reason: String) -> StoreError {
        StoreError::Full {
            folder: self.files.folder().to_owned(),
            reason,
        }
    }
}

/// The name of a segment's file.
pub(crate) fn file_name(number: u32) -> String {
    format!("{number:08}{SUFFIX}")
}

/// The number in the name of a segment's file, also if it was renamed as damaged.
pub(crate) fn file_number(name: &str) -> Option<u32> {
    let name = name.strip_suffix(ASIDE).unwrap_or(name);
    name.strip_suffix(SUFFIX)?.parse().ok()
}

/// Whether an error means that there is no space; all others are failures.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

const SUFFIX: &str = ".segment";
/// The name of the file that is being written for the first time.
const UNFINISHED: &str = "unfinished";
/// The end of the name of a damaged file.
pub(crate) const ASIDE: &str = ".damaged";
/// Bytes to write at once while a segment is created.
const PREPARE_STEP: usize = 256 * BLOCK;
