//! The file that names the newest segment, so that its absence is noticed: no other segment refers to it.
//!
//! Invariants: it names a segment only when the segment's header is durable. After a power cut it may name an older
//! one or be torn, which means nothing; it is never ahead of the log.

use crate::bytes::{array_at, u32_at};

/// The name of the file.
pub(crate) const NEWEST_FILE: &str = "newest";

const MAGIC: [u8; 8] = *b"MIDGENEW";
const BODY_LEN: usize = 12;
const LEN: usize = 16;

/// The bytes that name the segment with this sequence number.
pub(crate) fn encode(sequence: u32) -> [u8; LEN] {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    array_at(&bytes, 0).unwrap_or([0; LEN])
}

/// The sequence number, if the bytes are intact.
pub(crate) fn parse(bytes: &[u8]) -> Option<u32> {
    let body = bytes.get(..BODY_LEN)?;
    let is_whole = body.starts_with(&MAGIC) && u32_at(bytes, BODY_LEN)? == crc32c::crc32c(body);
    u32_at(bytes, MAGIC.len()).filter(|_| is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        assert_eq!(parse(&encode(7)), Some(7));
        assert_eq!((parse(&[]), parse(&[0; 4096])), (None, None));
        for bit in 0..LEN * 8 {
            let mut bytes = encode(7);
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse(&bytes), None, "bit {bit}");
        }
    }
}
