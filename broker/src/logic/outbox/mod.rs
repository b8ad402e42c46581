//! The outboxes of this shard: for each other shard the batches that the shell has not fetched yet. `batch.rs` is the
//! format of a batch, `pending.rs` one outbox.
//!
//! Invariants: records leave an outbox in the order in which they were added. All records are added by
//! [`Outboxes::put`], which also notes what the current publisher has to wait for: outboxes that are full, and shards
//! that asked to pause their publishers. Emptied batches are reused, up to [`limits::BATCHES_SPARE_MAX`].

pub(super) mod batch;
mod pending;

use std::sync::Arc;

use mqtt::property::Properties;
use mqtt::publish_template::PublishTemplate;
use mqtt::{PacketIdentifier, ProtocolVersion};

use self::batch::{Batch, BatchRecord, Control};
use self::pending::Outbox;
pub use self::pending::{COST_BASE, COST_MAX};
use crate::auth::acl;
use crate::limits;
use crate::logic::inconsistency::unreachable_state;
use crate::logic::message::{Message, RawPacket};
use crate::logic::retained_note::{RetainedChange, RetainedNote};
use crate::logic::routing::subscription::group::MemberCounts;
use crate::logic::store::PublicationId;

/// The outboxes of a shard, in the order of the shards; its own stays empty.
#[derive(Debug)]
pub struct Outboxes {
    index: u16,
    outboxes: Vec<Outbox>,
    spare: Vec<Batch>,
    /// Bytes of publishes in one batch.
    batch_bytes: usize,
    /// Units of work in one batch.
    batch_work: u64,
    /// Units of work in one outbox.
    outbox_work: u64,
    blocked: Vec<Blocked>,
    encoding: Encoding,
}

/// Memory for the packet of a message that has none.
#[derive(Debug, Default)]
struct Encoding {
    template: PublishTemplate,
    packet: Vec<u8>,
}

/// What the current publisher has to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocked {
    /// It filled the outbox for that shard.
    Full(u16),
    /// Its messages went to that shard, which asked to pause its publishers.
    Paused(u16),
}

impl Outboxes {
    pub(super) fn new(index: u16, count: u16) -> Self {
        Self {
            index,
            outboxes: (0..count).map(|_| Outbox::new()).collect(),
            spare: Vec::new(),
            batch_bytes: limits::batch_bytes(count),
            batch_work: limits::batch_work(count),
            outbox_work: limits::outbox_work(count),
            blocked: Vec::new(),
            encoding: Encoding::default(),
        }
    }

    /// The next publisher is handled: what others have met does not concern it.
    #[inline]
    pub(super) fn begin(&mut self) {
        self.blocked.clear();
    }

    /// What the publisher that was handled since [`Self::begin`] has to wait for.
    pub(super) fn take_blocked(&mut self) -> Vec<Blocked> {
        std::mem::take(&mut self.blocked)
    }

    /// Another shard asks to pause its publishers, or to resume them.
    pub(super) fn set_paused(&mut self, shard: u16, paused: bool) {
        if let Some(outbox) = self.outboxes.get_mut(usize::from(shard)) {
            outbox.paused = paused;
        }
    }

    /// Sets the cost of a batch for that shard, for each [`COST_BASE`] units that are counted here: only that shard
    /// knows how many subscribers a message has there. The higher the cost, the less is put into a batch.
    pub fn set_cost(&mut self, shard: u16, cost: u64) {
        if let Some(outbox) = self.outboxes.get_mut(usize::from(shard)) {
            outbox.cost = cost.clamp(COST_BASE, COST_MAX);
        }
    }

    /// Adds a record to the outboxes of `shards`, which costs each of them a visit of `nodes` nodes; returns the
    /// number of shards.
    #[inline]
    pub(super) fn send(&mut self, shards: &[u16], record: &BatchRecord<'_>, nodes: u64) -> u64 {
        for &shard in shards {
            self.put(shard, |batch| {
                batch.push(record);
                batch.add_work(nodes.saturating_sub(USUAL_NODES));
            });
            if self.is_paused(shard) {
                self.block(Blocked::Paused(shard));
            }
        }
        shards.len() as u64
    }

