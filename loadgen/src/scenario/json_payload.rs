//! Payloads that are JSON: the stamp is the first member of an object, in hexadecimal digits.
//!
//! Invariants: every payload is valid JSON, whatever the stamp and the random fields are; the stamp is at the same
//! position in each. This would break if a field were replaced by text of a different length.

use crate::scenario::payload::{CHECKED_BYTES_FROM, LAG_BYTES_FROM, Stamp};
use crate::scenario::topics::numbered;

/// The text before the digits of the stamp.
const BEFORE: &str = "{\"stamp\":\"";
/// Digits of stamp, lag and checksum.
const DIGITS: usize = 2 * CHECKED_BYTES_FROM;
/// A field whose value differs in each message.
const RANDOM: &str = "%r";
/// Digits of such a field: the first is not 0, as JSON requires of a number.
const RANDOM_DIGITS: usize = 6;

/// The payload of a publisher, with space for the stamp, and the positions of its random fields.
pub fn compose(object: &str, publisher: u32) -> (Vec<u8>, Vec<usize>) {
    let object = numbered(object.trim(), publisher);
    let rest = object.strip_prefix('{').unwrap_or(&object).trim_start();
    let comma = if rest.starts_with('}') { "" } else { "," };
    let mut payload = format!("{BEFORE}{}\"{comma}", "0".repeat(DIGITS)).into_bytes();
    let mut places = Vec::new();
    for (number, part) in rest.split(RANDOM).enumerate() {
        if number > 0 {
            places.push(payload.len());
            payload.extend_from_slice(&[b'1'; RANDOM_DIGITS]);
        }
        payload.extend_from_slice(part.as_bytes());
    }
    (payload, places)
}

/// Refuses a template that is not a JSON object.
///
/// # Errors
/// A sentence that says why it is refused.
pub fn check(object: &str) -> Result<(), String> {
    let (payload, _) = compose(object, u32::MAX);
    let is_object = object.trim().starts_with('{');
    match serde_json::from_slice::<serde_json::Value>(&payload) {
        Ok(value) if is_object && value.is_object() => Ok(()),
        Ok(_) => Err("--payload-json must be an object in braces".to_owned()),
        Err(error) => Err(format!("--payload-json is not JSON: {error}")),
    }
}

/// Fills in the random fields.
#[inline]
pub fn draw(places: &[usize], random: &mut fastrand::Rng, payload: &mut [u8]) {
    for place in places {
        let mut number = random.u32(100_000..1_000_000);
        let field = payload.get_mut(*place..place + RANDOM_DIGITS).unwrap_or_default();
        for digit in field.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }
}

/// Writes the stamp, and the checksum of everything if it is wanted.
#[inline]
pub fn write(stamp: &Stamp, is_checked: bool, payload: &mut [u8]) {
    let mut head = [0; CHECKED_BYTES_FROM];
    stamp.write(&mut head);
    if let (true, Some((bytes, field))) = (is_checked, head.split_last_chunk_mut::<4>()) {
        *field = crc(bytes, payload).to_be_bytes();
    } else if let Some(field) = head.get_mut(LAG_BYTES_FROM..) {
        field.fill(0);
    }
    let digits = payload.get_mut(BEFORE.len()..BEFORE.len() + DIGITS);
    let (pairs, _) = digits.unwrap_or_default().as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(head) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
}

/// Reads the stamp; `None` if there is none.
#[inline]
pub fn read(payload: &[u8]) -> Option<Stamp> {
    Stamp::read(&head_of(payload)?)
}

/// Whether the checksum is right.
#[inline]
pub fn is_whole(payload: &[u8]) -> bool {
    head_of(payload).is_some_and(|head| {
        let parts = head.split_last_chunk::<4>();
        parts.is_some_and(|(bytes, field)| crc(bytes, payload) == u32::from_be_bytes(*field))
    })
}

/// The checksum of everything except its own digits: what follows the stamp, what precedes it, and its bytes.
fn crc(head: &[u8], payload: &[u8]) -> u32 {
    let rest = payload.get(BEFORE.len() + DIGITS..).unwrap_or_default();
    let before = payload.get(..BEFORE.len()).unwrap_or_default();
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(rest), before), head)
}

fn head_of(payload: &[u8]) -> Option<[u8; CHECKED_BYTES_FROM]> {
    let digits = payload.strip_prefix(BEFORE.as_bytes())?.get(..DIGITS)?;
    let mut head = [0; CHECKED_BYTES_FROM];
    let (pairs, _) = digits.as_chunks::<2>();
    for (byte, [high, low]) in head.iter_mut().zip(pairs) {
        *byte = value_of(*high)? << 4 | value_of(*low)?;
    }
    Some(head)
}

#[inline]
fn digit(value: u8) -> u8 {
    if value < 10 {
        b'0' + value
    } else {
        b'a' + value - 10
    }
}

#[inline]
fn value_of(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_payload_is_json_and_its_stamp_comes_back(
            run: u16,
            intended_ns in 0_u64..1 << 48,
            publisher: u32,
            sequence: u32,
            lag: u32,
            is_checked: bool,
            seed: u64,
        ) {
            let object = "{ \"number\": %i, \"value\": %r, \"text\": \"%r %i\" }";
            let (mut payload, places) = compose(object, publisher);
            draw(&places, &mut fastrand::Rng::with_seed(seed), &mut payload);
            let stamp = Stamp { run, intended_ns, publisher, sequence, lag_ns: Some(lag) };
            write(&stamp, is_checked, &mut payload);
            prop_assert_eq!(read(&payload), Some(stamp));
            let value: serde_json::Value = serde_json::from_slice(&payload).unwrap();
            prop_assert_eq!(value["number"].as_u64(), Some(u64::from(publisher)));
            let random = value["value"].as_u64().unwrap();
            prop_assert!((100_000..1_000_000).contains(&random));
            if is_checked {
                prop_assert!(is_whole(&payload));
                let place = seed as usize % payload.len();
                payload[place] ^= 1;
                prop_assert!(!is_whole(&payload), "{}", place);
            }
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for object in ["{}", "{ }", " {\"a\": [1, %r]}"] {
            assert_eq!(check(object), Ok(()), "{object}");
        }
        for object in [
            "",
            "[]",
            "{\"a\": }",
            "{\"a\": 1",
            "1",
            "\"a\": 1}",
            "{\"a\": 0%r}",
        ] {
            assert!(check(object).is_err(), "{object}");
        }
        assert_eq!(read(b"{\"stamp\":\"00"), None);
        assert!(!is_whole(b"{\"other\":1}"));
    }
}
