//! The stream of a chain of commits, and where its bytes are.
//!
//! Invariants: pieces are in the order of the stream and leave nothing out; a position in the stream has one location.

use super::{Location, frame};

/// A piece of a stream that is in one commit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    /// Where it starts in the stream.
    pub(crate) start: usize,
    /// The place of the piece's first byte.
    pub(crate) location: Location,
}

/// Where the pieces of a stream are.
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

    /// The location of the byte at this position of the stream.
    pub(crate) fn locate(&self, place: usize) -> Option<Location> {
        let piece = self.pieces.iter().rev().find(|piece| piece.start <= place)?;
        Some(Location {
            sequence: piece.location.sequence,
            offset: piece.location.offset + u32::try_from(place - piece.start).ok()?,
        })
    }
}

/// Writes the CRC of every frame of a stream.
pub(crate) fn close_frames(stream: &mut [u8], layout: &Layout) {
    let mut place = 0;
    while let Some(rest) = stream.get_mut(place..) {
        let Some(len) = layout
            .locate(place)
            .and_then(|location| frame::close(rest, location))
        else {
            // The end of the stream: all frames are closed.
            return;
        };
        place += len;
    }
}
