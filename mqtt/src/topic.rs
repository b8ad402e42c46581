//! Topic Names and Topic Filters: their syntax, and which filter matches which name.
//!
//! Invariant: a filter that [`check_filter`] accepted has `#` only as its last level and `+` only as a whole level.
//! [`matches()`] relies on that: for other filters its result has no meaning, but it never panics.

use thiserror::Error;

/// Why a Topic Name or Topic Filter is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TopicError {
    /// It has no character [MQTT-4.7.3-1].
    #[error("it is empty")]
    Empty,
    /// It is longer than 65,535 bytes [MQTT-4.7.3-3].
    #[error("it is longer than 65,535 bytes")]
    TooLong,
    /// It has the character U+0000 [MQTT-4.7.3-2].
    #[error("it contains the character U+0000")]
    Nul,
    /// A Topic Name has `+` or `#` [MQTT-4.7.0-1] (3.1.1: [MQTT-4.7.1-1]).
    #[error("a Topic Name must not contain + or #")]
    WildcardInName,
    /// `#` is not the last level or not alone in it [MQTT-4.7.1-1], [MQTT3-4.7.1-2].
    #[error("# must be the whole last level")]
    MultiLevelMisplaced,
    /// `+` is not alone in its level [MQTT-4.7.1-2], [MQTT3-4.7.1-3].
    #[error("+ must be a whole level")]
    SingleLevelMisplaced,
    /// `$share//...`: no Share Name [MQTT-4.8.2-1].
    #[error("the Share Name is empty")]
    ShareNameEmpty,
    /// The Share Name has `+` or `#` [MQTT-4.8.2-2].
    #[error("the Share Name must not contain + or #")]
    ShareNameWildcard,
    /// `$share/group` or `$share/group/`: no Topic Filter [MQTT-4.8.2-2].
    #[error("no Topic Filter follows the Share Name")]
    ShareFilterMissing,
}

/// The two parts of a Shared Subscription's Topic Filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedFilter<'a> {
    /// The Share Name, which identifies the group.
    pub group: &'a str,
    /// The Topic Filter after the Share Name.
    pub filter: &'a str,
}

/// Checks a Topic Name: not empty, no wildcard, no U+0000, at most 65,535 bytes.
///
/// [MQTT3-4.7.1-1], [MQTT3-4.7.3-1], [MQTT3-4.7.3-2], [MQTT3-4.7.3-3], [MQTT-4.7.0-1]
pub fn check_name(name: &str) -> Result<(), TopicError> {
    check_length(name)?;
    check_name_bytes(name.as_bytes())
}

/// Checks a Topic Filter: not empty, wildcards only where they are allowed, no U+0000, at most 65,535 bytes.
/// [`shared`] checks the form of `$share/...`.
pub fn check_filter(filter: &str) -> Result<(), TopicError> {
    check_length(filter)?;
    let mut rest = filter.as_bytes();
    loop {
        let end = rest.iter().position(|&byte| byte == b'/');
        let (level, behind) = match end.and_then(|at| rest.split_at_checked(at)) {
            Some((level, behind)) => (level, behind.get(1..)),
            None => (rest, None),
        };
        check_level(level, behind.is_none())?;
        match behind {
            Some(behind) => rest = behind,
            None => return Ok(()),
        }
    }
}

/// Splits the filter of a Shared Subscription: `None` for an ordinary one.
///
/// The filter inside is checked too, as [`check_filter`] does.
pub fn shared(filter: &str) -> Result<Option<SharedFilter<'_>>, TopicError> {
    let Some(rest) = filter.strip_prefix(SHARE_PREFIX) else {
        return match filter {
            "$share" => Err(TopicError::ShareFilterMissing),
            _ => Ok(None),
        };
    };
    let (group, inner) = rest.split_once('/').unwrap_or((rest, ""));
    if group.is_empty() {
        return Err(TopicError::ShareNameEmpty);
    }
    if group.contains(['+', '#']) {
        return Err(TopicError::ShareNameWildcard);
    }
    if inner.is_empty() {
        return Err(TopicError::ShareFilterMissing);
    }
    check_filter(inner)?;
    Ok(Some(SharedFilter { group, filter: inner }))
}

