//! Common parts of the texts of password hashes: iterations, salts and bytes in base64, each within its bounds.
//!
//! Invariants: no result costs more than [`limits::PBKDF2_ITERATIONS_MAX`] to check.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::limits;

/// Why a text is not a usable hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// The text begins with none of the known prefixes; most likely it is a password in plain text.
    #[error(
        "the password is not hashed, or has an unknown format (known are $6$, $7$, $argon2id$ and \
        SCRAM-SHA-256$): hash it with `broker passwd`"
    )]
    Unknown,
    /// A part is missing or cannot be read.
    #[error("the hash of the password is malformed: set the password anew with `broker passwd`")]
    Malformed,
    /// The cost is far too high.
    #[error("checking the password would cost too much time or memory: set it anew with `broker passwd`")]
    TooExpensive,
}

/// Iterations in digits.
///
/// # Errors
/// The text is not a number from 1, or the number is too large.
pub(super) fn iterations_of(text: &str) -> Result<NonZeroU32, HashError> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(HashError::Malformed);
    }
    let iterations: NonZeroU32 = text.parse().map_err(|_| HashError::Malformed)?;
    if iterations.get() > limits::PBKDF2_ITERATIONS_MAX {
        return Err(HashError::TooExpensive);
    }
    Ok(iterations)
}

/// A salt in base64.
///
/// # Errors
/// The text is not base64, or has a length that no program writes.
pub(super) fn salt_of(text: &str) -> Result<Box<[u8]>, HashError> {
    let salt = STANDARD.decode(text).map_err(|_| HashError::Malformed)?;
    if !(1..=limits::SALT_BYTES_MAX).contains(&salt.len()) {
        return Err(HashError::Malformed);
    }
    Ok(salt.into())
}

/// This many bytes in base64.
///
/// # Errors
/// The text has another length, or is not base64.
pub(super) fn bytes_of<const BYTES: usize>(text: &str) -> Result<[u8; BYTES], HashError> {
    let bytes = STANDARD.decode(text).map_err(|_| HashError::Malformed)?;
    bytes.try_into().map_err(|_| HashError::Malformed)
}
