//! What access rules denied or withheld of late, for the traces of clients.
//!
//! Invariants: nothing is kept while nobody is traced, nothing of clients that are not, and never more than
//! [`limits::DENIALS_TRACED_MAX`].

use std::sync::Arc;

use crate::limits;
use crate::logic::connection::ConnectionId;
use crate::logic::session::Session;
use crate::traces::Trace;

/// What was denied, and on which connection.
#[derive(Debug, Default)]
pub struct Denials {
    traces: Vec<Arc<Trace>>,
    kept: Vec<(ConnectionId, String)>,
}

impl Denials {
    /// From now on what access rules deny is kept for these traces, if there are any.
    #[inline]
    pub(crate) fn keep(&mut self, traces: &[Arc<Trace>]) {
        if !(traces.is_empty() && self.traces.is_empty()) {
            self.set_traces(traces);
        }
    }

    #[cold]
    fn set_traces(&mut self, traces: &[Arc<Trace>]) {
        let mut pairs = traces.iter().zip(&self.traces);
        if traces.len() != self.traces.len() || pairs.any(|(one, other)| !Arc::ptr_eq(one, other)) {
            self.traces = traces.to_vec();
        }
    }

    /// What was denied since this was last asked, and on which connection.
    #[inline]
    pub(crate) fn take(&mut self) -> Vec<(ConnectionId, String)> {
        std::mem::take(&mut self.kept)
    }

    /// Whether one more is to be kept, of somebody who is traced.
    pub(super) fn has_room(&self) -> bool {
        !self.traces.is_empty() && self.kept.len() < limits::DENIALS_TRACED_MAX
    }

    /// Whether one more is to be kept of the client of a session.
    pub(super) fn want(&self, session: &Session) -> bool {
        let is_of = |trace: &Arc<Trace>| trace.may_be_of(session.client_identifier(), session.user());
        self.has_room() && self.traces.iter().any(is_of)
    }

    /// Keeps one, for which there is room.
    pub(super) fn push(&mut self, id: ConnectionId, text: String) {
        self.kept.push((id, text));
    }
}
