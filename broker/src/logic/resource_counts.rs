//! Counts what a shard holds at a moment. Tests use it to check that nothing stays behind and that bounds are kept.
//!
//! Invariants: none.

use crate::logic::Shard;

/// What a shard holds. All are 0 when all sessions have ended, no message is retained and no timer is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResourceCounts {
    /// Connections that the shell has not closed.
    pub connections: usize,
    /// Connections in the list for the shell.
    pub dirty: usize,
    /// Sessions, with and without a connection.
    pub sessions: usize,
    /// Client identifiers that name a session.
    pub client_identifiers: usize,
    /// Topic Filters that somebody in any shard wants.
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
    /// Requests for retained messages, here and of other shards, and topics whose message went a short while ago.
    pub retained_passing: usize,
    /// Timers that have not come up.
    pub timers: usize,
    /// Connections that are not read from.
    pub paused: usize,
    /// Batches that wait for other shards.
    pub batches: usize,
}

impl ResourceCounts {
    /// Whether nothing is left of any client.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        let of_clients = self.connections + self.sessions + self.client_identifiers;
        let of_filters = self.filters + self.filter_names + self.filter_nodes + self.groups;
        of_clients + of_filters + self.timers + self.unclaimed + self.unstored == 0
    }
}

impl Shard {
    /// What is in this shard now.
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

    /// How many Topic Filters match a Topic Name, found anew: what a publish costs that no route is kept for, and no
    /// more.
    #[must_use]
    pub fn count_matching(&mut self, topic: &str) -> usize {
        self.routing.count_matching(topic)
    }
}
