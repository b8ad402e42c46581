//! The clients of a shard: their connections, their sessions, and which connection a session has.
//!
//! `lookup.rs` has the shell's queries, `operator/lists.rs` those of operators.
//!
//! Invariants: a session and its connection refer to each other from [`Clients::attach`] to [`Clients::detach`]. A
//! slot of a connection or a session is only passed on while that exists.

use crate::auth::acl;
use crate::logic::connection::{Connection, ConnectionId, ConnectionSlot};
use crate::logic::inconsistency::unreachable_state;
use crate::logic::routing::route::TopicAccess;
use crate::logic::session::will::Will;
use crate::logic::session::{Session, SessionSlot, Sessions};
use crate::logic::slots::Slots;
use crate::logic::timer::{Timer, Timers};
use crate::settings::ListenerId;
use crate::time::Timestamp;

/// The connections and sessions of a shard.
#[derive(Debug)]
pub struct Clients {
    connections: Slots<ConnectionSlot, Connection>,
    sessions: Sessions,
}

impl Clients {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            connections: Slots::new(),
            sessions: Sessions::new(seed),
        }
    }

    /// The connection in a slot, if there is one.
    #[inline]
    pub(super) fn connection(&mut self, slot: impl Into<Option<ConnectionSlot>>) -> Option<&mut Connection> {
        self.connections.get_mut(slot)
    }

    /// All connections, for reading only.
    #[inline]
    pub(super) fn connections(&self) -> &Slots<ConnectionSlot, Connection> {
        &self.connections
    }

    /// The connection with that slot and generation.
    #[inline]
    pub(super) fn by_id(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(id.slot)?;
        Some(connection).filter(|connection| connection.is_of(id))
    }

    /// As [`Self::by_id`], for reading only.
    #[inline]
    pub(super) fn connection_by_id(&self, id: ConnectionId) -> Option<&Connection> {
        let connection = self.connections.get(id.slot)?;
        Some(connection).filter(|connection| connection.is_of(id))
    }

    /// Connections and sessions, which are borrowed separately.
    #[inline]
    pub(super) fn both(&mut self) -> (&mut Slots<ConnectionSlot, Connection>, &mut Sessions) {
        (&mut self.connections, &mut self.sessions)
    }

    /// The connections for which the condition holds.
    pub(super) fn slots_where(&self, is_it: impl Fn(&Connection) -> bool) -> Vec<ConnectionSlot> {
        let found = self
            .connections
            .iter()
            .filter(|(_, connection)| is_it(connection));
        found.map(|(slot, _)| slot).collect()
    }

    /// Inserts a connection whose CONNECT is yet to be answered.
    pub(super) fn insert_connection(&mut self, connection: Connection) -> ConnectionSlot {
        self.connections.insert(connection)
    }

    /// Removes a connection, which has no session any more.
    pub(super) fn remove_connection(&mut self, slot: ConnectionSlot) {
        self.connections.remove(slot);
    }

    /// The listener of a connection.
    pub(super) fn listener_of(&self, slot: ConnectionSlot) -> Option<ListenerId> {
        Some(self.connections.get(slot)?.listener())
    }

    /// Whether its listener has a mount point.
    pub(super) fn is_mounted(&self, slot: ConnectionSlot) -> bool {
        let connection = self.connections.get(slot);
        connection.is_some_and(Connection::is_mounted)
    }

    /// Whether a packet with filters is in progress, which continues with the next call.
    #[inline]
    pub(super) fn has_begun_filters(&self, slot: ConnectionSlot) -> bool {
        let connection = self.connections.get(slot);
        connection.is_some_and(Connection::has_begun_filters)
    }

    /// All sessions, for reading only.
    #[inline]
    pub(super) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// All sessions, mutable: to keep their lists consistent with those of filters and groups.
    pub(super) fn sessions_mut(&mut self) -> &mut Sessions {
        &mut self.sessions
    }

    #[inline]
    pub(super) fn session(&self, slot: impl Into<Option<SessionSlot>>) -> Option<&Session> {
        self.sessions.get(slot)
    }

    #[inline]
    pub(super) fn session_mut(&mut self, slot: impl Into<Option<SessionSlot>>) -> Option<&mut Session> {
        self.sessions.get_mut(slot)
    }

    /// The connection of a session, if it has one.
    #[inline]
    pub(super) fn link(&self, session: SessionSlot) -> Option<ConnectionSlot> {
        self.sessions.link(session)
    }

    /// Makes a connection that of a session.
    pub(super) fn attach(&mut self, session_slot: SessionSlot, slot: ConnectionSlot) {
        self.sessions.set_link(session_slot, Some(slot));
        let (Some(session), Some(connection)) =
            (self.sessions.get(session_slot), self.connections.get_mut(slot))
        else {
            return unreachable_state("a session or a connection that is gone");
        };
        connection.attach(session_slot, session);
    }

    /// A session loses its connection.
    pub(super) fn detach(&mut self, session: SessionSlot) {
        self.sessions.set_link(session, None);
    }

    /// What becomes of a message that the client of a session publishes to a topic.
    pub(super) fn access_to(&mut self, session: SessionSlot, topic: &str) -> TopicAccess {
        self.sessions.access_to(session, topic)
    }

    /// The access rights of a session's client, to be stored with what the session leaves behind.
    pub(super) fn access_of(&self, session: SessionSlot) -> acl::Access {
        let rights = self.session(session).and_then(Session::rights);
        rights.map(|rights| rights.access().clone()).unwrap_or_default()
    }

    /// Number of subscriptions of a session, including Shared Subscriptions.
    pub(super) fn subscriptions_of(&self, session: SessionSlot) -> usize {
        self.session(session).map_or(0, Session::subscription_count)
    }

    /// Sets the timer of a connection's Keep Alive to its current deadline.
    pub(super) fn watch_keep_alive(&mut self, timers: &mut Timers, slot: ConnectionSlot) {
        let Some(connection) = self.connection(slot) else {
            return unreachable_state("a keep alive of no connection");
        };
        timers.set(connection.watch_keep_alive(), Timer::KeepAlive { slot });
    }

    /// Delays a Will by its Will Delay Interval.
    pub(super) fn delay_will(
        &mut self,
        timers: &mut Timers,
        session_slot: SessionSlot,
        due: Timestamp,
        will: Box<Will>,
    ) {
        timers.set(
            due,
            Timer::WillDelay {
                session: session_slot,
            },
        );
        if let Some(session) = self.session_mut(session_slot) {
            session.set_will(Some(will));
        }
    }

    /// A session without a connection gets one, or ends: its timers are cancelled.
    pub(super) fn cancel_session_timers(&self, timers: &mut Timers, session_slot: SessionSlot) {
        let Some(session) = self.session(session_slot) else {
            return unreachable_state("timers of a session that is gone");
        };
        timers.cancel(
            session.expires_at(),
            Timer::SessionExpiry {
                session: session_slot,
            },
        );
        if let Some(will) = session.will() {
            let due = session.since().plus_s(u64::from(will.delay_s));
            timers.cancel(
                due,
                Timer::WillDelay {
                    session: session_slot,
                },
            );
        }
    }
}
