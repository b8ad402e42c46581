//! Passwords of operators, which come by HTTP.
//!
//! Invariants: those of `auth/mod.rs`.

use std::net::IpAddr;
use std::sync::Arc;

use super::back_off::UserAtAddress;
use super::password_file::PasswordFile;
use super::{Authentication, Policy};
use crate::limits;
use crate::settings::ListenerId;
use crate::time::Timestamp;

/// A user name and a password that came by HTTP.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// The listener that the request came by.
    pub listener: ListenerId,
    /// The address that it comes from.
    pub address: IpAddr,
    /// The name of the user.
    pub user: &'a str,
    /// The password, not yet proved.
    pub password: &'a [u8],
}

impl Authentication {
    /// Whether this is the password of a user of the listener's password file, as far as that is known without
    /// computing. Who failed often is refused without a look at the password.
    #[must_use]
    pub fn knows(&self, now: Timestamp, login: &Login<'_>) -> Option<bool> {
        let policy = self.policy();
        let Some(file) = policy.passwords(login.listener) else {
            return Some(false);
        };
        if file.remembers(file.find(login.user), login.password) {
            return Some(true);
        }
        let back_off = &self.shared.back_off;
        let (claimant, digest) = self.attempt(login, &policy, file);
        let is_wrong = login.password.len() > limits::PASSWORD_BYTES_MAX
            || back_off.not_before(claimant) > now
            || back_off.knows_wrong(now, claimant, digest);
        is_wrong.then_some(false)
    }

    /// As [`Self::knows`], computed here if it is not known: for threads other than the shards', of which there are
    /// few.
    #[must_use]
    pub fn proves(&self, now: Timestamp, login: &Login<'_>) -> bool {
        if let Some(known) = self.knows(now, login) {
            return known;
        }
        let policy = self.policy();
        let Some(file) = policy.passwords(login.listener) else {
            return false;
        };
        let back_off = &self.shared.back_off;
        let (claimant, digest) = self.attempt(login, &policy, file);
        back_off.begins(now, claimant);
        let right = file.verify(file.find(login.user), login.password);
        if right {
            back_off.succeeded(now, claimant);
        } else {
            back_off.was_wrong(now, claimant, digest);
        }
        right
    }

    /// Who tries, and the digest of what it tries: what an earlier wrong answer is known by.
    fn attempt(&self, login: &Login<'_>, policy: &Policy, file: &Arc<PasswordFile>) -> (UserAtAddress, u64) {
        let back_off = &self.shared.back_off;
        let digest = back_off.digest((
            Arc::as_ptr(file) as usize,
            policy.generation(),
            false,
            login.password,
        ));
        (back_off.claimant(login.address, login.user), digest)
    }
}
