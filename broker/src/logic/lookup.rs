//! The shell's queries about a connection: its client, and its stage.
//!
//! Invariants: nothing here changes what clients get. A connection that is gone has no client, and is closing.

use mqtt::ProtocolVersion;

use crate::logic::clients::Clients;
use crate::logic::connection::{Connection, ConnectionId};
use crate::logic::partial::is_whole;

/// A client whose packets are shown in traces.
#[derive(Clone, Copy, Debug)]
pub struct TracedClient<'a> {
    /// The identifier of its session.
    pub client_identifier: &'a str,
    /// The user, if it was authenticated.
    pub user: Option<&'a str>,
    /// The protocol version of its connection.
    pub version: ProtocolVersion,
    /// Bytes of an incomplete packet.
    pub incomplete: &'a [u8],
}

impl Clients {
    /// The connection of the client with that identifier, if it has one here.
    #[must_use]
    pub fn connection_of(&self, client_identifier: &str) -> Option<ConnectionId> {
        let slot = self.link(self.sessions().find(client_identifier)?)?;
        Some(self.connections().get(slot)?.id(slot))
    }

    /// Whether the shell has to close the connection once its `out` is sent. It then calls
    /// [`crate::logic::Shard::lost`].
    #[must_use]
    pub fn closing(&self, id: ConnectionId) -> bool {
        let connection = self.connection_by_id(id);
        connection.is_none_or(Connection::is_closing)
    }

    /// Why the broker closes the connection, for the log.
    #[must_use]
    pub fn why_closing(&self, id: ConnectionId) -> Option<&str> {
        self.connection_by_id(id)?.why_closing()
    }

    /// The client identifier of a connection whose CONNECT was accepted, for the log; also while it is closing.
    #[must_use]
    pub fn client_identifier(&self, id: ConnectionId) -> Option<&str> {
        let (client_identifier, _) = self.client_and_user(id)?;
        Some(client_identifier)
    }

    /// The client identifier of such a connection, and its user, if it was authenticated.
    #[must_use]
    pub fn client_and_user(&self, id: ConnectionId) -> Option<(&str, Option<&str>)> {
        let connection = self.connection_by_id(id)?;
        if let Some(session) = self.session(connection.session()) {
            return Some((session.client_identifier(), session.user()));
        }
        let former = connection.former_client()?;
        Some((&former.identifier, former.user.as_deref()))
    }

    /// The data for showing the packets of such a connection.
    #[must_use]
    pub fn traced_client(&self, id: ConnectionId) -> Option<TracedClient<'_>> {
        let connection = self.connection_by_id(id)?;
        let (client_identifier, user) = self.client_and_user(id)?;
        Some(TracedClient {
            client_identifier,
            user,
            version: connection.version(),
            incomplete: connection.partial(),
        })
    }

    /// The protocol version of a connection.
    #[must_use]
    pub fn protocol_version(&self, id: ConnectionId) -> ProtocolVersion {
        let connection = self.connection_by_id(id);
        connection.map_or(ProtocolVersion::V3_1_1, Connection::version)
    }

    /// Whether CONNECT was accepted and the connection is not closing.
    #[must_use]
    pub fn connected(&self, id: ConnectionId) -> bool {
        let connection = self.connection_by_id(id);
        connection.is_some_and(Connection::is_connected)
    }

    /// Whether the shell must not read from the connection for now: it publishes to a shard that is backlogged.
    #[must_use]
    pub fn receive_paused(&self, id: ConnectionId) -> bool {
        let connection = self.connection_by_id(id);
        connection.is_some_and(Connection::is_paused)
    }

    /// Whether the connection has sent a packet that is handled in part, and continues when
    /// [`crate::logic::Shard::receive`] is called, even without bytes.
    #[must_use]
    pub fn is_unfinished(&self, id: ConnectionId) -> bool {
        let connection = self.connection_by_id(id);
        connection.is_some_and(|connection| is_whole(connection.partial()))
    }

    /// Whether the output of a connection may depend on batches that were not pushed when the shell last took a list.
    #[must_use]
    pub fn output_depends_on_batches(&self, id: ConnectionId) -> bool {
        let connection = self.connection_by_id(id);
        connection.is_some_and(Connection::depends_on_batches)
    }

    /// Whether a packet of the connection waits until the store has recorded its promise, or a message of its
    /// session's queue waits until the store has read it.
    #[must_use]
    pub fn waits_for_store(&self, id: ConnectionId) -> bool {
        let connection = self.connection_by_id(id);
        connection.is_some_and(|connection| {
            let session = self.session(connection.session());
            let queue = session.and_then(|session| session.queue());
            connection.is_deferring() || queue.is_some_and(|queue| queue.is_being_read())
        })
    }

    /// Bytes of memory that is reserved for incomplete packets.
    #[must_use]
    pub fn partial_bytes(&self) -> usize {
        let connections = self.connections().iter();
        connections
            .map(|(_, connection)| connection.partial_capacity())
            .sum()
    }

    /// Messages in the longest queue of a session, without retained ones after SUBSCRIBE.
    #[must_use]
    pub fn longest_queue(&self) -> u64 {
        self.sessions().longest_queue()
    }
}
