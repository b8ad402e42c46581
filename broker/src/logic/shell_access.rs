//! The owners that a shard has, as the shell sees them: what it offers of each is public there.
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
    /// The connections and sessions, to be looked at.
    #[inline]
    #[must_use]
    pub fn clients(&self) -> &Clients {
        &self.delivery.clients
    }

    /// What waits to be sent on connections.
    #[inline]
    pub fn delivery(&mut self) -> &mut Delivery {
        &mut self.delivery
    }

    /// The buffers for what is sent.
    #[inline]
    pub fn outputs(&mut self) -> &mut Outputs {
        &mut self.delivery.outputs
    }

    /// Who is not read from, and what waits for all sockets together.
    #[inline]
    #[must_use]
    pub fn flow(&self) -> &FlowControl {
        &self.delivery.flow
    }

    /// As [`Self::flow`], to be changed.
    #[inline]
    pub fn flow_mut(&mut self) -> &mut FlowControl {
        &mut self.delivery.flow
    }

    /// What waits for the other shards.
    #[inline]
    #[must_use]
    pub fn outboxes(&self) -> &Outboxes {
        &self.outboxes
    }

    /// As [`Self::outboxes`], to be changed.
    #[inline]
    pub fn outboxes_mut(&mut self) -> &mut Outboxes {
        &mut self.outboxes
    }

    /// How long the shard has worked for each client, while that is measured.
    #[inline]
    pub fn client_times(&mut self) -> &mut ClientTimes {
        &mut self.client_times
    }

    /// The shell worked so long for a connection, which may have ended by that.
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
