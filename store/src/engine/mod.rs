//! The log without threads: commits, the index, recovery. Each call does its I/O and returns.
//!
//! `write.rs` writes commits into the files of `segments.rs`. `recovery.rs` opens a log: `scan.rs` finds its commits,
//! `read_ahead.rs` has a thread for that, and `replay.rs` applies them. `reclaim.rs` frees the oldest segments.
//! `messages.rs` reads messages, through a `window.rs` of the segment: all of them at a start, and those that wait for
//! one session in `read_back.rs`.
//!
//! Invariants: a commit is applied to the index when it is written, so the index contains nothing that is not in the
//! log. `previous` is the last commit that counts; numbers of a failed attempt are never used again. Durable bytes are
//! not changed until their segment is freed. A header names a segment as reclaimed only if the copies of its records
//! are durable, because the copies of a torn commit are lost. A segment is freed when a durable header has named it.

mod messages;
mod read_ahead;
mod read_back;
mod reclaim;
mod recovery;
mod replay;
mod scan;
pub(crate) mod segments;
mod window;
mod write;

use std::sync::Arc;
use std::time::Instant;

use crate::block::{BLOCK, BlockBuffer};
use crate::counters::Counters;
use crate::error::StoreError;
use crate::format::chain::Layout;
use crate::format::commit::COMMIT_HEADER;
use crate::index::Index;
use crate::options::{Durability, Options};
use reclaim::Reclaim;
use segments::{Segments, is_full};
use write::Part;

pub(crate) use recovery::{Inspected, inspect, open};

/// The log with its index.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) segments: Segments,
    pub(crate) index: Index,
    options: Options,
    counters: Arc<Counters>,
    /// The number of the last commit that counts.
    previous: u64,
    /// The highest number that was ever used.
    number_max: u64,
    /// The last commit up to which everything is durable.
    durable: u64,
    /// The last commit up to which nothing is needed: its copies are written.
    reclaimed: u64,
    /// As `reclaimed`, but only with copies that are durable: this is what headers name.
    reclaimed_durable: u64,
    /// The value of `reclaimed_durable` in the last header that was written.
    reclaimed_named: u64,
    reclaim: Reclaim,
    /// Space for the header, and the stream of the next commit.
    stream: BlockBuffer,
    layout: Layout,
    parts: Vec<Part>,
    /// The buffer for the later parts of a chain.
    part_buffer: BlockBuffer,
    /// Sequence numbers of the segments with writes that are not synced.
    unsynced: Vec<u32>,
    /// Whether the last commit has no records.
    is_marked: bool,
    /// After a segment could not be created: the commits and idle times until the next attempt.
    grow_after: u32,
    /// Whether the failure to create a segment was reported.
    growth_failed: bool,
    /// Consecutive failures to create a segment for another reason than lack of space.
    growth_errors: u32,
}

impl Engine {
    /// Bytes of frames that fit into one commit without a new segment.
    pub(crate) fn room(&self) -> usize {
        self.segments.room().saturating_sub(COMMIT_HEADER)
    }

    /// Bytes of frames after which a commit is not made larger: reclaiming works in whole commits.
    pub(crate) fn commit_target(&self) -> usize {
        self.segments.commit_max() / COMMITS_OF_SEGMENT
    }

