//! The shard's calls of flow control: before and after everything that publishes, and when a timer is due.
//!
//! Invariants: those of `flow/mod.rs`.

use mqtt::ReasonCode;

use crate::logic::Shard;
use crate::logic::connection::{ConnectionId, ConnectionSlot};
use crate::logic::flow::FlowEvents;
use crate::logic::flow::pauses::Reason;
use crate::logic::flow::rates::Charged;
use crate::logic::timer::Timer;

impl Shard {
    /// Flow control, with the owners that its events change.
    #[inline]
    pub(in crate::logic) fn flow_events(&mut self) -> FlowEvents<'_> {
        FlowEvents {
            flow: &mut self.delivery.flow,
            clients: &mut self.delivery.clients,
            timers: &mut self.timers,
            outboxes: &mut self.outboxes,
        }
    }

    /// Before the bytes of a client, a batch of another shard or a tick are handled.
    pub(in crate::logic) fn begin_flow(&mut self) {
        self.outboxes.begin();
        self.delivery.journal.begin_publisher();
        self.flow_events().begin();
    }

    /// After a client's bytes: it is paused if it published to a consumer that is backlogged, or is one itself.
    #[inline]
    pub(in crate::logic) fn pause_publisher(&mut self, id: ConnectionId) {
        let blocked = self.outboxes.take_blocked();
        if self.delivery.journal.is_to_wait() {
            self.flow_events().wait_for_store();
        }
        self.flow_events().pause_publisher(id, blocked);
    }

    /// A client sent so many bytes, and all messages since there were `messages_before`: if that is more than its rate
    /// it is to wait, and if it is far more its connection ends.
    #[cold]
    pub(in crate::logic) fn charge_rate(&mut self, id: ConnectionId, messages_before: u64, bytes: usize) {
        let slot = id.slot;
        let Some(listener) = self.delivery.clients.listener_of(slot) else {
            // What it sent has ended it.
            return;
        };
        let messages = self.delivery.counters().publishes_received.get() - messages_before;
        let rates = self.delivery.settings().listener(listener).rates;
        let flow = &mut self.delivery.flow;
        match flow.rates.charge(self.now, id, rates, messages, bytes as u64) {
            Charged::Within => {}
            Charged::Waits { until, before } => {
                match before {
                    Some(before) => self.timers.cancel(before, Timer::Rate { slot }),
                    None => self.delivery.counters().rates_exceeded.add(1),
                }
                self.timers.set(until, Timer::Rate { slot });
                self.delivery.flow.note_reason(Reason::Rate { slot });
            }
            Charged::Exceeded(reason, why) => self.disconnect(slot, reason, why),
        }
    }

    /// The grace period or the quarantine of a client is over.
    pub(in crate::logic) fn flow_timer_due(&mut self, slot: ConnectionSlot) {
        self.flow_events().client_timer_due(slot);
        self.routing
            .offer_again(&mut self.delivery, &mut self.outboxes, slot);
        self.disconnect_slow();
    }

    /// Publishers have been paused for the shard's sum for a grace period.
    pub(in crate::logic) fn output_timer_due(&mut self) {
        self.flow_events().output_timer_due();
        self.disconnect_slow();
    }

    /// Ends connections of slow clients while they exceed their common bound, those with the most bytes first.
    fn disconnect_slow(&mut self) {
        for slot in self.flow_events().slow_in_excess() {
            let why = "it does not read its messages, and the memory for output is full";
            self.disconnect(slot, ReasonCode::QuotaExceeded, why);
            self.flow_events().discard_output(slot);
        }
    }
}
