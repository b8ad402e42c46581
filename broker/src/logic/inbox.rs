//! Handles the batches that other shards sent. The shell calls it with each batch before the bytes of clients.
//!
//! Invariants: a shard has announced every filter of its own sessions to all other shards before the SUBACK is sent. A
//! message goes to a shard once, however many of its filters match. A retained message goes to the shards with interest
//! and to the owner of its topic as one record, which is both the change of the retained message and the publish
//! (`retained/`).

use mqtt::ProtocolVersion;

use crate::logic::Shard;
use crate::logic::delivery::fan_out::message_of;
use crate::logic::delivery::journal::StoredPublication;
use crate::logic::flow::Reason;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::message::{Run, first_publish};
use crate::logic::outbox::batch::{Batch, BatchRecord, Control};
use crate::logic::retained_note::RetainedChange;
use crate::logic::share::ReceivedShare;
use crate::logic::store::PublicationId;
use crate::time::Timestamp;

impl Shard {
    /// Handles a batch of another shard.
    pub fn receive_batch(&mut self, now: Timestamp, from: u16, batch: &Batch) {
        self.begin(now);
        self.begin_flow();
        for control in &batch.control {
            self.receive_control(from, control);
        }
        for record in batch.records() {
            match record {
                BatchRecord::Run(run) => self.receive_run(&run),
                BatchRecord::Message {
                    version,
                    publication,
                    packet,
                } => self.receive_message(version, publication, packet),
                BatchRecord::Shared {
                    version,
                    hops,
                    publication,
                    group,
                    packet,
                } => {
                    let shared = ReceivedShare {
                        version,
                        hops,
                        publication,
                        packet,
                    };
                    self.sharing().receive(group, shared);
                }
                BatchRecord::Retained { control } => {
                    self.receive_retained(from, batch.control.get(control as usize));
                }
            }
        }
        self.flow_events().pause_shard(from);
    }

    /// The batches for another shard, in order. Batches that are not taken out of the iterator stay.
    pub fn take_batches(&mut self, to: u16) -> impl Iterator<Item = Batch> + '_ {
        std::iter::from_fn(move || self.take_batch(to))
    }

    /// The next batch for another shard.
    pub fn take_batch(&mut self, to: u16) -> Option<Batch> {
        let (batch, drained) = self.outboxes.take(to);
        if drained {
            // It was full, and is empty.
            self.flow_events().end_reason(Reason::Outbox { shard: to });
        }
        batch
    }

    fn receive_control(&mut self, from: u16, control: &Control) {
        self.work.spend(control.work());
        match control {
            Control::InterestAdd(filter) => self.routing.add_interest(from, filter),
            Control::InterestRemove(filter) => self.routing.remove_interest(from, filter),
            Control::Members { group, counts } => self.routing.set_members(from, group, *counts),
            Control::Pause(paused) => self.flow_events().set_remote_paused(from, *paused),
            // They are handled at the place of their records in the log.
            Control::Retained(_) | Control::Retain { .. } => {}
        }
    }

    /// Handles a record about retained messages.
    fn receive_retained(&mut self, from: u16, control: Option<&Control>) {
        let (delivery, routing) = (&mut self.delivery, &mut self.routing);
        match control {
            Some(Control::Retain {
                message,
                ticket,
                publication,
                source,
            }) => {
                let change = RetainedChange {
                    message,
                    ticket: *ticket,
                    publication: *publication,
                    source,
                };
                self.retained
                    .receive(delivery, routing, &mut self.work, &mut self.timers, change);
            }
            Some(Control::Retained(note)) => {
                self.retained
                    .receive_note(delivery, routing, &mut self.outboxes, from, note);
            }
            _ => unreachable_state("a record of no retained message"),
        }
    }

    fn receive_run(&mut self, run: &Run<'_>) {
        let Some(first) = first_publish(run.packets, run.version) else {
            return unreachable_state("a record without a PUBLISH");
        };
        let sessions = self.delivery.clients.sessions();
        let route = self.routing.resolve_remote(first.topic, sessions, &mut self.work);
        if let Some(route) = self.routing.route(route) {
            self.work
                .spend(u64::from(run.count) + route.work(run.packets.len()));
            self.delivery.fan_out_run(route, run, None);
        }
    }

    fn receive_message(
        &mut self,
        version: ProtocolVersion,
        publication: Option<PublicationId>,
        packet: &[u8],
    ) {
        let Some(publish) = first_publish(packet, version) else {
            return unreachable_state("a record without a PUBLISH");
        };
        let sessions = self.delivery.clients.sessions();
        let route = self
            .routing
            .resolve_remote(publish.topic, sessions, &mut self.work);
        if let Some(route) = self.routing.route(route) {
            self.work.spend(1 + route.work(packet.len()));
            let kept = StoredPublication {
                message: None,
                publication,
            };
            self.delivery.fan_out(route, &message_of(&publish, None), kept);
        }
    }
}
