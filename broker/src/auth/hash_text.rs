//! What the texts of password hashes have in common: iterations, salts and bytes in base64, each within its bounds.
//!
//! Invariants: nothing that leaves here costs more than [`limits::PBKDF2_ITERATIONS_MAX`] to check.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::limits;

/// Why a text is not a hash that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// Does not begin as one of the known forms: a password in plain text, most likely.
    #[error(
        "the password is not hashed, or in an unknown way ($6$, $7$, $argon2id$ and SCRAM-SHA-256$ are known): hash it \
         with `broker passwd`"
    )]
    Unknown,
    /// A part is missing or cannot be read.
    #[error("the hash of the password is malformed: set the password anew with `broker passwd`")]
    Malformed,
    /// The cost is out of all proportion.
    #[error("checking the password would cost too much time or memory: set it anew with `broker passwd`")]
    TooExpensive,
}

/// Iterations in digits.
///
/// # Errors
/// The text is no number from 1, or too large a one.
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
/// The text is none, or one of a length that nobody writes.
pub(super) fn salt_of(text: &str) -> Result<Box<[u8]>, HashError> {
    let salt = STANDARD.decode(text).map_err(|_| HashError::Malformed)?;
    if !(1..=limits::SALT_BYTES_MAX).contains(&salt.len()) {
        return Err(HashError::Malformed);
    }
    Ok(salt.into())
}

/// So many bytes in base64.
///
/// # Errors
/// The text is of another length, or no base64.
pub(super) fn bytes_of<const BYTES: usize>(text: &str) -> Result<[u8; BYTES], HashError> {
    let bytes = STANDARD.decode(text).map_err(|_| HashError::Malformed)?;
    bytes.try_into().map_err(|_| HashError::Malformed)
}