/// Whether a Topic Filter matches a Topic Name [MQTT-4.7.1-1], [MQTT-4.7.1-2]: byte by byte [MQTT-4.7.3-4], `sport/#`
/// matches `sport`, and a wildcard in the first level does not match a name that starts with `$` [MQTT-4.7.2-1].
///
/// [MQTT3-4.7.1-2], [MQTT3-4.7.1-3], [MQTT3-4.7.2-1], [MQTT3-4.7.3-4]
pub fn matches(filter: &str, name: &str) -> bool {
    let (mut filter, mut name) = (filter.as_bytes(), name.as_bytes());
    if let (Some(b'+' | b'#'), Some(b'$')) = (filter.first(), name.first()) {
        return false;
    }
    loop {
        match (filter.split_first(), name.split_first()) {
            (Some((b'#', _)), _) | (None, None) => return true,
            (Some((b'+', rest)), _) => {
                filter = rest;
                name = rest_after_level(name);
            }
            (Some((expected, filter_rest)), Some((byte, name_rest))) if expected == byte => {
                (filter, name) = (filter_rest, name_rest);
            }
            (Some(_), None) => return filter == b"/#",
            _ => return false,
        }
    }
}

/// The levels of a Topic Name or Topic Filter; empty ones are levels too.
pub fn levels(topic: &str) -> impl Iterator<Item = &str> {
    topic.split('/')
}

/// The number of slashes in a Topic Name or Topic Filter: one less than its levels.
pub fn slashes(topic: &str) -> usize {
    topic.bytes().filter(|&byte| byte == b'/').count()
}

/// The check of a Topic Name of at least one byte.
#[inline]
pub(crate) fn check_name_bytes(name: &[u8]) -> Result<(), TopicError> {
    let special = match name.last_chunk::<8>() {
        // The last eight bytes may have been checked before: that costs less than single bytes.
        Some(last) => {
            let (chunks, _) = name.as_chunks::<8>();
            has_special(*last)
                | chunks
                    .iter()
                    .fold(false, |found, chunk| found | has_special(*chunk))
        }
        None => name.iter().fold(false, |found, byte| found | is_special(*byte)),
    };
    if special { Err(special_error(name)) } else { Ok(()) }
}

/// What the filter of a Shared Subscription starts with.
pub(crate) const SHARE_PREFIX: &str = "$share/";

fn check_length(topic: &str) -> Result<(), TopicError> {
    match topic.len() {
        0 => Err(TopicError::Empty),
        1..=0xFFFF => Ok(()),
        _ => Err(TopicError::TooLong),
    }
}

/// What follows the first level of a name: the slash and everything after it.
fn rest_after_level(name: &[u8]) -> &[u8] {
    let end = name.iter().position(|&byte| byte == b'/').unwrap_or(name.len());
    name.get(end..).unwrap_or_default()
}

/// Whether one of eight bytes is NUL, `+` or `#`, which differ in one bit alone.
#[inline]
fn has_special(bytes: [u8; 8]) -> bool {
    let bytes = u64::from_ne_bytes(bytes);
    let wildcards = (bytes | (EACH_BYTE * u64::from(b'+' ^ b'#'))) ^ (EACH_BYTE * u64::from(b'+'));
    (zero_bytes(bytes) | zero_bytes(wildcards)) != 0
}

/// Not zero if and only if a byte is zero.
#[inline]
fn zero_bytes(bytes: u64) -> u64 {
    bytes.wrapping_sub(EACH_BYTE) & !bytes & (EACH_BYTE << 7)
}

/// A word with the value 1 in each of its eight bytes.
const EACH_BYTE: u64 = 0x0101_0101_0101_0101;

#[inline]
fn is_special(byte: u8) -> bool {
    matches!(byte, 0 | b'+' | b'#')
}

#[cold]
fn special_error(name: &[u8]) -> TopicError {
    match name.iter().find(|byte| is_special(**byte)) {
        Some(0) => TopicError::Nul,
        _ => TopicError::WildcardInName,
    }
}

fn check_level(level: &[u8], is_last: bool) -> Result<(), TopicError> {
    for &byte in level {
        match byte {
            b'#' if level.len() > 1 || !is_last => return Err(TopicError::MultiLevelMisplaced),
            b'+' if level.len() > 1 => return Err(TopicError::SingleLevelMisplaced),
            0 => return Err(TopicError::Nul),
            _ => {}
        }
    }
    Ok(())
}
