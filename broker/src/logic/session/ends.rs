//! Why sessions end, and sessions that end over several turns.
//!
//! Invariant: such a session has no connection and no client identifier, and its slot is not reused before
//! [`Sessions::finish_ending`].

use crate::logic::inconsistency::unreachable_state;
use crate::logic::session::branches::Branches;
use crate::logic::session::{Session, SessionSlot, Sessions};

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logic) enum SessionEnd {
    /// Its Session Expiry Interval is over.
    Expired,
    /// A CONNECT of its client has Clean Start.
    CleanStart,
    /// Its connection ended, and the session with it.
    Disconnected,
    /// An operator ended it.
    Operator,
}

impl SessionEnd {
    /// The reason as a sentence.
    pub(in crate::logic) fn words(self) -> &'static str {
        match self {
            Self::Expired => "its session expired",
            Self::CleanStart => "a CONNECT with Clean Start ended its session",
            Self::Disconnected => "its session ended with its connection",
            Self::Operator => "an operator ended its session",
        }
    }
}

impl Sessions {
    /// Whether the session has ended, and only has to be removed from the places that refer to it.
    #[inline]
    pub(in crate::logic) fn ends(&self, slot: SessionSlot) -> bool {
        self.ending > 0 && self.get(slot).is_some_and(|session| session.ends)
    }

    /// Its client identifier no longer refers to it.
    pub(super) fn forget_client_identifier(&mut self, slot: SessionSlot) {
        let Some(session) = self.get(slot) else {
            return unreachable_state("a session that is gone");
        };
        let hash = self.identity(&session.client_identifier);
        if let Ok(entry) = self.by_client_identifier.find_entry(hash, |&other| other == slot) {
            entry.remove();
        }
    }

    /// The session no longer belongs to a client.
    pub(in crate::logic) fn begin_ending(&mut self, slot: SessionSlot) {
        self.forget_client_identifier(slot);
        self.set_link(slot, None);
        if let Some(session) = self.get_mut(slot) {
            session.ends = true;
            // The branches of a session that ends are no longer needed.
            session.wildcards = u8::MAX;
            let branches: Option<Box<Branches>> = session.rare.as_mut().and_then(|rare| rare.branches.take());
            drop(branches);
            if let Some(rare) = &mut session.rare {
                rare.busy_in = Vec::new();
            }
            self.ending += 1;
        }
    }

    /// Frees the slot of a session to which nothing refers any more; returns its contents.
    pub(in crate::logic) fn finish_ending(&mut self, slot: SessionSlot) -> Option<Session> {
        let session = self.slots.remove(slot)?;
        self.ending -= 1;
        Some(session)
    }
}
