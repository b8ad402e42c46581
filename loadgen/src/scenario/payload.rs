//! The stamp at the start of each payload: the publisher, the sequence number, and the intended send time.
//!
//! Layout, big endian: 2 bytes run, 6 bytes intended time (ns since the run's epoch), 4 bytes publisher, 4 bytes
//! sequence; in a payload of 20 bytes or more, 4 bytes send lag (ns, saturating) follow; with `--verify` then 4 bytes
//! CRC32C of all other bytes, first those after it and then those before it.
//!
//! Invariant: a stamp of another run is never counted, because the run number differs or the payload is foreign. Two
//! generators that draw the same run number and share topics would break this; therefore the topics contain the
//! number as well.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::scenario::json_payload;
use crate::scenario::topics::numbered;

/// Bytes of the stamp: the smallest payload size.
pub const STAMP_BYTES: usize = 16;

/// Payload size from which the send lag is included, so that the service time is known.
pub const LAG_BYTES_FROM: usize = 20;

/// Payload size from which a checksum fits, which follows the lag.
pub const CHECKED_BYTES_FROM: usize = 24;

/// Largest payload that has a checksum at a fixed rate without `--verify`: at 20 bytes per ns or more it costs
/// less than 3 % of the microsecond that receiving a message takes.
pub const CHECKED_BYTES_UNASKED: usize = 256;

/// Longest time that fits the stamp: 48 bits of nanoseconds, about 78 hours.
pub const INTENDED_NS_MAX: u64 = (1 << 48) - 1;

/// The content of a payload's first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Number of the run.
    pub run: u16,
    /// Intended send time, ns since the run's epoch; at most [`INTENDED_NS_MAX`].
    pub intended_ns: u64,
    /// Number of the publisher.
    pub publisher: u32,
    /// Sequence number of the message at its publisher, from 0, wrapping.
    pub sequence: u32,
    /// Actual minus intended send time; `None` if the payload is too short to carry it.
    pub lag_ns: Option<u32>,
}

impl Stamp {
    /// Writes the stamp over the start of `payload`; a payload shorter than [`STAMP_BYTES`] is left unchanged.
    #[inline]
    pub fn write(&self, payload: &mut [u8]) {
        let Some((head, rest)) = payload.split_first_chunk_mut::<STAMP_BYTES>() else {
            return;
        };
        let run_and_time = (u64::from(self.run) << 48) | (self.intended_ns & INTENDED_NS_MAX);
        let publisher_and_sequence = (u64::from(self.publisher) << 32) | u64::from(self.sequence);
        *head = ((u128::from(run_and_time) << 64) | u128::from(publisher_and_sequence)).to_be_bytes();
        if let (Some(lag_ns), Some(field)) = (self.lag_ns, rest.first_chunk_mut::<4>()) {
            *field = lag_ns.to_be_bytes();
        }
    }

    /// Reads the stamp; `None` if the payload is too short for one.
    #[inline]
    pub fn read(payload: &[u8]) -> Option<Stamp> {
        let (head, rest) = payload.split_first_chunk::<STAMP_BYTES>()?;
        let word = u128::from_be_bytes(*head);
        Some(Stamp {
            run: (word >> 112) as u16,
            intended_ns: (word >> 64) as u64 & INTENDED_NS_MAX,
            publisher: (word >> 32) as u32,
            sequence: word as u32,
            lag_ns: rest.first_chunk::<4>().map(|field| u32::from_be_bytes(*field)),
        })
    }
}

/// Bytes at the start of a payload that belong to the generator: the stamp, the lag, and the checksum if there is
/// one.
pub fn head_bytes(is_checked: bool) -> usize {
    if is_checked {
        CHECKED_BYTES_FROM
    } else {
        LAG_BYTES_FROM
    }
}

/// The checksum of what follows the checksum's position, the same for all messages of a publisher.
pub fn crc_of_filler(payload: &[u8]) -> u32 {
    crc32c::crc32c(payload.get(CHECKED_BYTES_FROM..).unwrap_or_default())
}

/// Writes the checksum after the stamp and the lag; a payload without space for it is left unchanged.
#[inline]
pub fn seal(crc_of_filler: u32, payload: &mut [u8]) {
    let Some((head, _)) = payload.split_first_chunk_mut::<CHECKED_BYTES_FROM>() else {
        return;
    };
    if let Some((stamp, field)) = head.split_last_chunk_mut::<4>() {
        *field = crc32c::crc32c_append(crc_of_filler, stamp).to_be_bytes();
    }
}

/// Whether the checksum of a payload is right.
#[inline]
pub fn is_whole(payload: &[u8]) -> bool {
    let head = payload.first_chunk::<CHECKED_BYTES_FROM>();
    let parts = head.and_then(|head| head.split_last_chunk::<4>());
    parts.is_some_and(|(stamp, field)| {
        crc32c::crc32c_append(crc_of_filler(payload), stamp) == u32::from_be_bytes(*field)
    })
}

/// What follows the stamp in the payloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadText(Source);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    File(Arc<[u8]>),
    Template(String),
    Json(String),
}

