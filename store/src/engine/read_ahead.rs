//! Reads the segments of a log in a separate thread, while the previous ones are applied to the index. Small logs are
//! read without a thread, which would cost more than it saves.
//!
//! Invariants: segments arrive in order. All are read, whatever happens to their content, so that the operations on
//! the files are the same each time. If the consumer panics, the reader ends too.

use std::io;
use std::sync::mpsc::{channel, sync_channel};
use std::thread;

use super::scan::{FoundCommit, SegmentBytes};
use super::segments::Segment;

/// A segment that has to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct NeededSegment<'a> {
    pub(super) segment: &'a Segment,
    /// Its place among all segments.
    pub(super) place: usize,
    /// The last commit in it that may count.
    pub(super) last_number: u64,
}

/// A segment that was read, with its commits.
#[derive(Debug)]
pub(super) struct ReadSegment {
    pub(super) bytes: SegmentBytes,
    pub(super) commits: Vec<FoundCommit>,
}

/// Calls `take` with one segment after the other. Two are in memory: one is being read, and one is being applied.
///
/// # Errors
/// No thread can be started to read them.
pub(super) fn read_each(
    needed: &[NeededSegment<'_>],
    mut take: impl FnMut(&NeededSegment<'_>, &ReadSegment),
) -> io::Result<()> {
    let sizes = needed.iter().map(|needed| u64::from(needed.segment.size));
    let all: u64 = sizes.sum();
    if all < THREAD_BYTES {
        let mut bytes = SegmentBytes::default();
        for needed in needed {
            let found = read(needed.segment, bytes);
            take(needed, &found);
            bytes = found.bytes;
        }
        return Ok(());
    }
    let (filled, next) = sync_channel(0);
    let (give_back, empty) = channel::<SegmentBytes>();
    thread::scope(move |scope| {
        let read_all = move || {
            for needed in needed {
                let found = read(needed.segment, empty.try_recv().unwrap_or_default());
                if filled.send(found).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new()
            .name("store reader".to_owned())
            .spawn_scoped(scope, read_all)?;
        for (needed, found) in needed.iter().zip(next) {
            take(needed, &found);
            // The reader has ended if it was the last segment.
            let _ended = give_back.send(found.bytes);
        }
        Ok(())
    })
}

fn read(segment: &Segment, mut bytes: SegmentBytes) -> ReadSegment {
    bytes.read(&*segment.file, segment.size);
    let commits = bytes.found_commits(segment.sequence);
    ReadSegment { bytes, commits }
}

/// Number of bytes from which a thread is used.
const THREAD_BYTES: u64 = 48 << 20;
