//! The frame around the body of a record.
//!
//! Invariants: shards append frames without a CRC; [`close`] makes a frame valid for the place where it is written.

use super::Location;
use crate::bytes::{array_at, u32_at};

/// The length of a frame's header in bytes.
pub(crate) const FRAME_HEADER: usize = 9;

/// The flag in the type of the last frame of a batch.
const BATCH_END: u8 = 0x80;
const CRC: usize = 4;
const KIND: usize = 8;

/// A frame as it is in a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: u8,
    pub(crate) ends_batch: bool,
    pub(crate) body: &'a [u8],
    /// The length of header and body in bytes.
    pub(crate) len: usize,
}

/// Appends a frame whose body `encode` appends; `encode` returns the type. The CRC is not yet set.
pub(crate) fn append(out: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>) -> u8) {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER]);
    let kind = encode(out);
    let body_len = u32::try_from(out.len() - start - FRAME_HEADER).unwrap_or(u32::MAX);
    if let Some(header) = out
        .get_mut(start..)
        .and_then(<[u8]>::first_chunk_mut::<FRAME_HEADER>)
    {
        let [a, b, c, d] = body_len.to_le_bytes();
        *header = [a, b, c, d, 0, 0, 0, 0, kind];
    }
}

/// Marks the frame that starts at `start` as the last one of its batch.
pub(crate) fn end_batch(out: &mut [u8], start: usize) {
    if let Some(kind) = out.get_mut(start + KIND) {
        *kind |= BATCH_END;
    }
}

/// Writes the CRC of the frame at the start of `stream`; returns the frame's length.
pub(crate) fn close(stream: &mut [u8], location: Location) -> Option<usize> {
    let len = len_at(stream)?;
    let frame = stream.get_mut(..len)?;
    let crc = crc(frame, location)?;
    frame.get_mut(CRC..KIND)?.copy_from_slice(&crc.to_le_bytes());
    Some(len)
}

/// The frame at the start of `stream`, its CRC unchecked; `None` if it is longer than the stream.
pub(crate) fn parse(stream: &[u8]) -> Option<Frame<'_>> {
    let len = len_at(stream)?;
    let kind = *stream.get(KIND)?;
    Some(Frame {
        kind: kind & !BATCH_END,
        ends_batch: kind & BATCH_END != 0,
        body: stream.get(FRAME_HEADER..len)?,
        len,
    })
}

/// Whether the frame at the start of `stream` was written at this place.
pub(crate) fn is_valid(stream: &[u8], location: Location) -> bool {
    let check = || {
        let frame = stream.get(..len_at(stream)?)?;
        Some(crc(frame, location)? == u32_at(frame, CRC)?)
    };
    check().unwrap_or(false)
}

fn len_at(stream: &[u8]) -> Option<usize> {
    usize::try_from(u32_at(stream, 0)?)
        .ok()?
        .checked_add(FRAME_HEADER)
}

fn crc(frame: &[u8], location: Location) -> Option<u32> {
    let [a, b, c, d] = location.sequence.to_le_bytes();
    let [e, f, g, h] = location.offset.to_le_bytes();
    let [i, j, k, l]: [u8; 4] = array_at(frame, 0)?;
    let crc = crc32c::crc32c(&[a, b, c, d, e, f, g, h, i, j, k, l]);
    Some(crc32c::crc32c_append(crc, frame.get(KIND..)?))
}
