//! Conversions between the numbers of a configuration file and those of the settings, in particular mosquitto's 0 for
//! "no limit".
//!
//! Invariants: none.

use crate::settings::UNLIMITED;

/// The largest 16-bit number, for ranges.
pub(super) const U16_MAX: i64 = 65_535;

/// The largest number of 32 bits, for ranges.
pub(super) const U32_MAX: i64 = 4_294_967_295;

/// A limit of the configuration file, where 0 means no limit as in mosquitto.
pub(super) fn or_unlimited(number: i64) -> u64 {
    match u64::try_from(number) {
        Ok(0) | Err(_) => UNLIMITED,
        Ok(number) => number,
    }
}

/// The inverse of [`or_unlimited`]: the number of the file.
pub(super) fn or_zero(number: u64) -> u64 {
    if number == UNLIMITED { 0 } else { number }
}

/// A limit where -1 means no limit.
pub(super) fn or_minus_one(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(-1)
}

/// A number whose range has been checked.
pub(super) fn to_u32(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A number whose range has been checked.
pub(super) fn to_u16(number: i64) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}
