//! Hashes of passwords as mosquitto writes them: `$6$` (salted SHA-512), `$7$` (PBKDF2-HMAC-SHA512) and `$argon2id$`; and the
//! verifiers of SCRAM-SHA-256, which prove a password that is sent too.
//!
//! Invariants: a [`PasswordHash`] is complete and affordable (bounded iterations and memory), so checking a password
//! against it cannot fail for another reason than the password; the comparison takes the same time whatever differs.
//! The algorithms are those of aws-lc-rs and of RustCrypto's argon2.

use std::fmt;
use std::num::NonZeroU32;

use argon2::password_hash::{PasswordHashString, SaltString};
use argon2::{Argon2, Params, PasswordHasher as _, PasswordVerifier as _};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{self, SHA512, SHA512_OUTPUT_LEN};
use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA512};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::scram::Verifier;

/// A hash of a password with everything that checking one needs.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(Form);

/// How a new hash is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// `$6$`: one round of SHA-512 over password and salt; for mosquitto 1.6 and earlier.
    Sha512,
    /// `$7$`: PBKDF2 with so many iterations; mosquitto 1.6.13 and later.
    Sha512Pbkdf2 {
        /// At most [`ITERATIONS_MAX`].
        iterations: NonZeroU32,
    },
    /// `$argon2id$`, 46 MiB and one pass as mosquitto 2.1 makes it.
    Argon2id,
    /// `SCRAM-SHA-256$`: for clients that prove the password without sending it, too.
    ScramSha256 {
        /// At most [`ITERATIONS_MAX`]; clients ask for [`SCRAM_ITERATIONS_MIN`].
        iterations: NonZeroU32,
    },
}

/// Why a text is not a hash that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// Does not begin as one of the known forms: a password in plain text, most likely.
    #[error(
        "the password is not hashed, or in an unknown way ($6$, $7$, $argon2id$ and SCRAM-SHA-256$ are known): hash it with `broker passwd`"
    )]
    Unknown,
    /// A part is missing or cannot be read.
    #[error("the hash of the password is malformed: set the password anew with `broker passwd`")]
    Malformed,
    /// The cost is out of all proportion.
    #[error("checking the password would cost too much time or memory: set it anew with `broker passwd`")]
    TooExpensive,
}

/// Why a hash could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MakeError {
    /// The system gives no random bytes.
    #[error("no random bytes for a salt")]
    NoRandom,
    /// The password cannot be hashed in this way.
    #[error("the password cannot be hashed")]
    Refused,
}

/// Iterations of PBKDF2 at most: about ten seconds.
pub const ITERATIONS_MAX: u32 = 10_000_000;
/// Iterations of a new `$7$` hash: a few milliseconds, a hundred times what mosquitto 2.0 takes. mosquitto reads it.
pub const ITERATIONS_DEFAULT: u32 = 10_000;
/// Iterations of SCRAM-SHA-256 that a client has to refuse less of (RFC 7677, section 4).
pub const SCRAM_ITERATIONS_MIN: u32 = 4096;

/// Memory of one argon2 check at most, in KiB.
const ARGON2_KIB_MAX: u32 = 1 << 20;
/// Passes and lanes of one argon2 check at most.
const ARGON2_PASSES_MAX: u32 = 64;
/// mosquitto 2.1's choice.
const ARGON2_KIB: u32 = 47_104;
const ARGON2_SALT_BYTES: usize = 16;
/// Bytes of a salt: what mosquitto 2.0 writes and both versions read.
const SALT_BYTES: usize = 12;
/// What PostgreSQL takes.
const SCRAM_SALT_BYTES: usize = 16;
/// Bytes of a salt that is read at most; mosquitto 2.1 writes 64.
const SALT_BYTES_MAX: usize = 1024;

#[derive(Clone, PartialEq, Eq)]
enum Form {
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
    Scram(Verifier),
}

