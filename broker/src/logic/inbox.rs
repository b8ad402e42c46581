//! What other shards send: batches in.
//!
//! Invariants: a shard has notified all others of each filter that a session of its own subscribes to, before the
//! SUBACK left; a message goes to a shard once, however many of its filters match. A retained message goes to all
//! shards as one record that is both the change and the publish: a subscriber there gets it live or as retained,
//! never neither.

use mqtt::ProtocolVersion;

use crate::auth::acl::Access;
use crate::limits;
use crate::logic::Shard;
use crate::logic::delivery::fan_out::message_of;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::message::{Run, StoredMessage};
use crate::logic::outbox::batch::{Batch, BatchRecord, Control};
use crate::logic::retained::Stamp;
use crate::time::Timestamp;

impl Shard {
    /// Takes in what another shard sent.
    pub fn receive_batch(&mut self, now: Timestamp, from: u16, batch: &Batch) {
        self.begin(now);
        self.begin_flow();
        for control in &batch.control {
            match control {
                Control::InterestAdd(filter) => self.routing.add_interest(from, filter),
                Control::InterestRemove(filter) => self.routing.remove_interest(from, filter),
                Control::Members { group, counts } => self.set_members(from, group, *counts),
                Control::Pause(paused) => self.set_remote_paused(from, *paused),
                // It is applied where its record stands in the log.
                Control::Retain { .. } => {}
            }
        }
        for record in batch.records() {
            match record {
                BatchRecord::Run(run) => self.receive_run(&run),
                BatchRecord::Message { version, packet } => self.receive_message(version, packet),
                BatchRecord::Shared {
                    version,
                    hops,
                    group,
                    packet,
                } => self.receive_shared(version, hops, group, packet),
                BatchRecord::Retain { control } => {
                    let control = batch.control.get(control as usize);
                    if let Some(Control::Retain {
                        message,
                        stamp,
                        source,
                    }) = control
                    {
                        self.receive_retained(message, *stamp, source);
                    }
                }
            }
        }
        self.pause_shard(from);
    }

    /// The batches for another shard, in order. Those not taken out of the iterator stay.
    pub fn take_batches(&mut self, to: u16) -> impl Iterator<Item = Batch> + '_ {
        std::iter::from_fn(move || self.take_batch(to))
    }

    /// The next batch for another shard.
    pub fn take_batch(&mut self, to: u16) -> Option<Batch> {
        let (batch, drained) = self.outboxes.take(to);
        if drained {
            self.outbox_drained(to);
        }
        batch
    }

    /// Whether there is a batch for another shard.
    #[must_use]
    pub fn has_batch(&self, to: u16) -> bool {
        self.outboxes.has_batch(to)
    }

    /// Gives back a batch, whoever filled it: its memory is used again.
    pub fn recycle_batch(&mut self, batch: Batch) {
        self.outboxes.recycle(batch);
    }

    /// Puts a retained message in place, in this shard.
    pub(super) fn apply_retained(&mut self, message: &StoredMessage, stamp: Stamp, source: &Access) {
        if self
            .retained
            .apply(self.now, message, stamp, source, &mut self.timers)
        {
            self.delivery.record_retained(message);
            self.count_retained();
        }
    }

    /// Brings the counter up to date.
    pub(super) fn count_retained(&mut self) {
        let counter = &self.delivery.counters().retained;
        counter.sub(counter.get());
        counter.add(self.retained.len());
    }

    fn receive_run(&mut self, run: &Run<'_>) {
        let Some(first) = first_publish(run.packets, run.version) else {
            return unreachable_state("a record without a PUBLISH");
        };
        let route = self.routing.resolve_remote(first.topic, self.delivery.sessions());
        if let Some(route) = self.routing.route(route) {
            self.delivery.fan_out_run(route, run, None);
        }
    }

    fn receive_message(&mut self, version: ProtocolVersion, packet: &[u8]) {
        let Some(publish) = first_publish(packet, version) else {
            return unreachable_state("a record without a PUBLISH");
        };
        let route = self
            .routing
            .resolve_remote(publish.topic, self.delivery.sessions());
        if let Some(route) = self.routing.route(route) {
            self.delivery.fan_out(route, &message_of(&publish, None), None);
        }
    }

    fn receive_retained(&mut self, stored: &StoredMessage, stamp: Stamp, source: &Access) {
        self.apply_retained(stored, stamp, source);
        let mut properties = std::mem::take(&mut self.properties);
        if let Some(message) = stored.at(self.now, &mut properties) {
            let route = self
                .routing
                .resolve(message.topic, None, self.delivery.sessions());
            if let Some(route) = self.routing.route(route) {
                self.delivery.fan_out(route, &message, Some(stored));
            }
        }
        self.properties = properties;
    }
}

/// The PUBLISH at the front of the packets of a record.
pub(super) fn first_publish(packets: &[u8], version: ProtocolVersion) -> Option<mqtt::packet::Publish<'_>> {
    let frame = mqtt::frame::split(packets, limits::PACKET_BYTES_MAX).ok()??;
    mqtt::decode::publish(&frame, version).ok()
}
