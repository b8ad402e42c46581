//! `password_file`: users and the hashes of their passwords, one `user:hash` per line.
//!
//! Invariants: a file is used as a whole or not at all, so no line can leave a user without a password; a user occurs
//! once. A password that was found right is recognized later without hashing: for each user at most one keyed digest
//! is kept, in memory only and under a key of the process. A reload discards it for users that are gone or whose hash
//! has changed. A user without a SCRAM verifier gets a challenge too, which stays the same as long as the process
//! lives, so a reload does not reveal which challenges are real.

use std::collections::HashMap;
use std::collections::hash_map;
use std::hash::BuildHasher as _;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{self, HMAC_SHA256};

use super::access_file;
use super::password::{Algorithm, MakeError, PasswordHash};
use super::scram::Challenge;
use crate::files::FileError;

/// Users and their passwords.
#[derive(Debug)]
pub struct PasswordFile {
    users: HashMap<Box<str>, u32>,
    entries: Vec<PasswordEntry>,
    /// The hash that is checked for an unknown user if the file has no user at all.
    nobody: PasswordHash,
    /// The first entry with a SCRAM verifier: challenges for unknown users look like it.
    scram_model: Option<u32>,
    /// The key for the challenges of unknown users.
    imitation_key: [u8; 32],
    /// The key for remembered digests, and for the choice of the entry that stands in for an unknown user.
    key: hmac::Key,
    hasher: hash_map::RandomState,
    /// The longest recent duration of a check; 0 before the first one.
    check_ns: AtomicU64,
}

/// The entry for a user name, found by [`PasswordFile::find`]. Contains nothing that a client may learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The entry whose hash is computed; `None` in an empty file.
    entry: Option<u32>,
    /// The user is in the file; otherwise another user's hash is computed so that it takes as long.
    known: bool,
}

#[derive(Debug)]
struct PasswordEntry {
    hash: PasswordHash,
    /// Keyed digest of the right password, once it is known.
    right: OnceLock<hmac::Tag>,
}

/// The users of a [`PasswordFile`] under construction.
#[derive(Default)]
struct Parts {
    users: HashMap<Box<str>, u32>,
    entries: Vec<PasswordEntry>,
}

/// Bytes of a user name at most, the protocol's limit.
const USER_BYTES_MAX: usize = 65_535;

impl PasswordFile {
    /// Reads a file.
    ///
    /// # Errors
    /// The file cannot be read, or has wrong lines; each with its place.
    pub fn read(path: &Path) -> Result<PasswordFile, FileError> {
        Self::parse(path, &access_file::read(path)?)
    }

    /// Reads the text of a file of that name.
    ///
    /// # Errors
    /// Lines are wrong; each with its place.
    pub fn parse(path: &Path, text: &[u8]) -> Result<PasswordFile, FileError> {
        Self::parse_again(path, text, None)
    }

    /// As [`Self::parse`]; keeps what `before` knows of users whose hash is the same.
    pub(super) fn parse_again(
        path: &Path,
        text: &[u8],
        before: Option<&PasswordFile>,
    ) -> Result<PasswordFile, FileError> {
        let mut parts = Parts::default();
        access_file::for_each_line(path, text, |line| {
            let (user, hash) = entry(line)?;
            match parts.add(user, hash, before) {
                true => Ok(()),
                false => Err(format!("the user {user} occurs twice")),
            }
        })?;
        let made = parts.into_file(before);
        made.map_err(|error: MakeError| FileError::of_file(path, error.to_string()))
    }

