//! SUBSCRIBE and UNSUBSCRIBE packets with so many filters that they take more than one turn.
//!
//! Invariants: the caller keeps the bytes of the packet, and no later packet of the connection is handled before it.
//! The connection keeps the results so far, so each filter is handled once. The packet is answered once, after its last
//! filter.

use mqtt::frame::{Frame, variable_byte_integer_bytes};
use mqtt::{Packet, ProtocolVersion, ReasonCode};

use crate::logic::connection::Connection;
use crate::logic::filters_begun::FiltersBegun;
use crate::logic::handle::Handler;
use crate::logic::inconsistency::unreachable_state;

impl Handler<'_> {
    /// Continues the packet that was begun; false if it is not complete.
    pub(in crate::logic) fn continue_filters(&mut self, frame: &Frame<'_>, version: ProtocolVersion) -> bool {
        let connection = self.shard.delivery.clients.connection(self.slot);
        let Some(mut begun) = connection.and_then(Connection::take_begun_filters) else {
            unreachable_state("a packet that was not begun");
            return true;
        };
        begun.bytes_before = begun.bytes;
        let delivery = &mut self.shard.delivery;
        delivery.journal.continue_packet(begun.changed);
        match mqtt::decode::decoded_before(frame, version) {
            Ok(Packet::Subscribe(subscribe)) => self.handle_subscribe(&subscribe, *begun),
            Ok(Packet::Unsubscribe(unsubscribe)) => self.handle_unsubscribe(&unsubscribe, *begun),
            _ => {
                unreachable_state("a packet that is another one than before");
                true
            }
        }
    }

    /// Whether the client accepts a SUBACK or UNSUBACK for this many filters; if not, its connection is closed,
    /// because such a packet cannot be answered and must have no effect.
    pub(super) fn answer_fits(&mut self, filters: usize) -> bool {
        let Some(connection) = self.shard.delivery.clients.connection(self.slot) else {
            unreachable_state("a packet of a connection that is gone");
            return false;
        };
        // Type and length, the Packet Identifier, and the length of the properties.
        let bytes_max = connection.packet_bytes_max() as usize;
        let length = ANSWER_BYTES + filters;
        let length_bytes = variable_byte_integer_bytes(u32::try_from(length).unwrap_or(u32::MAX));
        let fits = 1 + length_bytes + length <= bytes_max;
        if !fits {
            let why = "the answer to its packet is larger than the Maximum Packet Size that it has set";
            self.shard.disconnect(self.slot, ReasonCode::PacketTooLarge, why);
        }
        fits
    }

    /// The share of work is used up: keeps what was done until [`Self::continue_filters`].
    pub(super) fn keep_unfinished(&mut self, mut begun: FiltersBegun) -> bool {
        begun.changed = self.shard.delivery.journal.has_changed();
        if let Some(connection) = self.shard.delivery.clients.connection(self.slot) {
            connection.keep_begun_filters(begun);
        }
        false
    }
}

/// Units of work to add or remove a filter: its look-ups in the tables, and the records for other shards.
pub(super) fn filter_work(filter: &str, shards: u16) -> u64 {
    FILTER_WORK + u64::from(shards) + (filter.len() / FILTER_BYTES) as u64
}

/// Bytes of a SUBACK or UNSUBACK after its fixed header, beside its reason codes.
const ANSWER_BYTES: usize = 3;

const FILTER_WORK: u64 = 24;

/// Bytes of a filter that cost a unit: about one level.
const FILTER_BYTES: usize = 4;