impl PayloadText {
    /// A payload with the bytes of a file after its stamp.
    pub fn file(bytes: Vec<u8>) -> PayloadText {
        PayloadText(Source::File(bytes.into()))
    }

    /// A text in which `%i` is the number of the publisher.
    pub fn template(text: String) -> PayloadText {
        PayloadText(Source::Template(text))
    }

    /// A JSON object in which `%i` is the number of the publisher and `%r` a random number; the stamp is its first
    /// member.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn json(object: String) -> Result<PayloadText, String> {
        json_payload::check(&object)?;
        Ok(PayloadText(Source::Json(object)))
    }

    /// Whether the stamp is a member of a JSON object.
    pub fn is_json(&self) -> bool {
        matches!(self.0, Source::Json(_))
    }

    /// Bytes of the longest payload of any publisher, including this many bytes of the generator at its start.
    pub fn longest_bytes(&self, head_bytes: usize) -> usize {
        self.payload(u32::MAX, head_bytes).0.len()
    }

    /// The payload of a publisher, with room for the stamp and what follows it at its head, and the places of fields
    /// that differ in each message.
    pub fn payload(&self, publisher: u32, head_bytes: usize) -> (Vec<u8>, Vec<usize>) {
        let mut payload = vec![0; head_bytes];
        match &self.0 {
            Source::File(bytes) => payload.extend_from_slice(bytes),
            Source::Template(text) => payload.extend_from_slice(numbered(text, publisher).as_bytes()),
            Source::Json(object) => return json_payload::compose(object, publisher),
        }
        (payload, Vec::new())
    }
}

impl Serialize for PayloadText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Source::File(bytes) => serializer.serialize_str(&format!("a file of {} bytes", bytes.len())),
            Source::Template(text) | Source::Json(text) => serializer.serialize_str(text),
        }
    }
}

/// For reports: only the size of a file was written, and it is read back as the text that states it.
impl<'de> Deserialize<'de> for PayloadText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PayloadText, D::Error> {
        String::deserialize(deserializer).map(PayloadText::template)
    }
}

/// A payload of `bytes` bytes that does not compress, the same for the same seed.
pub fn filler(bytes: usize, seed: u64) -> Vec<u8> {
    let mut payload = vec![0; bytes];
    fastrand::Rng::with_seed(seed).fill(&mut payload);
    payload
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_stamp_comes_back_as_it_was_written(
            run: u16,
            intended_ns in 0..=INTENDED_NS_MAX,
            publisher: u32,
            sequence: u32,
            lag: u32,
            bytes in 16_usize..200,
        ) {
            let lag_ns = (bytes >= LAG_BYTES_FROM).then_some(lag);
            let stamp = Stamp { run, intended_ns, publisher, sequence, lag_ns };
            let mut payload = filler(bytes, 7);
            stamp.write(&mut payload);
            prop_assert_eq!(Stamp::read(&payload), Some(stamp));
        }
    }

    #[test]
    fn no_flipped_bit_goes_unseen() {
        for bytes in [24, 25, 64, 300] {
            let mut payload = filler(bytes, 3);
            seal(crc_of_filler(&payload), &mut payload);
            assert!(is_whole(&payload));
            for bit in 0..bytes * 8 {
                payload[bit / 8] ^= 1 << (bit % 8);
                assert!(!is_whole(&payload), "bit {bit} of {bytes} bytes");
                payload[bit / 8] ^= 1 << (bit % 8);
            }
        }
        assert!(!is_whole(&[0; 23]), "too short for one");
    }

    #[test]
    fn a_text_stands_behind_the_stamp_with_the_publishers_number() {
        let text = PayloadText::template("sensor %i: on".to_owned());
        let payload = |text: &PayloadText, publisher| text.payload(publisher, LAG_BYTES_FROM).0;
        assert_eq!(payload(&text, 12)[LAG_BYTES_FROM..], *b"sensor 12: on");
        assert_eq!(text.longest_bytes(LAG_BYTES_FROM), payload(&text, u32::MAX).len());
        assert_eq!(
            payload(&PayloadText::file(vec![7; 3]), 0).len(),
            LAG_BYTES_FROM + 3
        );
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let stamp = Stamp {
            run: 0x0102,
            intended_ns: 0x0304_0506_0708,
            publisher: 0x090A_0B0C,
            sequence: 0x0D0E_0F10,
            lag_ns: Some(0x1112_1314),
        };
        let mut payload = [0xFF_u8; 21];
        stamp.write(&mut payload);
        let expected: Vec<u8> = (1..=20).chain([0xFF]).collect();
        assert_eq!(payload.as_slice(), expected.as_slice());
    }

    #[test]
    fn a_short_payload_has_no_stamp_and_a_short_stamp_has_no_lag() {
        assert_eq!(Stamp::read(&[0; 15]), None);
        assert_eq!(Stamp::read(&[0; 19]).and_then(|stamp| stamp.lag_ns), None);
        let mut short = [1_u8; 15];
        Stamp {
            run: 0,
            intended_ns: 0,
            publisher: 0,
            sequence: 0,
            lag_ns: None,
        }
        .write(&mut short);
        assert_eq!(short, [1; 15]);
    }
}
