//! Lines that traces show beside packets: denials by access rules, and messages that clients do not get.
//!
//! Invariants: nothing is kept while there are no traces, nothing about clients that are not traced, and never more
//! than [`limits::TRACE_LINES_MAX`]; the number of omitted lines is shown.

use std::sync::Arc;

use crate::limits;
use crate::logic::clients::Clients;
use crate::logic::connection::ConnectionId;
use crate::logic::session::SessionSlot;
use crate::traces::Trace;

/// Lines that are still to be shown, with their traces.
#[derive(Debug, Default)]
pub struct TraceLines {
    traces: Vec<Arc<Trace>>,
    kept: Vec<(ShownIn, String)>,
    /// Lines for which there was no room.
    left_out: u64,
}

/// The traces that show a line.
#[derive(Debug)]
pub(crate) enum ShownIn {
    /// The traces of the client of this connection.
    TracesOf(ConnectionId),
    /// These traces, for a client that is disconnected and so has no address.
    Traces(Vec<Arc<Trace>>),
}

impl TraceLines {
    /// Keeps lines for these traces from now on, if there are any.
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

    /// The lines since the last call; the last one says how many were omitted.
    #[inline]
    pub(crate) fn take(&mut self) -> Vec<(ShownIn, String)> {
        if self.left_out > 0 {
            let left_out = std::mem::take(&mut self.left_out);
            let text = format!("{left_out} more lines about denials and drops are omitted here");
            self.kept.push((ShownIn::Traces(self.traces.clone()), text));
        }
        std::mem::take(&mut self.kept)
    }

    /// Whether there is room for one more line about a traced client.
    pub(super) fn has_room(&self) -> bool {
        !self.traces.is_empty() && self.kept.len() < limits::TRACE_LINES_MAX
    }

    /// Keeps a line about the client of a session, whose name the text gets, if it is traced.
    pub(super) fn add(&mut self, clients: &Clients, session: SessionSlot, text: impl FnOnce(&str) -> String) {
        if !self.traces.is_empty()
            && let Some(owner) = clients.session(session)
        {
            let slot = clients.link(session);
            let id = slot.and_then(|slot| Some(clients.connections().get(slot)?.id(slot)));
            let client = owner.client_identifier();
            self.add_of((client, owner.user()), id, || text(client));
        }
    }

    /// Keeps a line about a client with its user, which may have a connection, if it is traced.
    pub(in crate::logic) fn add_of(
        &mut self,
        (client, user): (&str, Option<&str>),
        id: Option<ConnectionId>,
        text: impl FnOnce() -> String,
    ) {
        let mut traces = self.traces.iter().filter(|trace| trace.may_be_of(client, user));
        let shown_in = match id {
            Some(id) => traces.next().map(|_| ShownIn::TracesOf(id)),
            None => {
                let traces: Vec<_> = traces.filter(|trace| !trace.is_of_address()).cloned().collect();
                (!traces.is_empty()).then_some(ShownIn::Traces(traces))
            }
        };
        match shown_in {
            Some(shown_in) if self.has_room() => self.kept.push((shown_in, text())),
            Some(_) => self.left_out += 1,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::named_paths::NamedPaths;
    use crate::traces::{TraceSubject, Traces};

    #[test]
    fn what_is_left_out_is_said() {
        let (traces, mut lines) = (Traces::default(), TraceLines::default());
        let add = |lines: &mut TraceLines| lines.add_of(("c", None), None, || "line".to_owned());
        add(&mut lines);
        assert!(lines.take().is_empty(), "nobody is traced");
        let subject = TraceSubject::Client("c".to_owned());
        traces.start(subject, None, &NamedPaths::default()).unwrap();
        lines.keep(&traces.all());
        for _ in 0..limits::TRACE_LINES_MAX + 3 {
            add(&mut lines);
        }
        lines.add_of(("other", None), None, || "line".to_owned());
        let taken = lines.take();
        let (last, others) = taken.split_last().unwrap();
        assert!(others.iter().all(|(_, text)| text == "line"));
        assert_eq!(others.len(), limits::TRACE_LINES_MAX);
        assert!(last.1.starts_with("3 more lines"), "{}", last.1);
        add(&mut lines);
        assert_eq!(lines.take().len(), 1);
    }
}