    /// Users that do not come from a file of this kind; the first of a name counts. What `before` remembers of users
    /// with the same hash is kept.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub(super) fn of<'a>(
        users: impl Iterator<Item = (&'a str, &'a PasswordHash)>,
        before: Option<&PasswordFile>,
    ) -> Result<PasswordFile, MakeError> {
        let mut parts = Parts::default();
        for (user, hash) in users {
            parts.add(user, hash.clone(), before);
        }
        parts.into_file(before)
    }

    /// Number of users in the file.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no user.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry to check a password against. For an unknown user, another user's entry stands in, always the same
    /// one, so that the duration of the check does not reveal whether a user exists.
    #[must_use]
    pub fn find(&self, user: &str) -> Candidate {
        if let Some(entry) = self.users.get(user) {
            return Candidate {
                entry: Some(*entry),
                known: true,
            };
        }
        let chosen = self.hasher.hash_one(user).checked_rem(self.entries.len() as u64);
        Candidate {
            entry: chosen.and_then(|index| u32::try_from(index).ok()),
            known: false,
        }
    }

    /// Whether the password is known to be right from an earlier [`Self::verify`]; takes microseconds.
    #[must_use]
    pub fn remembers(&self, candidate: Candidate, password: &[u8]) -> bool {
        let right = candidate
            .known
            .then(|| self.entry(candidate)?.right.get())
            .flatten();
        right.is_some_and(|right| {
            verify_slices_are_equal(right.as_ref(), self.digest(password).as_ref()).is_ok()
        })
    }

    /// Whether the password is right; takes as long as [`Self::compared_hash`], also for an unknown user. Remembers a
    /// right one.
    #[must_use]
    pub fn verify(&self, candidate: Candidate, password: &[u8]) -> bool {
        let right = self.compared_hash(candidate).verify(password) && candidate.known;
        if right && let Some(entry) = self.entry(candidate) {
            entry.right.get_or_init(|| self.digest(password));
        }
        right
    }

    /// The hash with which a password is compared: the user's own, or for an unknown user that of a substitute entry.
    pub(super) fn compared_hash(&self, candidate: Candidate) -> &PasswordHash {
        self.entry(candidate).map_or(&self.nobody, |entry| &entry.hash)
    }

    /// The longest recent duration of [`Self::verify`]; 0 if it has not been called yet.
    pub(super) fn check_ns(&self) -> u64 {
        self.check_ns.load(Ordering::Relaxed)
    }

    /// Records a duration of [`Self::verify`]. A longer earlier one counts less and less.
    pub(super) fn took_ns(&self, took_ns: u64) {
        let before = self.check_ns();
        self.check_ns
            .store(took_ns.max(before - before / 16), Ordering::Relaxed);
    }

    /// Whether a user can authenticate by SCRAM.
    #[must_use]
    pub fn offers_scram(&self) -> bool {
        self.scram_model.is_some()
    }

    /// The challenge for a client that claims to be `user`; `None` if no user can be challenged. Names are compared as
    /// prepared by SASLprep, so a name in the file that it would change is never found. Takes as long for an unknown
    /// user.
    #[must_use]
    pub fn scram_challenge(&self, user: &str) -> Option<Challenge> {
        let verifier = |entry: &u32| self.entries.get(*entry as usize)?.hash.scram();
        let model = verifier(self.scram_model.as_ref()?)?;
        let imitation = model.imitation(&self.imitation_key, user);
        let found = self.users.get(user).and_then(verifier);
        Some(Challenge {
            verifier: found.unwrap_or(&imitation).clone(),
            known: found.is_some(),
        })
    }

    /// Whether the user has the same password here as in `before`.
    #[must_use]
    pub fn keeps(&self, before: &PasswordFile, user: &str) -> bool {
        let hash = |file: &PasswordFile| Some(file.entry(file.find(user).known()?)?.hash.clone());
        hash(self).is_some_and(|hash_here| hash(before).as_ref() == Some(&hash_here))
    }

    /// Whether the user has the same password in both, or in neither.
    pub(super) fn has_same(&self, other: &PasswordFile, user: &str) -> bool {
        let hash = |file: &PasswordFile| Some(file.entry(file.find(user).known()?)?.hash.clone());
        hash(self) == hash(other)
    }

    /// The digest of the user's password, if it is known and the hash is this one.
    fn right_password(&self, user: &str, hash: &PasswordHash) -> Option<hmac::Tag> {
        let entry = self.entry(self.find(user).known()?)?;
        (entry.hash == *hash).then(|| entry.right.get().copied())?
    }

    fn entry(&self, candidate: Candidate) -> Option<&PasswordEntry> {
        self.entries.get(candidate.entry? as usize)
    }

    fn digest(&self, password: &[u8]) -> hmac::Tag {
        hmac::sign(&self.key, password)
    }
}

