//! The beginning and end of sessions, and the records of their changes.
//!
//! Invariants: every change of a session that outlives its connection is recorded in the store. The counters of
//! sessions are exact after each call.

use std::fmt;

use crate::logic::connection::ConnectionSlot;
use crate::logic::counters::{ClientEvent, Denied, DisconnectCause, EventKind};
use crate::logic::delivery::Delivery;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::session::queue::{Queue, Queued};
use crate::logic::session::{Session, SessionSlot};
use crate::logic::slots::Slot as _;
use crate::logic::store::Record;

impl Delivery {
    /// A session begins; there must be none with that client identifier.
    pub(in crate::logic) fn begin_session(
        &mut self,
        client_identifier: &str,
        user: Option<Box<str>>,
    ) -> SessionSlot {
        let slot = self.clients.sessions_mut().insert(client_identifier, user);
        self.counters().sessions.add(1);
        if let Some(user) = self.clients.session(slot).and_then(Session::user) {
            self.counters().count_session_of(user, true);
        }
        slot
    }

    /// A session without a connection ends; returns its contents.
    pub(in crate::logic) fn end_session(&mut self, slot: SessionSlot) -> Option<Session> {
        self.forget_undelivered(slot);
        self.forget_expiry(slot);
        let session = self.clients.sessions_mut().remove(slot)?;
        self.forget_queue(&session);
        if let Some(user) = session.user() {
            self.counters().count_session_of(user, false);
        }
        self.counters().sessions.sub(1);
        Some(session)
    }

    /// A session without a connection ends over several turns: from now on it has no client. The store keeps its state
    /// until its messages for groups have been given to others.
    pub(in crate::logic) fn begin_ending(&mut self, slot: SessionSlot) {
        self.forget_undelivered(slot);
        self.forget_expiry(slot);
        self.clients.sessions_mut().begin_ending(slot);
        let Some(session) = self.clients.session(slot) else {
            return unreachable_state("a session to be ended that is gone");
        };
        if let Some(user) = session.user() {
            self.counters().count_session_of(user, false);
        }
        self.counters().sessions.sub(1);
        if session.shares().is_empty() && !session.has_stored_shared() {
            self.record_end(slot);
        }
    }

    /// The next message in memory that waited for a session that ends.
    pub(in crate::logic) fn pop_of_ending(&mut self, slot: SessionSlot) -> Option<Queued> {
        let queued = self.clients.session_mut(slot)?.queue_mut()?.pop()?;
        let counters = self.counters();
        counters.queued_messages.sub(1);
        counters.queued_bytes.sub(queued.message.queue_bytes());
        Some(queued)
    }

    /// Forgets the messages of a session that ends which are in the store alone; returns how many they were.
    pub(in crate::logic) fn drop_stored_of_ending(&mut self, slot: SessionSlot) -> u64 {
        let queue = self.clients.session_mut(slot).and_then(Session::queue_mut);
        let (messages, bytes) = queue.map_or((0, 0), Queue::drop_stored);
        let counters = self.counters();
        counters.queued_messages.sub(messages);
        counters.queued_bytes.sub(bytes);
        messages
    }

    /// Asks for the messages of groups that a session which ends has in the store alone, from a place of its order on;
    /// false if there are none.
    pub(in crate::logic) fn ask_shared_of_ending(&mut self, slot: SessionSlot, from: u64) -> bool {
        let limits = self.settings.loaded_queue;
        let session = self.clients.session(slot);
        let request = session
            .filter(|session| session.has_stored_shared())
            .and_then(|session| {
                let tag = slot.number().get();
                session.queue()?.ask_shared(session.number(), tag, from, limits)
            });
        request.is_some_and(|request| {
            self.journal.ask(request);
            true
        })
    }

    /// Nothing refers to a session that ends any more; returns its contents.
    pub(in crate::logic) fn finish_ending(&mut self, slot: SessionSlot) -> Option<Session> {
        self.record_end(slot);
        self.clients.sessions_mut().finish_ending(slot)
    }

    /// Counts, records and logs a denial by access rules, or by another limit that `why` explains; `what` describes
    /// the request.
    #[cold]
    pub(in crate::logic) fn note_denied(
        &mut self,
        session: SessionSlot,
        denied: Denied,
        topic: &str,
        what: fmt::Arguments<'_>,
        why: Option<&str>,
    ) {
        self.counters().denied.add(denied, 1);
        let Some(owner) = self.clients.session(session) else {
            return unreachable_state("a denial of a session that is gone");
        };
        let client = owner.client_identifier();
        let event = ClientEvent::new(self.now, EventKind::Denied, denied.label(), client);
        let event = event.with_topic(topic).with_detail(why);
        self.counters().events.add(event);
        let (separator, why) = why.map_or(("", ""), |why| (": ", why));
        let packet = match denied {
            // mosquitto shows `filter (denied)` below the line of the packet, which does not identify the client if
            // lines of several threads are mixed.
            Denied::Subscribe => "SUBSCRIBE",
            Denied::Publish | Denied::Read => "PUBLISH",
        };
        tracing::debug!("Denied {packet} from {client} {what}{separator}{why}");
        self.trace_lines.add(&self.clients, session, |client| {
            format!("Denied {packet} from {client} {what}{separator}{why}")
        });
    }

    /// Counts the end of a connection, if it has a client, once. Returns the client, if this is to be published.
    pub(in crate::logic) fn count_disconnect(
        &mut self,
        slot: ConnectionSlot,
        cause: DisconnectCause,
        detail: Option<&str>,
    ) -> Option<Box<str>> {
        let connection = self.clients.connections().get(slot)?;
        let session = self.clients.session(connection.session())?;
        let (counters, client) = (self.counters(), session.client_identifier());
        counters.disconnects.add(cause, 1);
        let event = ClientEvent::new(self.now, EventKind::Disconnected, cause.label(), client);
        counters.events.add(event.with_detail(detail));
        self.settings().client_events.then(|| client.into())
    }
}

impl Delivery {
    /// Appends a record, if the session is stored.
    pub(in crate::logic) fn record<'a>(
        &mut self,
        session: SessionSlot,
        record: impl FnOnce(u64) -> Record<'a>,
    ) {
        if let Some(session) = self.clients.session(session) {
            session.record(&mut self.journal, record);
        }
    }

    /// Records that the Will of a session, or its connection, has changed.
    pub(in crate::logic) fn note_session(&mut self, slot: SessionSlot) {
        let is_away = self.clients.link(slot).is_none();
        if let Some(session) = self.clients.session(slot)
            && session.is_stored()
        {
            let away_since = is_away.then_some(session.since());
            self.journal.append_session(session, away_since);
        }
    }

    /// Sets the Session Expiry Interval of a session, and records it in the store. In the store, a session that is to
    /// end with its connection ends at once, unless a part of its queue is only there: then a start would end it.
    pub(in crate::logic) fn set_expiry(&mut self, slot: SessionSlot, expiry_s: u32) {
        let Some(session) = self.clients.session_mut(slot) else {
            return unreachable_state("an expiry of a session that is gone");
        };
        session.set_expiry(expiry_s);
        if expiry_s > 0 || session.has_stored_queue() {
            self.journal.number(session);
            self.journal.append_session(session, None);
        } else {
            self.journal.append_end(session);
        }
    }

    fn record_end(&mut self, slot: SessionSlot) {
        match self.clients.session_mut(slot) {
            Some(session) => self.journal.append_end(session),
            None => unreachable_state("a session that ends and is gone"),
        }
    }
}
