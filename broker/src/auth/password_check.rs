//! A check of a password on its way through the queue.
//!
//! Invariants: its password is in no log.

use std::fmt;
use std::sync::{Arc, Weak};

use super::back_off::{BackOff, UserAtAddress};
use super::password_file::{Candidate, PasswordFile};
use crate::limits;
use crate::settings::ListenerId;
use crate::time::Timestamp;

/// One check that waits: whose password, against which file, and who asked.
pub(super) struct PasswordCheck {
    pub(super) file: Arc<PasswordFile>,
    pub(super) candidate: Candidate,
    pub(super) password: Box<[u8]>,
    pub(super) claimant: UserAtAddress,
    /// What [`BackOff::digest`] makes of the file and the password.
    pub(super) digest: u64,
    /// When it came: a wrong password is answered so long behind that.
    pub(super) asked: Timestamp,
    /// After that nobody waits for the answer.
    pub(super) deadline: Timestamp,
    /// Somebody waits for the answer as long as this is held.
    pub(super) awaited: Weak<()>,
    /// It had its turn, and its claimant is charged for it until it was right.
    pub(super) has_begun: bool,
    /// Whom the answer goes to: see `Authentication::check`.
    pub(super) shard: u16,
    pub(super) ticket: u64,
    pub(super) generation: u64,
    /// The listener and the user that the client names.
    pub(super) listener: ListenerId,
    pub(super) user: Box<str>,
}

/// Without the password: it does not belong into logs.
impl fmt::Debug for PasswordCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordCheck")
            .field("claimant", &self.claimant)
            .field("ticket", &self.ticket)
            .finish_non_exhaustive()
    }
}

impl PasswordCheck {
    /// Whether somebody waits for the answer.
    pub(super) fn is_awaited(&self, now: Timestamp) -> bool {
        self.deadline > now && self.awaited.strong_count() > 0
    }

    /// When it is answered at the earliest, if it is wrong: while its client waits.
    pub(super) fn wrong_at(&self) -> Timestamp {
        let waits_ns = self.deadline.since_ns(self.asked);
        self.asked.plus_ns(limits::WRONG_PASSWORD_NS.min(waits_ns / 2))
    }

    /// The verdict, if it is known without hashing.
    pub(super) fn known_verdict(&self, now: Timestamp, back_off: &BackOff) -> Option<bool> {
        if self.file.remembers(self.candidate, &self.password) {
            return Some(true);
        }
        back_off
            .knows_wrong(now, self.claimant, self.digest)
            .then_some(false)
    }
}