impl PasswordHash {
    /// Reads a hash as it stands in a password file.
    ///
    /// # Errors
    /// It is none, or one that cannot be used.
    pub fn parse(text: &str) -> Result<PasswordHash, HashError> {
        if let Some(verifier) = Verifier::parse(text) {
            return Ok(PasswordHash(Form::Scram(verifier?)));
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
                Form::Sha512 { salt, hash }
            }
            Algorithm::Sha512Pbkdf2 { iterations } => {
                let salt: Box<[u8]> = random::<SALT_BYTES>()?.into();
                let mut hash = [0; SHA512_OUTPUT_LEN];
                pbkdf2::derive(PBKDF2_HMAC_SHA512, iterations, &salt, password, &mut hash);
                Form::Pbkdf2 {
                    iterations,
                    salt,
                    hash,
                }
            }
            Algorithm::Argon2id => Form::Argon2id(make_argon2id(password)?),
            Algorithm::ScramSha256 { iterations } => {
                let salt = random::<SCRAM_SALT_BYTES>()?;
                Form::Scram(Verifier::make(password, iterations, &salt))
            }
        }))
    }

    /// Whether `password` is the one; takes as long for a wrong one.
    #[must_use]
    pub fn verify(&self, password: &[u8]) -> bool {
        match &self.0 {
            Form::Sha512 { salt, hash } => verify_slices_are_equal(&digest_of(password, salt), hash).is_ok(),
            Form::Pbkdf2 {
                iterations,
                salt,
                hash,
            } => pbkdf2::verify(PBKDF2_HMAC_SHA512, *iterations, salt, password, hash).is_ok(),
            Form::Argon2id(hash) => Argon2::default()
                .verify_password(password, &hash.password_hash())
                .is_ok(),
            Form::Scram(verifier) => verifier.verify(password),
        }
    }

    /// What SCRAM-SHA-256 goes by, if the hash is of that kind.
    #[must_use]
    pub fn scram(&self) -> Option<&Verifier> {
        match &self.0 {
            Form::Scram(verifier) => Some(verifier),
            _ => None,
        }
    }
}

/// As it stands in a password file.
impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Sha512 { salt, hash } => {
                write!(f, "$6${}${}", STANDARD.encode(salt), STANDARD.encode(hash))
            }
            Form::Pbkdf2 {
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
            Form::Argon2id(hash) => f.write_str(hash.as_str()),
            Form::Scram(verifier) => verifier.fmt(f),
        }
    }
}

/// Without the hash: it does not belong into logs.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Form::Sha512 { .. } => "PasswordHash($6$)",
            Form::Pbkdf2 { .. } => "PasswordHash($7$)",
            Form::Argon2id(_) => "PasswordHash($argon2id$)",
            Form::Scram(_) => "PasswordHash(SCRAM-SHA-256$)",
        })
    }
}

/// `salt$hash`
fn sha512(rest: &str) -> Result<Form, HashError> {
    let (salt, hash) = salt_and_hash(rest)?;
    Ok(Form::Sha512 { salt, hash })
}

/// `iterations$salt$hash`
fn pbkdf2(rest: &str) -> Result<Form, HashError> {
    let (iterations, rest) = rest.split_once('$').ok_or(HashError::Malformed)?;
    if !iterations.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(HashError::Malformed);
    }
    let (salt, hash) = salt_and_hash(rest)?;
    let iterations: NonZeroU32 = iterations.parse().map_err(|_| HashError::Malformed)?;
    if iterations.get() > ITERATIONS_MAX {
        return Err(HashError::TooExpensive);
    }
    Ok(Form::Pbkdf2 {
        iterations,
        salt,
        hash,
    })
}

fn salt_and_hash(text: &str) -> Result<(Box<[u8]>, [u8; SHA512_OUTPUT_LEN]), HashError> {
    let (salt, hash) = text.split_once('$').ok_or(HashError::Malformed)?;
    let bytes = |text: &str| STANDARD.decode(text).map_err(|_| HashError::Malformed);
    let (salt, hash) = (bytes(salt)?, bytes(hash)?);
    if !(1..=SALT_BYTES_MAX).contains(&salt.len()) {
        return Err(HashError::Malformed);
    }
    let hash = hash.try_into().map_err(|_| HashError::Malformed)?;
    Ok((salt.into(), hash))
}

