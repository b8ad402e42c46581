//! Reads the segments of a log in a thread of its own, while the index is made of those before. Small ones are read in
//! between, because a thread would cost more than it saves.
//!
//! Invariants: segments come in their order. All are read, whatever is made of them, so that the operations on the
//! files are the same each time. If the taker panics, the reader ends too.

use std::io;
use std::sync::mpsc::{channel, sync_channel};
use std::thread;

use super::scan::{FoundCommit, SegmentBytes};
use super::segments::Segment;

/// A segment that is to be read.
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

/// Calls `take` with one segment after the other. There are two in memory: one is read, and one is taken.
///
/// # Errors
/// There is no thread to read them.
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
            // The reader has ended if it was the last one.
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

/// From so many bytes on there is a thread.
const THREAD_BYTES: u64 = 48 << 20;
