//! Packets that wait until the store has what they promise.
//!
//! An acknowledgement waits for the batch in which its cause is, and so does a PUBLISH or PUBREL at QoS 2 of a session
//! that outlives its connection, or of a member of a group: if one went out before, a crash could deliver the message
//! twice, to another member too. Behind one that waits, later ones of the same kinds wait too, so that their order
//! stays [MQTT-4.6.0-2]; QoS 0 and QoS 1 messages and PINGRESP pass. A CONNACK that waits keeps back everything of its
//! connection, as nothing may stand before it.
//!
//! Invariants: packets leave in the order in which they came here; none follows once its connection closes; a
//! connection says whether something of it is here ([`Deferring`]), so that one without pays for a look at a byte.

use std::collections::VecDeque;
use std::rc::Rc;

use mqtt::{ProtocolVersion, QoS};

use crate::logic::clients::Clients;
use crate::logic::connection::{Connection, ConnectionId, ConnectionSlot, Deferring};
use crate::logic::delivery::Delivery;
use crate::logic::delivery::journal::Journal;
use crate::logic::delivery::outputs::Outputs;
use crate::logic::flow::FlowControl;
use crate::logic::via::Via;

/// The packets that wait for the store, by batch.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    batches: VecDeque<DeferredBatch>,
    spare: Vec<DeferredBatch>,
}

/// The packets that wait for one batch of records.
#[derive(Debug, Default)]
struct DeferredBatch {
    number: u64,
    packets: Vec<DeferredPacket>,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct DeferredPacket {
    id: ConnectionId,
    /// Bytes of the packet; none if it is the CONNACK, which is in the connection's output.
    bytes: Option<u32>,
}

/// Batches that are kept to be used again.
const SPARE_MAX: usize = 4;

impl Deferred {
    fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Whether a packet waits for that batch.
    fn awaits(&self, number: u64) -> bool {
        self.batches.back().is_some_and(|batch| batch.number == number)
    }

    /// The packets that wait for a batch, and for all before it.
    fn last(&mut self, number: u64) -> Option<&mut DeferredBatch> {
        if self.batches.back().is_none_or(|batch| batch.number < number) {
            let mut batch = self.spare.pop().unwrap_or_default();
            batch.number = number;
            self.batches.push_back(batch);
        }
        self.batches.back_mut()
    }

    /// Keeps a packet back until the batch of that number, which has or gets a record, is durable; not one that is
    /// larger than the client takes [MQTT-3.1.2-24]. Whether it is kept.
    #[cold]
    pub(super) fn push(
        &mut self,
        number: u64,
        slot: ConnectionSlot,
        connection: &mut Connection,
        write: impl FnOnce(&mut Vec<u8>, ProtocolVersion),
    ) -> bool {
        let Some(batch) = self.last(number) else {
            return false;
        };
        let start = batch.bytes.len();
        write(&mut batch.bytes, connection.version());
        let length = batch.bytes.len() - start;
        if length > connection.packet_bytes_max() as usize {
            batch.bytes.truncate(start);
            return false;
        }
        batch.packets.push(DeferredPacket {
            id: connection.id(slot),
            bytes: u32::try_from(length).ok(),
        });
        connection.begin_deferring(Deferring::Acknowledgements);
        true
    }

    /// The first batch, if it is durable.
    fn pop(&mut self, durable: u64) -> Option<DeferredBatch> {
        let first = self.batches.front()?;
        if first.number > durable {
            return None;
        }
        self.batches.pop_front()
    }

    /// Gives what has become durable to the outputs.
    fn release(
        &mut self,
        durable: u64,
        clients: &mut Clients,
        outputs: &mut Outputs,
        flow: &mut FlowControl,
    ) {
        while let Some(batch) = self.pop(durable) {
            let mut bytes = batch.bytes.as_slice();
            for packet in &batch.packets {
                let length = packet.bytes.map_or(0, |length| length as usize);
                let (first, rest) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
                bytes = rest;
                let Some(connection) = clients.by_id(packet.id) else {
                    // It is gone, and the packet with it.
                    continue;
                };
                let slot = packet.id.slot;
                if packet.bytes.is_none() {
                    // The CONNACK, and what is behind it.
                    connection.end_deferring_output();
                    outputs.mark_dirty(slot, connection);
                    continue;
                }
                connection.end_deferring();
                if !connection.is_closing() {
                    outputs.open(connection);
                    connection.out().extend_from_slice(first);
                    outputs.mark_dirty(slot, connection);
                    flow.output_filled(first.len());
                }
            }
            self.recycle(batch);
        }
    }

    fn recycle(&mut self, mut batch: DeferredBatch) {
        if self.spare.len() < SPARE_MAX {
            batch.packets.clear();
            batch.bytes.clear();
            self.spare.push(batch);
        }
    }
}

impl Delivery {
    /// Whether a packet of that connection that promises something has to wait.
    #[inline]
    pub(super) fn defers(&self, connection: &Connection) -> bool {
        connection.is_deferring() || self.journal.has_changed()
    }

    /// As [`Deferred::push`], of a packet that promises what is appended already. One that promises nothing new waits
    /// for no batch to come: nobody knows when that would be handed over.
    pub(super) fn defer(
        &mut self,
        slot: ConnectionSlot,
        write: impl FnOnce(&mut Vec<u8>, ProtocolVersion),
    ) -> bool {
        let number = self.journal.last_batch();
        let connection = self.clients.connection(slot);
        connection.is_some_and(|connection| self.deferred.push(number, slot, connection, write))
    }

    /// Keeps back all that is sent on a connection until the batch that is being filled is durable; its CONNACK is
    /// the first of it.
    pub(in crate::logic) fn defer_output(&mut self, slot: ConnectionSlot) {
        if let Some(connection) = self.clients.connection(slot)
            && let Some(batch) = self.deferred.last(self.journal.batch())
        {
            batch.packets.push(DeferredPacket {
                id: connection.id(slot),
                bytes: None,
            });
            connection.begin_deferring(Deferring::Everything);
        }
    }

    /// Submits the records that were appended since the last call, and sends what does not wait for the disk then.
    #[inline]
    pub(in crate::logic) fn submit_records(&mut self) {
        let is_awaited = self.deferred.awaits(self.journal.batch());
        self.journal.submit(is_awaited);
        self.release_deferred();
    }

    /// Gives what has become durable to the outputs.
    #[inline]
    pub(in crate::logic) fn release_deferred(&mut self) {
        if !self.deferred.is_empty() {
            let durable = self.journal.durable();
            let (clients, outputs) = (&mut self.clients, &mut self.outputs);
            self.deferred.release(durable, clients, outputs, &mut self.flow);
        }
    }
}

impl Journal {
    /// The batch that must be durable before a message goes out for the first time, if it is at QoS 2: that which says
    /// which session has it. A start would give a message of a group to another member. `queued` if it waited: then
    /// what says that a member has it is appended already.
    #[inline]
    pub(super) fn batch_before(
        &self,
        qos: QoS,
        is_stored: bool,
        via: Option<&Rc<Via>>,
        queued: bool,
    ) -> Option<u64> {
        if qos != QoS::ExactlyOnce || !self.is_open() {
            return None;
        }
        let is_of_group = via.is_some_and(|via| via.group.is_some());
        if is_stored || (is_of_group && !queued && self.current.is_some()) {
            return Some(self.batch());
        }
        is_of_group.then(|| self.last_batch())
    }
}
