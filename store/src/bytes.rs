//! Reads and writes numbers and texts in the body of a record.
//!
//! Invariants: [`Reader`] never reads beyond its bytes. A read that finds too few bytes, or a number that does not
//! fit, returns `None` and consumes everything. [`Reader::number`] reads what [`put_number`] writes.

/// Appends a number, seven bits per byte, the lowest first.
pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(low_bits(number) | 0x80);
        number >>= 7;
    }
    out.push(low_bits(number));
}

/// Appends an identifier whose upper 16 bits are a shard and whose lower ones are a counter.
pub(crate) fn put_identifier(out: &mut Vec<u8>, identifier: u64) {
    put_number(out, identifier >> COUNTER_BITS);
    put_number(out, identifier & COUNTER_MAX);
}

/// Appends the length and the bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads the body of a record from its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Returns all bytes that have not been read, and leaves none.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub(crate) fn small<T: TryFrom<u64>>(&mut self) -> Option<T> {
        T::try_from(self.number()?).ok()
    }

    pub(crate) fn identifier(&mut self) -> Option<u64> {
        let shard: u16 = self.small()?;
        let counter = self.number()?;
        (counter <= COUNTER_MAX).then_some(u64::from(shard) << COUNTER_BITS | counter)
    }

    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.small()?;
        self.take(len)
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }
}

/// The bytes at `start`, as an array.
pub(crate) fn array_at<const N: usize>(bytes: &[u8], start: usize) -> Option<[u8; N]> {
    bytes.get(start..start.checked_add(N)?)?.try_into().ok()
}

/// A little-endian number at `start`.
pub(crate) fn u32_at(bytes: &[u8], start: usize) -> Option<u32> {
    array_at(bytes, start).map(u32::from_le_bytes)
}

/// A little-endian number at `start`.
pub(crate) fn u64_at(bytes: &[u8], start: usize) -> Option<u64> {
    array_at(bytes, start).map(u64::from_le_bytes)
}

/// Bits of the counter in an identifier; the bits above are the shard.
pub(crate) const COUNTER_BITS: u32 = 48;
/// The highest counter that an identifier can have.
pub(crate) const COUNTER_MAX: u64 = (1 << COUNTER_BITS) - 1;

fn low_bits(number: u64) -> u8 {
    u8::try_from(number & 0x7F).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip() {
        for shift in 0..64 {
            for number in [(1_u64 << shift) - 1, 1 << shift, u64::MAX >> shift] {
                let mut out = Vec::new();
                put_number(&mut out, number);
                put_identifier(&mut out, number);
                let mut reader = Reader::new(&out);
                assert_eq!(reader.number(), Some(number));
                assert_eq!(reader.identifier(), Some(number));
                assert!(reader.is_empty());
            }
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        assert_eq!(Reader::new(&[0xFF; 10]).number(), None);
        assert_eq!(Reader::new(&[0x80; 11]).number(), None);
        assert_eq!(Reader::new(&[0x80]).number(), None);
        assert_eq!(Reader::new(&[0x80, 0x04]).small::<u8>(), None);
        assert_eq!(Reader::new(&[5, 1, 2]).bytes(), None);
    }
}
