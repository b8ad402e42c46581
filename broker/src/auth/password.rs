//! Hashes of passwords as mosquitto writes them: `$6$` (salted SHA-512), `$7$` (PBKDF2-HMAC-SHA512) and `$argon2id$`;
//! and the verifiers of SCRAM-SHA-256, which can also check a password that is sent.
//!
//! Invariants: a [`PasswordHash`] is complete and has bounded iterations and memory, so checking a password against it
//! can only fail because of the password. The comparison takes the same time whatever differs. The algorithms are
//! those of aws-lc-rs and of RustCrypto's argon2.

use std::fmt;
use std::num::NonZeroU32;

use argon2::password_hash::{PasswordHashString, SaltString};
use argon2::{Argon2, Params, PasswordHasher as _, PasswordVerifier as _};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{self, SHA512, SHA512_OUTPUT_LEN};
use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA512};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use super::hash_text::HashError;
use super::hash_text::{bytes_of, iterations_of, salt_of};
use super::scram::ScramVerifier;
use crate::limits;

/// A hash of a password with everything that checking one needs.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(HashedPassword);

/// How a new hash is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// `$6$`: one round of SHA-512 over password and salt; for mosquitto 1.6 and earlier.
    Sha512,
    /// `$7$`: PBKDF2 with this many iterations; mosquitto 1.6.13 and later.
    Sha512Pbkdf2 {
        /// Rounds of the hash, at most [`limits::PBKDF2_ITERATIONS_MAX`].
        iterations: NonZeroU32,
    },
    /// `$argon2id$`, 46 MiB and one pass as mosquitto 2.1 makes it.
    Argon2id,
    /// `SCRAM-SHA-256$`: for clients that prove the password without sending it, too.
    ScramSha256 {
        /// At most [`limits::PBKDF2_ITERATIONS_MAX`]; clients require [`SCRAM_ITERATIONS_MIN`].
        iterations: NonZeroU32,
    },
}

/// Why a hash could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MakeError {
    /// The operating system provides no random bytes.
    #[error("the operating system provides no random bytes for a salt")]
    NoRandom,
    /// The password cannot be hashed in this way.
    #[error("the password cannot be hashed")]
    Refused,
}

/// Iterations of a new `$7$` hash: OWASP's recommendation for PBKDF2 with SHA-512. mosquitto reads it.
pub const ITERATIONS_DEFAULT: u32 = 210_000;
/// Iterations of new verifiers of SCRAM-SHA-256, which each client has to compute too, including small devices.
pub const SCRAM_ITERATIONS_DEFAULT: u32 = 10_000;
/// A client has to refuse fewer iterations of SCRAM-SHA-256 than these (RFC 7677, section 4).
pub const SCRAM_ITERATIONS_MIN: u32 = 4096;

/// Memory of a new argon2 hash in KiB, the choice of mosquitto 2.1.
const ARGON2_KIB: u32 = 47_104;
const ARGON2_SALT_BYTES: usize = 16;
/// Bytes of a salt: mosquitto 2.0 writes as many, and both versions read them.
const SALT_BYTES: usize = 12;
/// Bytes of a new salt of SCRAM, as in PostgreSQL.
const SCRAM_SALT_BYTES: usize = 16;

#[derive(Clone, PartialEq, Eq)]
enum HashedPassword {
    Sha512 {
        salt: Box<[u8]>,
        hash: [u8; SHA512_OUTPUT_LEN],
    },
    Pbkdf2 {
        iterations: NonZeroU32,
        salt: Box<[u8]>,
        hash: [u8; SHA512_OUTPUT_LEN],
    },
    Argon2id(PasswordHashString),
    Scram(ScramVerifier),
}

impl PasswordHash {
    /// Reads a hash in the format of a password file.
    ///
    /// # Errors
    /// The text is not a hash, or the hash cannot be used.
    pub fn parse(text: &str) -> Result<PasswordHash, HashError> {
        if let Some(verifier) = ScramVerifier::parse(text) {
            return Ok(PasswordHash(HashedPassword::Scram(verifier?)));
        }
        let form = match text.strip_prefix('$').and_then(|rest| rest.split_once('$')) {
            Some(("6", rest)) => sha512(rest)?,
            Some(("7", rest)) => pbkdf2(rest)?,
            Some(("argon2id", _)) => argon2id(text)?,
            _ => return Err(HashError::Unknown),
        };
        Ok(PasswordHash(form))
    }

    /// Hashes a password under a new random salt.
    ///
    /// # Errors
    /// There are no random bytes, or the password is too long for the algorithm.
    pub fn make(password: &[u8], algorithm: Algorithm) -> Result<PasswordHash, MakeError> {
        Ok(PasswordHash(match algorithm {
            Algorithm::Sha512 => {
                let salt: Box<[u8]> = random::<SALT_BYTES>()?.into();
                let hash = digest_of(password, &salt);
                HashedPassword::Sha512 { salt, hash }
            }
            Algorithm::Sha512Pbkdf2 { iterations } => {
                let salt: Box<[u8]> = random::<SALT_BYTES>()?.into();
                let mut hash = [0; SHA512_OUTPUT_LEN];
                pbkdf2::derive(PBKDF2_HMAC_SHA512, iterations, &salt, password, &mut hash);
                HashedPassword::Pbkdf2 {
                    iterations,
                    salt,
                    hash,
                }
            }
            Algorithm::Argon2id => HashedPassword::Argon2id(make_argon2id(password)?),
            Algorithm::ScramSha256 { iterations } => {
                let salt = random::<SCRAM_SALT_BYTES>()?;
                HashedPassword::Scram(ScramVerifier::make(password, iterations, &salt))
            }
        }))
    }

