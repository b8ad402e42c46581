//! What goes between the shards: interests and messages out, batches in.
//!
//! Invariants: a shard has told all others of each filter that a session of its own subscribes to, before the SUBACK left;
//! a message goes to a shard once, however many of its filters match. A retained message goes to all shards as one record that
//! is both the change and the publish: a subscriber there gets it live or as retained, never neither.

use mqtt::ProtocolVersion;
use mqtt::property::Properties;

use crate::auth::acl::Access;
use crate::limits;
use crate::logic::Shard;
use crate::logic::delivery::deliver::Run;
use crate::logic::message::{Message, Publisher, StoredMessage};
use crate::logic::outbox::batch::{self, Batch, Control, Kind};
use crate::logic::retained::Stamp;
use crate::logic::routing::route::RouteSlot;
use crate::time::Timestamp;

impl Shard {
    /// Takes in what another shard sent.
    pub fn receive_batch(&mut self, now: Timestamp, from: u16, batch: &Batch) {
        for control in &batch.control {
            match control {
                Control::InterestAdd(filter) => self.add_interest(from, filter),
                Control::InterestRemove(filter) => self.remove_interest(from, filter),
                Control::Members { group, counts } => self.set_members(from, group, *counts),
                Control::Hold(on) => self.hold(from, *on),
                // Its record in the log says when.
                Control::Retain { .. } => {}
            }
        }
        for record in batch.records() {
            match record.kind {
                Kind::Run(version) => self.receive_run(now, version, &record),
                Kind::Message(version) => self.receive_message(now, version, record.packets),
                Kind::Shared(version) => self.receive_shared(now, version, &record),
                Kind::Retain => {
                    let control = batch.control.get(record.count as usize);
                    if let Some(Control::Retain {
                        message,
                        stamp,
                        source,
                    }) = control
                    {
                        self.receive_retained(now, message, *stamp, source);
                    }
                }
            }
        }
        self.settle_shard(now, from);
    }