    /// Puts a message into the outboxes of some shards; returns their number.
    pub(super) fn send_message(
        &mut self,
        shards: &[u16],
        message: &Message<'_>,
        raw: Option<RawPacket<'_>>,
        publication: Option<PublicationId>,
        nodes: u64,
    ) -> u64 {
        self.with_packet(message, raw, |outboxes, version, packet| {
            let record = BatchRecord::Message {
                version,
                publication,
                packet,
            };
            outboxes.send(shards, &record, nodes)
        })
    }

    /// Puts a message for one member of a group into the outbox of a shard, after it was passed through `hops` shards;
    /// returns the number of records.
    pub(super) fn send_shared(
        &mut self,
        shard: u16,
        group: &str,
        hops: u32,
        message: &Message<'_>,
        raw: Option<RawPacket<'_>>,
        publication: Option<PublicationId>,
    ) -> u64 {
        self.with_packet(message, raw, |outboxes, version, packet| {
            let record = BatchRecord::Shared {
                version,
                hops,
                publication,
                group,
                packet,
            };
            outboxes.send(&[shard], &record, 0)
        })
    }

    /// Notifies all other shards that this one has its first subscription to a filter, or no longer has any.
    pub(super) fn announce_interest(&mut self, filter: &str, added: bool) {
        self.put_all(|batch| {
            let filter = filter.into();
            batch.push_control(if added {
                Control::InterestAdd(filter)
            } else {
                Control::InterestRemove(filter)
            });
        });
    }

    /// Notifies all other shards of the number of members of a group here.
    pub(super) fn announce_members(&mut self, group: &Arc<str>, counts: MemberCounts) {
        self.put_all(|batch| {
            let group = Arc::clone(group);
            batch.push_control(Control::Members { group, counts });
        });
    }

    /// Sends a change of a retained message to the shards with interest, to be delivered, and to the owner of its
    /// topic, to be applied; returns the number of records.
    pub(super) fn send_retained(
        &mut self,
        interested: &[u16],
        owner: u16,
        change: RetainedChange<'_>,
    ) -> u64 {
        for &shard in interested {
            self.put_retained(shard, shard == owner, change);
            if self.is_paused(shard) {
                self.block(Blocked::Paused(shard));
            }
        }
        let is_apart = owner != self.index && !interested.contains(&owner);
        if is_apart {
            self.put_retained(owner, true, change);
        }
        interested.len() as u64 + u64::from(is_apart)
    }

    /// Sends a message about finding retained messages to a shard.
    pub(super) fn send_note(&mut self, shard: u16, note: RetainedNote) {
        self.put(shard, |batch| batch.push_in_place(Control::Retained(note)));
    }

    /// Notifies one shard of something that no publisher causes.
    pub(super) fn notify(&mut self, shard: u16, control: Control) {
        if let Some(outbox) = self.outboxes.get_mut(usize::from(shard)) {
            outbox
                .open(self.batch_bytes, self.batch_work, &mut self.spare)
                .push_control(control);
        }
    }

    /// The next batch for a shard, and whether its outbox was full and is now empty.
    pub(super) fn take(&mut self, shard: u16) -> (Option<Batch>, bool) {
        let Some(outbox) = self.outboxes.get_mut(usize::from(shard)) else {
            unreachable_state("an outbox for no shard");
            return (None, false);
        };
        let batch = outbox.pop(&mut self.spare);
        let drained = outbox.len() == 0 && std::mem::take(&mut outbox.was_full);
        (batch, drained)
    }

    /// Whether there is a batch for a shard.
    #[must_use]
    pub fn has_batch(&self, shard: u16) -> bool {
        let outbox = self.outboxes.get(usize::from(shard));
        outbox.is_some_and(|outbox| outbox.len() > 0)
    }

    /// The shard whose outboxes these are.
    pub(super) fn index(&self) -> u16 {
        self.index
    }

    /// The number of shards, including this one.
    pub(super) fn shards(&self) -> u16 {
        u16::try_from(self.outboxes.len()).unwrap_or(u16::MAX)
    }

