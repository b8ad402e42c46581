//! The shell's access to the owners of a shard: the public methods of each are for the shell.
//!
//! Invariants: none.

use crate::logic::Shard;
use crate::logic::clients::Clients;
use crate::logic::counters::ShardCounters;
use crate::logic::delivery::{Delivery, Outputs};
use crate::logic::flow::FlowControl;
use crate::logic::ids::ConnectionId;
use crate::logic::operator::ClientTimes;
use crate::logic::outbox::Outboxes;
use crate::settings::Settings;

impl Shard {
    /// The connections and sessions, for reading only.
    #[inline]
    #[must_use]
    pub fn clients(&self) -> &Clients {
        &self.delivery.clients
    }

    /// The output of connections.
    #[inline]
    pub fn delivery(&mut self) -> &mut Delivery {
        &mut self.delivery
    }

    /// The buffers for output.
    #[inline]
    pub fn outputs(&mut self) -> &mut Outputs {
        &mut self.delivery.outputs
    }

    /// Paused connections, and the sums of all output.
    #[inline]
    #[must_use]
    pub fn flow(&self) -> &FlowControl {
        &self.delivery.flow
    }

    /// As [`Self::flow`], mutable for changes.
    #[inline]
    pub fn flow_mut(&mut self) -> &mut FlowControl {
        &mut self.delivery.flow
    }

    /// The batches for the other shards.
    #[inline]
    #[must_use]
    pub fn outboxes(&self) -> &Outboxes {
        &self.outboxes
    }

    /// As [`Self::outboxes`], mutable for changes.
    #[inline]
    pub fn outboxes_mut(&mut self) -> &mut Outboxes {
        &mut self.outboxes
    }

    /// CPU time for each client, while it is measured.
    #[inline]
    pub fn client_times(&mut self) -> &mut ClientTimes {
        &mut self.client_times
    }

    /// Records the time of the shell's work for a connection, which may have ended by it.
    pub fn worked_for(&mut self, id: ConnectionId, took_ns: u64) {
        self.client_times.add(&self.delivery.clients, id, took_ns);
    }

    /// The counters of this shard.
    #[must_use]
    pub fn counters(&self) -> &ShardCounters {
        self.delivery.counters()
    }

    /// The settings of this shard.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        self.delivery.settings()
    }
}
