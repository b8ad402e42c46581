//! The shard's calls of flow control: before and after everything that publishes, and when a time is over.
//!
//! Invariants: those of `flow/mod.rs`.

use mqtt::ReasonCode;

use crate::logic::Shard;
use crate::logic::connection::{ConnectionId, ConnectionSlot};
use crate::logic::delivery::Delivery;

impl Shard {
    /// Before the bytes of a client, a batch of another shard or a tick are handled.
    pub(in crate::logic) fn begin_flow(&mut self) {
        self.outboxes.begin();
        self.delivery.journal.begin_publisher();
        let Delivery { flow, clients, .. } = &mut self.delivery;
        flow.begin(clients, &mut self.timers);
    }

    /// After a client's bytes: it is paused if it published to a consumer that is backlogged, or is one itself.
    #[inline]
    pub(in crate::logic) fn pause_publisher(&mut self, id: ConnectionId) {
        let blocked = self.outboxes.take_blocked();
        let Delivery {
            flow,
            clients,
            journal,
            ..
        } = &mut self.delivery;
        if journal.is_to_wait() {
            flow.wait_for_store(&mut self.timers);
        }
        flow.pause_publisher(clients, &mut self.timers, id, blocked);
    }

    /// The grace period or the quarantine of a client is over.
    pub(in crate::logic) fn flow_timer_due(&mut self, slot: ConnectionSlot) {
        let Delivery { flow, clients, .. } = &mut self.delivery;
        flow.client_timer_due(clients, &mut self.timers, &mut self.outboxes, slot);
        self.routing
            .offer_again(&mut self.delivery, &mut self.outboxes, slot);
        self.disconnect_slow();
    }

    /// Publishers have been paused for the shard's sum for a grace period.
    pub(in crate::logic) fn output_timer_due(&mut self) {
        let Delivery { flow, clients, .. } = &mut self.delivery;
        flow.output_timer_due(clients, &mut self.timers, &mut self.outboxes);
        self.disconnect_slow();
    }

    /// Ends connections of slow clients while they hold too much together, those with the most bytes first.
    fn disconnect_slow(&mut self) {
        for slot in self.delivery.flow.slow_in_excess(&self.delivery.clients) {
            let why = "it does not read, and the memory for output is full";
            self.disconnect(slot, ReasonCode::QuotaExceeded, why);
            let Delivery { flow, clients, .. } = &mut self.delivery;
            flow.discard_output(clients, slot);
        }
    }
}
