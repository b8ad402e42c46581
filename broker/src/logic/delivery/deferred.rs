//! Packets that wait until the store has recorded what they promise.
//!
//! An acknowledgement waits for the batch that contains its cause. So does a PUBLISH or PUBREL at QoS 2 of a session
//! that outlives its connection, or of a member of a group: if it were sent before, a crash could deliver the message
//! twice, even to another member. Later packets of the same kinds wait behind it, so that their order is kept
//! [MQTT-4.6.0-2]; QoS 0 and QoS 1 messages and PINGRESP pass it. A CONNACK that waits delays everything on its
//! connection, because nothing may precede it.
//!
//! Invariants: packets leave in the order in which they were added; none is added once its connection closes; a
//! connection records whether it has packets here ([`Deferring`]), so that one without them only checks a byte.

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
    /// Bytes of the packet; `None` for the CONNACK, which is in the connection's output.
    bytes: Option<u32>,
}

/// Batches that are kept for reuse.
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

    /// Defers a packet until the batch with that number, which has or gets a record, is durable. A packet that is
    /// larger than the client accepts is not deferred [MQTT-3.1.2-24]. Returns whether it was.
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

    /// Passes packets whose batches have become durable to the outputs.
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
                    // The connection is gone, and the packet with it.
                    continue;
                };
                let slot = packet.id.slot;
                if packet.bytes.is_none() {
                    // The CONNACK, and what follows it.
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
    /// Whether a packet of that connection with a promise has to wait.
    #[inline]
    pub(super) fn defers(&self, connection: &Connection) -> bool {
        connection.is_deferring() || self.journal.has_changed()
    }

    /// As [`Deferred::push`], for a packet whose promise is appended already. A packet without a new promise waits for
    /// no future batch, because it is not known when that would be submitted.
    pub(super) fn defer(
        &mut self,
        slot: ConnectionSlot,
        write: impl FnOnce(&mut Vec<u8>, ProtocolVersion),
    ) -> bool {
        let number = self.journal.last_batch();
        let connection = self.clients.connection(slot);
        connection.is_some_and(|connection| self.deferred.push(number, slot, connection, write))
    }

    /// Defers everything that is sent on a connection until the batch that is being filled is durable; its CONNACK is
    /// the first packet.
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

    /// Submits the records that were appended since the last call, and sends the packets that then do not wait for the
    /// disk.
    #[inline]
    pub(in crate::logic) fn submit_records(&mut self) {
        let is_awaited = self.deferred.awaits(self.journal.batch());
        self.journal.submit(is_awaited);
        self.release_deferred();
    }

    /// Passes packets whose batches have become durable to the outputs.
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
    /// The batch that must be durable before a message at QoS 2 is sent for the first time: the one that records which
    /// session has it. Otherwise a start would give a message of a group to another member. `queued` if it was queued:
    /// then the record about the member is appended already.
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
