//! What the traces of clients show beside packets: what access rules denied, and the messages that clients do not get.
//!
//! Invariants: nothing is kept while nobody is traced, nothing of clients that are not, and never more than
//! [`limits::TRACE_LINES_MAX`].

use std::sync::Arc;

use crate::limits;
use crate::logic::clients::Clients;
use crate::logic::connection::ConnectionId;
use crate::logic::session::{Session, SessionSlot};
use crate::traces::Trace;

/// Lines that are still to be shown, and where.
#[derive(Debug, Default)]
pub struct TraceLines {
    traces: Vec<Arc<Trace>>,
    kept: Vec<(ShownIn, String)>,
}

/// The traces that show a line.
#[derive(Debug)]
pub(crate) enum ShownIn {
    /// Those of the client of this connection.
    TracesOf(ConnectionId),
    /// These, of a client that is away, and so has no address.
    Traces(Vec<Arc<Trace>>),
}

impl TraceLines {
    /// From now on lines are kept for these traces, if there are any.
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

    /// The lines since this was last asked.
    #[inline]
    pub(crate) fn take(&mut self) -> Vec<(ShownIn, String)> {
        std::mem::take(&mut self.kept)
    }

    /// Whether one more is to be kept, of somebody who is traced.
    pub(super) fn has_room(&self) -> bool {
        !self.traces.is_empty() && self.kept.len() < limits::TRACE_LINES_MAX
    }

    /// Keeps a line about the client of a session, if that is traced.
    pub(super) fn add(
        &mut self,
        clients: &Clients,
        session: SessionSlot,
        text: impl FnOnce(&Session) -> String,
    ) {
        if self.has_room()
            && let Some(owner) = clients.session(session)
        {
            let slot = clients.link(session);
            let id = slot.and_then(|slot| Some(clients.connections().get(slot)?.id(slot)));
            self.add_of(owner, id, text);
        }
    }

    /// Keeps a line about the client of a session that may have a connection, if that is traced.
    pub(super) fn add_of(
        &mut self,
        session: &Session,
        id: Option<ConnectionId>,
        text: impl FnOnce(&Session) -> String,
    ) {
        if !self.has_room() {
            return;
        }
        let is_of = |trace: &&Arc<Trace>| trace.may_be_of(session.client_identifier(), session.user());
        let mut traces = self.traces.iter().filter(is_of);
        let shown_in = match id {
            Some(id) => traces.next().map(|_| ShownIn::TracesOf(id)),
            None => {
                let traces: Vec<_> = traces.filter(|trace| !trace.is_of_address()).cloned().collect();
                (!traces.is_empty()).then_some(ShownIn::Traces(traces))
            }
        };
        if let Some(shown_in) = shown_in {
            self.kept.push((shown_in, text(session)));
        }
    }
}