impl Parts {
    /// Adds a user; false if there is one of that name.
    fn add(&mut self, user: &str, hash: PasswordHash, before: Option<&PasswordFile>) -> bool {
        let hash_map::Entry::Vacant(place) = self.users.entry(Box::from(user)) else {
            return false;
        };
        // A file of 256 MiB does not have this many lines.
        place.insert(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        let right = before.and_then(|before| before.right_password(user, &hash));
        self.entries.push(PasswordEntry {
            right: right.map_or_else(OnceLock::new, OnceLock::from),
            hash,
        });
        true
    }

    fn into_file(self, before: Option<&PasswordFile>) -> Result<PasswordFile, MakeError> {
        let Self { users, entries } = self;
        let (key, nobody) = match before {
            Some(before) => (before.key.clone(), before.nobody.clone()),
            None => secrets()?,
        };
        let hasher = before.map_or_else(hash_map::RandomState::new, |before| before.hasher.clone());
        let scram_model = entries.iter().position(|entry| entry.hash.scram().is_some());
        Ok(PasswordFile {
            users,
            entries,
            nobody,
            scram_model: scram_model.and_then(|index| u32::try_from(index).ok()),
            imitation_key: imitation_key()?,
            key,
            hasher,
            check_ns: AtomicU64::new(before.map_or(0, PasswordFile::check_ns)),
        })
    }
}

impl Candidate {
    /// The same, refused whatever the password is; it takes equally long.
    pub(super) fn refused(self) -> Candidate {
        Candidate { known: false, ..self }
    }

    /// Whether the user is in the file.
    pub(super) fn is_known(self) -> bool {
        self.known
    }

    fn known(self) -> Option<Candidate> {
        self.known.then_some(self)
    }
}

/// `user:hash`, with blanks around both removed.
pub(super) fn entry(line: &str) -> Result<(&str, PasswordHash), String> {
    let (user, hash) = user_and_rest(line)?;
    let hash = PasswordHash::parse(hash).map_err(|error| error.to_string())?;
    Ok((user, hash))
}

/// The user of a line, and the arbitrary text after the colon.
pub(super) fn user_and_rest(line: &str) -> Result<(&str, &str), String> {
    let (user, rest) = line
        .split_once(':')
        .ok_or("the line must be user:hash; there is no colon")?;
    let user = user.trim();
    if user.is_empty() {
        return Err("the user name is empty".to_owned());
    }
    if user.len() > USER_BYTES_MAX {
        return Err("the user name is longer than 65535 bytes".to_owned());
    }
    let rest = rest.trim();
    if rest.is_empty() {
        return Err(format!("the user {user} has no password"));
    }
    Ok((user, rest))
}

fn secrets() -> Result<(hmac::Key, PasswordHash), MakeError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| MakeError::NoRandom)?;
    let cheap = Algorithm::Sha512Pbkdf2 {
        iterations: NonZeroU32::MIN.saturating_add(100),
    };
    let nobody = PasswordHash::make(&bytes, cheap)?;
    getrandom::fill(&mut bytes).map_err(|_| MakeError::NoRandom)?;
    Ok((hmac::Key::new(HMAC_SHA256, &bytes), nobody))
}

/// One key for the whole life of the process.
fn imitation_key() -> Result<[u8; 32], MakeError> {
    static KEY: OnceLock<[u8; 32]> = OnceLock::new();
    if let Some(key) = KEY.get() {
        return Ok(*key);
    }
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|_| MakeError::NoRandom)?;
    Ok(*KEY.get_or_init(|| key))
}

#[cfg(test)]
mod tests;