    /// Whether `password` is right; takes as long for a wrong one.
    #[must_use]
    pub fn verify(&self, password: &[u8]) -> bool {
        match &self.0 {
            HashedPassword::Sha512 { salt, hash } => {
                verify_slices_are_equal(&digest_of(password, salt), hash).is_ok()
            }
            HashedPassword::Pbkdf2 {
                iterations,
                salt,
                hash,
            } => pbkdf2::verify(PBKDF2_HMAC_SHA512, *iterations, salt, password, hash).is_ok(),
            HashedPassword::Argon2id(hash) => Argon2::default()
                .verify_password(password, &hash.password_hash())
                .is_ok(),
            HashedPassword::Scram(verifier) => verifier.verify(password),
        }
    }

    /// The verifier of SCRAM-SHA-256, if the hash is of that kind.
    #[must_use]
    pub fn scram(&self) -> Option<&ScramVerifier> {
        match &self.0 {
            HashedPassword::Scram(verifier) => Some(verifier),
            _ => None,
        }
    }
}

/// The format of a password file.
impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            HashedPassword::Sha512 { salt, hash } => {
                write!(f, "$6${}${}", STANDARD.encode(salt), STANDARD.encode(hash))
            }
            HashedPassword::Pbkdf2 {
                iterations,
                salt,
                hash,
            } => {
                write!(
                    f,
                    "$7${iterations}${}${}",
                    STANDARD.encode(salt),
                    STANDARD.encode(hash)
                )
            }
            HashedPassword::Argon2id(hash) => f.write_str(hash.as_str()),
            HashedPassword::Scram(verifier) => verifier.fmt(f),
        }
    }
}

/// Without the hash, which must not be logged.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            HashedPassword::Sha512 { .. } => "PasswordHash($6$)",
            HashedPassword::Pbkdf2 { .. } => "PasswordHash($7$)",
            HashedPassword::Argon2id(_) => "PasswordHash($argon2id$)",
            HashedPassword::Scram(_) => "PasswordHash(SCRAM-SHA-256$)",
        })
    }
}

/// Reads what follows `$6$`: `salt$hash`.
fn sha512(rest: &str) -> Result<HashedPassword, HashError> {
    let (salt, hash) = salt_and_hash(rest)?;
    Ok(HashedPassword::Sha512 { salt, hash })
}

/// Reads what follows `$7$`: `iterations$salt$hash`.
fn pbkdf2(rest: &str) -> Result<HashedPassword, HashError> {
    let (iterations, rest) = rest.split_once('$').ok_or(HashError::Malformed)?;
    // A line with two mistakes is reported as malformed rather than too expensive.
    let (salt, hash) = salt_and_hash(rest)?;
    Ok(HashedPassword::Pbkdf2 {
        iterations: iterations_of(iterations)?,
        salt,
        hash,
    })
}

fn salt_and_hash(text: &str) -> Result<(Box<[u8]>, [u8; SHA512_OUTPUT_LEN]), HashError> {
    let (salt, hash) = text.split_once('$').ok_or(HashError::Malformed)?;
    Ok((salt_of(salt)?, bytes_of(hash)?))
}

/// A PHC string. Its parameters are checked here, so that [`PasswordHash::verify`] can fail for no other reason.
fn argon2id(text: &str) -> Result<HashedPassword, HashError> {
    let hash = PasswordHashString::new(text).map_err(|_| HashError::Malformed)?;
    if hash.salt().is_none() || hash.hash().is_none() || hash.version() != Some(argon2::Version::V0x13.into())
    {
        return Err(HashError::Malformed);
    }
    let params = Params::try_from(&hash.password_hash()).map_err(|_| HashError::Malformed)?;
    let is_affordable = params.m_cost() <= limits::ARGON2_KIB_MAX
        && params.t_cost() <= limits::ARGON2_PASSES_MAX
        && params.p_cost() <= limits::ARGON2_PASSES_MAX;
    if !is_affordable {
        return Err(HashError::TooExpensive);
    }
    Ok(HashedPassword::Argon2id(hash))
}

fn make_argon2id(password: &[u8]) -> Result<PasswordHashString, MakeError> {
    let params = Params::new(ARGON2_KIB, 1, 1, None).map_err(|_| MakeError::Refused)?;
    let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let salt = SaltString::encode_b64(&random::<ARGON2_SALT_BYTES>()?).map_err(|_| MakeError::Refused)?;
    let hash = argon2
        .hash_password(password, &salt)
        .map_err(|_| MakeError::Refused)?;
    Ok(hash.serialize())
}

fn digest_of(password: &[u8], salt: &[u8]) -> [u8; SHA512_OUTPUT_LEN] {
    let mut context = digest::Context::new(&SHA512);
    context.update(password);
    context.update(salt);
    let mut hash = [0; SHA512_OUTPUT_LEN];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

fn random<const BYTES: usize>() -> Result<[u8; BYTES], MakeError> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(|_| MakeError::NoRandom)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