    /// Returns a batch, whoever filled it: its memory is reused.
    pub fn recycle(&mut self, mut batch: Batch) {
        if self.spare.len() < limits::BATCHES_SPARE_MAX {
            batch.clear();
            self.spare.push(batch);
        }
    }

    /// Drops all batches that wait.
    pub(super) fn drop_all(&mut self) {
        for outbox in &mut self.outboxes {
            outbox.full.clear();
            outbox.current.clear();
        }
    }

    /// Frees the memory of unused batches.
    pub(super) fn drop_spare(&mut self) {
        self.spare = Vec::new();
        self.encoding = Encoding::default();
        self.outboxes.iter_mut().for_each(Outbox::drop_spare);
    }

    /// Number of batches that wait for one shard.
    pub(super) fn waiting(&self, shard: u16) -> usize {
        self.outboxes.get(usize::from(shard)).map_or(0, Outbox::len)
    }

    /// Number of batches in all outboxes.
    pub(super) fn len(&self) -> usize {
        self.outboxes.iter().map(Outbox::len).sum()
    }

    /// The packet of a message: as it arrived, or encoded in 5.0, so that it includes the properties.
    fn with_packet(
        &mut self,
        message: &Message<'_>,
        raw: Option<RawPacket<'_>>,
        send: impl FnOnce(&mut Self, ProtocolVersion, &[u8]) -> u64,
    ) -> u64 {
        if let Some(RawPacket { version, bytes }) = raw {
            return send(self, version, bytes);
        }
        let mut encoding = std::mem::take(&mut self.encoding);
        let sent = match encoding.encode(message) {
            Some(packet) => send(self, ProtocolVersion::V5, packet),
            // It would be larger than the largest packet: no client can have sent it.
            None => 0,
        };
        self.encoding = encoding;
        sent
    }

    fn put_retained(&mut self, shard: u16, is_owner: bool, change: RetainedChange<'_>) {
        self.put(shard, |batch| {
            let source = if is_owner {
                change.source.clone()
            } else {
                acl::Access::default()
            };
            batch.push_in_place(Control::Retain {
                message: change.message.clone(),
                ticket: change.ticket,
                publication: change.publication,
                source,
            });
        });
    }

    fn put_all(&mut self, mut write: impl FnMut(&mut Batch)) {
        let count = u16::try_from(self.outboxes.len()).unwrap_or(u16::MAX);
        let index = self.index;
        for shard in (0..count).filter(|&shard| shard != index) {
            self.put(shard, &mut write);
        }
    }

    #[inline]
    fn put(&mut self, shard: u16, write: impl FnOnce(&mut Batch)) {
        let Some(outbox) = self.outboxes.get_mut(usize::from(shard)) else {
            return unreachable_state("an outbox for no shard");
        };
        write(outbox.open(self.batch_bytes, self.batch_work, &mut self.spare));
        if outbox.len() > limits::OUTBOX_BATCHES_MAX || outbox.costs(outbox.work) > self.outbox_work {
            outbox.was_full = true;
            self.block(Blocked::Full(shard));
        }
    }

    #[cold]
    fn block(&mut self, blocked: Blocked) {
        if !self.blocked.contains(&blocked) {
            self.blocked.push(blocked);
        }
    }

    #[inline]
    fn is_paused(&self, shard: u16) -> bool {
        let outbox = self.outboxes.get(usize::from(shard));
        outbox.is_some_and(|outbox| outbox.paused)
    }
}

impl Encoding {
    fn encode(&mut self, message: &Message<'_>) -> Option<&[u8]> {
        let Message {
            topic,
            qos,
            retain,
            properties,
            payload,
            ..
        } = *message;
        let extra = Properties::EMPTY;
        let version = ProtocolVersion::V5;
        self.template
            .encode(version, qos, retain, topic, properties, extra, payload)
            .ok()?;
        self.packet.clear();
        self.template
            .append_with_identifier(PacketIdentifier::MIN, false, &mut self.packet);
        Some(&self.packet)
    }
}

/// Nodes that a topic may meet in the tree of filters without costing more than the message itself.
const USUAL_NODES: u64 = 32;

#[cfg(test)]
mod tests;
