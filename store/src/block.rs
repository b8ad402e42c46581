//! Memory for direct I/O: whole blocks at addresses that are multiples of the block size.
//!
//! Invariants: the slice that [`BlockBuffer::padded`] returns starts at a multiple of [`BLOCK`], and its length is a
//! multiple of it; bytes that were not appended are zero.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a block: commits start at multiples of it, and direct I/O uses multiples of it.
pub(crate) const BLOCK: usize = 4096;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
struct Block([u8; BLOCK]);

/// A growing buffer of bytes in whole blocks.
#[derive(Default)]
pub(crate) struct BlockBuffer {
    blocks: Vec<Block>,
    len: usize,
}

impl BlockBuffer {
    /// Zeros, to fill new files.
    pub(crate) fn zeros(len: usize) -> Self {
        let mut buffer = Self::default();
        buffer.reserve(len);
        buffer.len = len;
        buffer
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        let start = self.len;
        self.reserve(start + bytes.len());
        self.len = start + bytes.len();
        if let Some(target) = self.blocks.as_mut_bytes().get_mut(start..self.len) {
            target.copy_from_slice(bytes);
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.blocks.as_bytes().get(..self.len).unwrap_or_default()
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.blocks.as_mut_bytes().get_mut(..self.len).unwrap_or_default()
    }

    /// All bytes, and zeros up to the end of the last block.
    pub(crate) fn padded(&mut self) -> &[u8] {
        let end = self.len.next_multiple_of(BLOCK);
        if let Some(rest) = self.blocks.as_mut_bytes().get_mut(self.len..end) {
            rest.fill(0);
        }
        self.blocks.as_bytes().get(..end).unwrap_or_default()
    }

    /// Releases memory that one large commit needed.
    pub(crate) fn shrink(&mut self, len_max: usize) {
        if self.blocks.len() * BLOCK > len_max {
            self.blocks = Vec::new();
            self.len = 0;
        }
    }

    fn reserve(&mut self, len: usize) {
        let blocks = len.div_ceil(BLOCK);
        if self.blocks.len() < blocks {
            self.blocks.resize(blocks, Block([0; BLOCK]));
        }
    }
}

impl std::fmt::Debug for BlockBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockBuffer")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_an_earlier_use_is_zero() {
        let mut buffer = BlockBuffer::default();
        buffer.extend(&[7; BLOCK + 1]);
        buffer.clear();
        buffer.extend(&[1, 2]);
        let padded = buffer.padded();
        assert_eq!(padded.len(), BLOCK);
        assert_eq!(padded.as_ptr().align_offset(BLOCK), 0);
        assert_eq!(padded[..3], [1, 2, 0]);
        assert!(padded[2..].iter().all(|byte| *byte == 0));
    }
}
