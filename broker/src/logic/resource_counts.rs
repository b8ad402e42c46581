//! Counts a shard's resources. Tests use it to check that nothing is leaked and that bounds are kept.
//!
//! Invariants: none.

use crate::logic::Shard;

/// The resources of a shard. All are 0 when all sessions have ended, no message is retained and no timer is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResourceCounts {
    /// Connections that the shell has not closed.
    pub connections: usize,
    /// Connections in the shell's list.
    pub dirty: usize,
    /// Sessions, with and without a connection.
    pub sessions: usize,
    /// Client identifiers that name a session.
    pub client_identifiers: usize,
    /// Topic Filters with interest in any shard.
    pub filters: usize,
    /// Topic Filters in the table of their texts.
    pub filter_names: usize,
    /// Groups that have members in any shard.
    pub groups: usize,
    /// Messages of groups that nobody has taken.
    pub unclaimed: usize,
    /// Packets that wait for space on the disk.
    pub unstored: usize,
    /// Nodes below the root of the tree of filters with wildcards.
    pub filter_nodes: usize,
    /// Nodes below the root of the tree of retained messages.
    pub retained_nodes: usize,
    /// Retained messages that this shard holds.
    pub retained: u64,
    /// Bytes of those messages with their topics, and of the nodes of their tree.
    pub retained_bytes: u64,
    /// Requests for retained messages, here and of other shards, and topics whose message was removed recently.
    pub retained_passing: usize,
    /// Timers that are set.
    pub timers: usize,
    /// Connections that are paused.
    pub paused: usize,
    /// Batches that wait for other shards.
    pub batches: usize,
}

impl ResourceCounts {
    /// Whether nothing of any client remains.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        let of_clients = self.connections + self.sessions + self.client_identifiers;
        let of_filters = self.filters + self.filter_names + self.filter_nodes + self.groups;
        of_clients + of_filters + self.timers + self.unclaimed + self.unstored == 0
    }
}

impl Shard {
    /// The current resources of this shard.
    #[must_use]
    pub fn resource_counts(&self) -> ResourceCounts {
        let (filters, filter_nodes) = self.routing.filters();
        let retained = self.retained.resource_counts();
        ResourceCounts {
            connections: self.delivery.clients.connections().len(),
            dirty: self.delivery.outputs.dirty(),
            sessions: self.delivery.clients.sessions().len(),
            client_identifiers: self.delivery.clients.sessions().client_identifiers(),
            filters,
            filter_names: self.routing.filter_names(),
            groups: self.routing.groups(),
            unclaimed: self.unclaimed.len(),
            unstored: self.unstored.len(),
            filter_nodes,
            retained_nodes: retained.nodes,
            retained: retained.messages,
            retained_bytes: retained.bytes,
            retained_passing: retained.passing,
            timers: self.timers.len(),
            paused: self.delivery.flow.paused(),
            batches: self.outboxes.len(),
        }
    }

    /// Number of Topic Filters that match a Topic Name, computed anew: the cost of a publish without a cached route.
    #[must_use]
    pub fn count_matching(&mut self, topic: &str) -> usize {
        self.routing.count_matching(topic)
    }
}
