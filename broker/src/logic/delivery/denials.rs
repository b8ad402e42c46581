//! What access rules denied of late, for the traces of clients.
//!
//! Invariants: nothing is kept while nobody is traced, and never more than [`limits::DENIALS_TRACED_MAX`].

use crate::limits;
use crate::logic::connection::ConnectionId;

/// What was denied, and on which connection.
#[derive(Debug, Default)]
pub struct Denials {
    /// None if nobody is traced.
    kept: Option<Vec<(ConnectionId, String)>>,
}

impl Denials {
    /// From now on what access rules deny is kept for the traces of clients, or no more.
    pub fn keep(&mut self, is_on: bool) {
        if is_on != self.kept.is_some() {
            self.kept = is_on.then(Vec::new);
        }
    }

    /// What was denied since this was last asked, and on which connection.
    pub fn take(&mut self) -> Vec<(ConnectionId, String)> {
        self.kept.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Whether one more is to be kept.
    pub(super) fn has_room(&self) -> bool {
        let kept = self.kept.as_ref();
        kept.is_some_and(|kept| kept.len() < limits::DENIALS_TRACED_MAX)
    }

    /// Keeps one, for which there is room.
    pub(super) fn push(&mut self, id: ConnectionId, text: String) {
        if let Some(kept) = &mut self.kept {
            kept.push((id, text));
        }
    }
}