    /// The batches for another shard, in order. Those not taken out of the iterator stay.
    pub fn take_batches(&mut self, to: u16) -> impl Iterator<Item = Batch> + '_ {
        std::iter::from_fn(move || self.take_batch(to))
    }

    /// The next batch for another shard.
    pub fn take_batch(&mut self, to: u16) -> Option<Batch> {
        let outbox = self.outboxes.get_mut(usize::from(to))?;
        let was_full = outbox.len() > limits::OUTBOX_BATCHES_MAX / 2;
        let batch = outbox.pop(&mut self.spare_batches);
        if was_full && outbox.len() <= limits::OUTBOX_BATCHES_MAX / 2 {
            self.resume_receiving();
        }
        batch
    }

    /// Whether there is a batch for another shard.
    #[must_use]
    pub fn has_batch(&self, to: u16) -> bool {
        self.outboxes
            .get(usize::from(to))
            .is_some_and(|outbox| outbox.len() > 0)
    }

    /// Gives back a batch, whoever filled it: its memory is used again.
    pub fn recycle_batch(&mut self, mut batch: Batch) {
        if self.spare_batches.len() < limits::BATCHES_SPARE_MAX {
            batch.clear();
            self.spare_batches.push(batch);
        }
    }

    /// Tells the other shards that this one has its first subscription to a filter, or its last one no more.
    pub(super) fn announce(&mut self, filter: &str, added: bool) {
        let Self {
            outboxes,
            spare_batches,
            index,
            outbox_filled,
            ..
        } = self;
        for (_, outbox) in others(outboxes, *index) {
            let filter = filter.into();
            let control = if added {
                Control::InterestAdd(filter)
            } else {
                Control::InterestRemove(filter)
            };
            outbox.control(control, spare_batches);
            *outbox_filled |= outbox.len() > limits::OUTBOX_BATCHES_MAX;
        }
    }

    /// Sends a record to some shards.
    #[inline]
    pub(super) fn send_record(&mut self, route: RouteSlot, record: batch::Record<'_>) {
        let Self {
            routes,
            outboxes,
            spare_batches,
            outbox_filled,
            outbox_held,
            ..
        } = self;
        let Some(route) = routes.get(route) else { return };
        for &shard in &route.shards {
            let Some(outbox) = outboxes.get_mut(usize::from(shard)) else {
                continue;
            };
            outbox.publish(record, spare_batches);
            *outbox_held |= outbox.held;
            *outbox_filled |= outbox.len() > limits::OUTBOX_BATCHES_MAX;
        }
        let sent = route.shards.len() as u64;
        self.delivery.counters().batch_records_sent.add(sent);
    }

    /// Sends a change of a retained message to all other shards.
    pub(super) fn send_retained(&mut self, message: &StoredMessage, stamp: Stamp, source: &Access) {
        let Self {
            outboxes,
            spare_batches,
            index,
            outbox_filled,
            ..
        } = self;
        for (_, outbox) in others(outboxes, *index) {
            outbox.retain(message.clone(), stamp, source.clone(), spare_batches);
            *outbox_filled |= outbox.len() > limits::OUTBOX_BATCHES_MAX;
        }
    }

    /// Puts a retained message in place, in this shard.
    pub(super) fn apply_retained(
        &mut self,
        now: Timestamp,
        message: &StoredMessage,
        stamp: Stamp,
        source: &Access,
    ) {
        if self.retained.apply(now, message, stamp, source, &mut self.timers) {
            self.delivery
                .store
                .append(super::store::Record::Retained { message });
            self.count_retained();
        }
    }

    /// Brings the counter up to date.
    pub(super) fn count_retained(&mut self) {
        let counter = &self.delivery.counters().retained;
        counter.sub(counter.get());
        counter.add(self.retained.len());
    }

    fn add_interest(&mut self, from: u16, filter: &str) {
        self.subscriptions.add_shard(filter, from);
        self.routes.filter_changed(filter);
    }

    fn remove_interest(&mut self, from: u16, filter: &str) {
        self.subscriptions.remove_shard(filter, from);
        self.routes.filter_changed(filter);
    }

    fn receive_run(&mut self, now: Timestamp, version: ProtocolVersion, record: &batch::Record<'_>) {
        let Some(first) = first_publish(record.packets, version) else {
            return;
        };
        let run = Run {
            packets: record.packets,
            version,
            count: record.count,
            payload_bytes: record.payload_bytes,
            packet_bytes_max: record.packet_bytes_max,
        };
        let route = self.routes.resolve(
            first.topic,
            self.batch_route,
            &mut self.subscriptions,
            &self.delivery.sessions,
        );
        self.batch_route = Some(route);
        self.fan_out_run(now, route, &run, None);
    }

    fn receive_message(&mut self, now: Timestamp, version: ProtocolVersion, packets: &[u8]) {
        let Some(publish) = first_publish(packets, version) else {
            return;
        };
        let message = Message {
            topic: publish.topic,
            qos: publish.qos,
            retain: publish.retain,
            properties: publish.properties,
            payload: publish.payload,
            publisher: Publisher::ELSEWHERE,
        };
        let route = self.routes.resolve(
            message.topic,
            self.batch_route,
            &mut self.subscriptions,
            &self.delivery.sessions,
        );
        self.batch_route = Some(route);
        self.fan_out_message(now, route, &message, None);
    }

    fn receive_retained(&mut self, now: Timestamp, stored: &StoredMessage, stamp: Stamp, source: &Access) {
        self.apply_retained(now, stored, stamp, source);
        let mut properties = std::mem::take(&mut self.properties);
        if let Some(message) = stored.at(now, &mut properties) {
            let route = self.routes.resolve(
                message.topic,
                None,
                &mut self.subscriptions,
                &self.delivery.sessions,
            );
            self.fan_out_message(now, route, &message, Some(stored));
        }
        self.properties = properties;
    }
}

/// The PUBLISH at the front of the packets of a record.
pub(super) fn first_publish(packets: &[u8], version: ProtocolVersion) -> Option<mqtt::packet::Publish<'_>> {
    let frame = mqtt::frame::split(packets, limits::PACKET_BYTES_MAX).ok()??;
    mqtt::decode::publish(&frame, version).ok()
}

pub(super) fn others(
    outboxes: &mut [batch::Outbox],
    index: u16,
) -> impl Iterator<Item = (usize, &mut batch::Outbox)> {
    outboxes
        .iter_mut()
        .enumerate()
        .filter(move |(shard, _)| *shard != usize::from(index))
}

/// What a record needs of a message in its own encoding: 5.0, so that the properties are with it.
pub(super) fn encode_message(
    template: &mut mqtt::publish_template::PublishTemplate,
    message: &Message<'_>,
) -> bool {
    let Message {
        topic,
        qos,
        retain,
        properties,
        payload,
        ..
    } = *message;
    template
        .encode(
            ProtocolVersion::V5,
            qos,
            retain,
            topic,
            properties,
            Properties::EMPTY,
            payload,
        )
        .is_ok()
}
