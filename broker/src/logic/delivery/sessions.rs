//! The beginning and end of sessions, and the connection that each has.
//!
//! Invariants: a session and its connection refer to each other from [`Delivery::attach`] to [`Delivery::detach`].
//! Every change of a session that outlives its connection is recorded in the store. The counters of sessions are exact
//! after each call.

use crate::auth::acl;
use crate::logic::connection::ConnectionSlot;
use crate::logic::delivery::Delivery;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::session::queue::Queued;
use crate::logic::session::{Session, SessionSlot, Sessions};
use crate::logic::store::Record;

impl Delivery {
    /// Sessions of a user, in all shards.
    pub(in crate::logic) fn sessions_of_user(&self, user: &str) -> u64 {
        self.counters.iter().map(|shard| shard.sessions_of(user)).sum()
    }

    /// A session begins or ends: its user has one more or one less.
    pub(in crate::logic) fn count_user(&self, session: &Session, begins: bool) {
        if let Some(user) = session.user() {
            self.counters().count_session_of(user, begins);
        }
    }

    /// All sessions, to be looked at.
    pub(in crate::logic) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// All sessions: to keep their lists in step with those of filters and groups.
    pub(in crate::logic) fn sessions_mut(&mut self) -> &mut Sessions {
        &mut self.sessions
    }

    #[inline]
    pub(in crate::logic) fn session_mut(
        &mut self,
        slot: impl Into<Option<SessionSlot>>,
    ) -> Option<&mut Session> {
        self.sessions.get_mut(slot)
    }

    /// The connection of a session, if it has one.
    #[inline]
    pub(in crate::logic) fn link(&self, session: SessionSlot) -> Option<ConnectionSlot> {
        self.sessions.link(session)
    }

    /// A session begins; there must be none of that client identifier.
    pub(in crate::logic) fn begin_session(
        &mut self,
        client_identifier: &str,
        user: Option<Box<str>>,
    ) -> SessionSlot {
        let slot = self.sessions.insert(client_identifier, user);
        self.counters().sessions.add(1);
        if let Some(session) = self.sessions.get(slot) {
            self.count_user(session, true);
        }
        slot
    }

    /// A session without a connection ends; returns what it held.
    pub(in crate::logic) fn end_session(&mut self, slot: SessionSlot) -> Option<Session> {
        let session = self.sessions.remove(slot)?;
        self.forget_queue(&session);
        self.count_user(&session, false);
        self.counters().sessions.sub(1);
        Some(session)
    }

    /// A session without a connection ends over several turns: from now on it is nobody's. What a store keeps of it is
    /// kept until what it held for groups is with others.
    pub(in crate::logic) fn begin_ending(&mut self, slot: SessionSlot) {
        self.sessions.begin_ending(slot);
        let Some(session) = self.sessions.get(slot) else {
            return unreachable_state("a session to be ended that is gone");
        };
        self.count_user(session, false);
        self.counters().sessions.sub(1);
        if session.shares().is_empty() {
            self.record_session_end(slot);
        }
    }

    /// The next message that waited for a session that ends.
    pub(in crate::logic) fn pop_of_ending(&mut self, slot: SessionSlot) -> Option<Queued> {
        let queue = self.sessions.get_mut(slot)?.queue.as_mut()?;
        let Some(queued) = queue.pop() else {
            let (messages, bytes) = queue.drop_stored();
            let counters = self.counters();
            counters.queued_messages.sub(messages);
            counters.queued_bytes.sub(bytes);
            return None;
        };
        let counters = self.counters();
        counters.queued_messages.sub(1);
        counters.queued_bytes.sub(queued.message.queue_bytes());
        Some(queued)
    }

    /// Nothing names a session that ends any more.
    pub(in crate::logic) fn finish_ending(&mut self, slot: SessionSlot) {
        self.record_session_end(slot);
        self.sessions.finish_ending(slot);
    }

    fn record_session_end(&mut self, slot: SessionSlot) {
        match self.sessions.get_mut(slot) {
            Some(session) => self.journal.append_end(session),
            None => unreachable_state("a session that ends and is gone"),
        }
    }

    /// A session has ended, and what it held for groups is with others.
    pub(in crate::logic) fn note_end(&mut self, session: &mut Session) {
        self.journal.append_end(session);
    }

    /// The Will of a session, or its connection, is another one, or none.
    pub(in crate::logic) fn note_session(&mut self, slot: SessionSlot) {
        let is_away = self.sessions.link(slot).is_none();
        if let Some(session) = self.sessions.get(slot)
            && session.is_stored()
        {
            let away_since = is_away.then_some(session.disconnected_at);
            self.journal.append_session(session, away_since);
        }
    }

    /// From now on a connection is that of a session.
    pub(in crate::logic) fn attach(&mut self, session_slot: SessionSlot, slot: ConnectionSlot) {
        self.sessions.set_link(session_slot, Some(slot));
        let (Some(session), Some(connection)) =
            (self.sessions.get(session_slot), self.connections.get_mut(slot))
        else {
            return unreachable_state("a session or a connection that is gone");
        };
        connection.session = Some(session_slot);
        connection.restricted = session.rights().is_some();
        connection.waits = !session.queue_is_empty() || session.inflight.resends();
        connection.qos0_waits = session.queue.as_ref().is_some_and(|queue| queue.has_qos0());
    }

    /// A session has no connection any more.
    pub(in crate::logic) fn detach(&mut self, session: SessionSlot) {
        self.sessions.set_link(session, None);
    }

    #[inline]
    pub(in crate::logic) fn session(&self, slot: impl Into<Option<SessionSlot>>) -> Option<&Session> {
        self.sessions.get(slot)
    }

    /// Whether the client of a session may publish to a topic.
    pub(in crate::logic) fn may_write(&mut self, session: SessionSlot, topic: &str) -> bool {
        self.sessions.may_write(session, topic)
    }

    /// What a session's client may do, to be kept with what it leaves.
    pub(in crate::logic) fn access_of(&self, session: SessionSlot) -> acl::Access {
        let rights = self.session(session).and_then(Session::rights);
        rights.map(|rights| rights.access().clone()).unwrap_or_default()
    }

    /// Sets the Session Expiry Interval of a session, and records it in the store. One that is to end with its
    /// connection ends there at once, unless part of its queue is there alone: then a start would end it.
    pub(in crate::logic) fn set_expiry(&mut self, slot: SessionSlot, expiry_s: u32) {
        let Some(session) = self.sessions.get_mut(slot) else {
            return unreachable_state("an expiry of a session that is gone");
        };
        session.expiry_s = expiry_s;
        let has_stored = session.queue.as_ref().is_some_and(|queue| queue.has_stored());
        if expiry_s > 0 || has_stored {
            self.journal.number(session);
            self.journal.append_session(session, None);
        } else {
            self.journal.append_end(session);
        }
    }

    /// Appends a record, if the store knows the session.
    pub(in crate::logic) fn record<'a>(
        &mut self,
        session: SessionSlot,
        record: impl FnOnce(u64) -> Record<'a>,
    ) {
        let session = self.sessions.get(session);
        if let Some(session) = session.filter(|session| session.is_stored()) {
            self.journal.append(&record(session.number));
        }
    }
}
