//! The stream of a chain of commits, and where its bytes lie.
//!
//! Invariants: pieces are in the order of the stream and leave nothing out; a place of the stream has one location.

use super::{Location, frame};

/// A piece of a stream that lies in one commit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    /// Where in the stream it begins.
    pub(crate) start: usize,
    /// The place of the piece's first byte.
    pub(crate) location: Location,
}

/// Where the pieces of a stream lie.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    pieces: Vec<Piece>,
}

impl Layout {
    pub(crate) fn clear(&mut self) {
        self.pieces.clear();
    }

    pub(crate) fn push(&mut self, piece: Piece) {
        self.pieces.push(piece);
    }

    /// Where the byte at this place of the stream lies.
    pub(crate) fn locate(&self, place: usize) -> Option<Location> {
        let piece = self.pieces.iter().rev().find(|piece| piece.start <= place)?;
        Some(Location {
            sequence: piece.location.sequence,
            offset: piece.location.offset + u32::try_from(place - piece.start).ok()?,
        })
    }
}

/// Writes the crc of every frame of a stream.
pub(crate) fn close_frames(stream: &mut [u8], layout: &Layout) {
    let mut place = 0;
    while let Some(rest) = stream.get_mut(place..) {
        let Some(len) = layout
            .locate(place)
            .and_then(|location| frame::close(rest, location))
        else {
            // The end of the stream, whose frames are all closed.
            return;
        };
        place += len;
    }
}
