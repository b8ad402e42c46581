//! A check of a password while it is in the queue.
//!
//! Invariants: its password is not logged.

use std::fmt;
use std::sync::{Arc, Weak};

use super::back_off::{BackOff, UserAtAddress};
use super::password_file::{Candidate, PasswordFile};
use crate::limits;
use crate::settings::ListenerId;
use crate::time::Timestamp;

/// A waiting check: the user, the password, the file, and who asked.
pub(super) struct PasswordCheck {
    pub(super) file: Arc<PasswordFile>,
    pub(super) candidate: Candidate,
    pub(super) password: Box<[u8]>,
    pub(super) claimant: UserAtAddress,
    /// The [`BackOff::digest`] of the file and the password.
    pub(super) digest: u64,
    /// When it came: a wrong password is answered a fixed time after this.
    pub(super) asked: Timestamp,
    /// After that the client no longer waits for the answer.
    pub(super) deadline: Timestamp,
    /// While this is alive, the client waits for the answer.
    pub(super) awaited: Weak<()>,
    /// It had its turn, and its claimant is charged for it until it is found right.
    pub(super) has_begun: bool,
    /// The shard that gets the answer: see `Authentication::check`.
    pub(super) shard: u16,
    pub(super) ticket: u64,
    pub(super) generation: u64,
    /// The listener and the user that the client names.
    pub(super) listener: ListenerId,
    pub(super) user: Box<str>,
}

/// Without the password, which must not be logged.
impl fmt::Debug for PasswordCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordCheck")
            .field("claimant", &self.claimant)
            .field("ticket", &self.ticket)
            .finish_non_exhaustive()
    }
}

impl PasswordCheck {
    /// Whether the client still waits for the answer.
    pub(super) fn is_awaited(&self, now: Timestamp) -> bool {
        self.deadline > now && self.awaited.strong_count() > 0
    }

    /// When it is answered at the earliest if it is wrong, while its client waits.
    pub(super) fn wrong_at(&self) -> Timestamp {
        let waits_ns = self.deadline.since_ns(self.asked);
        self.asked.plus_ns(limits::WRONG_PASSWORD_NS.min(waits_ns / 2))
    }

    /// The result, if it is known without hashing.
    pub(super) fn known_verdict(&self, now: Timestamp, back_off: &BackOff) -> Option<bool> {
        if self.file.remembers(self.candidate, &self.password) {
            return Some(true);
        }
        back_off
            .knows_wrong(now, self.claimant, self.digest)
            .then_some(false)
    }
}
