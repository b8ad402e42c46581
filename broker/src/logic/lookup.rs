//! What the shell asks about a connection: whose it is, and in which stage.
//!
//! Invariants: nothing here changes anything. A connection that is gone has no client, and is closing.

use mqtt::ProtocolVersion;

use crate::logic::Shard;
use crate::logic::connect_request::ConnectRequest;
use crate::logic::connection::{ConnectionId, Peer, Stage};

/// A client whose packets are shown.
#[derive(Clone, Copy, Debug)]
pub struct TracedClient<'a> {
    /// The identifier of its session.
    pub client_identifier: &'a str,
    /// The user, where it was proved.
    pub user: Option<&'a str>,
    /// The version that its connection speaks.
    pub version: ProtocolVersion,
    /// Bytes of a packet whose rest has not come.
    pub incomplete: &'a [u8],
}

impl Shard {
    /// The client identifier that a CONNECT names, as [`Self::open`] takes it, and the connection that its session has.
    #[must_use]
    pub fn older_connection<'a>(
        &self,
        peer: &'a Peer,
        connect: &'a ConnectRequest,
    ) -> (&'a str, Option<ConnectionId>) {
        let listener = self.delivery.settings().listener(peer.listener);
        let named = peer.session_name(connect, listener);
        let session = self.delivery.sessions().find(named);
        let slot = session.and_then(|session| self.delivery.link(session));
        let connection = slot.and_then(|slot| self.delivery.connections().get(slot).map(|it| it.id(slot)));
        (named, connection)
    }

    /// Whether the shell is to close the connection once its `out` is sent. It then calls [`Self::closed`].
    #[must_use]
    pub fn closing(&self, id: ConnectionId) -> bool {
        let connection = self.delivery.connection_by_id(id);
        connection.is_none_or(|connection| connection.stage == Stage::Closing)
    }

    /// Why the broker closes the connection, for the log.
    #[must_use]
    pub fn why_closing(&self, id: ConnectionId) -> Option<&str> {
        self.delivery
            .connection_by_id(id)?
            .rare
            .as_ref()?
            .why_closing
            .as_deref()
    }

    /// The client identifier of a connection whose CONNECT was accepted, for the log; also while it is closing.
    #[must_use]
    pub fn client_identifier(&self, id: ConnectionId) -> Option<&str> {
        let connection = self.delivery.connection_by_id(id)?;
        let session = self.delivery.session(connection.session);
        let before = || connection.rare.as_ref()?.client_identifier.as_deref();
        session.map(|session| &*session.client_identifier).or_else(before)
    }

    /// What is needed to show the packets of a connection, unless it closes.
    #[must_use]
    pub fn traced_client(&self, id: ConnectionId) -> Option<TracedClient<'_>> {
        let connection = self.delivery.connection_by_id(id)?;
        let session = self.delivery.session(connection.session)?;
        Some(TracedClient {
            client_identifier: &session.client_identifier,
            user: session.user(),
            version: connection.version,
            incomplete: &connection.partial,
        })
    }

    /// The protocol version of a connection.
    #[must_use]
    pub fn protocol_version(&self, id: ConnectionId) -> ProtocolVersion {
        let connection = self.delivery.connection_by_id(id);
        connection.map_or(ProtocolVersion::V3_1_1, |connection| connection.version)
    }

    /// Whether CONNECT was accepted and the connection is not closing.
    #[must_use]
    pub fn connected(&self, id: ConnectionId) -> bool {
        let connection = self.delivery.connection_by_id(id);
        connection.is_some_and(|connection| connection.stage == Stage::Connected)
    }
}