    /// Writes batches, whole and in order. With [`Durability::Sync`] they are durable when it returns.
    ///
    /// # Errors
    /// [`StoreError::Full`]: nothing was written, and it may be tried again. All other errors are final.
    pub(crate) fn commit<'a>(&mut self, batches: impl Iterator<Item = &'a [u8]>) -> Result<(), StoreError> {
        self.collect();
        self.stream.clear();
        self.stream.extend(&[0; COMMIT_HEADER]);
        self.stream.extend(&self.reclaim.copies);
        for batch in batches {
            self.stream.extend(batch);
        }
        match self.write_stream() {
            Ok(()) => {}
            Err(error @ StoreError::Full { .. }) => return Err(error),
            Err(error) => {
                tracing::warn!("{error}; the segment is no longer used, and the commit is written again");
                self.segments.retire(self.previous);
                self.write_stream()?;
            }
        }
        self.is_marked = false;
        self.apply_stream();
        self.collected();
        let written = self.stream.bytes().len().next_multiple_of(BLOCK);
        self.plan_reclaim(written);
        self.prepare(written)?;
        if self.options.durability == Durability::None && self.parts.iter().any(|part| part.advances) {
            // Segments are freed according to what is durable.
            self.sync()?;
        }
        self.counters.committed(&self.index, &self.segments);
        self.stream.shrink(STREAM_KEPT);
        self.part_buffer.shrink(STREAM_KEPT);
        Ok(())
    }

    /// Makes everything that was written durable.
    ///
    /// # Errors
    /// What was written may be lost: the error is final.
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

    /// Writes a commit without records, so that the log itself states that the last one is durable. Without it, damage
    /// to the last commit could not be distinguished from a torn write.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub(crate) fn mark(&mut self) -> Result<(), StoreError> {
        if self.is_marked || self.durable < self.previous {
            return Ok(());
        }
        self.commit(std::iter::empty())?;
        self.is_marked = true;
        Ok(())
    }

    pub(crate) fn has_unsynced(&self) -> bool {
        !self.unsynced.is_empty()
    }

    /// Whether [`Self::idle`] has work to do.
    pub(crate) fn has_idle_work(&self) -> bool {
        (!self.is_marked && self.durable == self.previous) || self.has_reclaim_work() || self.may_prepare()
    }

    /// Whether the only space left is what is reserved for acknowledgements and reclaiming.
    pub(crate) fn is_short(&self) -> bool {
        self.segments.free.len() < RESERVE && (self.growth_failed || !self.segments.may_grow())
    }

    /// Does work in advance while there is nothing else to do.
    ///
    /// # Errors
    /// The store cannot continue; or the disk is full, which does no harm here.
    pub(crate) fn idle(&mut self) -> Result<(), StoreError> {
        if self.may_prepare() {
            self.prepare(IDLE_PREPARED)?;
        }
        if self.has_reclaim_work() {
            self.plan_idle_reclaim();
            return self.commit(std::iter::empty());
        }
        self.mark()
    }

    /// Allows new attempts to enlarge the log, because there may be space now.
    pub(crate) fn try_to_grow_again(&mut self) {
        self.grow_after = 0;
    }

    /// Creates segments in advance, so that no commit waits for one. Without space it is tried again at an idle time.
    ///
    /// # Errors
    /// The disk failed twice in a row: the error is final.
    fn prepare(&mut self, written: usize) -> Result<(), StoreError> {
        if self.grow_after > 0 {
            self.grow_after -= 1;
            return Ok(());
        }
        if !self.may_prepare() {
            return Ok(());
        }
        let free = self.segments.free.len();
        match self.segments.prepare(written * PREPARED_AHEAD) {
            // A segment that was only started may still be too large, or fail.
            Ok(()) => {
                if self.segments.free.len() > free {
                    (self.growth_failed, self.growth_errors) = (false, 0);
                }
            }
            Err(error) if !is_full(&error) => {
                self.growth_errors += 1;
                let failed = StoreError::io("create another segment in", self.segments.files.folder())(error);
                if self.growth_errors > 1 {
                    return Err(failed);
                }
                tracing::warn!("{failed}; it is tried again");
            }
            Err(error) => {
                if !self.growth_failed {
                    let folder = self.segments.files.folder().display();
                    tracing::warn!("cannot create another segment in {folder}: {error}");
                }
                self.growth_failed = true;
                self.grow_after = GROW_AFTER;
            }
        }
        Ok(())
    }

    fn may_prepare(&self) -> bool {
        self.segments.free.len() < FREE_WANTED && self.segments.may_grow()
    }

    fn became_durable(&mut self) {
        self.durable = self.previous;
        self.reclaimed_durable = self.reclaimed;
        self.segments.free_up_to(self.reclaimed_named, FREE_MAX);
        self.segments.name_newest();
    }
}

/// Number of largest commits that fit into a segment.
const COMMITS_OF_SEGMENT: usize = 8;
/// Number of free segments to keep; further ones are removed.
const FREE_MAX: usize = 5;
/// Number of free segments to create in advance.
const FREE_WANTED: usize = 4;
/// Number of free segments that only acknowledgements and copies may use.
const RESERVE: usize = 3;
/// Bytes of the next segment to write for each byte of a commit.
const PREPARED_AHEAD: usize = 4;
/// Commits and idle times between a failure to create a segment and the next attempt.
const GROW_AFTER: u32 = 20;
/// Bytes of the next segment to write at an idle time.
const IDLE_PREPARED: usize = 1 << 20;
/// A larger commit buffer is released.
const STREAM_KEPT: usize = 16 << 20;
