//! What the server stores of a password for SCRAM-SHA-256, in PostgreSQL's format:
//! `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, salt and keys in base64.
//!
//! Invariants: a verifier is complete and has bounded cost, so a check can only fail because of the password.

use std::fmt;
use std::num::NonZeroU32;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::auth::hash_text::{HashError, bytes_of, iterations_of, salt_of};

/// The name of the method, and the prefix of its verifiers.
pub const METHOD: &str = "SCRAM-SHA-256";

/// Bytes of a key: an output of SHA-256.
pub(super) const KEY_BYTES: usize = 32;
pub(super) type ScramKey = [u8; KEY_BYTES];

/// What proves a password, and proves to the client that the server knows it (RFC 5802, section 3).
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    pub(super) iterations: NonZeroU32,
    pub(super) salt: Box<[u8]>,
    pub(super) stored_key: ScramKey,
    pub(super) server_key: ScramKey,
}

impl ScramVerifier {
    /// Reads a verifier in the format of a password file; `None` if the text is of another kind.
    ///
    /// # Errors
    /// The verifier cannot be used.
    pub fn parse(text: &str) -> Option<Result<ScramVerifier, HashError>> {
        let rest = text.strip_prefix(METHOD)?.strip_prefix('$')?;
        Some(read(rest))
    }

    /// Makes the verifier of a password under a salt.
    #[must_use]
    pub fn make(password: &[u8], iterations: NonZeroU32, salt: &[u8]) -> ScramVerifier {
        let salted = salted(password, iterations, salt);
        ScramVerifier {
            iterations,
            salt: salt.into(),
            stored_key: sha256(&client_key(&salted)),
            server_key: server_key(&salted),
        }
    }

    /// A verifier that no password fits, for an unknown user: of the same shape as this one, and always the same for a
    /// name under a key.
    #[must_use]
    pub fn imitation(&self, key: &[u8], user: &str) -> ScramVerifier {
        let derive = |what: &[u8]| hmac_sha256(key, &[what, user.as_bytes()]);
        let salt = derive(b"salt ").into_iter().cycle().take(self.salt.len());
        ScramVerifier {
            iterations: self.iterations,
            salt: salt.collect(),
            stored_key: derive(b"stored key "),
            server_key: derive(b"server key "),
        }
    }

    /// Whether `password` is right: computes what a client computes.
    #[must_use]
    pub fn verify(&self, password: &[u8]) -> bool {
        let made = ScramVerifier::make(password, self.iterations, &self.salt);
        verify_slices_are_equal(&made.stored_key, &self.stored_key).is_ok()
    }
}

/// The format of a password file.
impl fmt::Display for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored, server] =
            [&self.salt[..], &self.stored_key, &self.server_key].map(|bytes| STANDARD.encode(bytes));
        write!(f, "{METHOD}${}:{salt}${stored}:{server}", self.iterations)
    }
}

/// Without salt and keys, which must not be logged.
impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramVerifier(SCRAM-SHA-256)")
    }
}

const CLIENT_KEY: &[u8] = b"Client Key";
const SERVER_KEY: &[u8] = b"Server Key";

/// Reads the part after the name of the method.
fn read(text: &str) -> Result<ScramVerifier, HashError> {
    let (cost, keys) = text.split_once('$').ok_or(HashError::Malformed)?;
    let (iterations, salt) = cost.split_once(':').ok_or(HashError::Malformed)?;
    let (stored, server) = keys.split_once(':').ok_or(HashError::Malformed)?;
    Ok(ScramVerifier {
        iterations: iterations_of(iterations)?,
        salt: salt_of(salt)?,
        stored_key: bytes_of(stored)?,
        server_key: bytes_of(server)?,
    })
}

/// SaltedPassword. Text is prepared by SASLprep; a password that is not text is used unchanged, as in PostgreSQL.
pub(super) fn salted(password: &[u8], iterations: NonZeroU32, salt: &[u8]) -> ScramKey {
    let text = std::str::from_utf8(password).ok();
    let prepared = text.and_then(|text| stringprep::saslprep(text).ok());
    let password = prepared.as_deref().map_or(password, str::as_bytes);
    let mut salted = [0; KEY_BYTES];
    pbkdf2::derive(PBKDF2_HMAC_SHA256, iterations, salt, password, &mut salted);
    salted
}

pub(super) fn client_key(salted: &ScramKey) -> ScramKey {
    hmac_sha256(salted, &[CLIENT_KEY])
}

pub(super) fn server_key(salted: &ScramKey) -> ScramKey {
    hmac_sha256(salted, &[SERVER_KEY])
}

/// HMAC-SHA-256 of the concatenated parts.
pub(super) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> ScramKey {
    let mut context = hmac::Context::with_key(&hmac::Key::new(HMAC_SHA256, key));
    parts.iter().for_each(|part| context.update(part));
    let mut output = [0; KEY_BYTES];
    output.copy_from_slice(context.sign().as_ref());
    output
}

pub(super) fn sha256(bytes: &[u8]) -> ScramKey {
    let mut output = [0; KEY_BYTES];
    output.copy_from_slice(digest::digest(&SHA256, bytes).as_ref());
    output
}
