//! Reads a segment in the order of the log, in large pieces.
//!
//! Invariants: only reclaiming keeps a window over several commits, and it reads no segment that is still written.

use std::io;

use super::segments::Segment;
use crate::files::read_all;
use crate::format::Location;

/// The bytes of a segment that were read last, so that sequential reads are few and large.
#[derive(Debug, Default)]
pub(super) struct Window {
    bytes: Vec<u8>,
    from: Option<Location>,
}

impl Window {
    /// Bytes of a segment; fewer only where its file ends.
    pub(super) fn read(&mut self, segment: &Segment, at: Location, len: usize) -> io::Result<&[u8]> {
        let known = self
            .from
            .filter(|from| from.sequence == at.sequence && from.offset <= at.offset)
            .map(|from| (at.offset - from.offset) as usize)
            .filter(|start| start + len <= self.bytes.len());
        if let Some(start) = known {
            return Ok(self.bytes.get(start..start + len).unwrap_or_default());
        }
        self.from = None;
        let left = segment.size.saturating_sub(at.offset) as usize;
        self.bytes.resize(len.max(WINDOW).min(left), 0);
        let mut tries = 0;
        let count = loop {
            tries += 1;
            match read_all(&*segment.file, at.offset.into(), &mut self.bytes) {
                Err(_) if tries < READ_TRIES => {}
                result => break result?,
            }
        };
        self.bytes.truncate(count);
        self.from = Some(at);
        Ok(self.bytes.get(..len).unwrap_or(&self.bytes))
    }
}

/// Number of failed reads after which the content counts as lost.
const READ_TRIES: u32 = 3;
/// Number of bytes to read at once.
const WINDOW: usize = 256 << 10;