/// A PHC string. Its parameters are checked here, so that [`PasswordHash::verify`] has no other reason to say no.
fn argon2id(text: &str) -> Result<Form, HashError> {
    let hash = PasswordHashString::new(text).map_err(|_| HashError::Malformed)?;
    if hash.salt().is_none() || hash.hash().is_none() || hash.version() != Some(argon2::Version::V0x13.into())
    {
        return Err(HashError::Malformed);
    }
    let params = Params::try_from(&hash.password_hash()).map_err(|_| HashError::Malformed)?;
    let is_affordable = params.m_cost() <= ARGON2_KIB_MAX
        && params.t_cost() <= ARGON2_PASSES_MAX
        && params.p_cost() <= ARGON2_PASSES_MAX;
    if !is_affordable {
        return Err(HashError::TooExpensive);
    }
    Ok(Form::Argon2id(hash))
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Made by mosquitto_passwd 2.0.11 for the password "pw" and "x".
    const PBKDF2: &str = "$7$101$7ph9hql0HPjKAApL$DZI44za4vmBMaLVxfEWNyY14sPel590RC3kxA6LuX1ASnptSc3XkjO7t7SA3T4XFfruPvRdoqwhMj2K7jSA0RQ==";
    const SHA512_X: &str = "$6$JAb3f/OZ7AYTt1kc$f4gDNHPRv0u0qLKdkHcyKmURUO20wuqZoEkEqZf+TCB3EHjEe+4ZDye4KoeHtT77NvOX6xI8cjlYu4YXu3iwsQ==";

    const CHEAP_SCRAM: Algorithm = Algorithm::ScramSha256 {
        iterations: NonZeroU32::MIN,
    };

    fn cheap_pbkdf2() -> Algorithm {
        Algorithm::Sha512Pbkdf2 {
            iterations: NonZeroU32::new(7).unwrap(),
        }
    }

    #[test]
    fn hashes_of_mosquitto() {
        for (text, password) in [(PBKDF2, "pw"), (SHA512_X, "x")] {
            let hash = PasswordHash::parse(text).unwrap();
            assert!(hash.verify(password.as_bytes()), "{text}");
            for wrong in ["", "P", "pw ", "xx"] {
                assert!(!hash.verify(wrong.as_bytes()), "{text} {wrong}");
            }
            assert_eq!(hash.to_string(), text);
        }
    }

    #[test]
    fn own_hashes_are_read_back() {
        for algorithm in [
            Algorithm::Sha512,
            cheap_pbkdf2(),
            Algorithm::Argon2id,
            CHEAP_SCRAM,
        ] {
            let made = PasswordHash::make(b"secret", algorithm).unwrap();
            let read = PasswordHash::parse(&made.to_string()).unwrap();
            assert_eq!(read, made);
            assert!(read.verify(b"secret") && !read.verify(b"Secret"), "{algorithm:?}");
            assert_ne!(
                PasswordHash::make(b"secret", algorithm).unwrap(),
                made,
                "a salt of its own"
            );
        }
    }

    #[test]
    fn argon2id_has_mosquittos_form() {
        let made = PasswordHash::make(b"secret", Algorithm::Argon2id)
            .unwrap()
            .to_string();
        assert!(made.starts_with("$argon2id$v=19$m=47104,t=1,p=1$"), "{made}");
    }

    #[test]
    fn malformed_hashes_are_refused() {
        let short = "$7$101$7ph9hql0HPjKAApL$DZI44za4";
        for (text, error) in [
            ("", HashError::Unknown),
            ("secret", HashError::Unknown),
            ("$", HashError::Unknown),
            ("$5$a$b", HashError::Unknown),
            (
                "$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo",
                HashError::Unknown,
            ),
            ("$6$", HashError::Malformed),
            ("$6$c2FsdA==", HashError::Malformed),
            ("$6$c2FsdA==$", HashError::Malformed),
            ("$6$$", HashError::Malformed),
            ("$6$!!!!$aGFzaA==", HashError::Malformed),
            ("$7$101$c2FsdA==", HashError::Malformed),
            ("$7$$c2FsdA==$aGFzaA==", HashError::Malformed),
            (short, HashError::Malformed),
            ("SCRAM-SHA-256$4096:c2FsdA==", HashError::Malformed),
            ("SCRAM-SHA-1$4096:c2FsdA==$a:b", HashError::Unknown),
            (&PBKDF2.replace("101", "0"), HashError::Malformed),
            (&PBKDF2.replace("101", "-1"), HashError::Malformed),
            (&PBKDF2.replace("101", "+1"), HashError::Malformed),
            (&PBKDF2.replace("101", "99999999999"), HashError::Malformed),
            (&PBKDF2.replace("101", "10000001"), HashError::TooExpensive),
            (
                &PBKDF2.replace("$7$101$7ph9hql0HPjKAApL$", "$7$101$$"),
                HashError::Malformed,
            ),
            ("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ", HashError::Malformed),
            (
                "$argon2id$v=16$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo",
                HashError::Malformed,
            ),
            (
                "$argon2id$v=19$m=2097152,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo",
                HashError::TooExpensive,
            ),
            (
                "$argon2id$v=19$m=1024,t=65,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo",
                HashError::TooExpensive,
            ),
            (
                "$argon2id$v=19$m=1,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo",
                HashError::Malformed,
            ),
        ] {
            assert_eq!(PasswordHash::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn debug_shows_no_hash() {
        assert_eq!(
            format!("{:?}", PasswordHash::parse(PBKDF2).unwrap()),
            "PasswordHash($7$)"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in r"(\$(6|7|argon2id)\$|SCRAM-SHA-256\$1:)?[$0-9A-Za-z+/=,:vmtp]{0,80}") {
            if let Ok(hash) = PasswordHash::parse(&text) {
                prop_assert_eq!(PasswordHash::parse(&hash.to_string()), Ok(hash));
            }
        }

        #[test]
        fn only_the_password_itself_is_right(
            // HMAC takes zeros at the end of a key for padding, so U+0000 is left out.
            password in proptest::collection::vec(1_u8.., 0..40),
            other in proptest::collection::vec(1_u8.., 0..40),
        ) {
            let hash = PasswordHash::make(&password, cheap_pbkdf2()).unwrap();
            prop_assert!(hash.verify(&password));
            prop_assert_eq!(hash.verify(&other), other == password);
        }
    }
}
